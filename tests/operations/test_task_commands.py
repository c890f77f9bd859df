"""``python -m operations`` about tasks: what it prints, for people and programs, and its exit codes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import config
from core.errors import BadCursor, TaskError, TaskStateError
from core.tasks import TaskRequest
from operations import task_commands
from operations.engines import open_engine
from operations.parser import parser
from tests.workspace import Workspace, workspace_in


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    return config.load(tmp_path, {"CACHE_DIR": str(tmp_path / "cache")})


def ask(settings: config.Settings, *arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    code = task_commands.run(parser().parse_args(arguments), settings, out)
    return code, out.getvalue()


def ask_json(settings: config.Settings, *arguments: str) -> Any:
    return json.loads(ask(settings, *arguments, "--json")[1])


def submit(settings: config.Settings, count: int = 1, **fields: Any) -> list[str]:
    engine = open_engine(settings)
    try:
        return [engine.submit(TaskRequest("cleanup", {"days": 7}, "ann", **fields)).id for _ in range(count)]
    finally:
        engine.close()


def test_tasks_are_listed_newest_first_and_by_pages(settings: config.Settings) -> None:
    ids = submit(settings, 3)
    _, text = ask(settings, "tasks", "--limit", "2")
    assert [line.split()[0] for line in text.splitlines()] == [ids[2], ids[1], "more"]
    cursor = text.split()[-1]
    page = ask_json(settings, "tasks", "--cursor", cursor)
    assert [task["id"] for task in page["tasks"]] == [ids[0]]
    assert page["counts"]["queued"] == 3
    assert ask_json(settings, "tasks", "--state", "failed")["tasks"] == []
    with pytest.raises(BadCursor):
        ask(settings, "tasks", "--cursor", "nonsense")


def test_one_task_can_be_shown_cancelled_and_retried(settings: config.Settings) -> None:
    (task_id,) = submit(settings)
    code, text = ask(settings, "task", task_id)
    assert code == 0
    assert 'arguments 参数: {"days": 7}' in text
    assert ask_json(settings, "cancel", task_id)["state"] == "cancelled"
    assert ask_json(settings, "retry", task_id)["state"] == "queued"
    with pytest.raises(TaskStateError):
        ask(settings, "retry", task_id)
    with pytest.raises(TaskError, match="no task"):
        ask(settings, "cancel", "99")


def test_the_guides_keys_are_answered(settings: config.Settings) -> None:
    (task_id,) = submit(settings)
    assert ask_json(settings, "queue", "global:pending") == [task_id]
    assert ask(settings, "queue", "user:ann:pending") == (0, f"{task_id}\n")
    assert ask_json(settings, "queue", f"task:{task_id}:progress")["status"] == "queued"
    assert "status: queued" in ask(settings, "queue", f"task:{task_id}:progress")[1]
    with pytest.raises(TaskError):
        ask(settings, "queue", "no:such:key")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with workspace_in(tmp_path_factory.mktemp("operations")) as workspace:
        yield workspace


def test_the_command_says_in_one_line_what_is_wrong(project: Workspace) -> None:
    ran = project.run("-m", "operations", "task", "99")
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (1, "", 1)
    ran = project.run("-m", "operations", "workers", PORT="none")
    assert ran.returncode == 78
    assert "PORT" in ran.stderr
    ran = project.run("-m", "operations", "worker", "--tasks", "no.such.module")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1)
    assert "no.such.module" in ran.stderr or "'no'" in ran.stderr


def test_a_broken_queue_file_is_named(project: Workspace) -> None:
    (project.root / "elsewhere").mkdir()
    project.write("elsewhere/tasks.sqlite3", "no database" * 1000)
    ran = project.run("-m", "operations", "tasks", CACHE_DIR="elsewhere")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1)
    assert "tasks.sqlite3" in ran.stderr
