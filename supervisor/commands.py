"""The command line of daemon.py: parses, calls, prints, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import config
from core import setting_phrases as said
from core.errors import AlreadyRunning, ConfigError, DaemonError
from core.typed import whole
from supervisor import client
from supervisor.claim import ALREADY_RUNNING
from supervisor.files import files_in
from supervisor.status import UNKNOWN, look
from supervisor.tail import follow, last_lines

Command = Callable[[Path, argparse.Namespace], int]


def command(root: Path, arguments: list[str]) -> int:
    """Run one command for the project in ``root``; return the exit code."""
    options = _parser().parse_args(arguments)
    run: Command = options.run
    try:
        return run(root, options)
    except ConfigError as error:
        for problem in error.problems:
            print(config.told(str(problem)), file=sys.stderr)
        return UNKNOWN if run is _status else config.EXIT_CONFIG
    except AlreadyRunning as error:
        # An answer rather than a failure, so on stdout; the exit code is for scripts and systemd.
        print(error if str(error).startswith(ALREADY_RUNNING) else config.told(error))
        return error.exit_code
    except DaemonError as error:
        print(config.told(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="daemon.py",
        description="Keeps the cache keeper running. 守护进程：启动、停止、查看缓存管理程序。",
        epilog="Settings are in .env, see .env.example. 配置见 .env 和 .env.example。",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, text: str, run: Command) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    add(
        "start",
        "start in the background, return when it works 后台启动，就绪后返回",
        lambda root, _: client.start(root),
    )
    add("stop", "stop the daemon 停止", lambda root, _: client.stop(root))
    add("restart", "stop, then start 重启", lambda root, _: client.restart(root))
    status = add("status", "show how it is; exit code 0 running, 1 dead, 3 stopped, 4 unknown 查看状态", _status)
    status.add_argument("--json", action="store_true", help="for programs 输出 JSON")
    logs = add("logs", "show the log 查看日志", _logs)
    logs.add_argument("-n", "--lines", type=whole(0), default=20, metavar="N", help="last N lines (20) 最后 N 行")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as lines come 持续输出")
    run = add("run", "run in the foreground, as systemd does 前台运行（systemd 使用）", _run)
    # What Windows' start says to its run, and what makes a supervisor recognisable by its command line.
    run.add_argument("--cache-dir", help=argparse.SUPPRESS)
    run.add_argument("--report", action="store_true", help=argparse.SUPPRESS)
    return parser


def _run(root: Path, options: argparse.Namespace) -> int:
    return client.run(root, report=options.report)


def _status(root: Path, options: argparse.Namespace) -> int:
    status = look(files_in(str(config.cache_dir(root))))
    print(status.as_json() if options.json else status.as_text(chinese=config.prefers_chinese()))
    return status.exit_code


def _logs(root: Path, options: argparse.Namespace) -> int:
    path = files_in(str(config.cache_dir(root))).log
    try:
        file = open(path, "rb")  # noqa: SIM115 - follow goes on with its successors
    except OSError as error:
        raise DaemonError(said.LOG_NOT_READ(path=path, words=error.strerror or error)) from None
    out = sys.stdout.buffer
    with file:
        out.write(last_lines(file, max(options.lines, 0)))
        out.flush()
        if options.follow:
            for chunk in follow(path, file):
                out.write(chunk)
                out.flush()
    return 0
