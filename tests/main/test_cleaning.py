"""The daemon's cleaning: what it tells while it works, and how it is told to end."""

from __future__ import annotations

import os
from pathlib import Path

import config
from cleaner.stamp import read_clock
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
    cleaning = Cleaning(
        config.load(tmp_path, {}), lambda: told.append(1), read_clock(), stopping=lambda: len(told) > 0, dry_run=False
    )
    (report,) = cleaning.run()
    assert told
    assert report.stopped
    assert 0 < len(list(month.glob("old-*"))) <= 200
    assert len(list(month.glob("new-*"))) == 200


def test_a_dry_run_deletes_nothing_leaves_no_stamp_and_is_due_once(tmp_path: Path) -> None:
    month = make_tasks(tmp_path, 2)
    settings = config.load(tmp_path, {"CLEAN_INTERVAL_HOURS": "1"})
    cleaning = Cleaning(settings, lambda: None, read_clock(), stopping=lambda: False, dry_run=True)
    assert cleaning.is_due()
    (report,) = cleaning.run()
    assert report.deleted_units == 2
    assert len(list(month.iterdir())) == 4
    assert not cleaning.is_due()
    assert not list(tmp_path.glob("*.stamp*"))
