"""Walks that differ much from what is known, that are interrupted, or that meet an index of an earlier version."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StoreError
from core.listing import EntryQuery, EntryType, ListedEntry, Sort
from store.database import connect
from store.index import EntryIndex
from store.index_align import matching_blocks
from store.index_schema import INDEX
from tests.workspace import SOURCE


@pytest.fixture
def index(tmp_path: Path) -> Iterator[EntryIndex]:
    index = EntryIndex(tmp_path / "index.sqlite3")
    yield index
    index.close()


def entry(number: int, size: int = 1) -> ListedEntry:
    return ListedEntry("a", EntryType.DIRECTORY, f"{number // 1000:03d}/{number:06d}.png", size, float(number % 977))


def walk(index: EntryIndex, entries: list[ListedEntry], batch: int = 1000) -> tuple[int, int, int]:
    walk = index.walk("a", EntryType.DIRECTORY)
    for first in range(0, len(entries), batch):
        walk.put(entries[first : first + batch])
    walk.finish(1000.0)
    return walk.added, walk.changed, walk.removed


def held(tmp_path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(tmp_path / "index.sqlite3")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (totals,) = connection.execute("SELECT entries, files, size FROM targets")
        summed = "SELECT count(*), coalesce(sum(files), 0), coalesce(sum(size), 0) FROM entries"
        assert connection.execute(summed).fetchone() == totals
        return dict(connection.execute("SELECT name, size FROM entries"))


def made(tmp_path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(tmp_path / "index.sqlite3")) as connection:
        return set(connection.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))


def test_a_large_change_is_written_wholesale_and_nothing_is_missing_afterwards(
    index: EntryIndex, tmp_path: Path
) -> None:
    before = made(tmp_path)
    entries = [entry(number) for number in range(25_000)]
    assert walk(index, entries) == (25_000, 0, 0)
    assert made(tmp_path) == before
    assert walk(index, [entry(number, 2) for number in range(24_000)]) == (0, 24_000, 1000)
    assert made(tmp_path) == before
    assert held(tmp_path) == {entry(number).name: 2 for number in range(24_000)}
    assert index.totals()[0].size_bytes == 48_000
    # The triggers are back: one entry more is one more in the totals.
    assert walk(index, [entry(number, 2) for number in range(24_001)]) == (1, 0, 0)
    assert index.totals()[0].size_bytes == 48_002
    for sort in Sort:
        page = index.page(EntryQuery(sort=sort), page=200, page_size=100)
        assert len(page.items) == 100


STEPS: dict[str, Callable[[list[ListedEntry]], list[ListedEntry]]] = {
    "the first half is gone": lambda entries: entries[30_000:],
    "half as many again come first": lambda entries: [entry(number) for number in range(900_000, 930_000)] + entries,
    "all in another order": lambda entries: entries[::-1],
    "in an order of no use": lambda entries: sorted(entries, key=lambda each: hash(each.created_at * 7919 % 991)),
    "every second one": lambda entries: entries[::2],
}


@pytest.mark.parametrize("step", STEPS)
def test_a_memory_out_of_step_is_never_wrong(index: EntryIndex, tmp_path: Path, step: str) -> None:
    known = [entry(number) for number in range(60_000)]
    walk(index, known)
    seen = [each._replace(size_bytes=7) if number % 5000 == 0 else each for number, each in enumerate(known)]
    seen = STEPS[step](seen)
    names = {each.name for each in known}
    changed = sum(each.name in names and each.size_bytes == 7 for each in seen)
    added = sum(each.name not in names for each in seen)
    assert walk(index, seen) == (added, changed, len(names) - len(seen) + added)
    assert held(tmp_path) == {each.name: each.size_bytes for each in seen}
    assert walk(index, seen) == (0, 0, 0)


@given(st.lists(st.sampled_from("abcdef")), st.lists(st.sampled_from("abcdef")))
def test_matching_blocks_are_the_same_in_both_and_in_order(first: list[str], second: list[str]) -> None:
    here = there = 0
    for new_here, new_there, length in matching_blocks(first, second):
        assert length > 0
        assert (here, there) <= (new_here, new_there)
        assert new_here >= here
        assert new_there >= there
        here, there = new_here + length, new_there + length
        assert first[new_here:here] == second[new_there:there]


def test_sequences_that_are_nearly_the_same_are_matched_but_for_what_differs() -> None:
    first = [str(number) for number in range(1000)]
    second = [each for each in first if int(each) % 100] + ["x"]
    second[500:500] = ["y", "z"]
    assert sum(length for _, _, length in matching_blocks(first, second)) == 990


def test_names_with_anything_in_them_are_kept_apart(index: EntryIndex) -> None:
    named = [entry(number)._replace(name=name) for number, name in enumerate(["", "a\0b", "a", "b", "图"])]
    for _ in range(2):
        walk(index, named)
        assert {each.name for each in index.page().items} == {"", "a\\x00b", "a", "b", "图"}
    assert walk(index, named[:1]) == (0, 0, 4)


def test_times_that_creep_are_written_once_they_are_beyond_the_tolerance(index: EntryIndex) -> None:
    found = []
    for moment in (100.0, 102.0, 102.0, 104.0, 105.0):
        begun = index.walk("a", EntryType.REDIS, tolerance_seconds=2.5)
        begun.put([entry(1)._replace(created_at=moment)])
        begun.finish(1000.0)
        found.append(index.page().items[0].created_at)
    assert found == [100.0, 100.0, 100.0, 104.0, 104.0]


@pytest.mark.parametrize("others", [0, 30_000])
def test_what_was_only_looked_at_is_noted(index: EntryIndex, others: int) -> None:
    seen = [entry(number)._replace(last_accessed=5.0) for number in range(others + 2)]
    walk(index, seen)
    seen[1:] = [each._replace(last_accessed=6.0) for each in seen[1:]]
    assert walk(index, seen) == (0, others + 1, 0)
    assert [each.last_accessed for each in index.page(EntryQuery(sort=Sort.NAME)).items[:2]] == [5.0, 6.0]


def test_an_index_that_is_begun_anew_during_a_walk_says_so(index: EntryIndex, tmp_path: Path) -> None:
    walk(index, [entry(1)])
    begun = index.walk("a", EntryType.DIRECTORY)
    for each in tmp_path.glob("index.sqlite3*"):
        each.unlink()
    with pytest.raises(StoreError, match="begun anew"):
        begun.finish(1000.0)
    walk(index, [entry(2)])
    assert [each.name for each in index.page().items] == [entry(2).name]


def test_a_target_that_is_taken_out_during_a_walk_does_not_leave_entries_behind(
    index: EntryIndex, tmp_path: Path
) -> None:
    begun = index.walk("a", EntryType.DIRECTORY)
    begun.put([entry(1)])
    with closing(EntryIndex(tmp_path / "index.sqlite3")) as other:
        other.keep_targets([])
    with pytest.raises(StoreError, match="left the index"):
        begun.finish(1000.0)
    assert index.totals() == ()
    assert index.page().items == ()


def test_an_index_of_an_earlier_version_keeps_its_entries(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "index.sqlite3"
    with closing(connect(path, INDEX[:2])) as old:
        old.execute("INSERT INTO targets (name, type, indexed_at) VALUES ('a', 'directory', 5.0)")
        for number in range(3):
            row = (entry(number).name, 1, entry(number).created_at)
            old.execute(
                "INSERT INTO entries (target, name, size, created_at, files, mark) VALUES (1, ?, ?, ?, 1, 99)", row
            )
        old.execute("INSERT INTO samples VALUES (20000, 'a', 3, 3)")
    with caplog.at_level("INFO"), closing(EntryIndex(path)) as index:
        assert "from version 2 to 3" in caplog.text
        assert [each.name for each in index.page(EntryQuery(sort=Sort.NAME)).items] == [
            entry(number).name for number in range(3)
        ]
        (totals,) = index.totals()
        assert (totals.entries, totals.size_bytes, totals.indexed_at) == (3, 3, 5.0)
        assert len(index.samples(0)) == 1
        assert walk(index, [entry(0), entry(1, 5), entry(7)]) == (1, 1, 1)
    assert held(tmp_path) == {entry(0).name: 1, entry(1).name: 5, entry(7).name: 1}


def test_a_kill_at_any_moment_leaves_one_whole_walk_or_the_other(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from store.index import EntryIndex\n"
        "from tests.store.test_index_walk import entry, walk\n"
        "index = EntryIndex(Path(sys.argv[1])); print('ready', flush=True)\n"
        "pictures = [[entry(each, size) for each in range(0, 22_000, size)] for size in (1, 2)]\n"
        "while True:\n"
        "    for picture in pictures: walk(index, picture); print('walked', flush=True)\n"
    )
    whole = [{}, *({entry(each).name: size for each in range(0, 22_000, size)} for size in (1, 2))]
    for round_number in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "index.sqlite3")], cwd=SOURCE, stdout=subprocess.PIPE
        ) as walker:
            assert walker.stdout is not None
            assert walker.stdout.readline() == b"ready\n"
            if round_number:
                walker.stdout.readline()
            # Anywhere in the next walk: there is nothing to wait for.
            time.sleep(0.05 * round_number)
            walker.send_signal(signal.SIGKILL)
        with closing(EntryIndex(tmp_path / "index.sqlite3")) as index:
            if index.totals():
                assert held(tmp_path) in whole
            last = [entry(each, 3) for each in range(0, 9000, 3)]
            walk(index, last)
            assert held(tmp_path) == {each.name: 3 for each in last}
        whole.append({each.name: 3 for each in last})
