"""Never two: parallel starts, starts beside other supervisors, stops that follow at once."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import time

import pytest

from .conftest import Project, is_alive, wait_for

ROUNDS = 10
STARTS = 50


@pytest.mark.timeout(300)  # 500 starts, each of which is a Python of its own
def test_of_fifty_parallel_starts_one_runs_and_the_others_say_so(project: Project) -> None:
    project.settings["STOP_GRACE_SECONDS"] = "20"
    for number in range(1, ROUNDS + 1):
        starts = [project.spawn("start") for _ in range(STARTS)]
        results = [(start.communicate(timeout=60), start.returncode) for start in starts]
        started = [out for (out, _), code in results if code == 0]
        assert len(started) == 1, results
        pid = re.findall(r"Daemon started \(PID: (\d+)\)", started[0])
        assert [out for (out, _), code in results if code != 0] == [f"Daemon already running (PID: {pid[0]})\n"] * 49
        assert len(project.mains()) == 1
        assert project.runs() == number
        assert project.command("stop").returncode == 0


def test_a_stop_right_after_the_start_leaves_nothing_twenty_times(project: Project) -> None:
    for _ in range(20):
        project.start()
        assert project.command("stop").returncode == 0
        assert project.living() == {}


def test_a_stop_in_the_middle_of_a_start_leaves_nothing_twenty_times(project: Project) -> None:
    for _ in range(20):
        start = project.spawn("start")
        # From the moment that the lock is held there is something to stop.
        wait_for(lambda: not project.lock_is_free())
        assert project.command("stop").returncode == 0
        out, err = start.communicate(timeout=20)
        if start.returncode:
            assert "before" in err or "without a word" in err, (out, err)
        assert project.living() == {}


def test_a_stop_that_is_asked_for_again_and_again_is_still_an_orderly_one(project: Project) -> None:
    run = project.spawn("run")
    project.main_pid()
    deadline = time.monotonic() + 15
    while run.poll() is None:
        assert time.monotonic() < deadline
        run.send_signal(signal.SIGTERM)
    assert run.returncode == 0
    assert project.log().count("Stop requested") == 1


def test_run_as_systemd_does_beside_a_started_daemon_exits_75(project: Project) -> None:
    pid = project.start()
    result = project.command("run")
    assert (result.returncode, result.stdout) == (75, f"Daemon already running (PID: {pid})\n")
    assert project.runs() == 1


def test_start_beside_a_running_run_exits_75(project: Project) -> None:
    run = project.spawn("run")
    project.main_pid()
    result = project.command("start")
    assert (result.returncode, result.stdout) == (75, f"Daemon already running (PID: {run.pid})\n")
    assert project.runs() == 1


def test_run_and_start_at_the_same_time_leave_one(project: Project) -> None:
    for _ in range(5):
        run, start = project.spawn("run"), project.spawn("start")
        out, _ = start.communicate(timeout=20)
        if start.returncode == 0:
            assert run.wait(20) == 75
        else:
            assert start.returncode == 75
            assert out == f"Daemon already running (PID: {run.pid})\n"
        assert len(project.mains()) == 1
        assert project.command("stop").returncode == 0


def test_a_stopped_supervisor_process_is_killed_in_the_end_and_main_with_it(project: Project) -> None:
    project.settings["STOP_GRACE_SECONDS"] = "0.2"
    pid, main = project.start(), project.main_pid()
    os.kill(pid, signal.SIGSTOP)
    assert project.command("stop").returncode == 0
    assert not is_alive(pid)
    assert not is_alive(main)


def test_a_lock_held_by_a_stranger_ends_in_one_clear_line(project: Project) -> None:
    with project.path("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        start = project.command("start")
        assert start.returncode == 75
        assert len(start.stdout.splitlines()) == 1
        assert "held by a process that cannot be recognised" in start.stdout
        assert project.command("status").returncode == 4
    assert project.runs() == 0
