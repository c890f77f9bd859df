"""What is deleted by hand is on record, and what cannot be put on record is not deleted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.audit import AuditOutcome, AuditQuery, AuditRecord, Stage
from store.audit_log import SqliteAuditLog
from tests.workspace import Workspace, workspace_in


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workspace]:
    with workspace_in(tmp_path, CLEAN_DAYS="1") as workspace:
        month = workspace.root / "resources" / "img" / "02"
        for name, at in (("old", 1e9), ("new-1", None), ("new-2", None)):
            (month / name).mkdir(parents=True)
            (month / name / "0.png").write_bytes(b"png")
            if at is not None:
                os.utime(month / name / "0.png", (at, at))
                os.utime(month / name, (at, at))
        yield workspace


def old(place: Workspace) -> Path:
    return place.root / "resources" / "img" / "02" / "old"


def kept(place: Workspace) -> list[AuditRecord]:
    log = SqliteAuditLog(place.root / "audit.sqlite3")
    try:
        return list(log.records(AuditQuery()))
    finally:
        log.close()


def test_a_cleaning_by_hand_names_the_person_and_what_went_and_a_dry_run_leaves_nothing(place: Workspace) -> None:
    assert place.run("-m", "cleaner", "--dry-run").returncode == 0
    assert not (place.root / "audit.sqlite3").exists()
    assert place.run("-m", "cleaner", "--yes").returncode == 0
    assert not old(place).exists()
    intent, result = kept(place)
    assert (intent.stage, intent.channel, intent.action, intent.target) == (
        Stage.INTENT, "cli", "cache.cleanup", "images",
    )  # fmt: skip
    assert intent.actor.startswith("local:")
    assert (result.effect["entries"], result.effect["files"]) == (1, 1)


def many_old(place: Workspace, count: int = 3000) -> Path:
    month = place.root / "resources" / "img" / "01"
    for number in range(count):
        task = month / f"task-{number:04}"
        task.mkdir(parents=True)
        for path in (task / "0.png", task):
            path.write_bytes(b"png") if path != task else None
            os.utime(path, (1e9, 1e9))
    # Enough young ones, so that nobody finds it too much.
    for number in range(count // 5):
        (month / f"young-{number}").mkdir()
    return month


@pytest.mark.parametrize(
    ("command", "number"),
    [
        (["cleaner", "--days", "7"], signal.SIGINT),
        (["cleaner", "--days", "7"], signal.SIGTERM),
        (["cleaner", "--days", "7", "--workers", "2"], signal.SIGINT),
        (["cleaner.scheduler", "--run-once"], signal.SIGINT),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.name,
)
def test_an_interrupted_cleaning_says_and_records_what_it_deleted(
    place: Workspace, command: list[str], number: signal.Signals
) -> None:
    month = many_old(place)

    def left() -> int:
        return sum(each.name.startswith("task-") for each in month.iterdir())

    program = place.start(*command[1:], module=command[0])
    while left() == 3000:
        assert program.process.poll() is None, program.output()
    # It stands still, so that the signal finds it in the middle; as a terminal's does, it comes to its workers too.
    os.killpg(program.pid, signal.SIGSTOP)
    assert left() > 0
    time.sleep(0.3)
    os.killpg(program.pid, number)
    os.killpg(program.pid, signal.SIGCONT)
    code = program.wait()
    _, result = kept(place)
    gone = 3001 - left() - old(place).exists()
    assert (result.effect["entries"], result.effect["files"], result.effect["failed"]) == (gone, gone, 0)
    log = (place.root / "cache_cleaner.log").read_text()
    assert f"clean finished target=images units={gone} " in log
    if "--workers" in command and left() == 0:
        return  # they were quicker than the news
    assert 0 < gone < 3001
    assert (result.outcome, result.error) == (AuditOutcome.FAILURE, "stopped before the end")
    assert log.endswith("stopped=before_the_end\n")
    assert code == 128 + number
    assert f"stopped before the end: {gone:,} unit" in program.output()
    assert "Traceback" not in program.output()


def test_a_cleaning_that_cannot_be_put_on_record_deletes_nothing_and_says_so(place: Workspace) -> None:
    (place.root / "audit.sqlite3").mkdir()
    for command in (("-m", "cleaner", "--yes"), ("-m", "cleaner.scheduler", "--run-once")):
        result = place.run(*command)
        assert result.returncode == 1
        assert "cannot be put on record" in result.stdout + result.stderr
        assert old(place).exists()
    (place.root / "audit.sqlite3").rmdir()
    assert place.run("-m", "cleaner.scheduler", "--run-once").returncode == 0
    assert not old(place).exists()
    assert [each.channel for each in kept(place)] == ["schedule", "schedule"]
