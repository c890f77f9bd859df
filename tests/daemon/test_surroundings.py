"""Whoever starts the daemon: cron, a shell with umask 0, a parent full of open files, systemd."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

from .conftest import SOURCE, Project, is_alive, wait_for


def test_a_start_by_cron_gets_sessions_of_its_own(project: Project) -> None:
    environment = [f"{name}={value}" for name, value in project.settings.items()]
    command = [sys.executable, str(project.root / "daemon.py"), "start"]
    started = subprocess.run(
        ["env", "-i", *environment, *command],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    pid, main = int(project.path("pid").read_text()), project.main_pid()
    for process in (pid, main):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        group, session, terminal = int(fields[2]), int(fields[3]), int(fields[4])
        assert (group, session, terminal) == (process, process, 0)
        assert Path(f"/proc/{process}/cwd").resolve() == project.root


def test_the_end_of_the_session_that_started_it_is_not_the_end_of_the_daemon(project: Project) -> None:
    shell = subprocess.Popen(
        ["sh", "-c", f"{sys.executable} {project.root}/daemon.py start; sleep 600"],
        env={**os.environ, **project.settings},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    main = project.main_pid()
    os.killpg(shell.pid, signal.SIGHUP)
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    assert project.status()["main_pid"] == main
    assert is_alive(main)


def test_start_gives_back_the_pipes_of_whoever_called_it(project: Project) -> None:
    """A supervisor that keeps a copy of them would make ``$(daemon.py start)`` wait for ever."""
    result = subprocess.run(
        [sys.executable, str(project.root / "daemon.py"), "start"],
        env={**os.environ, **project.settings},
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == 0
    for process in project.living():
        for number in range(3):
            target = str(Path(f"/proc/{process}/fd/{number}").readlink())
            assert target == "/dev/null" or process in project.mains()


def test_nothing_is_writable_by_others_even_under_umask_0(project: Project) -> None:
    project.settings |= {"CACHE_DIR": "cache", "LOG_MAX_BYTES": "4096"}
    project.script(
        """
open("made-by-main", "w").close()
obey()
say("ready", page="")
for number in range(200):
    print("x" * 50, flush=True)
work()
"""
    )
    result = project.command("start", preexec_fn=lambda: os.umask(0))
    assert result.returncode == 0
    wait_for(lambda: project.path("log.1").exists())
    made = [project.cache_dir, project.root / "made-by-main", *project.cache_dir.iterdir()]
    assert {path.name for path in made} >= {"daemon.pid", "daemon.lock", "daemon.log", "daemon.state.json"}
    modes = {path.name: stat.filemode(path.stat().st_mode) for path in made}
    assert not [name for name, mode in modes.items() if "w" in mode[4:]], modes


def test_main_inherits_the_three_standard_streams_and_the_lock_only(project: Project) -> None:
    strangers = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    try:
        for command in ("start", "run"):
            project.spawn(command, pass_fds=strangers)
            main = project.main_pid()
            inherited = {
                int(fd.name): str(fd.readlink())
                for fd in Path(f"/proc/{main}/fd").iterdir()
                if not str(fd.readlink()).endswith("only.lock")  # its own
            }
            extra = {number: target for number, target in inherited.items() if number > 2}
            assert list(extra.values()) == [str(project.path("lock"))]
            assert all(inherited[number].startswith("pipe:") for number in range(3))
            project.command("stop")
    finally:
        for stranger in strangers:
            os.close(stranger)


def test_a_blocked_and_ignored_signal_of_the_parent_makes_nobody_deaf(project: Project) -> None:
    def deafen() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD))
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    run = project.spawn("run", preexec_fn=deafen)
    main = project.main_pid()
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: project.state().get("restarts") == 1 and project.state()["main_state"] == "RUNNING")
    run.send_signal(signal.SIGINT)
    assert run.wait(10) == 0


RELOADING_MAIN = """
obey()
signal.signal(signal.SIGHUP, lambda *_: os.write(1, b"reloaded\\n"))
say("ready", page="")
work()
"""


def test_hup_is_passed_on_to_main(project: Project) -> None:
    project.script(RELOADING_MAIN)
    pid, main = project.start(), project.main_pid()
    os.kill(pid, signal.SIGHUP)
    wait_for(lambda: "] reloaded\n" in project.log())
    assert "Reload requested" in project.log()
    assert (project.main_pid(), project.state()["restarts"]) == (main, 0)


def test_hup_before_main_can_take_it_is_kept_until_it_can(project: Project) -> None:
    project.script("time.sleep(0.5)\n" + RELOADING_MAIN)
    run = project.spawn("run")
    wait_for(lambda: project.state().get("main_pid"))
    run.send_signal(signal.SIGHUP)
    wait_for(lambda: "] reloaded\n" in project.log())
    assert project.runs() == 1


def test_systemd_hears_ready_status_watchdog_and_stopping_from_the_supervisor(project: Project, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(10)
        systemd.bind(str(tmp_path / "notify"))
        # SO_PASSCRED tells who spoke, as systemd checks it with NotifyAccess=main.
        systemd.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        project.environment |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
        project.script("time.sleep(1.5)\nobey()\nsay('ready', page='')\nwork()")
        run = project.spawn("run")
        heard: list[str] = []
        while "STOPPING=1" not in heard:
            message, ancillary, _, _ = systemd.recvmsg(4096, socket.CMSG_SPACE(12))
            assert int.from_bytes(ancillary[0][2][:4], sys.byteorder) == run.pid
            heard += message.decode().splitlines()
            if heard.count("WATCHDOG=1") == 3:
                run.terminate()
        assert run.wait(10) == 0
    # Alive before main is ready, so that a slow start of main is not taken for a stuck supervisor.
    assert heard[0] == "WATCHDOG=1"
    assert heard.count("READY=1") == 1
    assert heard[heard.index("READY=1") + 1] == "STATUS=Main program is running"


def test_a_linked_checkout_is_one_project_whatever_the_path(project: Project, tmp_path: Path) -> None:
    pid = project.start()
    (tmp_path / "linked").symlink_to(project.root)
    again = subprocess.run(
        [sys.executable, str(tmp_path / "linked" / "daemon.py"), "start"],
        env={**os.environ, **project.settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.stdout == f"Daemon already running (PID: {pid})\n"


def test_two_checkouts_with_one_cache_dir_are_one_daemon(project: Project, tmp_path: Path) -> None:
    project.settings["CACHE_DIR"] = str(tmp_path / "shared")
    pid = project.start()
    other = Project(tmp_path / "other")
    try:
        other.settings = project.settings
        assert other.command("start").stdout == f"Daemon already running (PID: {pid})\n"
        assert other.command("stop").returncode == 0
        assert not is_alive(pid)
    finally:
        other.destroy()


def test_the_environment_is_read_in_one_place() -> None:
    for path in [SOURCE / "daemon.py", *(SOURCE / "supervisor").glob("*.py")]:
        text = path.read_text()
        assert "environ[" not in text.replace("environment[", "")
        assert "os.environ" not in text
        assert "getenv" not in text


def test_a_project_with_a_space_in_its_path_runs(project: Project, tmp_path: Path) -> None:
    moved = tmp_path / "my project"
    project.root.rename(moved)
    project.root = moved
    project.start()
    assert project.command("stop").returncode == 0
