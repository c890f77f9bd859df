"""What is counted as freed, and what happens to files that somebody uses."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cleaner.conftest import Cache, age, eventually


def blocks(directory: Path) -> int:
    return sum(each.stat().st_blocks * 512 for each in directory.iterdir())


def test_freed_space_is_the_blocks_of_what_really_went(cache: Cache) -> None:
    task = cache.task("11/t", 3, files=3, size=10_000)
    expected = blocks(task)
    planned = cache.sweep(dry_run=True)
    report = cache.sweep()
    assert report.freed_bytes == planned.freed_bytes == expected >= 30_000
    assert report.apparent_bytes == 30_002


def test_a_file_with_another_hard_link_frees_nothing(cache: Cache) -> None:
    task = cache.task("11/t", 3, files=1, size=50_000)
    os.link(task / "0.png", cache.base / "kept-elsewhere.png")
    age(task / "0.png", 3)
    age(task, 3)
    json_only = (task / "images.json").stat().st_blocks * 512
    report = cache.sweep()
    assert report.freed_bytes == json_only
    assert report.apparent_bytes == 50_002
    assert (cache.base / "kept-elsewhere.png").stat().st_size == 50_000


def test_a_sparse_file_frees_what_it_holds_and_not_its_length(cache: Cache) -> None:
    task = cache.task("11/t", 3, files=0)
    with (task / "sparse.bin").open("wb") as file:
        file.truncate(1 << 30)
    cache.age_all(task, 3)
    report = cache.sweep()
    assert report.apparent_bytes > 1 << 30
    assert report.freed_bytes < 1 << 20


def hold(code: str, path: Path) -> subprocess.Popen[str]:
    program = f"import sys, mmap, os; {code}; print('holding', flush=True); sys.stdin.read()"
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "code",
    [
        "held = open(sys.argv[1], 'ab')",
        "held = open(sys.argv[1], 'rb')",
        "file = open(sys.argv[1], 'r+b'); held = mmap.mmap(file.fileno(), 0); file.close()",
    ],
    ids=["writer", "reader", "memory map"],
)
def test_a_task_with_an_open_file_is_skipped_until_it_is_closed(cache: Cache, code: str) -> None:
    task = cache.task("11/in-use", 3)
    cache.task("11/free", 3)
    holder = hold(code, task / "0.png")
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        report = cache.sweep()
        assert report.skipped.counts == {"in_use": 1}
        assert report.deleted_units == 1
        assert (task / "0.png").exists()
    finally:
        holder.communicate("")
    cache.sweep()
    assert not task.exists()


def test_a_file_mapped_by_this_very_process_counts_as_in_use(cache: Cache) -> None:
    task = cache.task("11/in-use", 3)
    with (task / "0.png").open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    with mapped:
        assert cache.sweep().skipped.counts == {"in_use": 1}


def test_a_writer_that_comes_in_between_keeps_its_directory(cache: Cache) -> None:
    """The file appears between the reading of a unit and its removal: rmdir then refuses."""
    from cleaner.roots import OPEN_DIRECTORY
    from cleaner.unit import inspect, remove

    task = cache.task("11/t", 3)
    parent = os.open(cache.root / "11", OPEN_DIRECTORY)
    unit = os.open("t", OPEN_DIRECTORY, dir_fd=parent)
    found = inspect(unit, "11/t", task.stat(), ".keep")
    (task / "new.png").write_text("new")
    removed = remove(parent, "t", unit, found)
    assert removed.conflict
    assert [each.name for each in task.iterdir()] == ["new.png"]
    os.close(unit)
    os.close(parent)


def test_a_new_file_deep_inside_stops_the_removal_of_a_nested_task(cache: Cache) -> None:
    from cleaner.roots import OPEN_DIRECTORY
    from cleaner.unit import inspect, remove

    task = cache.task("11/t", 3)
    (task / "sub").mkdir()
    (task / "sub" / "old.png").write_text("old")
    cache.age_all(task, 3)
    parent = os.open(cache.root / "11", OPEN_DIRECTORY)
    unit = os.open("t", OPEN_DIRECTORY, dir_fd=parent)
    found = inspect(unit, "11/t", task.stat(), ".keep")
    (task / "sub" / "new.png").write_text("new")
    assert remove(parent, "t", unit, found).conflict
    assert (task / "sub" / "new.png").read_text() == "new"
    os.close(unit)
    os.close(parent)


def test_files_that_vanish_during_the_run_are_no_error(cache: Cache) -> None:
    """Another program deletes the same tasks at the same time, as fast as it can."""
    for number in range(600):
        cache.task(f"11/t{number:03d}", 3, files=1)
    eater = subprocess.Popen(["find", str(cache.root), "-mindepth", "2", "-delete"], stderr=subprocess.DEVNULL)
    report = cache.sweep()
    eater.wait()
    assert report.failed.total == 0
    eventually(lambda: not any(path.is_file() for path in cache.root.rglob("*")))


def test_a_unit_with_thousands_of_files_goes_without_being_remembered(cache: Cache) -> None:
    task = cache.task("11/big", 3, files=0)
    for number in range(4200):
        (task / f"{number}.txt").touch()
    age_of_all = 3
    for each in task.iterdir():
        age(each, age_of_all)
    age(task, age_of_all)
    report = cache.sweep()
    assert report.deleted_files == 4201
    assert cache.left() == set()
