"""The daemon's cleaning: what it tells while it works, and how it is told to end."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import config
from cleaner.stamp import read_clock
from core.audit import AuditQuery, Stage
from operations.auditing import Auditor, LazyAuditLog
from runtime.cleaning import Cleaning


def make_tasks(root: Path, count: int) -> Path:
    """Make that many expired task directories, and as many new ones, since not all of a target may go at once."""
    month = root / "resources" / "img" / "02"
    for number in range(count):
        (month / f"new-{number}").mkdir(parents=True)
        (month / f"new-{number}" / "0.png").write_bytes(b"png")
        (month / f"old-{number}").mkdir()
        (month / f"old-{number}" / "0.png").write_bytes(b"png")
        for path in (month / f"old-{number}" / "0.png", month / f"old-{number}"):
            os.utime(path, (1e9, 1e9))
    return month


def test_a_cleaning_tells_its_progress_and_ends_early_when_the_program_stops(tmp_path: Path) -> None:
    month = make_tasks(tmp_path, 200)
    told: list[int] = []
    # After a reload the cleaning that is under way belongs to the old settings; it must end all the same.
    settings = config.load(tmp_path, {})
    cleaning = Cleaning(
        settings, lambda: told.append(1), read_clock(), stopping=lambda: len(told) > 0, dry_run=False,
        records=Auditor(LazyAuditLog(settings)),
    )  # fmt: skip
    (report,) = cleaning.run()
    assert told
    assert report.stopped
    assert 0 < len(list(month.glob("old-*"))) <= 200
    assert len(list(month.glob("new-*"))) == 200


def test_a_dry_run_deletes_nothing_leaves_no_stamp_and_is_due_once(tmp_path: Path) -> None:
    month = make_tasks(tmp_path, 2)
    settings = config.load(tmp_path, {"CLEAN_INTERVAL_HOURS": "1"})
    cleaning = Cleaning(
        settings, lambda: None, read_clock(), stopping=lambda: False, dry_run=True,
        records=Auditor(LazyAuditLog(settings)),
    )  # fmt: skip
    assert cleaning.is_due()
    (report,) = cleaning.run()
    assert report.deleted_units == 2
    assert len(list(month.iterdir())) == 4
    assert not cleaning.is_due()
    assert not list(tmp_path.glob("*.stamp*"))
    assert not settings.audit_database.exists(), "what deletes nothing leaves no record"


def test_a_scheduled_cleaning_is_on_record_and_without_a_record_nothing_is_deleted(tmp_path: Path) -> None:
    month = make_tasks(tmp_path, 2)
    settings = config.load(tmp_path, {})
    log = LazyAuditLog(settings, patience_seconds=0.1)
    cleaning = Cleaning(
        settings, lambda: None, read_clock(), stopping=lambda: False, dry_run=False, records=Auditor(log)
    )
    assert log.head() is None
    other = sqlite3.connect(settings.audit_database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    (report,) = cleaning.run()
    assert report.refused is not None
    assert "cannot be put on record" in report.refused
    assert len(list(month.glob("old-*"))) == 2
    other.execute("ROLLBACK")
    other.close()
    (report,) = cleaning.run()
    assert report.deleted_units == 2
    assert not list(month.glob("old-*"))
    intent, result = log.records(AuditQuery())
    assert (intent.stage, intent.actor, intent.channel, intent.action) == (
        Stage.INTENT, "schedule", "schedule", "cache.cleanup",
    )  # fmt: skip
    assert (result.stage, result.target, result.effect["entries"]) == (Stage.RESULT, "images", 2)
    assert result.intent_seq == intent.seq
    log.close()
