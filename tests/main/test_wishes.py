"""Warm-ups that another process wishes through the journal, and what a warm-up task says of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import config
from core.errors import TaskCancelled, TaskError
from core.model import State, Wish
from core.tasks import Priority, Task, TaskState
from examples.fake_comfyui import FakeServer
from operations.warming import warm
from store.journal import Journal
from tests.workspace import Workspace, wait_for

TASK = Task("1", "warmup", {}, "me", "default", Priority.NORMAL, TaskState.RUNNING, 0.0, 0.0)


@dataclass
class Steps:
    """A task's surroundings that remember what they were told; ``patience`` is how many steps until it is cancelled."""

    patience: int = 10_000
    steps: list[str] = field(default_factory=list)
    task: Task = TASK

    def progress(self, percent: float | None, step: str = "", message: str = "") -> None:
        self.steps.append(f"{step} {percent} {message}")
        self.patience -= 1
        if self.patience < 0:
            raise TaskCancelled("cancelled")


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        server.set_loader(seconds=0.05)
        yield server


def settings_of(workspace: Workspace) -> config.Settings:
    return config.load(workspace.root, workspace.environment)


def warmed(workspace: Workspace, *, force: bool = False, ctx: Steps | None = None) -> dict[str, object]:
    settings = settings_of(workspace)
    with closing(Journal(settings.database)) as journal:
        return warm(journal, settings.servers, "", force=force, ctx=ctx or Steps())


def test_a_warm_up_task_is_done_when_the_cache_shows_the_keys(workspace: Workspace, fake: FakeServer) -> None:
    workspace.settings |= {"SERVERS": fake.url, "CHECK_INTERVAL_SECONDS": "60"}
    workspace.running()
    wait_for(lambda: workspace.states().get(fake.url) == "loaded")
    fake.restart()
    steps = Steps()
    result = warmed(workspace, ctx=steps)
    assert result["loaded"] == 1
    assert set(fake.keys()) >= set(settings_of(workspace).servers[0].sets[0].keys)
    assert any(step.startswith("warming") for step in steps.steps)


def test_a_forced_warm_up_warms_what_is_loaded_once_more_and_only_once(workspace: Workspace, fake: FakeServer) -> None:
    workspace.settings |= {"SERVERS": fake.url, "CHECK_INTERVAL_SECONDS": "60"}
    workspace.running()
    wait_for(lambda: workspace.states().get(fake.url) == "loaded")
    submitted = len(fake.prompts)
    warmed(workspace)
    assert len(fake.prompts) == submitted
    warmed(workspace, force=True)
    wait_for(lambda: workspace.states().get(fake.url) == "loaded")
    assert submitted < len(fake.prompts) <= 2 * submitted


def test_a_warm_up_that_does_not_load_is_a_failure_in_the_servers_own_words(
    workspace: Workspace, fake: FakeServer
) -> None:
    fake.set_loader(seconds=0.05, fail=True, message="CUDA out of memory")
    workspace.settings |= {"SERVERS": fake.url}
    workspace.running()
    wait_for(lambda: workspace.states().get(fake.url) == "failed")
    with pytest.raises(TaskError, match=r"1 of 1 not loaded.*CUDA out of memory"):
        warmed(workspace)


def test_without_a_daemon_the_task_says_so_and_leaves_no_wish_behind(
    workspace: Workspace, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.settings |= {"SERVERS": fake.url}
    monkeypatch.setattr("operations.warming.TAKEN_WITHIN_SECONDS", 0.3)
    with pytest.raises(TaskError, match="does it run"):
        warmed(workspace)
    with closing(Journal(settings_of(workspace).database)) as journal:
        assert journal.wishes() == []


def test_a_cancelled_warm_up_takes_its_wish_back(workspace: Workspace, fake: FakeServer) -> None:
    workspace.settings |= {"SERVERS": fake.url}
    with pytest.raises(TaskCancelled):
        warmed(workspace, ctx=Steps(patience=2))
    with closing(Journal(settings_of(workspace).database)) as journal:
        assert journal.wishes() == []
    assert fake.prompts == []


def test_wishes_of_a_daemon_that_was_killed_are_found_by_the_next(workspace: Workspace, fake: FakeServer) -> None:
    workspace.settings |= {"SERVERS": fake.url}
    settings = settings_of(workspace)
    with closing(Journal(settings.database)) as journal:
        journal.wish([Wish(settings.servers[0].name, "", False, time.time())])
        workspace.running()
        wait_for(lambda: journal.wishes() == [])
        wait_for(lambda: any(state is State.LOADED for state, *_ in journal.states().values()))


def test_a_wish_for_a_server_that_is_not_configured_is_ended(workspace: Workspace, fake: FakeServer) -> None:
    workspace.settings |= {"SERVERS": fake.url}
    with closing(Journal(settings_of(workspace).database)) as journal:
        journal.wish([Wish("gone", "", False, time.time())])
        workspace.running()
        wait_for(lambda: journal.wishes() == [])


def test_a_database_of_the_former_version_is_brought_up_to_date(tmp_path: Path) -> None:
    from store.database import JOURNAL, connect

    connect(tmp_path / "a.sqlite3", JOURNAL[:1]).close()
    with closing(Journal(tmp_path / "a.sqlite3")) as journal:
        (number,) = journal.wish([Wish("gpu", "flux", True, 5.0)])
        assert journal.wishes() == [Wish("gpu", "flux", True, 5.0, number)]
        journal.end_wish(number)
        assert journal.wishes() == []
