"""What every backend promises, whatever stores the entries. ``test_backends.py`` runs it over each of them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from core.effects import Effect
from core.errors import BackendError, TaskCancelled
from core.listing import Backend, EntryQuery, EntryType, Family
from core.retention import DAY_SECONDS, HOUR_SECONDS
from operations.indexing import refresh
from store.index import EntryIndex

OLD, YOUNG = 30 * DAY_SECONDS, 2 * HOUR_SECONDS
WEEK = 7 * DAY_SECONDS


class Place(Protocol):
    """A real store with a backend over it, and ways to look at it past the backend."""

    backend: Backend
    type: EntryType
    family: Family

    def put(self, name: str, age_seconds: float) -> None:
        """Make an entry that is so old."""

    def names(self) -> set[str]:
        """The entries that are there, by the names given to ``put``."""

    def listed_name(self, name: str, _: float) -> str:
        """How the backend calls an entry."""

    def put_bad(self) -> None:
        """Make something that the backend must leave alone when it goes by age: no readable time, not its own."""

    def beside(self) -> object:
        """What is near and must never change; the first call makes it."""

    def go_away(self) -> None:
        """Be out of reach."""


def no_pulse(done: int, total: int | None = None) -> None:
    assert done >= 0
    assert total is None or total >= done


def expire(place: Place, age: float | None = WEEK, *, dry_run: bool = False) -> Effect:
    return place.backend.expire(age, now=time.time(), dry_run=dry_run, pulse=no_pulse)


def clear(place: Place, *, dry_run: bool = False) -> Effect:
    return place.backend.clear(now=time.time(), dry_run=dry_run, pulse=no_pulse)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[EntryIndex]:
    index = EntryIndex(tmp_path / "index.sqlite3")
    yield index
    index.close()


class BackendContract:
    @pytest.fixture
    def filled(self, place: Place) -> Place:
        for number in range(3):
            place.put(f"old{number}", OLD)
            place.put(f"young{number}", YOUNG)
        return place

    def test_it_says_what_it_is_and_that_it_is_there(self, place: Place) -> None:
        assert (place.backend.type, place.backend.family) == (place.type, place.family)
        health = place.backend.health()
        assert health.available
        assert health.error == ""
        assert health.detail

    def test_totals_and_pages_come_through_the_index(self, filled: Place, index: EntryIndex) -> None:
        before = time.time()
        report = refresh(index, filled.backend, no_pulse, before)
        assert (report.error, report.added) == ("", 6)
        listed = [entry for batch in filled.backend.entries(no_pulse) for entry in batch]
        (totals,) = index.totals()
        assert (totals.target, totals.type, totals.entries) == (filled.backend.name, filled.type, 6)
        assert totals.size_bytes == sum(entry.size_bytes for entry in listed) > 0
        assert totals.indexed_at is not None
        assert totals.indexed_at >= before
        page = index.page(EntryQuery(types=[filled.type], target=filled.backend.name), page_size=4)
        rest = index.page(
            EntryQuery(types=[filled.type], target=filled.backend.name), page_size=4, cursor=page.next_cursor
        )
        assert (page.total, len(page.items), len(rest.items), rest.next_cursor) == (6, 4, 2, "")
        expected = {
            filled.listed_name(f"{word}{number}", age): age
            for word, age in (("old", OLD), ("young", YOUNG))
            for number in range(3)
        }
        assert {entry.name for entry in (*page.items, *rest.items)} == set(expected)
        for entry in (*page.items, *rest.items):
            # The names of an API proxy's files say a day, not a moment.
            assert abs(before - expected[entry.name] - entry.created_at) < DAY_SECONDS + 60

    def test_a_second_walk_writes_nothing(self, filled: Place, index: EntryIndex) -> None:
        refresh(index, filled.backend, no_pulse, time.time())
        again = refresh(index, filled.backend, no_pulse, time.time())
        assert (again.entries, again.added, again.changed, again.removed) == (6, 0, 0, 0)

    def test_what_is_gone_leaves_the_index(self, filled: Place, index: EntryIndex) -> None:
        refresh(index, filled.backend, no_pulse, time.time())
        assert expire(filled).deleted_entries == 3
        report = refresh(index, filled.backend, no_pulse, time.time())
        assert (report.removed, index.totals()[0].entries) == (3, 3)

    def test_a_dry_run_tells_what_the_run_does_and_changes_nothing(self, filled: Place) -> None:
        before = filled.names()
        planned = expire(filled, dry_run=True)
        assert filled.names() == before
        done = expire(filled)
        assert filled.names() == {"young0", "young1", "young2"}
        assert planned.ok
        assert done.ok
        assert (planned.dry_run, done.dry_run) == (True, False)
        for effect in (planned, done):
            assert effect.deleted_entries == 3
            assert effect.reasons["older_than"]["entries"] == 3
            assert {line["name"] for line in effect.first} == {filled.listed_name(f"old{n}", OLD) for n in range(3)}
            assert effect.target == filled.backend.name
        assert planned.freed_bytes == done.freed_bytes > 0
        assert planned.reasons == done.reasons

    def test_a_size_that_was_not_measured_is_none_and_never_nought(self, filled: Place) -> None:
        for effect in (expire(filled, dry_run=True), expire(filled, None)):
            assert effect.reasons
            for reason, tally in effect.reasons.items():
                size = tally["bytes"]
                assert size is None or size > 0, (reason, size)

    def test_a_second_run_finds_nothing_more_to_do(self, filled: Place) -> None:
        expire(filled)
        again = expire(filled)
        assert (again.deleted_entries, again.freed_bytes, again.ok) == (0, 0, True)
        assert filled.names() == {"young0", "young1", "young2"}

    def test_clear_takes_everything_of_its_own_and_nothing_beside_it(self, filled: Place) -> None:
        beside = filled.beside()
        assert clear(filled, dry_run=True).deleted_entries == 6
        assert len(filled.names()) == 6
        effect = clear(filled)
        assert (effect.deleted_entries, effect.ok) == (6, True)
        assert effect.reasons["cleared"]["entries"] == 6
        assert filled.names() == set()
        assert filled.beside() == beside

    def test_cleaning_by_age_touches_nothing_beside_it(self, filled: Place) -> None:
        beside = filled.beside()
        expire(filled)
        assert filled.beside() == beside

    def test_what_has_no_readable_age_stays_and_the_rest_goes(self, filled: Place) -> None:
        filled.put_bad()
        effect = expire(filled)
        assert effect.deleted_entries == 3
        assert filled.names() >= {"young0", "young1", "young2"}
        assert not {"old0", "old1", "old2"} & filled.names()

    def test_without_an_age_and_a_policy_nothing_goes(self, filled: Place) -> None:
        effect = expire(filled, None)
        assert (effect.deleted_entries, effect.ok) == (0, True)
        assert len(filled.names()) == 6

    @pytest.mark.parametrize("age", [0.0, -1.0, math.nan])
    def test_an_age_of_nothing_is_refused(self, filled: Place, age: float) -> None:
        effect = expire(filled, age)
        assert effect.refused
        assert not effect.ok
        assert len(filled.names()) == 6

    def test_whoever_cancels_is_heard(self, filled: Place) -> None:
        def cancel(done: int, total: int | None = None) -> None:
            raise TaskCancelled(f"after {done} of {total}")

        with pytest.raises(TaskCancelled) as told:
            filled.backend.expire(WEEK, now=time.time(), dry_run=False, pulse=cancel)
        assert told.value.effect is not None, "what was done until then is not forgotten"
        assert told.value.effect.deleted_entries == 6 - len(filled.names())
        with pytest.raises(TaskCancelled):
            for _ in filled.backend.entries(cancel):
                pass
        assert expire(filled).ok, "no lock may be left behind"
        assert filled.names() == {"young0", "young1", "young2"}

    def test_out_of_reach_is_said_and_loses_no_picture(self, filled: Place, index: EntryIndex) -> None:
        refresh(index, filled.backend, no_pulse, time.time())
        (before,) = index.totals()
        filled.go_away()
        began = time.monotonic()
        health = filled.backend.health()
        assert time.monotonic() - began < 5
        assert not health.available
        assert health.error
        report = refresh(index, filled.backend, no_pulse, time.time())
        assert report.error
        (after,) = index.totals()
        assert (after.entries, after.size_bytes, after.indexed_at) == (6, before.size_bytes, before.indexed_at)
        assert after.error == report.error
        for act in (expire, clear):
            try:
                effect = act(filled)
            except BackendError:
                continue
            assert not effect.ok
            assert effect.deleted_entries == 0
