"""What a person sees of daemon.py: its lines, exit codes and files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.status import duration

from .conftest import SOURCE, Project, is_alive, wait_for

STAMP = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] "


def without_stamps(log: str) -> list[str]:
    lines = log.splitlines()
    assert all(re.match(STAMP, line) for line in lines), log
    return [re.sub(STAMP, "", line, count=1) for line in lines]


def test_the_log_of_a_start_has_the_lines_that_people_know_in_their_order(project: Project) -> None:
    project.start()
    root = project.root
    assert without_stamps(project.log())[:7] == [
        "Daemon starting",
        f"Working directory: {root}",
        f"Main script: {root}/main.py",
        f"Cache directory: {root}",
        f"Log file: {root}/daemon.log",
        f"PID file: {root}/daemon.pid",
        f"Main program started (PID: {project.main_pid()})",
    ]


def test_start_returns_when_main_is_ready_and_says_where_to_look(project: Project) -> None:
    result = project.command("start")
    assert result.returncode == 0
    pid = project.path("pid").read_text().strip()
    assert result.stdout.splitlines() == [
        f"Daemon started (PID: {pid})",
        "Page: http://127.0.0.1:8000/status",
        f"Log: {project.root}/daemon.log",
    ]
    assert result.stderr == ""
    assert project.state()["main_state"] == "RUNNING"


def test_a_second_start_says_already_running(project: Project) -> None:
    pid = project.start()
    again = project.command("start")
    assert again.stdout == f"Daemon already running (PID: {pid})\n"
    assert again.returncode == 75
    assert len(project.mains()) == 1


def test_stop_ends_both_processes_and_tidies_up(project: Project) -> None:
    pid, main = project.start(), project.main_pid()
    result = project.command("stop")
    assert (result.returncode, result.stdout) == (0, f"Daemon stopped (PID: {pid})\n")
    assert not is_alive(pid)
    assert not is_alive(main)
    assert not project.path("pid").exists()
    assert without_stamps(project.log())[-1] == "Daemon stopped"


def test_stop_of_a_stopped_daemon_is_no_failure(project: Project) -> None:
    result = project.command("stop")
    assert (result.returncode, result.stdout) == (0, "Daemon is not running\n")


def test_restart_replaces_both_processes(project: Project) -> None:
    pid, main = project.start(), project.main_pid()
    assert project.command("restart").returncode == 0
    assert project.state()["pid"] != pid
    assert project.main_pid() != main
    assert project.runs() == 2


def test_restart_with_a_bad_setting_leaves_the_running_daemon_alone(project: Project) -> None:
    pid = project.start()
    project.settings["PORT"] = "http"
    result = project.command("restart")
    assert result.returncode == 78
    assert "PORT='http'" in result.stderr
    assert project.status()["pid"] == pid


def test_status_tells_everything_about_a_running_daemon(project: Project) -> None:
    pid = project.start()
    wait_for(lambda: project.state().get("last_poll"))
    result = project.command("status")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"Daemon is running (PID: {pid})"
    assert re.fullmatch(r"  Uptime: 00:00:\d\d", lines[1])
    assert lines[2:] == [
        f"  Main program: RUNNING (PID: {project.main_pid()})",
        "  Restarts: 0",
        "  Last poll: 2026-02-17T10:00:00Z (1 server)",
        "  Page: http://127.0.0.1:8000/status",
        f"  Log: {project.root}/daemon.log",
    ]
    as_json = json.loads(project.command("status", "--json").stdout)
    assert as_json["running"] is True
    assert as_json["uptime_seconds"] >= 0
    expected = {
        "pid": pid,
        "main_pid": project.main_pid(),
        "main_state": "RUNNING",
        "restarts": 0,
        "last_poll": "2026-02-17T10:00:00Z",
        "page": "http://127.0.0.1:8000/status",
    }
    assert as_json | expected == as_json


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00"), (59.9, "00:00:59"), (3661, "01:01:01"), (180_000, "2d 02:00:00")]
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_exit_codes_of_status_are_those_of_lsb(project: Project) -> None:
    assert project.command("status").returncode == 3
    project.start()
    assert project.command("status").returncode == 0
    project.command("stop")
    assert project.command("status").returncode == 3
    project.path("pid").write_text("4194303\n")
    assert project.command("status").returncode == 1
    project.settings["CACHE_DIR"] = r"r:\api_proxy_cache"
    assert project.command("status").returncode == 4


def test_bad_settings_are_all_listed_and_nothing_is_started(project: Project) -> None:
    project.settings |= {"PORT": "no", "LOG_LEVEL": "loud", "CACHE_DIR": "made/by/nobody"}
    for command in ("start", "run"):
        result = project.command(command)
        assert result.returncode == 78
        assert len(result.stderr.splitlines()) == 2
        assert "PORT='no'" in result.stderr
        assert "LOG_LEVEL='loud'" in result.stderr
    assert not (project.root / "made").exists()
    assert project.runs() == 0


def test_a_daemon_can_be_asked_and_stopped_though_its_settings_have_become_bad(project: Project) -> None:
    project.start()
    project.settings["PORT"] = "no"
    assert project.command("status").returncode == 0
    assert project.command("logs").returncode == 0
    assert project.command("stop").returncode == 0
    assert project.lock_is_free()


def test_run_stays_in_the_foreground_and_shows_the_log(project: Project) -> None:
    process = project.spawn("run")
    main = project.main_pid()
    assert project.state()["pid"] == process.pid
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert out == project.log()
    assert f"Main program started (PID: {main})" in out


def test_a_reader_that_stops_reading_does_not_stop_the_supervisor(project: Project) -> None:
    project.script(
        """
obey()
say("ready", page="")
for number in range(4000):
    print(f"line {number:05d} " + "x" * 100, flush=True)
    if number % 100 == 0:
        say("beat", last_poll=None, summary="")
work()
"""
    )
    project.settings["HEARTBEAT_TIMEOUT_SECONDS"] = "10"
    process = project.spawn("run")  # nobody reads its stdout, and a pipe holds 64 KiB
    wait_for(lambda: "line 03999" in project.log(), 60)
    assert project.state()["restarts"] == 0
    process.terminate()
    process.communicate(timeout=30)


def test_main_sees_that_it_is_supervised_and_gets_no_word_meant_for_the_supervisor(project: Project) -> None:
    project.script(GETENV + "obey()\nsay('ready', page='')\nwork()")
    project.environment |= {"NOTIFY_SOCKET": "/nonexistent/socket", "WATCHDOG_USEC": "9000000", "WATCHDOG_PID": "1"}
    project.start()
    assert "supervised=1 notify=None watchdog=None" in project.log()


GETENV = """
get = os.environ.get
print(f"supervised={get('CACHE_KEEPER_SUPERVISED')} notify={get('NOTIFY_SOCKET')} watchdog={get('WATCHDOG_USEC')}",
      flush=True)
"""


def test_control_lines_never_reach_the_log_and_other_lines_all_do(project: Project) -> None:
    project.script(
        """
obey()
sys.stdout.write("half a line,")
sys.stdout.flush()
say("ready", page="")
os.write(1, b"\\x1egarbage\\n")
print("缓存已加载", flush=True)
print("an error", file=sys.stderr, flush=True)
work()
"""
    )
    project.start()
    wait_for(lambda: "an error" in project.log() and project.state().get("last_poll"))
    assert without_stamps(project.log())[7:] == ["half a line,", "缓存已加载", "an error"]
    assert "\x1e" not in project.log()


def test_warnings_of_the_start_are_shown_to_the_person_who_starts(project: Project) -> None:
    project.script(
        """
obey()
say("warning", message="port 8000 is taken, so there is no page 端口被占用")
say("ready", page="")
work()
"""
    )
    result = project.command("start")
    assert result.returncode == 0
    assert result.stderr == "Warning: port 8000 is taken, so there is no page 端口被占用\n"
    assert "Page:" not in result.stdout


def test_logs_shows_the_last_lines(project: Project) -> None:
    project.path("log").write_text("".join(f"line {number}\n" for number in range(10_000)))
    result = project.command("logs", "-n", "3")
    assert (result.returncode, result.stdout) == (0, "line 9997\nline 9998\nline 9999\n")
    assert len(project.command("logs").stdout.splitlines()) == 20
    assert project.command("logs", "-n", "0").stdout == ""
    assert len(project.command("logs", "-n", "20000").stdout.splitlines()) == 10_000


def test_logs_without_a_log_says_so_in_one_line(project: Project) -> None:
    result = project.command("logs")
    assert result.returncode == 1
    assert result.stderr == f"Cannot read the log {project.root}/daemon.log: No such file or directory\n"


def test_logs_follows_through_rotations_and_loses_nothing(project: Project) -> None:
    project.script(
        """
obey()
say("ready", page="")
number = 0
while True:
    for _ in range(20):
        print(f"line {number:06d} " + "x" * 80, flush=True)
        number += 1
    say("beat", last_poll=None, summary="")
    time.sleep(0.05)
"""
    )
    project.settings |= {"LOG_MAX_BYTES": "9000", "LOG_BACKUPS": "20"}
    project.start()
    reader = project.spawn("logs", "-f", "-n", "1")
    assert reader.stdout is not None
    seen: list[int] = []
    for line in reader.stdout:
        if found := re.search(r"line (\d{6}) x", line):
            seen.append(int(found[1]))
            if len(seen) >= 1000:
                break
    reader.terminate()
    assert seen == list(range(seen[0], seen[0] + 1000))
    assert project.path("log.3").exists()


def test_the_supervisor_imports_nothing_heavy() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import daemon, entry, supervisor.loop, sys; print(*sys.modules)"],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    unwanted = "config dotenv tomllib dataclasses inspect pathlib argparse psutil requests schedule fastapi logging"
    # A site hook of an editable install may bring pathlib on its own.
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(loaded) & set(unwanted.split()) - set(bare) == set()


@pytest.mark.parametrize("command", ["", "status", "logs"])
def test_help_speaks_english_and_chinese_even_on_a_terminal_that_has_no_chinese(project: Project, command: str) -> None:
    result = project.command(*command.split(), "--help")
    assert result.returncode == 0
    assert any("\u4e00" <= character <= "\u9fff" for character in result.stdout)
    project.environment |= {"PYTHONIOENCODING": "ascii"}
    assert project.command(*command.split(), "--help").returncode == 0


def test_a_closed_standard_stream_is_not_mistaken_for_a_file_of_ours(project: Project, tmp_path: Path) -> None:
    """As some cron and init scripts do: ``daemon.py start <&- >&- 2>&-``."""
    command = f"exec {sys.executable} {project.root}/daemon.py start <&- >&- 2>&-"
    assert project.command("status").returncode == 3
    code = subprocess.run(["sh", "-c", command], env={**project.settings}, cwd=tmp_path, check=False).returncode
    assert code == 0
    assert project.main_pid() in project.mains()
    assert without_stamps(project.log())[0] == "Daemon starting"
