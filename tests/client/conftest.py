"""A fake ComfyUI on a real socket, an image cache of its own, and settings that come from nobody's .env."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from client.comfyui_client import ROOT, ComfyUIClient
from examples.fake_comfyui import FakeServer

T = TypeVar("T")

WEIGHTLESS = ROOT / "examples" / "weightless_image.mapping.json"


def wait_for(look: Callable[[], T], seconds: float = 10) -> T:
    """Return what ``look`` returns once it is true; fail the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)
    return found


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CACHE_DIR, where the cleaner keeps its stamp, its locks and its log."""
    directory = tmp_path / "state"
    directory.mkdir()
    for name, value in {
        "CACHE_DIR": directory,
        "IMAGE_CACHE_DIR": tmp_path / "configured images",
        "CLEAN_DAYS": "off",
        "SERVERS": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, str(value))
    return directory


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def client(server: FakeServer, images: Path) -> Iterator[ComfyUIClient]:
    with ComfyUIClient(server.url, image_cache_dir=images, answer_timeout_seconds=5) as client:
        yield client
