"""The index: totals that are never wrong, pages that neither skip nor repeat, and a file that may break."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import BadCursor, StoreError
from core.listing import EntryQuery, EntryType, ListedEntry, Sort
from store.index import EntryIndex
from tests.workspace import SOURCE

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"previews": EntryType.DIRECTORY, "images": EntryType.IMAGES, "keys": EntryType.REDIS}


def entry(target: str, name: str, size: int = 10, created_at: float = 5.0, files: int = 1) -> ListedEntry:
    return ListedEntry(target, KINDS[target], name, size, created_at, None, files)


def fill(index: EntryIndex, target: str, entries: list[ListedEntry], *, finish: bool = True) -> None:
    walk = index.walk(target, KINDS[target])
    walk.put(entries)
    if finish:
        walk.finish(1000.0)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[EntryIndex]:
    index = EntryIndex(tmp_path / "index.sqlite3")
    yield index
    index.close()


def sums(index: EntryIndex) -> dict[str, tuple[int, int, int]]:
    return {each.target: (each.entries, each.files, each.size_bytes) for each in index.totals()}


def entries_of(index: EntryIndex) -> dict[tuple[str, str], ListedEntry]:
    found = by_cursor(index, Sort.NAME, 100, (), "")
    entries = {(each.target, each.name): each for each in found}
    assert len(entries) == len(found)
    return entries


def counted(path: Path) -> dict[str, tuple[int, int, int]]:
    """The same sums, counted row by row past the index."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT targets.name, count(entries.id), coalesce(sum(entries.files), 0), coalesce(sum(entries.size), 0)"
            " FROM targets LEFT JOIN entries ON entries.target = targets.id GROUP BY targets.id"
        ).fetchall()
    return {row[0]: tuple(row[1:]) for row in rows}


# Few values, so that ties are everywhere: they are where a page goes wrong.
entries_strategy = st.lists(
    st.tuples(
        st.sampled_from(sorted(KINDS)), st.integers(0, 40).map(lambda number: f"n{number}"), st.integers(0, 3),
        st.sampled_from([0.0, 1.5, 1e9]),
    ),
    max_size=60,
    unique_by=lambda each: (each[0], each[1]),
).map(lambda found: [entry(target, name, size, at) for target, name, size, at in found])  # fmt: skip
wishes_strategy = st.sampled_from([((), ""), (("images",), ""), (("images", "redis"), ""), ((), "previews")])


def key(sort: Sort, each: ListedEntry) -> Any:
    return {"created_at": each.created_at, "size": each.size_bytes, "name": each.name}[sort.value.lstrip("-")]


def put_all(index: EntryIndex, entries: list[ListedEntry]) -> None:
    for target in KINDS:
        fill(index, target, [each for each in entries if each.target == target])


def by_cursor(index: EntryIndex, sort: Sort, size: int, types: tuple[str, ...], target: str) -> list[ListedEntry]:
    found: list[ListedEntry] = []
    cursor = ""
    while True:
        page = index.page(
            EntryQuery(types=[EntryType(each) for each in types], target=target, sort=sort),
            cursor=cursor,
            page_size=size,
        )
        found += page.items
        cursor = page.next_cursor
        if not cursor:
            return found
        assert page.items


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=entries_strategy, sort=st.sampled_from(Sort), size=st.integers(1, 7), wish=wishes_strategy)
def test_pages_by_cursor_and_by_number_are_slices_of_the_sorted_whole(
    index: EntryIndex, entries: list[ListedEntry], sort: Sort, size: int, wish: tuple[tuple[str, ...], str]
) -> None:
    put_all(index, entries)
    types, target = wish
    wished = [each for each in entries if (not types or each.type in types) and (not target or each.target == target)]
    found = by_cursor(index, sort, size, types, target)
    assert sorted(found) == sorted(wished)
    keys = [key(sort, each) for each in found]
    assert keys == sorted(keys, reverse=sort.value.startswith("-"))
    for number in range(len(found) // size + 2):
        kinds = [EntryType(each) for each in types]
        page = index.page(EntryQuery(types=kinds, target=target, sort=sort), page=number + 1, page_size=size)
        assert list(page.items) == found[number * size : (number + 1) * size]
        assert page.total == len(wished)
        assert bool(page.next_cursor) == ((number + 1) * size < len(wished))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=entries_strategy, later=entries_strategy, sort=st.sampled_from(Sort), size=st.integers(1, 7))
def test_what_stays_is_seen_exactly_once_while_others_come_and_go(
    index: EntryIndex, entries: list[ListedEntry], later: list[ListedEntry], sort: Sort, size: int
) -> None:
    put_all(index, entries)
    first = index.page(EntryQuery(sort=sort), page_size=size)
    put_all(index, later)
    seen = list(first.items)
    cursor = first.next_cursor
    while cursor:
        page = index.page(EntryQuery(sort=sort), page_size=size, cursor=cursor)
        seen += page.items
        cursor = page.next_cursor
    staying = set(entries) & set(later)
    assert all(seen.count(each) == 1 for each in staying)


endings_strategy = st.sampled_from(["finish", "fail", "never"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(st.tuples(entries_strategy, endings_strategy, st.integers(1, 30)), min_size=1, max_size=5),
    chance=st.randoms(use_true_random=False),
)
def test_whatever_walks_there_were_the_index_says_what_they_saw(
    index: EntryIndex, tmp_path: Path, rounds: list[tuple[list[ListedEntry], str, int]], chance: Random
) -> None:
    with closing(EntryIndex(tmp_path / "index.sqlite3")) as reader:
        index.keep_targets([])
        expected: dict[tuple[str, str], ListedEntry] = {}
        for entries, ending, size in rounds:
            for target in KINDS:
                mine = [each for each in entries if each.target == target]
                chance.shuffle(mine)
                walk = index.walk(target, KINDS[target])
                for first in range(0, len(mine), size):
                    walk.put(mine[first : first + size])
                    assert entries_of(reader) == expected
                if ending == "finish":
                    walk.finish(1000.0)
                    expected = {key: each for key, each in expected.items() if key[0] != target}
                elif ending == "fail":
                    walk.fail("permission denied")
                if ending != "never":
                    expected |= {(target, each.name): each for each in mine}
                assert entries_of(reader) == expected
                assert sums(reader) == counted(tmp_path / "index.sqlite3")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=entries_strategy, seen=st.tuples(entries_strategy, entries_strategy), after=entries_strategy,
    failing=st.booleans(),
)  # fmt: skip
def test_after_two_walks_at_once_the_next_one_leaves_what_it_saw(
    index: EntryIndex,
    tmp_path: Path,
    before: list[ListedEntry],
    seen: tuple[list[ListedEntry], list[ListedEntry]],
    after: list[ListedEntry],
    failing: bool,
) -> None:
    index.keep_targets([])
    put_all(index, before)
    with closing(EntryIndex(tmp_path / "index.sqlite3")) as other:
        walks = [each.walk("images", EntryType.IMAGES) for each in (index, other)]
        for walk, entries in zip(walks, seen, strict=True):
            walk.put([each for each in entries if each.target == "images"])
        walks[0].finish(1000.0)
        if failing:
            walks[1].fail("permission denied")
        else:
            walks[1].finish(1001.0)
    assert sums(index) == counted(tmp_path / "index.sqlite3")
    put_all(index, after)
    assert entries_of(index) == {(each.target, each.name): each for each in after}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shown=st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=6))
def test_a_scan_that_shows_entries_twice_hides_none_that_is_gone(index: EntryIndex, shown: list[list[int]]) -> None:
    index.keep_targets([])
    for numbers in shown:
        walk = index.walk("keys", EntryType.REDIS)
        for number in numbers:
            walk.put([entry("keys", f"{number}"), entry("keys", f"{number}")])
        walk.finish(2000.0)
        assert {name for _, name in entries_of(index)} == {f"{number}" for number in numbers}
        assert walk.seen == 2 * len(numbers)


def test_a_walk_that_never_ends_leaves_the_picture_as_it_was(index: EntryIndex) -> None:
    fill(index, "images", [entry("images", "a", 1), entry("images", "b", 2)])
    fill(index, "images", [entry("images", "b", 20), entry("images", "c", 3)], finish=False)
    assert {each.name: each.size_bytes for each in index.page().items} == {"a": 1, "b": 2}
    assert sums(index) == {"images": (2, 2, 3)}
    assert index.totals()[0].indexed_at == 1000.0


def test_a_walk_that_fails_adds_what_it_saw_and_removes_nothing(index: EntryIndex) -> None:
    fill(index, "images", [entry("images", "a", 1), entry("images", "b", 2)])
    walk = index.walk("images", EntryType.IMAGES)
    walk.put([entry("images", "b", 20), entry("images", "c", 3)])
    walk.fail("permission denied")
    assert {each.name: each.size_bytes for each in index.page().items} == {"a": 1, "b": 20, "c": 3}
    assert (walk.added, walk.changed, walk.removed) == (1, 1, 0)
    (totals,) = index.totals()
    assert (totals.indexed_at, totals.error) == (1000.0, "permission denied")


def test_unchanged_entries_are_not_written_again(index: EntryIndex, tmp_path: Path) -> None:
    entries = [entry("images", f"{number:05d}", number) for number in range(5000)]
    fill(index, "images", entries)
    index.close()
    with sqlite3.connect(tmp_path / "index.sqlite3") as connection:
        connection.execute("CREATE TRIGGER none BEFORE UPDATE ON entries BEGIN SELECT raise(ABORT, 'written'); END")
    walk = index.walk("images", EntryType.IMAGES)
    walk.put(entries)
    walk.finish(2000.0)
    assert (walk.seen, walk.added, walk.changed, walk.removed) == (5000, 0, 0, 0)


def test_names_all_over_the_index_are_found_too(index: EntryIndex) -> None:
    # A batch whose names span the whole target, as SCAN gives them: looked up one by one.
    entries = [entry("keys", f"{number:05d}") for number in range(5000)]
    fill(index, "keys", entries)
    walk = index.walk("keys", EntryType.REDIS)
    for first in range(50):
        walk.put(entries[first::50])
    walk.finish(2000.0)
    assert (walk.added, walk.changed, walk.removed) == (0, 0, 0)


def test_times_within_the_tolerance_count_as_the_same(index: EntryIndex) -> None:
    fill(index, "keys", [entry("keys", "a", created_at=100.0), entry("keys", "b", created_at=100.0)])
    walk = index.walk("keys", EntryType.REDIS, tolerance_seconds=2.0)
    walk.put([entry("keys", "a", created_at=101.0), entry("keys", "b", created_at=103.0)])
    assert walk.changed == 1


def test_sizes_beyond_reason_do_not_overflow_the_totals(index: EntryIndex) -> None:
    fill(index, "images", [entry("images", str(number), (1 << 63) - 1, files=1 << 62) for number in range(100)])
    (totals,) = index.totals()
    assert isinstance(totals.size_bytes, int)
    assert totals.size_bytes == 100 << 50


@pytest.mark.parametrize("number", [0, -1, 1 << 31, 1 << 63, 99999999999999999999])
def test_page_numbers_of_any_size_are_answered(index: EntryIndex, number: int) -> None:
    fill(index, "images", [entry("images", "a")])
    page = index.page(page=number, page_size=number)
    assert page.total == 1
    assert len(page.items) == (1 if number < 2 else 0)


def forged(*values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    ["x", "%%%", "a" * 5000, "图", forged(1, 2), forged("-created_at", "text", 1), forged("-created_at", 1.0, 0),
     forged("-created_at", float("nan"), 1), forged("-created_at", 1e300, 1), forged("-created_at", 1.0, 1 << 63),
     forged("-created_at", 1.0, True), forged("-created_at", None, 1), forged("size", 1, 1), "W1" * 3000],
)  # fmt: skip
def test_a_cursor_that_was_not_given_out_is_refused(index: EntryIndex, cursor: str) -> None:
    fill(index, "images", [entry("images", "a")])
    with pytest.raises(BadCursor):
        index.page(cursor=cursor)


def test_a_cursor_of_another_order_is_refused(index: EntryIndex) -> None:
    fill(index, "images", [entry("images", each) for each in "abc"])
    cursor = index.page(EntryQuery(sort=Sort.NAME), page_size=1).next_cursor
    with pytest.raises(BadCursor, match="another order"):
        index.page(EntryQuery(sort=Sort.LARGEST), cursor=cursor)


def test_targets_that_are_no_longer_configured_are_forgotten(index: EntryIndex, tmp_path: Path) -> None:
    fill(index, "images", [entry("images", "a")])
    fill(index, "keys", [entry("keys", "b")])
    index.keep_targets(["images"])
    assert sums(index) == counted(tmp_path / "index.sqlite3") == {"images": (1, 1, 10)}


def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    path.write_bytes(b"this is no database " * 1000)
    index = EntryIndex(path)
    assert "set aside" in index.warning
    assert index.totals() == ()
    fill(index, "images", [entry("images", "a")])
    assert index.page().total == 1
    assert (tmp_path / "index.sqlite3.damaged").exists()
    index.close()


def test_damage_inside_is_said_once_and_then_mended(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    index = EntryIndex(path)
    fill(index, "images", [entry("images", f"{number:05d}") for number in range(5000)])
    index.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xaa" * (len(content) - 4096)
    path.write_bytes(content)
    again = EntryIndex(path)
    with pytest.raises(StoreError, match="damaged"):
        again.page()
    assert again.page().total == 0
    assert "set aside" in again.warning
    again.close()


def test_a_file_that_somebody_deletes_is_made_again(index: EntryIndex, tmp_path: Path) -> None:
    fill(index, "images", [entry("images", "a")])
    for each in tmp_path.glob("index.sqlite3*"):
        each.unlink()
    assert index.totals() == ()
    fill(index, "images", [entry("images", "a")])
    assert index.page().total == 1


def test_another_process_reads_true_totals_while_this_one_writes(index: EntryIndex, tmp_path: Path) -> None:
    # Every walk ends with a multiple of eighty entries of one byte, and is put ten at a time.
    script = (
        "import sys, time; from pathlib import Path; from store.index import EntryIndex\n"
        "index = EntryIndex(Path(sys.argv[1])); print('ready', flush=True); seen = set(); page = 0\n"
        "end = time.monotonic() + 20\n"
        "while len(seen) < 5 and time.monotonic() < end:\n"
        "    for each in index.totals():\n"
        "        assert each.entries == each.size_bytes and each.entries % 80 == 0, each\n"
        "        seen.add(each.entries)\n"
        "    page = index.page(page_size=100)\n"
        "    assert len(page.items) == min(page.total, 100), page\n"
        "print(len(seen))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "index.sqlite3")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        while reader.poll() is None:
            for parts in (1, 4, 2, 3, 0):
                walk = index.walk("images", EntryType.IMAGES)
                for number in range(8 * parts):
                    walk.put([entry("images", f"{number}-{each}", 1) for each in range(10)])
                walk.finish(1.0)
        assert reader.stdout.read() == "5\n"
    assert reader.returncode == 0


def test_two_processes_that_walk_one_target_do_not_undo_each_other(tmp_path: Path) -> None:
    first, second = EntryIndex(tmp_path / "index.sqlite3"), EntryIndex(tmp_path / "index.sqlite3")
    fill(first, "images", [entry("images", "a")])
    walk = first.walk("images", EntryType.IMAGES)
    fill(second, "images", [entry("images", "a"), entry("images", "b")])
    walk.put([entry("images", "a")])
    walk.finish(2000.0)
    assert sums(first) == counted(tmp_path / "index.sqlite3") == {"images": (2, 2, 20)}
    first.close()
    second.close()


def test_entries_that_nobody_knows_the_last_use_of_are_marked_alike_in_every_process() -> None:
    script = "from store.index_memory import marks_of\nprint(marks_of([(5, 1.5, None, 1)]))\n"
    told = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=SOURCE).stdout
        for _ in range(3)
    }
    assert len(told) == 1
