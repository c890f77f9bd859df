"""Files that are stale, foreign, unwritable or gone: PID file, CACHE_DIR, lock and log."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Project, is_alive, wait_for

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours, though its script has our name."""
    script = tmp_path / "daemon.py"
    script.write_text("import time\ntime.sleep(600)\n")
    process = subprocess.Popen([sys.executable, str(script), "run"])
    yield process
    process.kill()
    process.wait()


# The PID file


def test_a_recycled_pid_is_never_signalled(project: Project, stranger: subprocess.Popen[bytes]) -> None:
    project.path("pid").write_text(f"{stranger.pid}\n")
    project.path("state.json").write_text(f'{{"pid": {stranger.pid}, "main_pid": {stranger.pid}}}')
    assert project.command("status").returncode == 1
    assert project.command("stop").stdout == "Daemon is not running\n"
    project.path("pid").write_text(f"{stranger.pid}\n")
    assert project.start() != stranger.pid
    assert stranger.poll() is None


def test_a_pid_file_that_names_a_stranger_while_the_daemon_runs_leads_nobody_astray(
    project: Project, stranger: subprocess.Popen[bytes]
) -> None:
    pid = project.start()
    project.path("pid").write_text(f"{stranger.pid}\n")
    assert project.status()["pid"] == pid
    assert project.command("start").stdout == f"Daemon already running (PID: {pid})\n"
    assert project.command("stop").stdout == f"Daemon stopped (PID: {pid})\n"
    assert stranger.poll() is None


def test_a_recycled_pid_of_main_is_not_taken_for_an_orphan(project: Project, tmp_path: Path) -> None:
    """The PID of a main that is long dead, now of somebody else's main.py, while a stranger holds the lock."""
    (tmp_path / "main.py").write_text("import time\ntime.sleep(600)\n")
    project.settings["STOP_GRACE_SECONDS"] = "0.1"
    with (
        subprocess.Popen([sys.executable, str(tmp_path / "main.py")]) as stranger,
        project.path("lock").open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        project.path("state.json").write_text(json.dumps({"main_pid": stranger.pid, "stop_grace_seconds": 0.1}))
        start, stop = project.spawn("start"), project.spawn("stop")
        assert start.wait(20) == 75
        assert stop.wait(20) == 1
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("content", ["4194303\n", "1\n", "0\n", "-1\n", "", "garbage\n", "\x00\xff", "9" * 40, "²"])
def test_whatever_the_pid_file_says_start_status_and_stop_work(project: Project, content: str) -> None:
    project.path("pid").write_text(content)
    assert project.command("status").returncode == 1
    pid = project.start()
    assert project.path("pid").read_text() == f"{pid}\n"
    project.path("pid").write_text(content)
    assert project.command("stop").stdout == f"Daemon stopped (PID: {pid})\n"


def test_a_read_only_pid_file_is_replaced(project: Project) -> None:
    project.path("pid").write_text("4194303\n")
    project.path("pid").chmod(0o444)
    pid = project.start()
    assert project.path("pid").read_text() == f"{pid}\n"


@pytest.mark.parametrize("command", ["start", "run"])
def test_a_directory_in_place_of_the_pid_file_is_one_clear_error(project: Project, command: str) -> None:
    project.path("pid").mkdir()
    result = project.command(command)
    assert result.returncode == 73
    assert f"Cannot write {project.root}/daemon.pid: Is a directory" in result.stderr
    assert project.runs() == 0
    assert project.lock_is_free()


def test_a_pid_file_that_was_deleted_comes_back(project: Project) -> None:
    pid = project.start()
    project.path("pid").unlink()
    assert project.command("status").returncode == 0
    wait_for(lambda: project.path("pid").exists() and project.path("pid").read_text() == f"{pid}\n")


def test_what_a_daemon_left_half_written_when_it_was_killed_is_swept_by_the_next(project: Project) -> None:
    project.path("pid.tmp").write_text("41")
    project.path("state.json.tmp").write_text('{"pid": 4')
    project.start()
    project.command("stop")
    assert list(project.root.glob("*.tmp")) == []


# CACHE_DIR


def test_a_missing_cache_dir_is_made_and_named(project: Project) -> None:
    project.settings["CACHE_DIR"] = "var/cache keeper 缓存"
    result = project.command("start")
    assert result.returncode == 0
    made = f"Created cache directory: {project.cache_dir}"
    assert result.stdout.splitlines()[0] == made
    assert project.log().splitlines()[0].endswith(made)
    assert not project.path("pid", project.root).exists()
    assert project.command("stop").returncode == 0


@pytest.mark.parametrize("command", ["start", "run"])
def test_a_cache_dir_that_is_a_file_is_one_clear_line(project: Project, command: str) -> None:
    (project.root / "file").touch()
    for cache_dir, line in {
        "file": f"CACHE_DIR {project.root}/file is not a directory",
        "file/below": f"Failed to create cache directory: {project.root}/file/below: Not a directory",
    }.items():
        project.settings["CACHE_DIR"] = cache_dir
        result = project.command(command)
        assert (result.returncode, result.stderr) == (73, line + "\n")


@pytest.fixture
def ordinary(project: Project) -> Project:
    """The project, used by an ordinary user whom root has left nothing but the right to read everything."""
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv to become an ordinary user")
        # dac_read_search: the interpreter and the checkout may be in a home that is closed to others.
        kept = "--inh-caps=-all,+dac_read_search --ambient-caps=+dac_read_search"
        project.prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *kept.split()]
    return project


@pytest.mark.parametrize("command", ["start", "run"])
def test_an_unwritable_cache_dir_is_one_clear_line(ordinary: Project, command: str) -> None:
    (ordinary.root / "closed").mkdir(mode=0o555)
    for cache_dir, line in {
        "closed": f"No permission to write in CACHE_DIR {ordinary.root}/closed (it belongs to ",
        "closed/below": f"Failed to create cache directory: {ordinary.root}/closed/below: Permission denied",
    }.items():
        ordinary.settings["CACHE_DIR"] = cache_dir
        result = ordinary.command(command)
        assert result.returncode == 73
        assert result.stderr.startswith(line)
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["start", "run"])
def test_a_lock_file_of_another_user_is_called_a_matter_of_permission(ordinary: Project, command: str) -> None:
    ordinary.settings["CACHE_DIR"] = "cache"
    ordinary.cache_dir.mkdir()
    ordinary.cache_dir.chmod(0o777)
    ordinary.path("lock").touch(mode=0o444)
    result = ordinary.command(command)
    assert result.returncode == 73
    assert result.stderr.startswith(f"No permission to open {ordinary.path('lock')} (it belongs to ")
    assert "already running" not in result.stdout + result.stderr


@needs_root
@pytest.mark.needs_root
def test_an_ordinary_user_can_see_but_not_stop_the_daemon_of_root(ordinary: Project) -> None:
    prefix, ordinary.prefix = ordinary.prefix, []
    pid = ordinary.start()
    ordinary.prefix = prefix
    assert ordinary.status()["pid"] == pid
    result = ordinary.command("stop")
    assert result.returncode == 1
    assert result.stderr == f"No permission to stop the daemon (PID: {pid}): it runs as another user\n"
    assert is_alive(pid)
    ordinary.prefix = []


@pytest.mark.parametrize("what", ["directory", "lock", "lock replaced"])
def test_a_cache_dir_taken_away_ends_the_daemon_within_a_tick(project: Project, what: str) -> None:
    project.settings["CACHE_DIR"] = "cache"
    run = project.spawn("run")
    main = project.main_pid()
    if what == "directory":
        shutil.rmtree(project.cache_dir)
    else:
        project.path("lock").unlink()
        if what == "lock replaced":
            project.path("lock").touch()
    out, _ = run.communicate(timeout=15)
    assert run.returncode == 74
    assert f"{project.path('lock')} was deleted or replaced while running: stopping" in out
    assert not is_alive(main)
    # What lies there now may be another daemon's: nothing of it was touched, and the next start works.
    assert project.cache_dir.exists() == (what != "directory")
    project.start()
    assert project.runs() == 2


def test_a_daemon_whose_cache_dir_was_taken_away_keeps_off_the_files_of_the_next(project: Project) -> None:
    project.settings |= {"CACHE_DIR": "cache", "STOP_GRACE_SECONDS": "2"}
    project.script("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay('ready', page='')\ntime.sleep(600)")
    run = project.spawn("run")
    project.main_pid()
    shutil.rmtree(project.cache_dir)
    project.cache_dir.mkdir()
    wait_for(lambda: f"{project.path('lock')} was deleted or replaced" in run.stdout.readline())  # type: ignore[union-attr]
    made_before_it_noticed = list(project.cache_dir.iterdir())
    for path in made_before_it_noticed:
        path.unlink()
    assert run.wait(15) == 74
    assert list(project.cache_dir.iterdir()) == []


# A full disk

TALKING_MAIN = """
obey()
say("ready", page="")
number = 0
while True:
    for _ in range(5):
        print(f"line {number:06d} end", flush=True)
        number += 1
    say("beat", last_poll=f"{number}", summary="")
    time.sleep(0.02)
"""


@pytest.fixture
def small_disk(project: Project) -> Iterator[Path]:
    """CACHE_DIR on a disk of 128 KiB."""
    disk = project.root / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root and the right to mount a small file system")
    project.settings["CACHE_DIR"] = "disk"
    try:
        yield disk
        project.command("stop")
        assert [path.name for path in disk.iterdir() if path.suffix == ".tmp"] == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            return filler


def numbers_in(log: str) -> list[int]:
    return [int(number) for number in re.findall(r"\] line (\d{6}) end\n", log)]


@pytest.mark.needs_root
def test_a_full_disk_loses_log_lines_counts_them_and_nothing_else(project: Project, small_disk: Path) -> None:
    project.script(TALKING_MAIN)
    pid, main = project.start(), project.main_pid()
    wait_for(lambda: len(project.log().splitlines()) > 50)
    filler = fill(small_disk)
    # A page of the log may have been left half empty: wait until it is full as well, and some lines more are lost.
    before = wait_for(lambda: (size := project.path("log").stat().st_size) % 4096 == 0 and size)
    beats = written_by(main)
    wait_for(lambda: written_by(main) > beats + 200)
    assert project.path("log").stat().st_size == before
    assert sorted(path.name for path in small_disk.iterdir()) == [
        "daemon.lock", "daemon.log", "daemon.pid", "daemon.state.json", "filler",
    ]  # fmt: skip
    filler.unlink()
    wait_for(lambda: "log lines were dropped: No space left on device" in project.log())
    wait_for(lambda: project.status()["dropped_log_lines"])
    assert project.command("stop").returncode == 0
    log = project.log()
    dropped = sum(int(count) for count in re.findall(r"\] (\d+) log lines were dropped", log))
    numbers = numbers_in(log)
    assert dropped >= 50
    assert len(numbers) + dropped == numbers[-1] + 1
    assert f"Main program started (PID: {main})" in log
    assert (pid, project.runs()) == (pid, 1)


def written_by(main: int) -> int:
    """Return how many system calls for writing main has made: it goes on although its log does not."""
    (calls,) = re.findall(r"syscw: (\d+)", Path(f"/proc/{main}/io").read_text())
    return int(calls)


@pytest.mark.needs_root
def test_a_start_on_a_full_disk_is_one_clear_error(project: Project, small_disk: Path) -> None:
    fill(small_disk)
    result = project.command("start")
    assert result.returncode == 73
    assert "No space left on device" in result.stderr
    assert project.runs() == 0


# The log


def test_a_log_that_is_deleted_comes_back(project: Project) -> None:
    project.script(TALKING_MAIN)
    project.start()
    project.path("log").unlink()
    wait_for(lambda: numbers_in(project.log()))


def test_a_log_that_is_renamed_goes_on_in_a_new_file_without_a_gap(project: Project) -> None:
    project.script(TALKING_MAIN)
    project.start()
    renamed = project.root / "daemon.log-20260217"
    wait_for(lambda: numbers_in(project.log()))
    project.path("log").rename(renamed)
    wait_for(lambda: numbers_in(project.log()))
    project.command("stop")
    numbers = numbers_in(renamed.read_text()) + numbers_in(project.log())
    assert numbers == list(range(len(numbers)))


def test_a_log_that_is_cut_in_place_goes_on_at_its_beginning(project: Project) -> None:
    project.script(TALKING_MAIN)
    project.start()
    wait_for(lambda: numbers_in(project.log()))
    os.truncate(project.path("log"), 0)
    wait_for(lambda: numbers_in(project.log()))
    assert b"\0" not in project.path("log").read_bytes()


def test_the_log_is_rotated_by_size_and_so_many_are_kept(project: Project) -> None:
    project.script(TALKING_MAIN)
    project.settings |= {"LOG_MAX_BYTES": "4096", "LOG_BACKUPS": "2"}
    project.start()
    wait_for(lambda: numbers_in(project.log()) and numbers_in(project.log())[0] > 500)
    project.command("stop")
    kept = [project.path(f"log{number}") for number in (".2", ".1", "")]
    assert sorted(project.root.glob("daemon.log*")) == sorted(kept)
    assert all(path.stat().st_size <= 4096 for path in kept)
    numbers = [number for path in kept for number in numbers_in(path.read_text())]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_a_directory_in_place_of_the_log_is_one_clear_error(project: Project) -> None:
    project.path("log").mkdir()
    result = project.command("start")
    assert result.returncode == 73
    assert f"Cannot write {project.root}/daemon.log: Is a directory" in result.stderr
    assert project.lock_is_free()
