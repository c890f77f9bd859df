"""Runs as a whole: dry runs keep their word, cleaners exclude each other, a killed run is finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cleaner.lock import TargetLock, interrupted_units, lock_path
from cleaner.log import LOG_NAME
from cleaner.sweep import sweep
from core.retention import DAY_SECONDS, RetentionPolicy
from tests.cleaner.conftest import ONE_DAY, Cache, eventually

PROJECT = Path(__file__).parents[2]

CLEAN = """
import sys, time
from pathlib import Path
from cleaner.roots import Boundaries
from cleaner.sweep import Run, sweep
from core.retention import RetentionPolicy
from core.targets import images_target
base = Path(sys.argv[1])
def progress(report):
    if len(sys.argv) > 2:
        print("working", flush=True)
        sys.stdin.readline()
run = Run(Boundaries(base / "project", base / "state"), time.time(), allow_most=True, progress=progress)
(report,) = sweep(images_target(str(base / "resources/img"), RetentionPolicy(older_than_seconds=86400)), run)
print(report.busy or report.deleted_units, flush=True)
"""


def cleaner(cache: Cache, *arguments: str) -> subprocess.Popen[str]:
    assert cache.boundaries.project.is_dir()
    return subprocess.Popen(
        [sys.executable, "-c", CLEAN, str(cache.base), *arguments],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def grow(cache: Cache) -> None:
    """A tree with a bit of everything."""
    for number in range(30):
        task = cache.task(f"{number % 3 + 10}/t{number}", number / 8, files=number % 4, size=number * 500)
        if number % 7 == 0:
            (task / "sub").mkdir()
            (task / "sub" / "deep.png").write_text("x")
            cache.age_all(task, number / 8)
        if number % 11 == 0:
            (task / ".keep").touch()
            cache.age_all(task, number / 8)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "policy",
    [
        ONE_DAY,
        RetentionPolicy(keep_last=5),
        RetentionPolicy(max_size_bytes=100_000),
        RetentionPolicy(older_than_seconds=2 * DAY_SECONDS, keep_last=8, pinned=("t29",)),
    ],
    ids=["age", "keep last", "size", "combined"],
)
def test_a_dry_run_touches_nothing_and_the_run_after_it_does_what_it_said(
    cache: Cache, policy: RetentionPolicy, workers: int
) -> None:
    grow(cache)
    target = replace(cache.target(policy), workers=workers)
    before = cache.left()
    planned = cache.sweep(target, dry_run=True, shown=100)
    assert cache.left() == before
    done = cache.sweep(target)
    numbers = ("deleted_units", "deleted_files", "deleted_dirs", "freed_bytes", "apparent_bytes")
    assert {name: getattr(planned, name) for name in numbers} == {name: getattr(done, name) for name in numbers}
    assert planned.deleted_units > 0
    gone = {name for name in before - cache.left() if name.count("/") == 1}
    assert gone == {line.name for line in planned.plan.first}


def test_a_second_cleaner_is_told_who_is_at_work(cache: Cache) -> None:
    cache.task("11/t", 3)
    first = cleaner(cache, "slowly")
    assert first.stdout is not None
    assert first.stdout.readline() == "working\n"
    report = cache.sweep()
    assert report.busy is not None
    assert f"process {first.pid} " in report.busy
    assert "since 20" in report.busy
    assert not report.ok
    first.communicate("\n" * 20)
    assert cache.sweep().busy is None


def test_two_cleaners_in_a_race_remove_everything_exactly_once(cache: Cache) -> None:
    for number in range(100):
        cache.task(f"11/t{number}", 3, files=1)
    both = [cleaner(cache), cleaner(cache)]
    answers = [each.communicate("")[0].strip() for each in both]
    assert sum(int(answer) for answer in answers if answer.isdigit()) == 100
    assert cache.left() == set()


def test_a_dry_run_needs_no_lock(cache: Cache) -> None:
    cache.task("11/t", 3)
    first = cleaner(cache, "slowly")
    assert first.stdout is not None
    first.stdout.readline()
    assert cache.sweep(dry_run=True).deleted_units == 1
    first.communicate("\n" * 20)


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_kill_in_the_middle_the_next_run_finishes(cache: Cache, workers: int) -> None:
    for number in range(60):
        cache.task(f"11/t{number:03d}", 3, files=8)
    code = CLEAN.replace("images_target(str", "replace(images_target(str").replace(
        "older_than_seconds=86400)), run)", f"older_than_seconds=86400)), workers={workers}), run)"
    )
    assert cache.boundaries.project.is_dir()
    killed = subprocess.Popen(
        [sys.executable, "-c", "from dataclasses import replace\n" + code, str(cache.base)],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
    )
    month = cache.root / "11"
    eventually(lambda: killed.poll() is not None or len(list(month.glob("*"))) < 55)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    # Workers notice that nobody listens; until then they hold the lock, as they must.
    eventually(lambda: cache.sweep(dry_run=False).busy is None)
    assert cache.left() == set()


def test_a_half_removed_task_is_finished_although_its_directory_looks_fresh(cache: Cache) -> None:
    """The state that a kill between two unlinks leaves, made by hand: a note, and a directory touched just now."""
    task = cache.task("11/half", 3)
    other = cache.task("11/fresh-for-another-reason", 3)
    real = cache.root.resolve()
    root = os.open(real, os.O_RDONLY)
    with TargetLock(cache.state, real, root, since="then") as lock:
        from cleaner.lock import Note

        Note(lock.descriptor).write("11/half")
    os.close(root)
    (task / "0.png").unlink()
    (other / "0.png").unlink()
    assert interrupted_units(cache.state, real) == {"11/half"}
    assert cache.sweep(dry_run=True).deleted_units == 1
    cache.sweep()
    assert not task.exists()
    assert other.exists()
    assert interrupted_units(cache.state, real) == frozenset()


def test_a_half_removed_task_that_somebody_writes_to_again_is_kept(cache: Cache) -> None:
    task = cache.task("11/half", 3)
    real = cache.root.resolve()
    root = os.open(real, os.O_RDONLY)
    with TargetLock(cache.state, real, root, since="then") as lock:
        from cleaner.lock import Note

        Note(lock.descriptor).write("11/half")
    os.close(root)
    (task / "new.png").write_text("new")
    cache.sweep()
    assert (task / "new.png").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_stopping_ends_the_run_and_a_later_one_finishes(cache: Cache, workers: int) -> None:
    for number in range(60):
        cache.task(f"{number % 12 + 1:02d}/t{number}", 3, files=1)
    target = replace(cache.target(), workers=workers)
    report = cache.sweep(target, progress=lambda report: report.deleted_units == 0)
    assert report.stopped
    assert 0 < report.deleted_units < 60
    assert cache.sweep().deleted_units + report.deleted_units == 60


def test_stopping_during_the_survey_deletes_nothing(cache: Cache) -> None:
    for number in range(24):
        cache.task(f"{number % 12 + 1:02d}/t{number}", 3 + number, files=1)
    calls = 0

    def stop_once(_: object) -> bool:
        nonlocal calls
        calls += 1
        return calls != 3

    report = cache.sweep(RetentionPolicy(keep_last=2), progress=stop_once)
    assert report.stopped
    assert report.deleted_units == 0
    assert len([name for name in cache.left() if name.count("/") == 1]) == 24


def test_progress_is_reported_while_the_run_goes_on(cache: Cache) -> None:
    for number in range(60):
        cache.task(f"{number % 12 + 1:02d}/t{number}", 3, files=1)
    seen: list[int] = []
    cache.sweep(progress=lambda report: seen.append(report.deleted_units))
    assert len(seen) >= 12
    assert seen == sorted(seen)


def test_the_log_names_start_each_unit_and_totals_and_is_rotated(cache: Cache) -> None:
    cache.task("11/first", 3)
    report = cache.sweep()
    text = (cache.state / LOG_NAME).read_text()
    assert f"clean started target=images root={cache.root}" in text
    assert f"removed 11/first files=3 bytes={report.freed_bytes} reason=older_than" in text
    assert f"clean finished target=images units=1 files=3 directories=2 freed_bytes={report.freed_bytes}" in text
    for number in range(200):
        cache.task(f"11/task-with-a-long-name-{number}", 3, files=0)
    cache.sweep(log_max_bytes=4096, log_backups=2)
    for number in range(3):
        cache.task(f"11/again-{number}", 3, files=0)
        cache.sweep(log_max_bytes=4096, log_backups=2)
    names = sorted(each.name for each in cache.state.glob(f"{LOG_NAME}*"))
    assert names[0] == LOG_NAME
    assert 2 <= len(names) <= 3


def test_names_of_any_bytes_are_cleaned_logged_and_reported(cache: Cache) -> None:
    names = [b"\xff\xfe-not-utf8", b"line\nbreak", b"\x1b[31mred", "任务-1".encode(), b" ", b"-rf", b"a'b\"c"]
    for name in names:
        directory = os.fsencode(cache.root / "11") + b"/" + name
        os.makedirs(directory)  # noqa: PTH103
        with open(directory + b"/" + name + b".png", "wb") as file:
            file.write(b"x")
    cache.age_all(cache.root / "11", 3)
    planned = cache.sweep(dry_run=True)
    shown = json.dumps(planned.as_dict(), ensure_ascii=False)
    assert "\\\\xff\\\\xfe-not-utf8" in shown
    assert "任务-1" in shown
    shown.encode()
    report = cache.sweep()
    assert report.deleted_units == len(names)
    assert cache.left() == set()
    log = (cache.state / LOG_NAME).read_text(encoding="utf-8")
    assert "\\xff\\xfe-not-utf8" in log
    assert "line\\nbreak" in log
    assert "\x1b" not in log


def test_the_lock_of_a_directory_does_not_depend_on_the_targets_name(cache: Cache) -> None:
    cache.task("11/t", 3)
    first = cleaner(cache, "slowly")
    assert first.stdout is not None
    first.stdout.readline()
    assert cache.sweep(replace(cache.target(), name="another")).busy is not None
    first.communicate("\n" * 20)
    assert lock_path(cache.state, cache.root).exists()


def test_a_worker_that_dies_is_a_failure_and_the_rest_is_counted(cache: Cache) -> None:
    for number in range(1200):
        cache.task(f"11/t{number}", 3, files=0)
    killed = False

    def kill_one(_: object) -> None:
        nonlocal killed
        if killed:
            return
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        for child in children:
            if b"cleaner.workers" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)
                killed = True
                return

    report = cache.sweep(replace(cache.target(), workers=2), progress=kill_one)
    assert killed
    assert report.failed.total == 1
    assert "its share is not finished" in next(iter(report.failed.counts))
    assert cache.sweep().ok
    assert cache.left() == set()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_tree(cache: Cache) -> None:
    """Peak memory of a fresh process over a small and a twelve times bigger tree."""

    def peak_kilobytes() -> int:
        # Not ru_maxrss, which starts with the peak of the process that started this one.
        code = CLEAN.replace("allow_most=True", "dry_run=True") + (
            "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
        )
        assert cache.boundaries.project.is_dir()
        answer = subprocess.run(
            [sys.executable, "-c", code, str(cache.base)], cwd=PROJECT, capture_output=True, text=True, check=True
        )
        return int(answer.stdout.split()[-1])

    def fill(month: int) -> None:
        moment = time.time() - 3 * DAY_SECONDS
        for number in range(1_000):
            task = cache.root / f"{month:02d}" / f"task-{number}"
            task.mkdir(parents=True)
            os.utime(task, (moment, moment))

    fill(1)
    small = peak_kilobytes()
    for month in range(2, 13):
        fill(month)
    # Remembering every entry with its status would take about 800 bytes each, 9 MB in all.
    assert peak_kilobytes() - small < 3_000


def test_several_roots_each_have_their_report(cache: Cache) -> None:
    cache.task("11/t", 3)
    other = cache.base / "other" / "img"
    other.mkdir(parents=True)
    reports = sweep(replace(cache.target(), roots=(str(cache.root), str(other), "/")), cache.run())
    assert [report.deleted_units for report in reports] == [1, 0, 0]
    assert [bool(report.refused) for report in reports] == [False, False, True]
