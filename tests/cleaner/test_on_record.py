"""What is deleted by hand is on record, and what cannot be put on record is not deleted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.audit import AuditQuery, AuditRecord, Stage
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
