"""What more than one directory of tests needs."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.small_disk import SmallDisk, mounted
from tests.workspace import Workspace, workspace_in

# The same examples at every run, however slow the machine: a suite that is green stays so. Nothing is written.
settings.register_profile("suite", derandomize=True, deadline=None, database=None)
settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without the garbage collector, which would look through millions of syntax trees' nodes.

    What then lives, lives to the end: frozen, it is not looked through at each collection during the tests either.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: a long test that one process begins last would keep the others waiting."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A project directory of its own; every process that was started in it is gone at the end."""
    with workspace_in(tmp_path) as workspace:
        yield workspace


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-comfyui",
        default=None,
        metavar="URL",
        help="run the tests that can be against this ComfyUI with Inspire Pack too; clears its caches",
    )
    parser.addoption(
        "--real-comfyui-restart",
        default=None,
        metavar="COMMAND",
        help="a shell command that restarts that ComfyUI, and returns",
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted(tmp_path / "small-disk") as disk:
        yield disk
