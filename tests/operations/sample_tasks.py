"""Task functions for the tests: quick, slow, bad and deadly ones. ``note`` files tell how often each was run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from core.errors import TaskError
from core.tasks import Json, TaskContext
from operations.registry import task


def _note(path: str, line: str) -> None:
    # One write, at the end of the file whoever else writes: no line of two workers is ever mixed.
    with Path(path).open("a") as file:
        file.write(line + "\n")


@task("sample.nothing")
def nothing(_: TaskContext) -> Json:
    """Nothing."""


@task("sample.echo")
def echo(ctx: TaskContext, value: Json) -> Json:
    """Return what it is given."""
    return {"value": value, "task": ctx.task.id}


@task("sample.note")
def note(_: TaskContext, path: str, line: str) -> Json:
    """Append a line to a file."""
    _note(path, line)


@task("sample.work")
def work(ctx: TaskContext, path: str, seconds: float = 60) -> Json:
    """Work for some seconds, and say how far it is; notes each beginning and end."""
    _note(path, f"begin {ctx.task.id} {os.getpid()}")
    began = time.monotonic()
    while (spent := time.monotonic() - began) < seconds:
        half = "first half" if spent < seconds / 2 else "second half"
        ctx.progress(100 * spent / seconds, half, f"after {spent:.1f} s")
        time.sleep(0.01)
    _note(path, f"end {ctx.task.id} {os.getpid()}")
    return "worked"


@task("sample.deaf")
def deaf(ctx: TaskContext, path: str, seconds: float) -> Json:
    """Work without ever saying how far it is."""
    _note(path, f"begin {ctx.task.id} {os.getpid()}")
    time.sleep(seconds)
    return "worked"


@task("sample.wait")
def wait(ctx: TaskContext, begun: str, go: str, line: str = "") -> Json:
    """Note that it has begun; end when the file ``go`` exists."""
    _note(begun, line or ctx.task.id)
    while not Path(go).exists():
        ctx.progress(None, "waiting")
        time.sleep(0.01)
    return "went"


@task("sample.fail")
def fail(ctx: TaskContext, path: str) -> Json:
    """Fail, every time."""
    _note(path, f"attempt {ctx.task.attempts}")
    raise RuntimeError("poisoned")


@task("sample.refuse")
def refuse(ctx: TaskContext, path: str) -> Json:
    """Say that no attempt will ever help."""
    _note(path, f"attempt {ctx.task.attempts}")
    raise TaskError("that cannot be done at all")


@task("sample.strange")
def strange(_: TaskContext) -> Json:
    """Return what has no form in JSON."""
    return {1, 2}


@task("sample.deadly")
def deadly(_: TaskContext, path: str, times: int) -> Json:
    """Kill the worker itself, as the system does when memory ends, the first so many times."""
    _note(path, "begin")
    if Path(path).read_text().count("begin") <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@task("sample.odd")
def odd(ctx: TaskContext) -> Json:
    """Say what only a file's name can be."""
    for number in range(3):
        ctx.progress(10 * number, f"step {number}", "\udcff.png")
    return {"name": "\udcff.png"}
