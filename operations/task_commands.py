"""The commands about tasks: what they ask the engine, and how the answers look."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TextIO

from config import Settings
from core.errors import TaskError
from core.tasks import Json, Task, TaskEngine, TaskState, WorkerInfo
from operations.engines import open_engine

EXIT_OK, EXIT_FAILED = 0, 1


def run(options: argparse.Namespace, settings: Settings, out: TextIO) -> int:
    """Carry out one command; return its exit code. Raises StoreError and TaskError."""
    engine = open_engine(settings)
    try:
        return _run(options, engine, out)
    finally:
        engine.close()


def _run(options: argparse.Namespace, engine: TaskEngine, out: TextIO) -> int:
    if options.command == "workers":
        workers = engine.workers()
        _show([asdict(worker) for worker in workers], _workers(workers), out, as_json=options.json)
        return EXIT_OK
    if options.command == "queue":
        held = engine.queue_key(options.key)
        if held is None:
            raise TaskError(f"{options.key!r} is no key of the queue, or no such task is known 没有这个键或任务")
        lines = held if isinstance(held, list) else [f"{name}: {value}" for name, value in held.items()]
        _show(held, lines, out, as_json=options.json)
        return EXIT_OK
    if options.command == "tasks":
        page = engine.tasks(
            states=[TaskState(state) for state in options.state], user=options.user, name=options.name,
            batch=options.batch, cursor=options.cursor, limit=options.limit,
        )  # fmt: skip
        more = [f"more 更多: --cursor {page.next_cursor}"] if page.next_cursor else []
        document = {
            "tasks": [asdict(task) for task in page.tasks],
            "next_cursor": page.next_cursor,
            "counts": dict(page.counts),
        }
        _show(document, [*map(_line, page.tasks), *more], out, as_json=options.json)
        return EXIT_OK
    ask = {"task": engine.task, "cancel": engine.cancel, "retry": engine.retry}[options.command]
    task = ask(options.id)
    if task is None:
        raise TaskError(f"there is no task {options.id!r} 没有这个任务")
    _show(asdict(task), _details(task), out, as_json=options.json)
    return EXIT_FAILED if task.state is TaskState.FAILED and options.command == "task" else EXIT_OK


def _show(document: Json, lines: Iterable[str], out: TextIO, *, as_json: bool) -> None:
    if as_json:
        json.dump(document, out, ensure_ascii=False, indent=2)
        out.write("\n")
        return
    for line in lines:
        out.write(line + "\n")


def _workers(workers: Sequence[WorkerInfo]) -> list[str]:
    return [
        f"{worker.name}  {', '.join(worker.queues)}  done {worker.done}  "
        + (f"works on {worker.task}" if worker.task else "idle")
        for worker in workers
    ] or ["no worker runs 没有工作进程"]


def _line(task: Task) -> str:
    percent = "" if task.progress.percent is None else f"{task.progress.percent:3.0f} %"
    what = f"{task.id:>6}  {_clock(task.created_at)}  {task.state:<9}  {percent:>5}  {task.name}"
    return f"{what}  {task.user}  {task.error}".rstrip()


def _details(task: Task) -> list[str]:
    asked = ", asked to stop 已请求取消" if task.cancel_asked and not task.state.is_over else ""
    told = {
        "task 任务": task.id,
        "name 名称": task.name,
        "arguments 参数": json.dumps(dict(task.arguments), ensure_ascii=False),
        "user 用户": task.user,
        "queue 队列": f"{task.queue} ({task.priority})",
        "state 状态": f"{task.state}{asked}",
        "attempts 尝试": f"{task.attempts} / {task.max_attempts}",
        "created 创建": _clock(task.created_at),
        "started 开始": _clock(task.started_at),
        "ended 结束": _clock(task.ended_at),
        "worker 工作进程": task.worker,
        "step 步骤": task.progress.step,
        "progress 进度": "" if task.progress.percent is None else f"{task.progress.percent:.0f} %",
        "error 错误": task.error,
        "result 结果": "" if task.result is None else json.dumps(task.result, ensure_ascii=False),
    }
    return [f"{name}: {value}" for name, value in told.items() if value]


def _clock(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")
