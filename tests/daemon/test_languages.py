"""What daemon.py says on a Chinese terminal, and what stays English there: known lines, the log and JSON."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from .conftest import SOURCE, Project, wait_for

HAN = re.compile("[\u4e00-\u9fff]")
CHINESE = {"LC_ALL": "zh_CN.UTF-8", "PYTHONUTF8": "1"}


@pytest.fixture
def chinese(project: Project) -> Project:
    project.environment |= CHINESE
    return project


@pytest.mark.parametrize("command", ["start", "run", "restart"])
def test_what_is_wrong_with_the_settings_is_told(chinese: Project, command: str) -> None:
    (chinese.root / ".env").write_text("PORT=0\nCLEAN_TIME=25:00\nno assignment\n")
    (chinese.root / "fleet.toml").write_text("[[group]]\nname = 'a'\n")
    result = chinese.command(command)
    assert (result.returncode, result.stdout) == (78, "")
    assert result.stderr.splitlines() == [
        f".env='{chinese.root}/.env, line 3'：不是 NAME=value 的形式（缺少 = 或引号未闭合）",
        "CLEAN_TIME='25:00'：必须是 24 小时制的时间 HH:MM，例如 02:00",
        "PORT='0'：必须是 1 到 65535 之间的整数",
        "group[a].servers='None'：必须是列表，例如 [\"http://10.0.0.1:8188\"]",
    ]


def test_without_a_chinese_terminal_it_is_told_in_english(project: Project) -> None:
    (project.root / ".env").write_text("PORT=0\nno assignment\n")
    result = project.command("start")
    assert (result.returncode, result.stdout) == (78, "")
    assert result.stderr.splitlines() == [
        f".env='{project.root}/.env, line 2': is not NAME=value (a = that is missing, a quote that is not closed)",
        "PORT='0': must be a whole number from 1 to 65535",
    ]


def test_the_lines_that_scripts_know_are_the_same_in_every_language(chinese: Project) -> None:
    chinese.settings["CACHE_DIR"] = "state"
    log = f"{chinese.root}/state/daemon.log"
    assert chinese.command("status").stdout == f"Daemon is not running\n  日志：{log}\n"
    started = chinese.command("start")
    pid = chinese.path("pid").read_text().strip()
    page = "http://127.0.0.1:8000/status"
    lines = [f"Created cache directory: {chinese.root}/state", f"Daemon started (PID: {pid})", f"Page: {page}"]
    assert (started.stdout.splitlines(), started.stderr) == ([*lines, f"Log: {log}"], "")
    assert chinese.command("start").stdout == f"Daemon already running (PID: {pid})\n"
    wait_for(lambda: chinese.state().get("last_poll"))
    status = chinese.command("status").stdout.splitlines()
    assert re.fullmatch(r"  已运行：00:00:\d\d", status.pop(1))
    assert status == [
        f"Daemon is running (PID: {pid})",
        f"  主程序：RUNNING (PID: {chinese.main_pid()})",
        "  重启次数：0",
        "  上次检测：2026-02-17T10:00:00Z (1 server)",
        f"  页面：{page}",
        f"  日志：{log}",
    ]
    assert chinese.status()["summary"] == status[0]
    assert chinese.command("stop").stdout == f"Daemon stopped (PID: {pid})\n"
    assert chinese.command("stop").stdout == "Daemon is not running\n"
    assert not HAN.search(chinese.log())


def test_a_dead_daemon_is_told(chinese: Project) -> None:
    chinese.path("pid").write_text("garbage\n")
    told = chinese.command("status")
    assert told.returncode == 1
    assert told.stdout.splitlines()[0] == f"守护进程已死，留下了 PID 文件：{chinese.root}/daemon.pid"
    assert chinese.status()["summary"] == f"Daemon is dead, and its PID file is left: {chinese.root}/daemon.pid"


def test_a_main_that_fails_and_its_last_words_are_told(chinese: Project) -> None:
    chinese.script("print(\"PORT='x': must be true or false\", file=sys.stderr)\nsys.exit(78)")
    result = chinese.command("start")
    assert (result.returncode, result.stdout) == (78, "")
    assert result.stderr.splitlines() == [
        "主程序已退出，退出码 78：配置有误。",
        "主程序最后的输出：",
        "  PORT='x'：必须是 true 或 false",
        f"日志：{chinese.root}/daemon.log",
    ]
    assert "its configuration is wrong" in chinese.log()
    assert not HAN.search(chinese.log())


def test_a_main_that_dies_is_told(chinese: Project) -> None:
    chinese.settings |= {"BACKOFF_INITIAL_SECONDS": "30", "BACKOFF_MAX_SECONDS": "30"}
    chinese.script("os.kill(os.getpid(), signal.SIGKILL)")
    result = chinese.command("start")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == "主程序被 SIGKILL 终止；30 秒后重启。要停止重试：python daemon.py stop"


def test_a_stop_during_the_start_is_told(chinese: Project) -> None:
    chinese.script("obey()\ntime.sleep(60)")
    starting = chinese.spawn("start")
    wait_for(lambda: chinese.state().get("main_pid"))
    os.kill(chinese.state()["pid"], signal.SIGTERM)
    _, told = starting.communicate(timeout=30)
    assert told.splitlines()[0] == "守护进程在主程序就绪之前被停止。"


def test_a_main_that_cannot_be_started_is_told(chinese: Project) -> None:
    (chinese.root / "main.py").unlink()
    told = chinese.command("start").stderr
    assert re.match(
        r"主程序已退出，退出码 \d+；0.1 秒后重启。要停止重试：python daemon.py stop\n主程序最后的输出：\n", told
    )


def test_what_main_warns_of_is_told(chinese: Project) -> None:
    chinese.script(
        """
obey()
say("warning", message="no page and no API on 127.0.0.1:8000: Address already in use; set HOST or PORT")
say("warning", message="tokens will be refused: Cannot open /x/tokens: Permission denied")
say("warning", message="words: of main's own")
say("ready", page="")
work()
"""
    )
    result = chinese.command("start")
    assert result.stderr.splitlines() == [
        "警告：127.0.0.1:8000 上没有网页和 API：Address already in use；请设置 HOST 或 PORT",
        "警告：令牌将被拒绝：无法打开 /x/tokens：Permission denied",
        "警告：words: of main's own",
    ]


def test_trouble_with_the_files_is_told(chinese: Project) -> None:
    log = f"{chinese.root}/daemon.log"
    assert chinese.command("logs").stderr == f"无法读取日志 {log}：No such file or directory\n"
    chinese.path("pid").mkdir()
    assert chinese.command("start").stderr == f"无法写入 {chinese.root}/daemon.pid：Is a directory\n日志：{log}\n"
    chinese.settings["CACHE_DIR"] = "daemon.py"
    assert chinese.command("start").stderr == f"CACHE_DIR {chinese.root}/daemon.py 不是目录\n"
    chinese.settings["CACHE_DIR"] = "daemon.py/x"
    told = chinese.command("start").stderr
    assert told == f"无法创建缓存目录：{chinese.root}/daemon.py/x：Not a directory\n"


def test_an_orphan_that_is_waited_for_is_told_and_logged_in_english(chinese: Project) -> None:
    chinese.settings["STOP_GRACE_SECONDS"] = "0.2"
    # Deaf to its leash, so that it has to be killed.
    chinese.script(
        "signal.signal(signal.SIGPIPE, signal.SIG_IGN)\nif run > 1: obey()\nsay('ready', page='')\n"
        "if run > 1: work()\ntime.sleep(600)"
    )
    pid, main = chinese.start(), chinese.main_pid()
    os.kill(pid, signal.SIGKILL)
    result = chinese.command("start")
    assert result.stdout.splitlines()[:2] == [
        f"正在等待已被杀死的守护进程的主程序结束（PID: {main}）",
        f"已被杀死的守护进程的主程序没有自行结束，强制结束（PID: {main}）",
    ]
    assert f"Waiting for the main program of a killed daemon to end (PID: {main})" in chinese.log()
    assert not HAN.search(chinese.log())


def test_the_installer_of_the_service_tells_its_errors_too(chinese: Project) -> None:
    def told(**settings: str) -> str:
        done = subprocess.run(
            [sys.executable, str(SOURCE / "scripts" / "install_service.py"), "--root", str(chinese.root), "--print"],
            env={"PATH": os.environ["PATH"], **CHINESE, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr

    assert told(PORT="no") == "PORT='no'：必须是 1 到 65535 之间的整数\n"
    assert told(CACHE_DIR="/tmp/cache").startswith("CACHE_DIR 位于临时目录之下：/tmp/cache。")
