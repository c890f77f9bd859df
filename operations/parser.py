"""The arguments of ``python -m operations``."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from core.listing import LAST_PAGE, EntryType, Family, Sort
from core.tasks import TaskState
from core.typed import number, whole
from operations.audit_cli import add_parser as add_audit

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

LONGEST_WAIT_SECONDS = 3600.0


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    cli = argparse.ArgumentParser(
        prog="python -m operations",
        description="See, clean and re-index all caches; every operation is a task, and on record. "
        "查看、清理和重建索引所有缓存；每个操作都是任务，并记入审计日志。",
        epilog="exit code: 0 done, 1 failed or refused, 2 bad usage, 75 not over yet, 77 not allowed, 78 settings / "
        "退出码：0 完成，1 失败或被拒绝，2 用法错误，75 尚未结束，77 无权限，78 配置错误",
    )
    cli.add_argument(
        "--url", metavar="URL",
        help="a daemon elsewhere, with a token in API_TOKEN; default: this machine / "
        "其他机器上的守护进程，令牌放在 API_TOKEN",
    )  # fmt: skip
    commands = cli.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_looks(commands)
    _add_acts(commands)
    _add_tasks(commands)
    audit = add_audit(commands)
    _add_worker(commands)
    for command in (*commands.choices.values(), *audit.choices.values()):
        # After the command too, where people type it; left out there, it is what stood before.
        command.add_argument("--url", metavar="URL", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return cli


def add(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    """Add a command whose help and description are one line in both languages."""
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("--json", action="store_true", help="JSON on stdout, sizes in bytes / 以 JSON 输出，单位字节")
    return command


def _add_looks(commands: Commands) -> None:
    add(commands, "stats", "files, bytes and types in all caches / 缓存统计")
    details = add(commands, "details", "the entries, page by page / 缓存详情，分页")
    details.add_argument("--type", default="", choices=[each.value for each in EntryType], help="of this type / 类型")
    details.add_argument("--target", default="", help="of this target / 目标")
    details.add_argument("--sort", default=Sort.NEWEST.value, choices=[each.value for each in Sort],
                         help="order; a leading - is descending: --sort=-size / 排序，前缀 - 表示降序")  # fmt: skip
    details.add_argument("--page", type=whole(1, LAST_PAGE), default=1, help="page, from 1 / 页码")
    details.add_argument("--page-size", type=whole(1, 100), default=20, help="1-100 / 每页条数")
    details.add_argument("--cursor", default="", help="go on after the last page / 从上一页之后继续")
    add(commands, "backend-info", "which backends there are, and whether they answer / 缓存后端信息")


def _add_acts(commands: Commands) -> None:
    cleanup = add(commands, "cleanup", "delete what has expired / 清理过期缓存")
    cleanup.add_argument(
        "--days",
        type=number(0),
        metavar="N",
        help="older than N days, 1-365; default: each target's own policy / 清理多少天前的缓存；默认按各目标策略",
    )
    cleanup.add_argument(
        "--type",
        default="all",
        choices=["all", *(each.value for each in Family)],
        help="all leaves models out / 清理类型；all 不包括模型",
    )
    cleanup.add_argument("--target", default="", help="only this target / 只处理该目标")
    cleanup.add_argument("--dry-run", action="store_true", help="show what would go, and why / 试运行，只预览")
    cleanup.add_argument("--stats", action="store_true", help="only show what there is / 只显示统计信息，不清理")
    _add_waiting(cleanup)
    clear = add(commands, "clear", "delete everything in a target / 清空一个目标")
    clear.add_argument("--target", required=True, help="the target's name, or all / 目标名称，或 all")
    clear.add_argument("--confirm", default="", metavar="NAME", help="the same name once more / 再次输入目标名称以确认")
    clear.add_argument("--dry-run", action="store_true", help="show what would go / 试运行，只预览")
    _add_waiting(clear)
    refresh = add(commands, "refresh", "walk the caches and bring the index up to date / 刷新索引")
    refresh.add_argument("--target", default="", help="only this target / 只处理该目标")
    _add_waiting(refresh)
    warmup = add(commands, "warmup", "warm servers through the daemon, until the cache shows it / 预热服务器")
    warmup.add_argument("servers", nargs="*", metavar="SERVER", help="names; all where none is given / 服务器名称")
    warmup.add_argument("--set", help="only this warm-up set / 只预热该预热集")
    warmup.add_argument("--force", action="store_true", help="also what is loaded / 已加载的也重新预热")
    _add_waiting(warmup)


def _add_tasks(commands: Commands) -> None:
    tasks = add(commands, "tasks", "queued, running and ended tasks, newest first / 任务列表")
    tasks.add_argument("--state", action="append", default=[], choices=[each.value for each in TaskState],
                       help="in this state, may be repeated / 状态，可重复")  # fmt: skip
    tasks.add_argument("--user", default="", help="of this user / 用户")
    tasks.add_argument("--name", default="", help="of this name / 任务名称")
    tasks.add_argument("--batch", default="", help="of this batch / 批次")
    tasks.add_argument("--cursor", default="", help="go on after the last page / 从上一页之后继续")
    tasks.add_argument("--limit", type=whole(1, 500), default=50, help="rows / 条数")
    task = add(commands, "task", "one task with its progress and result / 查看一个任务")
    task.add_argument("id")
    task.add_argument("--wait", action="store_true", help="follow it to its end / 等待其结束")
    _add_timeout(task)
    cancel = add(commands, "cancel", "cancel a task / 取消任务")
    cancel.add_argument("id")
    retry = add(commands, "retry", "queue a failed or cancelled task again / 重试失败或已取消的任务")
    retry.add_argument("id")
    retry.add_argument("--wait", action="store_true", help="follow it to its end / 等待其结束")
    _add_timeout(retry)
    queue = add(commands, "queue", "what a key of the queue holds: global:pending, user:ID:pending … / 查看队列键")
    queue.add_argument("key", nargs="?", default="global:pending")
    add(commands, "workers", "the worker processes that are alive / 工作进程")


def _add_worker(commands: Commands) -> None:
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
    worker.add_argument(
        "--only", metavar="ID", default="",
        help="run no other task than this one; for the queue in CACHE_DIR / 只执行该任务；仅用于 CACHE_DIR 中的队列",
    )  # fmt: skip
    worker.add_argument("--leash", action="store_true", help="end when stdin ends / 标准输入关闭时退出")
    worker.add_argument(
        "--lease", type=number(0.01, 86400), metavar="SECONDS",
        help="after which a silent worker loses its task (30) / 工作进程失联多少秒后任务被接管",
    )  # fmt: skip
    worker.add_argument(
        "--retry-after", type=number(0.01, 86400), metavar="SECONDS",
        help="before a second attempt; doubles each time (1) / 首次重试前等待的秒数，之后每次加倍",
    )  # fmt: skip


def _add_waiting(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--host", default="", metavar="NAME",
        help="do it on another machine of QUEUE_URL, by its HOST_QUEUE / 在同一队列的其他机器上执行",
    )  # fmt: skip
    command.add_argument("--no-wait", action="store_true", help="queue it and return at once / 入队后立即返回")
    _add_timeout(command)


def _add_timeout(command: argparse.ArgumentParser) -> None:
    command.add_argument("--timeout", type=number(0), default=LONGEST_WAIT_SECONDS, metavar="SECONDS",
                         help="follow it for so long, then leave it to itself / 最长等待秒数")  # fmt: skip
