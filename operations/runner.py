"""Runs one task: what every engine's worker calls."""

from __future__ import annotations

from core.tasks import Json, Task, TaskContext
from operations.registry import function_of


def run(task: Task, ctx: TaskContext) -> Json:
    """Run the task's function and return its result; whatever it raises is passed on.

    Raises TaskError for an unknown name and for arguments that the function does not take.
    """
    return function_of(task.name, task.arguments)(ctx, **task.arguments)
