"""The client's three methods for the image cache, on images that it has stored itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from client.comfyui_client import ComfyUIClient
from client.image_store import INCOMING
from core.errors import RefusedTarget
from examples.fake_comfyui import FakeServer
from tests.client.conftest import WEIGHTLESS


def make_old(directory: Path, days: float = 40) -> None:
    then = time.time() - days * 86400
    for path in (*directory.iterdir(), directory):
        os.utime(path, (then, then))


@pytest.fixture
def painter(server: FakeServer, images: Path) -> ComfyUIClient:
    """A client with three stored tasks, of which two are old."""
    client = ComfyUIClient(server.url, template=WEIGHTLESS, image_cache_dir=images)
    for number in range(3):
        stored = client.wait(client.generate_image("a", width=16, height=16), f"task-{number}")
        if number < 2:
            make_old(stored.directory)
    return client


def tasks(images: Path) -> list[str]:
    return sorted(path.name for path in images.glob("*/*"))


def test_a_dry_run_counts_what_the_run_after_it_deletes(painter: ComfyUIClient, images: Path) -> None:
    info = painter.get_cache_info(days_threshold=1)
    assert (info["total_files"], info["old_files"], info["old_dirs"]) == (6, 4, 2)

    planned = painter.clean_old_cache(days_threshold=1, dry_run=True)
    assert len(tasks(images)) == 3
    assert painter.clean_old_cache(days_threshold=1) == planned
    assert (planned["deleted_files"], planned["deleted_dirs"]) == (4, 2)
    assert tasks(images) == ["task-2"]


def test_what_a_kill_has_left_expires_like_a_task_and_not_before(painter: ComfyUIClient, images: Path) -> None:
    (month,) = {path.parent for path in images.glob("*/*")}
    for name in (f"{INCOMING}task-8-0123456789", f"{INCOMING}task-9-0123456789"):
        (month / name).mkdir()
        (month / name / "0.png").write_bytes(b"half an im")
    make_old(month / f"{INCOMING}task-8-0123456789")

    painter.clean_old_cache(days_threshold=1)

    assert tasks(images) == [f"{INCOMING}task-9-0123456789", "task-2"]


def test_auto_clean_runs_once_a_day_over_all_processes(
    painter: ComfyUIClient, server: FakeServer, images: Path
) -> None:
    cleaned = painter.auto_clean_cache(days_threshold=1, check_interval_hours=24)
    assert cleaned is not None
    assert cleaned["deleted_dirs"] == 2

    make_old(painter.wait(painter.generate_image("a"), "task-3").directory)
    assert ComfyUIClient(server.url, image_cache_dir=images).auto_clean_cache() is None
    assert tasks(images) == ["task-2", "task-3"]


def test_a_generation_cleans_first_when_it_is_due(
    painter: ComfyUIClient, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEAN_DAYS", "1")
    with ComfyUIClient(painter.server_address, template=WEIGHTLESS, image_cache_dir=images) as client:
        client.generate_image("a")
    assert tasks(images) == ["task-2"]


def test_with_cleaning_off_a_generation_deletes_nothing(painter: ComfyUIClient, images: Path) -> None:
    painter.generate_image("a")
    assert len(tasks(images)) == 3


def test_a_failing_clean_is_logged_and_stops_no_generation(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CLEAN_DAYS", "1")
    with ComfyUIClient(server.url, image_cache_dir="/usr/lib") as client:
        with pytest.raises(RefusedTarget):
            client.clean_old_cache()
        prompt_id = client.generate_image("a")

    assert [prompt.prompt_id for prompt in server.prompts] == [prompt_id]
    assert "auto-clean failed, the generation goes on: target images: /usr/lib" in caplog.text
