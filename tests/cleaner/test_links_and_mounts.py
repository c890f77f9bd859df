"""Nothing outside the target is ever touched: links, directories swapped during a run, mounts."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cleaner.sweep import sweep
from core.errors import RefusedTarget
from core.targets import Target, TargetKind, Unit
from tests.cleaner.conftest import ONE_DAY, Cache, age

needs_root = pytest.mark.needs_root
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts file systems")


@pytest.fixture
def outside(cache: Cache) -> Path:
    """Somebody else's directory, as old as can be."""
    directory = cache.base / "precious"
    directory.mkdir()
    for number in range(3):
        (directory / f"{number}.png").write_text("precious")
    cache.age_all(directory, 900)
    return directory


def test_links_are_never_followed_wherever_they_stand(cache: Cache, outside: Path) -> None:
    (cache.root / "11").symlink_to(outside)
    cache.task("12/gone", 3)
    (cache.root / "12" / "linked-task").symlink_to(outside)
    task = cache.task("12/with-links-inside", 3)
    (task / "link-to-directory").symlink_to(outside)
    (task / "link-to-file").symlink_to(outside / "0.png")
    (task / "dangling").symlink_to("/nowhere")
    cache.age_all(task, 3)
    for link in (cache.root / "11", cache.root / "12" / "linked-task"):
        age(link, 900)
    report = cache.sweep()
    assert sorted(os.listdir(outside)) == ["0.png", "1.png", "2.png"]  # noqa: PTH208
    assert cache.left() == {"11", "12", "12/linked-task"}
    assert report.deleted_units == 2
    assert report.ok


def test_file_targets_follow_no_links_either(cache: Cache, outside: Path) -> None:
    (cache.root / "sub").symlink_to(outside)
    (cache.root / "link.png").symlink_to(outside / "0.png")
    (cache.root / "old.png").write_text("x")
    for each in cache.root.iterdir():
        age(each, 9)
    target = Target("files", TargetKind.DIRECTORY, (str(cache.root),), ONE_DAY, Unit.FILE)
    assert cache.sweep(target).deleted_files == 1
    assert len(list(outside.iterdir())) == 3
    assert cache.left() == {"sub", "link.png"}


def add_task(root: Path, month: str, name: str) -> None:
    """Make an expired task without walking into the links that the attack has laid."""
    opened = [os.open(root, os.O_RDONLY)]
    try:
        for part in (month, name):
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=opened[-1])
            opened.append(os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=opened[-1]))
        opened.append(os.open("0.png", os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, dir_fd=opened[-1]))
        moment = time.time() - 3 * 86_400
        for descriptor in reversed(opened[2:]):
            os.utime(descriptor, (moment, moment))
    finally:
        for descriptor in opened:
            os.close(descriptor)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_directory_swapped_for_a_link_during_the_run_leads_nowhere(cache: Cache, outside: Path, workers: int) -> None:
    """A thread swaps task and month directories for old links to the precious files and back, all the time.

    Some links stand for a while, so that a sweep that listed a directory finds a link when it comes to open it.
    """
    for number in range(200):
        cache.task(f"{number % 4 + 1:02d}/t{number}", 3, files=1)
    stop = threading.Event()
    swaps = 0

    def swap(path: Path) -> bool:
        try:
            path.rename(path.with_name(f"{path.name}-aside"))
            path.symlink_to(outside)
            age(path, 900)
        except OSError:  # the sweep was there first
            return False
        return True

    def restore(path: Path) -> None:
        try:
            path.unlink()
            path.with_name(f"{path.name}-aside").rename(path)
        except OSError:
            pass

    def attack() -> None:
        nonlocal swaps
        standing: deque[Path] = deque()
        while not stop.is_set():
            for month in sorted(cache.root.iterdir()):
                if swap(month):
                    restore(month)
                try:
                    tasks = sorted(month.iterdir(), reverse=True)[:20]
                except OSError:
                    continue
                for task in tasks:
                    if not task.name.endswith("-aside") and not task.is_symlink() and swap(task):
                        swaps += 1
                        standing.append(task)
                    if len(standing) > 10:
                        restore(standing.popleft())
        while standing:
            restore(standing.popleft())

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        deadline = time.monotonic() + 20
        sweeps = deleted = 0
        while (sweeps < 10 or swaps < 200) and time.monotonic() < deadline:
            (report,) = sweep(replace(cache.target(), workers=workers), cache.run())
            sweeps, deleted = sweeps + 1, deleted + report.deleted_units
            for number in range(40):
                with suppress(OSError):
                    add_task(cache.root, f"{number % 4 + 1:02d}", f"t{sweeps}-{number}")
    finally:
        stop.set()
        attacker.join()
    assert swaps >= 200, "the attack did not take place"
    assert deleted > 0, "the sweep did not take place"
    assert sorted(path.name for path in outside.iterdir()) == ["0.png", "1.png", "2.png"]
    assert all(path.read_text() == "precious" for path in outside.iterdir())


def test_a_root_swapped_for_a_link_between_check_and_opening_is_refused(cache: Cache, outside: Path) -> None:
    from cleaner.roots import open_root, resolve_root

    target = cache.target()
    real = resolve_root(target.roots[0], target, cache.boundaries)
    assert real is not None
    real.rmdir()
    real.symlink_to(outside)
    with pytest.raises(RefusedTarget, match="replaced by a link"):
        open_root(real)


def test_a_tree_deeper_than_any_stack_is_skipped_with_a_reason(cache: Cache) -> None:
    cache.task("11/ordinary", 3)
    task = cache.task("11/abyss", 3)
    descriptor = os.open(task, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=descriptor)
        child = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = child
    os.close(descriptor)
    age(task, 3)
    report = cache.sweep()
    assert list(report.failed.counts) == ["more than 64 directories deep"]
    assert "11/ordinary" not in {str(each.relative_to(cache.root)) for each in (cache.root / "11").iterdir()}
    subprocess.run(["rm", "-rf", str(task)], check=True)


@contextmanager
def mounted(*command: str) -> Iterator[None]:
    point = command[-1]
    done = subprocess.run(["mount", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this system does not let us mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", point], check=True)


@needs_root
@as_root
@pytest.mark.parametrize("where", ["11", "11/task", "11/task/inside"])
def test_a_bind_mount_is_not_entered_although_its_device_is_the_same(cache: Cache, outside: Path, where: str) -> None:
    cache.task("11/task", 30)
    point = cache.root / where
    point.mkdir(parents=True, exist_ok=True)
    cache.age_all(cache.root / "11", 30)
    with mounted("--bind", str(outside), str(point)):
        assert point.stat().st_dev == cache.root.stat().st_dev
        report = cache.sweep()
        assert len(list(outside.iterdir())) == 3
        assert report.skipped.counts == {"mount": 1}
    cache.sweep()
    assert "11" not in cache.left()


@needs_root
@as_root
def test_a_mount_that_appears_during_the_run_is_noticed(cache: Cache, outside: Path) -> None:
    for number in range(300):
        cache.task(f"11/t{number:03d}", 30, files=1)
    point = cache.root / "12" / "mounted"
    point.mkdir(parents=True)
    cache.age_all(cache.root / "12", 30)
    done = False

    def mount_now(_: object) -> None:
        nonlocal done
        if not done:
            done = True
            subprocess.run(["mount", "--bind", str(outside), str(point)], check=True)

    try:
        report = cache.sweep(progress=mount_now)
        assert done
        assert len(list(outside.iterdir())) == 3
        assert report.skipped.counts.get("mount") == 1
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


@needs_root
@as_root
def test_a_root_that_is_a_mount_point_needs_to_be_meant(cache: Cache) -> None:
    with mounted("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(cache.root)):
        cache.task("11/old", 3)
        assert "allow_mount_point" in str(cache.sweep().refused)
        assert cache.sweep(replace(cache.target(), allow_mount_point=True)).deleted_units == 1


@needs_root
@as_root
def test_a_read_only_file_system_ends_the_run_with_one_failure(cache: Cache) -> None:
    for number in range(5):
        cache.task(f"11/t{number}", 3)
    with mounted("--bind", str(cache.root), str(cache.root)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(cache.root)], check=True)
        report = cache.sweep(replace(cache.target(), allow_mount_point=True))
    assert report.failed.counts == {"Read-only file system": 1}
    assert report.stopped
    assert not report.ok
    assert len(list((cache.root / "11").iterdir())) == 5


def use_up_inodes(directory: Path) -> None:
    for number in range(100):
        (directory / f"inode-{number}").touch()


@needs_root
@as_root
def test_a_full_disk_is_cleaned_although_nothing_can_be_written(cache: Cache) -> None:
    """State and cache share the full disk: no room for the lock's text, the log or anything else."""
    with mounted("-t", "tmpfs", "-o", "size=1m,nr_inodes=60", "tmpfs", str(cache.base / "resources")):
        cache.root.mkdir()
        for number in range(6):
            cache.task(f"11/t{number}", 3, size=4096)
        state = cache.base / "resources" / "state"
        state.mkdir()
        with pytest.raises(OSError, match="No space left"):
            (cache.base / "resources" / "filler").write_bytes(b"x" * (2 << 20))
        with pytest.raises(OSError, match="No space left"):
            use_up_inodes(cache.base / "resources")
        run = cache.run()
        (report,) = sweep(cache.target(), replace(run, boundaries=replace(run.boundaries, state_dir=state)))
        assert report.deleted_units == 6
        assert report.failed.total == 0
        assert any("no room for the lock file" in warning for warning in report.warnings)


@needs_root
@as_root
@pytest.mark.skipif(shutil.which("chattr") is None, reason="needs chattr from e2fsprogs")
def test_an_immutable_file_is_counted_and_the_rest_goes_on(cache: Cache) -> None:
    stubborn = cache.task("11/stubborn", 3)
    cache.task("11/willing", 3)
    if subprocess.run(["chattr", "+i", str(stubborn / "0.png")], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        report = cache.sweep()
        assert report.failed.counts == {"Operation not permitted": 1}
        assert not (cache.root / "11" / "willing").exists()
        # What was removed must not make the directory look fresh: the next run tries again.
        assert cache.sweep().failed.total == 1
    finally:
        subprocess.run(["chattr", "-i", str(stubborn / "0.png")], check=True)


@contextmanager
def without_privileges(directory: Path) -> Iterator[None]:
    """Be nobody for a while where we are root, to whom no directory is unreadable."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    for each in (directory, *directory.rglob("*")):
        os.chown(each, nobody, nobody, follow_symlinks=False)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def reachable_cache() -> Iterator[Cache]:
    """A cache that nobody can reach too: pytest's own directories are closed to everyone else."""
    with tempfile.TemporaryDirectory(prefix="cleaner-test-") as base:
        Path(base).chmod(0o755)
        made = Cache(Path(base))
        assert made.boundaries.project.is_dir()
        yield made
        for directory in (made.root / "10", made.root / "11" / "unreadable"):
            if directory.exists():
                directory.chmod(0o700)


def test_an_unreadable_directory_is_reported_and_the_rest_goes_on(reachable_cache: Cache) -> None:
    cache = reachable_cache
    for path in ("11/unreadable", "11/gone", "10/in-unreadable-month"):
        cache.task(path, 3)
    (cache.root / "11" / "unreadable").chmod(0o000)
    (cache.root / "10").chmod(0o000)
    with without_privileges(cache.base):
        report = cache.sweep()
    assert report.failed.counts == {"Permission denied": 2}
    assert sorted(path for path, _ in report.failed.first) == ["10", "11/unreadable"]
    assert report.deleted_units == 1
    assert not report.ok


def test_a_directory_that_may_not_be_changed_is_reported(reachable_cache: Cache) -> None:
    cache = reachable_cache
    task = cache.task("11/frozen", 3)
    task.chmod(0o500)
    with without_privileges(cache.base):
        report = cache.sweep()
    assert report.failed.counts == {"Permission denied": 1}
    assert len(list(task.iterdir())) == 3
