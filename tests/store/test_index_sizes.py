"""What the end of a walk notes about a target: its sizes by age, and one sample a day."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.listing import AgeBand, DaySample, EntryType, ListedEntry
from store.index import EntryIndex

DAY = 86400.0
NOW = 20_000 * DAY + 3600


@pytest.fixture
def index(tmp_path: Path) -> Iterator[EntryIndex]:
    index = EntryIndex(tmp_path / "index")
    yield index
    index.close()


def walk(index: EntryIndex, target: str, ages_days: list[float], now: float = NOW, size: int = 10) -> None:
    walk = index.walk(target, EntryType.DIRECTORY)
    walk.put(
        [
            ListedEntry(target, EntryType.DIRECTORY, f"{age}", size, now - age * DAY)
            for age in sorted(ages_days, key=str)
        ]
    )
    walk.finish(now)


def test_sizes_are_told_by_age_with_the_limits_in_the_older_band(index: EntryIndex) -> None:
    walk(index, "a", [-5, 0, 0.99, 1, 6.9, 7, 89, 365, 4000])
    assert index.ages() == (
        AgeBand("a", 0, 3, 30), AgeBand("a", 1, 2, 20), AgeBand("a", 2, 1, 10), AgeBand("a", 3, 1, 10),
        AgeBand("a", 5, 2, 20),
    )  # fmt: skip


def test_the_last_walk_is_what_counts_and_a_target_that_is_gone_counts_no_more(index: EntryIndex) -> None:
    walk(index, "a", [0, 40])
    walk(index, "b", [0])
    walk(index, "a", [2])
    assert index.ages() == (AgeBand("a", 1, 1, 10), AgeBand("b", 0, 1, 10))
    index.keep_targets(["b"])
    assert index.ages() == (AgeBand("b", 0, 1, 10),)


def test_each_day_has_one_sample_and_old_ones_are_forgotten(index: EntryIndex) -> None:
    walk(index, "a", [0], NOW - 500 * DAY)
    walk(index, "a", [0, 1], NOW - 2 * DAY)
    walk(index, "a", [0, 1, 2], NOW)
    walk(index, "a", [0], NOW + 60, size=77)
    assert index.samples(0) == (DaySample(19_998, "a", 2, 20), DaySample(20_000, "a", 1, 77))
    assert index.samples(19_999) == (DaySample(20_000, "a", 1, 77),)
