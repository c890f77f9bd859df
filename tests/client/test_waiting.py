"""From the queue to the images on the disk, and every way in which they may not come."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from client.comfyui_client import ROOT, ComfyUIClient
from client.follow import Progress, Step
from core.errors import (
    BadAnswer,
    Busy,
    GenerationFailed,
    ImageMissing,
    PromptLost,
    StillRunning,
    Unreachable,
)
from examples.fake_comfyui import FakeServer
from tests.client.conftest import WEIGHTLESS

PNG = b"\x89PNG\r\n\x1a\n"


def nothing_in(images: Path) -> bool:
    return not [path for path in images.rglob("*") if path.is_file() or path.name.startswith(".")]


def test_a_batch_is_stored_with_its_record(server: FakeServer, client: ComfyUIClient, images: Path) -> None:
    prompt_id = client.generate_image("一幅美丽的风景", width=48, height=32, batch_size=3, seed=11)

    stored = client.wait(prompt_id, "task-1")

    assert [path.name for path in stored.files] == ["0.png", "1.png", "2.png"]
    assert all(path.read_bytes().startswith(PNG) for path in stored.files)
    assert stored.directory.parent.parent == images
    assert sorted(path.name for path in stored.directory.iterdir()) == ["0.png", "1.png", "2.png", "images.json"]
    text = (stored.directory / "images.json").read_text(encoding="utf-8")
    assert "一幅美丽的风景" in text
    record = json.loads(text)
    assert record == stored.record
    assert (record["seed"], record["server"], record["prompt_id"]) == (11, server.url, prompt_id)
    assert [image["file"] for image in record["images"]] == ["0.png", "1.png", "2.png"]
    assert [image["bytes"] for image in record["images"]] == [path.stat().st_size for path in stored.files]
    assert stored.directory.parent.name == record["time"][5:7]


def test_another_process_may_wait_and_the_record_is_whole_all_the_same(server: FakeServer, images: Path) -> None:
    with ComfyUIClient(server.url, template=WEIGHTLESS) as sender:
        prompt_id = sender.generate_image("晚霞", seed=3)
    with ComfyUIClient(server.url, image_cache_dir=images) as waiter:
        stored = waiter.wait(prompt_id)

    assert stored.task_id == prompt_id
    assert (stored.record["prompt"], stored.record["seed"]) == ("晚霞", 3)


def test_two_generations_at_once_get_each_their_own_images(server: FakeServer, client: ComfyUIClient) -> None:
    server.settings.sample_step_seconds = 0.002

    def generate(number: int) -> Any:
        prompt_id = client.generate_image(f"number {number}", width=32 + 16 * number, steps=5)
        return client.wait(prompt_id, f"task-{number}")

    with ThreadPoolExecutor(4) as threads:
        stored = list(threads.map(generate, range(4)))

    for number, task in enumerate(stored):
        assert task.record["prompt"] == f"number {number}"
        width = int.from_bytes(task.files[0].read_bytes()[16:20], "big")
        assert width == 32 + 16 * number


def test_progress_tells_the_place_in_the_queue_and_then_each_image(server: FakeServer, client: ComfyUIClient) -> None:
    server.occupy(0.4)
    prompt_id = client.generate_image("a", batch_size=2)
    seen: list[Progress] = []

    client.wait(prompt_id, progress=seen.append)

    assert (seen[0].step, seen[0].ahead) == (Step.QUEUED, 1)
    assert [(each.stored, each.images) for each in seen if each.step is Step.STORING] == [(0, 2), (1, 2)]
    assert (seen[-1].step, seen[-1].stored) == (Step.DONE, 2)


def test_a_failing_node_is_told_in_the_servers_words(server: FakeServer, client: ComfyUIClient, images: Path) -> None:
    server.set_loader("CheckpointLoaderSimple", fail=True, message="CUDA out of memory. 显存不足")

    with pytest.raises(GenerationFailed, match=r"CheckpointLoaderSimple.*CUDA out of memory") as failed:
        client.wait(prompt_id := client.generate_image("a"))

    assert failed.value.prompt_id == prompt_id
    assert nothing_in(images)


def test_a_success_that_carries_an_error_is_a_failure(server: FakeServer, client: ComfyUIClient, images: Path) -> None:
    server.settings.error_inside_success = True
    with pytest.raises(GenerationFailed, match="Execution Blocked"):
        client.wait(client.generate_image("a"))
    assert nothing_in(images)


def test_an_interrupted_generation_says_so(server: FakeServer, client: ComfyUIClient) -> None:
    server.settings.sample_step_seconds = 0.01
    prompt_id = client.generate_image("a", steps=10000)

    def interrupt(progress: Progress) -> None:
        if progress.step is Step.RUNNING:
            requests.post(f"{server.url}/interrupt", json={}, timeout=5)

    with pytest.raises(GenerationFailed, match="interrupted at node 95"):
        client.wait(prompt_id, progress=interrupt)


def test_a_run_that_makes_no_image_is_a_failure(server: FakeServer, client: ComfyUIClient) -> None:
    with pytest.raises(GenerationFailed, match="without making an image"):
        client.wait(server.occupy(0.01))


def test_a_prompt_that_a_restart_has_swallowed_is_lost(server: FakeServer, client: ComfyUIClient) -> None:
    prompt_id = client.generate_image("a")
    server.wait_idle()
    server.restart(down_seconds=0.1)

    with pytest.raises(PromptLost, match="restarted"):
        client.wait(prompt_id)


def test_a_server_that_stays_away_is_unreachable(server: FakeServer, client: ComfyUIClient) -> None:
    prompt_id = client.generate_image("a")
    server.stop()
    with pytest.raises(Unreachable, match="Connection refused"):
        client.wait(prompt_id, timeout_seconds=0.2)


def test_a_busy_server_is_waited_for(server: FakeServer, images: Path) -> None:
    with ComfyUIClient(server.url, image_cache_dir=images, answer_timeout_seconds=0.1) as client:
        prompt_id = client.generate_image("a")
        server.busy(0.4)
        steps: list[Step] = []
        client.wait(prompt_id, progress=lambda progress: steps.append(progress.step))

    assert steps[0] is Step.BUSY
    assert steps[-1] is Step.DONE


def test_waiting_again_goes_on_where_the_time_was_over(server: FakeServer, client: ComfyUIClient) -> None:
    server.occupy(0.8)
    prompt_id = client.generate_image("a")

    with pytest.raises(StillRunning, match="queued"):
        client.wait(prompt_id, timeout_seconds=0.05)

    assert client.wait(prompt_id).files


def test_an_image_that_the_server_has_cleaned_is_missing_and_nothing_is_stored(
    server: FakeServer, client: ComfyUIClient, images: Path
) -> None:
    prompt_id = client.generate_image("a", batch_size=2)
    server.wait_idle()
    (server.output_root("output") / "text_to_image_00002_.png").unlink()

    with pytest.raises(ImageMissing, match=r"text_to_image_00002_\.png"):
        client.wait(prompt_id)

    assert nothing_in(images)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ({"body": b"<html>login</html>", "headers": {"Content-Type": "text/html"}}, BadAnswer, "HTML page"),
        ({"body": b'{"error": 1}', "headers": {"Content-Type": "application/json"}}, BadAnswer, "instead of an image"),
        ({"body": PNG, "headers": {"Content-Type": "image/png"}, "declared_length": 5000}, BadAnswer, "cut off"),
        ({"body": b"", "headers": {"Content-Type": "image/png"}}, BadAnswer, "empty image"),
        ({"status": 500, "body": b"boom"}, BadAnswer, "status 500"),
        ({"status": None, "delay_seconds": 10}, Busy, "not answered in time"),
    ],
)
def test_an_image_that_arrives_broken_is_not_stored(
    server: FakeServer, images: Path, fault: dict[str, Any], error: type[Exception], said: str
) -> None:
    with ComfyUIClient(server.url, image_cache_dir=images, answer_timeout_seconds=0.2) as client:
        prompt_id = client.generate_image("a")
        server.misbehave("/view", **fault)

        with pytest.raises(error, match=said):
            client.wait(prompt_id)
        assert nothing_in(images)

        server.behave()
        assert client.wait(prompt_id).files


def test_one_late_answer_does_not_lose_a_generation(server: FakeServer, images: Path) -> None:
    with ComfyUIClient(server.url, image_cache_dir=images, answer_timeout_seconds=0.2) as client:
        prompt_id = client.generate_image("a")
        server.misbehave("/view", status=None, delay_seconds=10, times=1)
        stored = client.wait(prompt_id)
    assert stored.files[0].read_bytes().startswith(PNG)


SCRIPT = """
import sys
from client.comfyui_client import ComfyUIClient
with ComfyUIClient(sys.argv[1], image_cache_dir=sys.argv[2]) as client:
    print(client.wait(sys.argv[3], "shown").task_id)
"""


def test_a_terminal_shows_progress_and_a_pipe_only_the_result(
    server: FakeServer, client: ComfyUIClient, tmp_path: Path
) -> None:
    prompt_id = client.generate_image("a")
    command = [sys.executable, "-c", SCRIPT, server.url]
    environment = {**os.environ, "TERM": "xterm", "LC_ALL": "zh_CN.UTF-8", "PYTHONUTF8": "1"}
    piped = subprocess.run(
        [*command, str(tmp_path / "piped"), prompt_id], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    assert (piped.stdout, piped.stderr) == (b"shown\n", b"")

    leader, follower = pty.openpty()
    shown = bytearray()
    reader = threading.Thread(target=_read_all, args=(leader, shown.extend))
    reader.start()
    on_terminal = subprocess.run(
        [*command, str(tmp_path / "terminal"), prompt_id],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=follower,
        check=True,
    )
    os.close(follower)
    reader.join(5)
    os.close(leader)
    assert on_terminal.stdout == b"shown\n"
    assert "完成 1/1" in shown.decode()


def _read_all(descriptor: int, take: Callable[[bytes], object]) -> None:
    try:
        while portion := os.read(descriptor, 4096):
            take(portion)
    except OSError:
        pass  # Linux says EIO once the last writer has closed the other side


def test_the_client_brings_neither_the_cleaner_nor_rich_before_they_are_needed() -> None:
    script = "import sys, client.comfyui_client; print([m for m in ('cleaner', 'rich', 'config') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_two_waits_for_one_prompt_store_it_once(server: FakeServer, client: ComfyUIClient) -> None:
    prompt_id = client.generate_image("a", batch_size=2)
    with ThreadPoolExecutor(4) as threads:
        found = {task.directory for task in threads.map(lambda _: client.wait(prompt_id, "once"), range(4))}

    (directory,) = found
    assert sorted(path.name for path in directory.iterdir()) == ["0.png", "1.png", "images.json"]
    assert [path.name for path in directory.parent.iterdir()] == ["once"]
    # And once stored, no server is needed.
    server.stop()
    assert client.wait(prompt_id, "once").directory == directory
