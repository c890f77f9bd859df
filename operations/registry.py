"""The functions that tasks may name. Only what is registered here can be run, whoever writes into the queue."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from core import operation_phrases as say
from core.errors import TaskError
from core.tasks import Json

OWN_TASKS = "operations.work"
"""The module with this program's own tasks."""

TaskFunction = Callable[..., Json]
Function = TypeVar("Function", bound=TaskFunction)

_functions: dict[str, TaskFunction] = {}


def task(name: str) -> Callable[[Function], Function]:
    """Register ``function(ctx, **json_arguments) -> json_result`` under ``name``.

    It must be safe to run twice, and call ``ctx.progress`` often: that is how it is cancelled and how a worker ends.
    """

    def register(function: Function) -> Function:
        known = _functions.setdefault(name, function)
        if (known.__module__, known.__qualname__) != (function.__module__, function.__qualname__):
            raise ValueError(f"two functions want to be the task {name!r}")
        _functions[name] = function
        return function

    return register


def load(modules: Iterable[str] = ()) -> None:
    """Import the modules that register tasks: our own and the given ones. Raises TaskError for one that is missing."""
    if importlib.util.find_spec(OWN_TASKS) is not None:
        importlib.import_module(OWN_TASKS)
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise TaskError(say.NO_TASKS_MODULE(word=module, words=error)) from None


def names() -> list[str]:
    """Return the names of all registered tasks."""
    return sorted(_functions)


def function_of(name: str, arguments: Mapping[str, Json]) -> TaskFunction:
    """Return the function of a task; raises TaskError when there is none, or it does not take these arguments."""
    function = _functions.get(name)
    if function is None:
        raise TaskError(say.NO_TASK_FUNCTION(name=name, known=", ".join(names()) or "none"))
    try:
        inspect.signature(function).bind(None, **arguments)
    except TypeError as error:
        raise TaskError(say.TASK_REFUSES(word=name, words=error)) from None
    return function
