"""The task that does nothing, for the embedded engine's workers and for RQ's."""

from __future__ import annotations

from core.tasks import TaskContext
from operations.registry import task


@task("benchmark.nothing")
def nothing(_: TaskContext) -> None:
    """Nothing."""


@task("benchmark.slow")
def slow(ctx: TaskContext) -> None:
    """Be killed."""
    import time

    while True:
        ctx.progress(None)
        time.sleep(0.01)


def nothing_for_rq() -> None:
    """Nothing."""
