"""What decides the age of a task directory, on real directories."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from core.entries import Reason
from core.retention import DAY_SECONDS, HOUR_SECONDS, RetentionPolicy
from tests.cleaner.conftest import ONE_DAY, Cache, age


def test_expired_tasks_go_with_their_empty_month_and_the_young_stay(cache: Cache) -> None:
    cache.task("11/old", 3)
    cache.task("12/older", 40)
    cache.task("12/young", 0.5)
    report = cache.sweep()
    assert cache.left() == {"12", "12/young", "12/young/0.png", "12/young/1.png", "12/young/images.json"}
    assert (report.deleted_units, report.deleted_files, report.deleted_dirs) == (2, 6, 3)
    assert report.ok


def test_one_day_means_24_hours_and_not_48(cache: Cache) -> None:
    # find's "-mtime +1" rounds down to whole days and spares this one.
    cache.task("11/a-bit-over", 25 / 24)
    cache.task("11/a-bit-under", 23 / 24)
    cache.sweep()
    assert "11/a-bit-over" not in cache.left()
    assert "11/a-bit-under" in cache.left()


def test_the_newest_file_decides_since_overwriting_leaves_the_directorys_time(cache: Cache) -> None:
    task = cache.task("11/overwritten", 30)
    age(task / "1.png", 0.1)
    age(task, 30)
    report = cache.sweep()
    assert (task / "0.png").exists()
    assert report.plan.tallies[Reason.YOUNG].entries == 1


def test_the_newest_file_decides_in_a_directory_below_the_task_as_well(cache: Cache) -> None:
    task = cache.task("11/nested", 30)
    (task / "thumbs").mkdir()
    (task / "thumbs" / "t.png").write_text("x")
    cache.age_all(task, 30)
    fresh = cache.task("11/nested-fresh", 30)
    (fresh / "thumbs").mkdir()
    (fresh / "thumbs" / "t.png").write_text("x")
    cache.age_all(fresh, 30)
    age(fresh / "thumbs" / "t.png", 0.1)
    report = cache.sweep()
    assert not task.exists()
    assert (fresh / "0.png").exists()
    assert (report.deleted_files, report.deleted_dirs) == (4, 2)


def test_a_month_has_no_year_and_is_judged_by_times_alone(cache: Cache) -> None:
    this_month = time.strftime("%m")
    cache.task(f"{this_month}/last-year", 365)
    other = f"{(int(this_month) + 5) % 12 + 1:02d}"
    cache.task(f"{other}/fresh", 0.2)
    cache.sweep()
    assert cache.left() >= {other, f"{other}/fresh"}
    assert this_month not in cache.left()


def test_a_time_in_the_future_never_expires_and_is_told(cache: Cache) -> None:
    cache.task("11/from-the-future", -400)
    task = cache.task("11/one-file-from-the-future", 30)
    age(task / "0.png", -400)
    age(task, 30)
    report = cache.sweep()
    assert cache.left() >= {"11/from-the-future", "11/one-file-from-the-future"}
    assert report.skipped.counts == {"future_time": 2}


def test_a_time_of_zero_is_no_age_so_the_arrival_counts(cache: Cache) -> None:
    task = cache.task("11/unzipped", 3)
    for each in (*task.iterdir(), task):
        os.utime(each, (0, 0))
    cache.sweep()
    assert task.exists()
    cache.sweep(now=time.time() + 2 * DAY_SECONDS)
    assert not task.exists()


def test_old_times_that_only_just_arrived_are_counted_and_a_grace_can_spare_them(cache: Cache) -> None:
    task = cache.task("11/unpacked-with-tar", 30)
    dry = cache.sweep(dry_run=True)
    assert (dry.deleted_units, dry.arrived_lately) == (1, 1)
    graceful = replace(ONE_DAY, arrival_grace_seconds=HOUR_SECONDS)
    report = cache.sweep(graceful)
    assert task.exists()
    assert report.plan.tallies[Reason.RECENTLY_ARRIVED].entries == 1


def test_nothing_modified_within_the_hour_goes_whatever_the_policy(cache: Cache) -> None:
    task = cache.task("11/being-written", 0.5 / 24)
    cache.sweep(RetentionPolicy(older_than_seconds=60, max_size_bytes=0))
    assert task.exists()


def test_an_empty_policy_deletes_nothing(cache: Cache) -> None:
    cache.task("11/ancient", 3000)
    report = cache.sweep(RetentionPolicy())
    assert "11/ancient" in cache.left()
    assert report.plan.tallies[Reason.EMPTY_POLICY].entries == 1


def test_pins_and_keep_files_outrank_age(cache: Cache) -> None:
    cache.task("11/pinned-by-name", 30)
    kept = cache.task("11/kept-by-file", 30)
    (kept / ".keep").touch()
    cache.age_all(kept, 30)
    cache.task("11/gone", 30)
    month = cache.task("10/in-a-kept-month", 30).parent
    (month / ".keep").touch()
    cache.sweep(replace(ONE_DAY, pinned=("pinned-*",)))
    assert cache.left() >= {"11/pinned-by-name", "11/kept-by-file", "10/in-a-kept-month"}
    assert "11/gone" not in cache.left()


def test_only_month_directories_and_task_directories_are_the_cleaners_business(cache: Cache) -> None:
    cache.task("11/gone", 30)
    cache.task("13/not-a-month", 30)
    cache.task("1/not-a-month", 30)
    cache.task("models/checkpoints", 30)
    (cache.root / "11" / "note.txt").write_text("x")
    age(cache.root / "11" / "note.txt", 30)
    (cache.root / "index.json").write_text("x")
    age(cache.root / "index.json", 30)
    report = cache.sweep()
    assert report.deleted_units == 1
    assert cache.left() >= {"13/not-a-month", "1/not-a-month", "models/checkpoints", "11/note.txt", "index.json"}


def test_empty_month_directories_go_too(cache: Cache) -> None:
    (cache.root / "03").mkdir()
    cache.task("04/young", 0.1)
    report = cache.sweep()
    assert "03" not in cache.left()
    assert report.deleted_dirs == 1


def test_keep_last_and_size_limits_work_on_real_trees(cache: Cache) -> None:
    for days in range(1, 7):
        cache.task(f"11/t{days}", days, files=4, size=4096)
    one_task = cache.sweep(dry_run=True, measure_all=True).freed_bytes // 5
    cache.sweep(RetentionPolicy(max_size_bytes=one_task * 4))
    assert {name for name in cache.left() if name.count("/") == 1} == {"11/t1", "11/t2", "11/t3", "11/t4"}
    cache.sweep(RetentionPolicy(older_than_seconds=DAY_SECONDS, keep_last=3))
    assert {name for name in cache.left() if name.count("/") == 1} == {"11/t1", "11/t2", "11/t3"}
    cache.sweep(RetentionPolicy(keep_last=1))
    assert {name for name in cache.left() if name.count("/") == 1} == {"11/t1"}
