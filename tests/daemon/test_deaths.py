"""main or the supervisor dies, hangs, will not die, or does not want to live."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from .conftest import Project, is_alive, wait_for

STUCK_MAIN = """
for number in (signal.SIGTERM, signal.SIGABRT):
    signal.signal(number, signal.SIG_IGN)
say("ready", page="")
time.sleep(600)
"""


def test_a_killed_main_is_started_again(project: Project) -> None:
    pid, main = project.start(), project.main_pid()
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: project.state().get("restarts") == 1)
    assert project.main_pid() != main
    assert project.status()["pid"] == pid
    assert "Main program was killed by SIGKILL; restart in 0.1 s" in project.log()


def test_a_main_that_leaves_a_child_with_its_output_is_seen_to_be_dead(project: Project) -> None:
    """The end of a pipe is not the death of a process; and the child must not outlive main."""
    project.script(
        """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", os.path.abspath("child")])
obey()
say("ready", page="")
work()
"""
    )
    project.start()
    main = project.main_pid()
    (child,) = (pid for pid, arguments in project.living().items() if f"{project.root}/child" in arguments)
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: project.state().get("restarts") == 1)
    wait_for(lambda: not is_alive(child))


def test_main_ends_at_once_when_the_supervisor_is_killed_and_the_next_start_works(project: Project) -> None:
    pid, main = project.start(), project.main_pid()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(main), 1)
    assert project.command("status").returncode == 1
    assert project.start() != pid
    assert project.runs() == 2


def test_start_waits_for_a_stuck_orphan_and_takes_over_when_it_ends(project: Project) -> None:
    project.script(STUCK_MAIN)
    pid, main = project.start(), project.main_pid()
    project.script("obey()\nsay('ready', page='')\nwork()")
    os.kill(pid, signal.SIGKILL)
    status = project.command("status")
    assert (status.returncode, status.stdout.splitlines()[0]) == (
        4,
        f"Daemon is dead, its main program still ends (PID: {main})",
    )
    start = project.spawn("start")
    assert start.stdout is not None
    assert start.stdout.readline() == f"Waiting for the main program of a killed daemon to end (PID: {main})\n"
    assert project.mains() == [main]
    os.kill(main, signal.SIGKILL)
    assert start.wait(20) == 0
    assert project.runs() == 2
    assert "Waiting for the main program of a killed daemon" in project.log()


@pytest.mark.parametrize("command", ["start", "stop"])
def test_an_orphan_that_never_ends_is_killed_after_the_grace(project: Project, command: str) -> None:
    project.settings["STOP_GRACE_SECONDS"] = "0.5"
    project.script(STUCK_MAIN)
    pid, main = project.start(), project.main_pid()
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    assert project.command(command).returncode == 0
    assert time.monotonic() - began >= 0.5
    assert not is_alive(main)
    assert project.runs() == (2 if command == "start" else 1)


def test_a_main_that_hangs_leaves_its_stacks_in_the_log_and_is_replaced(project: Project) -> None:
    project.settings["HEARTBEAT_TIMEOUT_SECONDS"] = "0.5"
    project.script(
        """
def wait_for_a_server_that_never_answers():
    time.sleep(600)

obey()
say("ready", page="")
if run == 1:
    wait_for_a_server_that_never_answers()
work()
"""
    )
    project.start()
    wait_for(lambda: project.state().get("restarts") == 1)
    main = project.main_pid()
    assert "Main program made no progress for 0.5 s" in project.log()
    assert "in wait_for_a_server_that_never_answers" in project.log()
    assert "Main program was killed by SIGABRT" in project.log()
    assert is_alive(main)


def test_a_main_that_hangs_and_ignores_abort_is_killed(project: Project) -> None:
    project.settings |= {"HEARTBEAT_TIMEOUT_SECONDS": "0.5", "STOP_GRACE_SECONDS": "0.3"}
    project.script("signal.signal(signal.SIGABRT, signal.SIG_IGN)\nsay('ready', page='')\ntime.sleep(600)")
    project.start()
    wait_for(lambda: "Main program was killed by SIGKILL; restart" in project.log())


def test_a_frozen_main_is_killed(project: Project) -> None:
    project.settings |= {"HEARTBEAT_TIMEOUT_SECONDS": "0.5", "STOP_GRACE_SECONDS": "0.3"}
    project.start()
    os.kill(project.main_pid(), signal.SIGSTOP)
    wait_for(lambda: project.state().get("restarts") == 1)


def test_a_main_that_never_gets_ready_is_given_up_with_its_stacks(project: Project) -> None:
    project.settings["START_TIMEOUT_SECONDS"] = "0.5"
    project.script("def load_for_ever():\n    time.sleep(600)\n\nobey()\nload_for_ever()")
    result = project.command("start")
    assert result.returncode == 1
    assert "Main program was killed by SIGABRT" in result.stderr
    assert "in load_for_ever" in result.stderr


def test_a_supervisor_that_was_frozen_does_not_blame_main(project: Project) -> None:
    project.settings["HEARTBEAT_TIMEOUT_SECONDS"] = "5.5"
    pid, main = project.start(), project.main_pid()
    os.kill(main, signal.SIGSTOP)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(6)  # the fault itself: a machine that is paused for longer than the patience
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.5)  # time for a wrong verdict
    os.kill(main, signal.SIGCONT)
    assert project.main_pid() == main
    assert project.state()["restarts"] == 0
    assert "no progress" not in project.log()


def test_a_main_that_ignores_term_is_killed_with_its_group_after_the_grace(project: Project) -> None:
    project.settings["STOP_GRACE_SECONDS"] = "0.5"
    project.script(
        """
import subprocess
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", os.path.abspath("child")])
"""
        + STUCK_MAIN
    )
    project.start()
    assert project.command("stop").returncode == 0
    assert project.living() == {}
    assert "does not end: killing its process group" in project.log()


def test_an_exit_that_nobody_asked_for_is_a_crash_even_with_code_0(project: Project) -> None:
    project.script("obey()\nsay('ready', page='')\nif run == 1: sys.exit(0)\nwork()")
    project.start()
    wait_for(lambda: project.state().get("restarts") == 1)
    assert "Main program exited with code 0; restart in 0.1 s" in project.log()


def test_a_crash_loop_backs_off_and_never_gives_up(project: Project) -> None:
    project.script("obey()\nsay('ready', page='')\nsys.exit(3)")
    project.settings |= {"BACKOFF_INITIAL_SECONDS": "0.05", "BACKOFF_MAX_SECONDS": "0.2"}
    project.start()
    wait_for(lambda: project.runs() >= 8)
    pauses = re.findall(r"exited with code 3; restart in ([\d.]+) s", project.log())
    assert pauses[:5] == ["0.05", "0.1", "0.2", "0.2", "0.2"]
    assert project.command("status").returncode == 0
    assert project.command("stop").returncode == 0
    assert project.living() == {}


def test_a_healthy_run_forgets_the_crashes_before(project: Project) -> None:
    project.settings |= {"HEALTHY_AFTER_SECONDS": "0.3", "BACKOFF_INITIAL_SECONDS": "0.05"}
    project.script(
        "obey()\nsay('ready', page='')\nif run < 4: sys.exit(3)\nif run == 4: time.sleep(0.5); sys.exit(3)\nwork()"
    )
    project.start()
    wait_for(lambda: project.state().get("restarts") == 4)
    pauses = re.findall(r"exited with code 3; restart in ([\d.]+) s", project.log())
    assert pauses == ["0.05", "0.1", "0.2", "0.05"]


def test_a_stop_during_the_backoff_ends_at_once(project: Project) -> None:
    project.settings |= {"BACKOFF_INITIAL_SECONDS": "600", "BACKOFF_MAX_SECONDS": "600"}
    project.script("obey()\nsay('ready', page='')\nsys.exit(3)")
    project.start()
    wait_for(lambda: project.state().get("main_state") == "BACKOFF")
    status = project.status()
    assert (status["main_state"], status["main_pid"]) == ("BACKOFF", None)
    # A stop that waited for the back-off would outlast the command's own deadline.
    assert project.command("stop").returncode == 0
    assert project.runs() == 1


def test_a_start_that_fails_shows_why_and_the_daemon_keeps_trying(project: Project) -> None:
    project.script("obey()\nif run == 1: raise RuntimeError('the module is missing')\nsay('ready', page='')\nwork()")
    result = project.command("start")
    assert result.returncode == 1
    assert "Main program exited with code 1; restart in 0.1 s" in result.stderr
    assert "RuntimeError: the module is missing" in result.stderr
    assert "python daemon.py stop" in result.stderr
    assert project.main_pid() in project.mains()


@pytest.mark.parametrize("command", ["start", "run"])
def test_exit_78_of_main_is_final_and_says_why(project: Project, command: str) -> None:
    project.script("print('PORT=x: must be a number', file=sys.stderr)\nsys.exit(78)")
    result = project.command(command)
    assert result.returncode == 78
    assert "PORT=x: must be a number" in result.stdout + result.stderr
    assert project.runs() == 1
    assert project.lock_is_free()
    assert not project.path("pid").exists()


def test_exit_78_of_a_later_main_ends_the_daemon_with_78(project: Project) -> None:
    project.script("obey()\nif run == 2: sys.exit(78)\nsay('ready', page='')\nwork()")
    run = project.spawn("run")
    os.kill(project.main_pid(), signal.SIGKILL)
    assert run.wait(20) == 78


def test_a_main_that_is_missing_is_a_failure_that_is_explained(project: Project) -> None:
    (project.root / "main.py").unlink()
    result = project.command("start")
    assert result.returncode == 1
    assert "No such file or directory" in result.stderr


def test_a_main_that_closes_its_output_lives_on_and_costs_nothing(project: Project) -> None:
    project.settings["HEARTBEAT_TIMEOUT_SECONDS"] = "600"
    project.script("obey()\nsay('ready', page='')\nos.close(1); os.close(2)\ntime.sleep(600)")
    pid, main = project.start(), project.main_pid()
    before = _cpu_seconds(pid)
    time.sleep(1)
    assert _cpu_seconds(pid) - before < 0.3
    assert is_alive(main)
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: project.state().get("restarts") == 1)


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
