"""What ``python -m operations`` can be asked. Each group of commands is added by a function of its own."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from core.tasks import TaskState

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m operations``."""
    top = argparse.ArgumentParser(
        prog="python -m operations",
        description="Cache operations and the tasks that do them. 缓存操作及其任务。",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_task_commands(commands)
    return top


def add(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    """Add a command that can answer for programs too."""
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("--json", action="store_true", help="for programs / 输出 JSON")
    return command


def add_task_commands(commands: Commands) -> None:
    """Add the commands about tasks and those who run them."""
    text = "run queued tasks until told to end / 运行队列中的任务"
    worker = commands.add_parser("worker", help=text, description=text)
    worker.add_argument(
        "--host-queue", metavar="NAME", default="", help="this machine's name among many (HOST_QUEUE) / 本机队列名称"
    )
    worker.add_argument("--queue", metavar="Q", action="append", default=[], help="one more queue / 额外的队列")
    worker.add_argument(
        "--tasks", metavar="MODULE", action="append", default=[],
        help="a Python module with more task functions / 额外的任务函数模块",
    )  # fmt: skip
    worker.add_argument("--leash", action="store_true", help="end when stdin ends / 标准输入关闭时退出")
    worker.add_argument(
        "--lease", type=_seconds, metavar="SECONDS",
        help="after which a silent worker loses its task (30) / 工作进程失联多少秒后任务被接管",
    )  # fmt: skip
    worker.add_argument(
        "--retry-after", type=_seconds, metavar="SECONDS",
        help="before a second attempt; doubles each time (1) / 首次重试前等待的秒数，之后每次加倍",
    )  # fmt: skip
    add(commands, "workers", "who runs tasks now / 查看工作进程")
    queue = add(commands, "queue", "what a key of the queue holds / 查看队列键")
    queue.add_argument(
        "key", metavar="KEY",
        help="global:pending, user:U:pending, user:U:processing, batch:B:tasks, task:ID:progress / 键名",
    )  # fmt: skip
    tasks = add(commands, "tasks", "list tasks, newest first / 列出任务")
    tasks.add_argument(
        "--state", action="append", default=[], choices=[state.value for state in TaskState], help="only these / 状态"
    )
    tasks.add_argument("--user", default="", metavar="U", help="only this user's / 用户")
    tasks.add_argument("--name", default="", metavar="N", help="only of this name / 任务名称")
    tasks.add_argument("--batch", default="", metavar="B", help="only of this batch / 批次")
    tasks.add_argument("--cursor", default="", metavar="C", help="go on after a page / 从上一页继续")
    tasks.add_argument("--limit", type=_count, default=50, metavar="N", help="tasks of a page (50) / 每页数量")
    for name, text in (
        ("task", "show one task / 查看任务"),
        ("cancel", "cancel a queued task, ask a running one to stop / 取消任务"),
        ("retry", "run a failed or cancelled task again / 重新运行失败或已取消的任务"),
    ):
        add(commands, name, text).add_argument("id", metavar="ID")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0.01 <= seconds <= 86400:
        raise argparse.ArgumentTypeError("must be seconds from 0.01 to 86400")
    return seconds


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= 1000:
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 1000")
    return int(text)
