"""The other kinds of targets: which files they own, and which they never touch."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from cleaner.configured import aged, bytecode_target
from core.entries import Reason
from core.retention import DAY_SECONDS, FreeSpace, RetentionPolicy
from core.targets import Target, TargetKind, Unit
from tests.cleaner.conftest import ONE_DAY, Cache, age


def proxy_name(days_ago: float, word: str = "REQUEST") -> str:
    moment = time.gmtime(time.time() - days_ago * DAY_SECONDS)
    return time.strftime("%Y%m%d_%H%M%S_853", moment) + f"_{word}_chat.json"


def test_proxy_files_are_judged_by_the_time_in_their_name(cache: Cache) -> None:
    old, error, young = proxy_name(5), proxy_name(5, "ERROR"), proxy_name(0.5)
    calls_old = time.strftime("CALLS_%Y%m%d.json", time.gmtime(time.time() - 9 * DAY_SECONDS))
    calls_today = time.strftime("CALLS_%Y%m%d.json", time.gmtime())
    no_date = "20261399_143709_853_REQUEST_x.json"
    others = ["daemon.pid", "daemon.log", "daemon.lock", "cache_keeper.sqlite3", "CALLS.json", old + ".part"]
    for name in (old, error, young, calls_old, calls_today, no_date, *others):
        (cache.state / name).write_text("{}")
    for name in (*others, no_date, young):
        age(cache.state / name, 900)
    (cache.state / "sub").mkdir()
    (cache.state / "sub" / old).write_text("{}")
    policy = RetentionPolicy(older_than_seconds=2 * DAY_SECONDS)
    report = cache.sweep(Target("proxy", TargetKind.API_PROXY, (str(cache.state),), policy, Unit.FILE))
    left = {each.name for each in cache.state.iterdir()} - {"locks", "cache_cleaner.log"}
    assert left == {young, calls_today, *others, "sub"}
    assert (cache.state / "sub" / old).exists()
    assert report.deleted_files == 4


def test_a_names_time_gets_a_day_of_margin(cache: Cache) -> None:
    (cache.state / proxy_name(2.5)).write_text("{}")
    target = Target("proxy", TargetKind.API_PROXY, (str(cache.state),), ONE_DAY, Unit.FILE)
    assert cache.sweep(replace(target, policy=RetentionPolicy(older_than_seconds=2 * DAY_SECONDS))).deleted_files == 0
    assert cache.sweep(target).deleted_files == 1


def output_tree(cache: Cache) -> Path:
    output = cache.base / "ComfyUI" / "output"
    (output / "2026" / "styles").mkdir(parents=True)
    for path, days in (
        ("old.png", 9),
        ("young.png", 0.2),
        ("2026/old.png", 9),
        ("2026/styles/old.webp", 9),
        ("_output_images_will_be_put_here", 900),
    ):
        (output / path).write_text("x")
        age(output / path, days)
    return output


def test_comfyui_output_expires_file_by_file_and_keeps_its_directories(cache: Cache) -> None:
    output = output_tree(cache)
    target = Target("output", TargetKind.COMFYUI_OUTPUT, (str(output),), ONE_DAY, Unit.FILE)
    planned = cache.sweep(target, dry_run=True)
    report = cache.sweep(target)
    assert {str(each.relative_to(output)) for each in output.rglob("*")} == {
        "2026",
        "2026/styles",
        "young.png",
        "_output_images_will_be_put_here",
    }
    assert report.deleted_files == planned.deleted_files == 3


def test_emptied_directories_go_where_that_is_asked_for(cache: Cache) -> None:
    output = output_tree(cache)
    target = Target("output", TargetKind.COMFYUI_OUTPUT, (str(output),), ONE_DAY, Unit.FILE, remove_empty=True)
    planned = cache.sweep(target, dry_run=True)
    report = cache.sweep(target)
    assert not (output / "2026").exists()
    assert report.deleted_dirs == planned.deleted_dirs == 2


def test_bytecode_goes_only_where_python_can_write_it_anew(cache: Cache) -> None:
    project = cache.boundaries.project
    cached = project / "app" / "__pycache__"
    cached.mkdir(parents=True)
    (cached / "main.cpython-311.pyc").write_bytes(b"x")
    (cached / "main.cpython-311.pyc.140234").write_bytes(b"x")
    (project / "app" / "main.py").touch()
    (project / "app" / "main.pyc").write_bytes(b"x")
    (project / "app" / "sourceless.pyc").write_bytes(b"x")
    mixed = project / "other" / "__pycache__"
    mixed.mkdir(parents=True)
    (mixed / "a.cpython-311.pyc").write_bytes(b"x")
    (mixed / "notes.txt").write_text("mine")
    cache.age_all(project, 9)
    target = Target("python", TargetKind.PYTHON, (str(project),), ONE_DAY, largest_share=1.0)
    report = cache.sweep(target, allow_most=False)
    left = {str(each.relative_to(project)) for each in project.rglob("*") if each.is_file()}
    assert left == {
        "app/main.py",
        "app/sourceless.pyc",
        "other/__pycache__/a.cpython-311.pyc",
        "other/__pycache__/notes.txt",
    }
    assert not cached.exists()
    assert report.skipped.counts == {"holds other files than bytecode": 1}


def test_the_projects_bytecode_is_its_own_and_not_that_of_installed_packages(cache: Cache) -> None:
    project = cache.boundaries.project
    for place in ("app", ".venv/lib/package"):
        cached = project / place / "__pycache__"
        cached.mkdir(parents=True)
        (cached / "main.cpython-311.pyc").write_bytes(b"x")
    cache.age_all(project, 9)
    assert cache.sweep(aged(bytecode_target(project), 1)).deleted_files == 1
    assert not (project / "app" / "__pycache__").exists()
    assert (project / ".venv" / "lib" / "package" / "__pycache__").exists()


def test_any_directory_with_patterns(cache: Cache) -> None:
    for path in ("a.tmp", "b.txt", "keep/c.tmp", "sub/d.tmp", "sub/best-e.tmp"):
        file = cache.root / path
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
        age(file, 9)
    target = Target(
        "any",
        TargetKind.DIRECTORY,
        (str(cache.root),),
        ONE_DAY,
        Unit.FILE,
        include=("*.tmp",),
        exclude=("keep", "best-*"),
    )
    cache.sweep(target)
    assert {each for each in cache.left() if "." in each} == {"b.txt", "keep/c.tmp", "sub/best-e.tmp"}


def test_a_keep_file_in_a_directory_of_files_protects_them_all(cache: Cache) -> None:
    (cache.root / "album" / "inner").mkdir(parents=True)
    for path in ("album/.keep", "album/a.png", "album/inner/b.png", "c.png"):
        (cache.root / path).write_text("x")
        age(cache.root / path, 9)
    cache.sweep(Target("any", TargetKind.DIRECTORY, (str(cache.root),), ONE_DAY, Unit.FILE))
    assert {each for each in cache.left() if each.endswith(".png")} == {"album/a.png", "album/inner/b.png"}


def test_directories_as_units_at_a_depth(cache: Cache) -> None:
    cache.task("2026/user/job-1", 9)
    cache.task("2026/user/job-2", 0.1)
    target = Target("any", TargetKind.DIRECTORY, (str(cache.root),), ONE_DAY, Unit.DIRECTORY, depth=3)
    assert cache.sweep(target).deleted_units == 1
    assert cache.left() >= {"2026/user/job-2"}
    assert "2026/user/job-1" not in cache.left()


def test_a_full_disk_is_relieved_oldest_first_up_to_the_high_mark(cache: Cache) -> None:
    """The marks are set around what this disk has free right now, so that three tasks are missing."""
    import os

    for number in range(8):
        cache.task(f"11/t{number}", 10 - number, files=1, size=1 << 20)
    disk = os.statvfs(cache.root)
    free = disk.f_bavail * disk.f_frsize
    wanted = FreeSpace(amount_bytes=free + (512 << 20))
    planned = cache.sweep(RetentionPolicy(min_free=wanted), dry_run=True)
    assert planned.plan.tallies[Reason.MIN_FREE].entries == 8
    enough = FreeSpace(amount_bytes=free - (512 << 20))
    assert cache.sweep(RetentionPolicy(min_free=enough), dry_run=True).deleted_units == 0


@pytest.mark.parametrize("hours", [2.0])
def test_trash_moves_units_aside_and_is_purged_after_its_hours(cache: Cache, hours: float) -> None:
    cache.task("11/gone", 3)
    cache.task("12/young", 0.1)
    target = replace(cache.target(), trash_hours=hours)
    report = cache.sweep(target)
    assert (report.trashed_units, report.freed_bytes, report.deleted_files) == (1, 0, 3)
    (moved,) = (cache.root / ".trash").glob("*/11/gone")
    assert sorted(each.name for each in moved.iterdir()) == ["0.png", "1.png", "images.json"]
    assert not (cache.root / "11").exists()
    moved.rename(cache.root / "12" / "back-again")
    cache.task("11/gone", 3)
    cache.sweep(target)
    # The trash is never mistaken for a unit, and an early run does not purge it.
    assert len(list((cache.root / ".trash").glob("*/11/gone"))) == 1
    later = cache.sweep(target, now=time.time() + (hours + 0.1) * 3600)
    assert later.purged_bytes > 0
    assert list((cache.root / ".trash").iterdir()) == [] or later.trashed_units
    assert not list((cache.root / ".trash").glob("*/11/gone"))


def test_a_purge_that_was_interrupted_is_finished_at_once(cache: Cache) -> None:
    half = cache.root / ".trash" / "purging-20260101T000000-1" / "11" / "gone"
    half.mkdir(parents=True)
    (half / "0.png").write_text("x")
    cache.sweep()
    assert list((cache.root / ".trash").iterdir()) == []


def test_a_trash_directory_that_is_not_ours_is_left_alone(cache: Cache) -> None:
    theirs = cache.root / ".trash" / "files"
    theirs.mkdir(parents=True)
    (theirs / "precious.txt").write_text("x")
    cache.age_all(cache.root / ".trash", 900)
    cache.sweep()
    target = Target("any", TargetKind.DIRECTORY, (str(cache.root),), ONE_DAY, Unit.FILE)
    cache.sweep(target)
    assert (theirs / "precious.txt").exists()


def test_a_nearly_full_disk_gets_no_trash(cache: Cache) -> None:
    cache.task("11/gone", 3)
    policy = RetentionPolicy(min_free=FreeSpace(fraction=0.999999))
    report = cache.sweep(replace(cache.target(policy), trash_hours=24))
    assert report.freed_bytes > 0
    assert report.trashed_units == 0
    assert any("trash would free nothing" in warning for warning in report.warnings)
