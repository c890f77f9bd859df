"""Images are on the disk whole or not at all: through kills, full disks, cleaners and other writers."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.comfyui_client import ROOT, ComfyUIClient
from client.image_store import INCOMING, checked_task_id, find_task, incoming_task
from core.errors import ImageCacheError
from examples.fake_comfyui import FakeServer
from tests.client.conftest import wait_for

FEBRUARY = datetime(2026, 2, 17, tzinfo=UTC)

WAITER = """
import resource, sys
from client.comfyui_client import ComfyUIClient
if limit := int(sys.argv[4]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
ComfyUIClient(sys.argv[1], image_cache_dir=sys.argv[2]).wait(sys.argv[3], "task")
"""


def waiter(server: FakeServer, images: Path, prompt_id: str, largest_file: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WAITER, server.url, str(images), prompt_id, str(largest_file)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def store(images: Path, task_id: str, prompt_id: str = "p") -> None:
    with incoming_task(images, task_id, FEBRUARY) as task:
        with task.file("0.png") as file:
            file.write(b"image")
        task.publish({"prompt_id": prompt_id, "images": [{"file": "0.png"}]})


def test_a_kill_in_the_middle_leaves_nothing_that_looks_complete(
    server: FakeServer, client: ComfyUIClient, images: Path
) -> None:
    prompt_id = client.generate_image("a", batch_size=3)
    server.misbehave("/view", status=None, delay_seconds=0.3)

    with waiter(server, images, prompt_id) as process:
        wait_for(lambda: list(images.glob(f"*/{INCOMING}*/0.png")))
        process.send_signal(signal.SIGKILL)

    (leftover,) = images.glob("*/*")
    assert leftover.name.startswith(f"{INCOMING}task-")
    assert not (leftover / "images.json").exists()
    assert find_task(images, "task") is None
    # The same task again is not in the way of what is left.
    server.behave()
    assert len(client.wait(prompt_id, "task").files) == 3


STORER = """
import itertools, pathlib, sys
from datetime import datetime
from client.image_store import incoming_task
for number in itertools.count():
    with incoming_task(pathlib.Path(sys.argv[1]), f"task-{number}", datetime(2026, 2, 17)) as task:
        for name in ("0.png", "1.png"):
            with task.file(name) as file:
                file.write(b"image" * 1000)
        task.publish({"prompt_id": "p", "images": [{"file": "0.png"}, {"file": "1.png"}]})
"""


def test_a_kill_at_any_moment_leaves_only_whole_tasks(images: Path) -> None:
    for stored_before in (1, 15):
        root = images / str(stored_before)
        with subprocess.Popen([sys.executable, "-c", STORER, str(root)], cwd=ROOT) as process:
            wait_for((root / "02" / f"task-{stored_before}").is_dir)
            process.send_signal(signal.SIGKILL)
        names = [path.name for path in (root / "02").iterdir() if not path.name.startswith(INCOMING)]
        assert len(names) > stored_before
        for name in names:
            task = find_task(root, name)
            assert task is not None
            assert [path.stat().st_size for path in task.files] == [5000, 5000]


def test_a_disk_that_refuses_is_told_in_one_line_and_leaves_nothing(
    server: FakeServer, client: ComfyUIClient, images: Path
) -> None:
    prompt_id = client.generate_image("a", width=2048, height=2048)
    server.wait_idle()

    with waiter(server, images, prompt_id, largest_file=1000) as process:
        _, said = process.communicate(timeout=20)

    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("core.errors.ImageCacheError: images of task task not stored in ")
    assert "File too large" in said
    assert list(images.glob("*/*")) == []


def test_an_image_cache_that_is_no_directory_is_told(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with ComfyUIClient(server.url, image_cache_dir=tmp_path / "file") as client:
        prompt_id = client.generate_image("a")
        with pytest.raises(ImageCacheError, match="not stored"):
            client.wait(prompt_id)


@pytest.mark.parametrize(
    "task_id",
    ["", ".", "..", ".hidden", "a/b", "../a", "a\\b", "/a", "C:a", "a\0b", "a\nb", "a*", " a", "a ", "图" * 60],
)
def test_a_task_id_that_is_no_plain_name_is_refused_before_anything_is_asked(
    server: FakeServer, client: ComfyUIClient, images: Path, task_id: str
) -> None:
    with pytest.raises(ImageCacheError, match="task id"):
        client.wait("some-prompt", task_id)
    assert server.requests == []
    assert not images.exists()


@pytest.mark.parametrize("task_id", ["1", "task-1_a.b", "任务 1", "🏔", "a" * 160])
def test_a_plain_name_is_a_task_id(images: Path, task_id: str) -> None:
    store(images, checked_task_id(task_id))
    assert (images / "02" / task_id / "0.png").read_bytes() == b"image"


def test_a_task_id_of_another_prompt_is_not_overwritten(client: ComfyUIClient, images: Path) -> None:
    client.wait(client.generate_image("first"), "task")
    with pytest.raises(ImageCacheError, match="another prompt"):
        client.wait(client.generate_image("second"), "task")

    with pytest.raises(ImageCacheError, match="there already"):
        store_in_its_month(images, "task")
    stored = find_task(images, "task")
    assert stored is not None
    assert stored.record["prompt"] == "first"


def store_in_its_month(images: Path, task_id: str) -> None:
    with incoming_task(images, task_id, datetime.now().astimezone()) as task:
        task.publish({"prompt_id": "other", "images": []})


def test_of_many_writers_of_one_task_one_wins_whole(images: Path) -> None:
    def attempt(number: int) -> bool:
        try:
            store(images, "task", f"prompt-{number}")
        except ImageCacheError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(attempt, range(40))) == 1
    assert [path.name for path in (images / "02").iterdir()] == ["task"]


def test_a_month_that_a_cleaner_removes_meanwhile_is_made_again(images: Path) -> None:
    over = threading.Event()

    def remove_empty_months() -> None:
        while not over.wait(0.0002):
            try:
                (images / "02").rmdir()
            except OSError:
                pass

    cleaner = threading.Thread(target=remove_empty_months)
    cleaner.start()
    try:
        for number in range(50):
            with incoming_task(images, f"task-{number}", FEBRUARY):
                pass
    finally:
        over.set()
        cleaner.join()


def test_a_task_with_a_broken_record_is_told_and_not_taken_for_new(client: ComfyUIClient, images: Path) -> None:
    (images / "03" / "task").mkdir(parents=True)
    (images / "03" / "task" / "images.json").write_text("{")
    with pytest.raises(ImageCacheError, match="not readable as a task"):
        client.wait("some-prompt", "task")
