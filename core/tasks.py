"""Tasks: what is asked for, how it stands, and what an engine that keeps them can do.

    queued ──► running ──► done
      ▲           │ ├────► failed      dead letter: its attempts are used up; ``retry`` queues it again
      │           │ └────► cancelled   asked for while it ran; a queued task is cancelled at once
      └───────────┘ failed once with attempts left, its worker died, or its worker was told to end

Delivery is *at least once*: a worker may be killed after the work and before the note of it, so every task is safe
to run twice. Times are seconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

Json = Any
"""Whatever ``json.dumps`` takes."""

DEFAULT_QUEUE = "default"

HOST_QUEUE_PREFIX = "host:"

RETRY_SECONDS = 1.0
"""Pause before a task's second attempt; it doubles with each further one."""

MAX_RETRY_SECONDS = 300.0


class TaskState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in (TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED)


class Priority(StrEnum):
    """A person waits for ``high``; ``low`` is upkeep that nobody waits for."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True)
class TaskRequest:
    """One piece of work to be queued.

    ``name`` is a function of the registry, ``arguments`` its JSON arguments. ``queue`` is ``default`` or
    ``host:<name>`` for work that only one machine can do. ``schedule_key`` makes it unique for ever, e.g.
    ``refresh@2026-11-23T02:00``: a second request with the same key is the first one's task. ``caller`` is
    ``core.access.Caller`` as plain values, for the audit records that the worker writes.
    """

    name: str
    arguments: Mapping[str, Json]
    user: str
    queue: str = DEFAULT_QUEUE
    priority: Priority = Priority.NORMAL
    run_at: float | None = None
    max_attempts: int = 3
    batch: str = ""
    schedule_key: str = ""
    caller: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far a task is. ``percent`` is 0–100, None while the whole is not known; times are in seconds."""

    percent: float | None = None
    step: str = ""
    message: str = ""
    elapsed_seconds: float = 0.0
    remaining_seconds: float | None = None
    updated_at: float = 0.0


@dataclass(frozen=True)
class Task:
    """A task as it stands. ``worker`` is who runs it, or ran it last; ``error`` why the last attempt failed."""

    id: str
    name: str
    arguments: Mapping[str, Json]
    user: str
    queue: str
    priority: Priority
    state: TaskState
    created_at: float
    run_at: float
    batch: str = ""
    attempts: int = 0
    max_attempts: int = 3
    started_at: float | None = None
    ended_at: float | None = None
    worker: str = ""
    progress: Progress = Progress()
    result: Json = None
    error: str = ""
    cancel_asked: bool = False
    caller: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerInfo:
    """A worker process and its last heartbeat; ``task`` is what it works on, empty while idle."""

    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    started_at: float
    seen_at: float
    task: str = ""
    done: int = 0


@dataclass(frozen=True)
class TaskQuery:
    """Which tasks are meant; an empty field matches all."""

    states: Collection[TaskState] = ()
    user: str = ""
    name: str = ""
    batch: str = ""


ALL_TASKS = TaskQuery()


@dataclass(frozen=True)
class TaskPage:
    """Tasks, newest first. ``next_cursor`` continues after the last one, empty at the end."""

    tasks: tuple[Task, ...]
    next_cursor: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Batch:
    """Tasks that were queued together, as one: ``counts`` by state, ``percent`` 0–100 of them all."""

    id: str
    counts: Mapping[str, int]
    percent: float
    task_ids: tuple[str, ...]

    @property
    def is_over(self) -> bool:
        return all(TaskState(state).is_over for state, count in self.counts.items() if count)


def host_queue(name: str) -> str:
    """Return the queue of the one machine called ``name``."""
    return f"{HOST_QUEUE_PREFIX}{name}"


def retry_delay_seconds(attempts: int, first_seconds: float = RETRY_SECONDS) -> float:
    """Return the pause after so many failed attempts: 1, 2, 4 … times the first, up to the most."""
    return float(min(first_seconds * 2.0 ** min(max(attempts - 1, 0), 30), MAX_RETRY_SECONDS))


def remaining_seconds(percent: float | None, elapsed_seconds: float) -> float | None:
    """Return how long the rest takes at the pace so far, None while there is no pace to go by."""
    if not percent:
        return None
    return elapsed_seconds * (100 - percent) / percent


def batch_of(batch: str, tasks: Sequence[tuple[str, TaskState, float | None]]) -> Batch | None:
    """Given (id, state, percent) of a batch's tasks, return the batch; None when there are none.

    What is over counts whole, whether it went well or not: nothing more comes of it.
    """
    if not tasks:
        return None
    counts = {state.value: 0 for state in TaskState}
    for _, state, _ in tasks:
        counts[state.value] += 1
    parts = [100.0 if state.is_over else percent or 0.0 for _, state, percent in tasks]
    return Batch(batch, counts, sum(parts) / len(parts), tuple(task_id for task_id, _, _ in tasks))


def progress_document(task: Task, steps: Sequence[str]) -> dict[str, Json]:
    """Return what the guide's ``task:{id}:progress`` holds. ``steps`` are the steps so far, the present one last."""
    last = "completed" if task.state is TaskState.DONE else task.state.value
    return {
        "task_id": task.id,
        "status": task.state.value,
        "progress": task.progress.percent,
        "current_step": task.progress.step,
        "message": task.progress.message or task.error,
        "elapsed_time": round(task.progress.elapsed_seconds, 3),
        "remaining_time": task.progress.remaining_seconds,
        "steps": [
            {"name": step, "status": "completed" if place < len(steps) else last}
            for place, step in enumerate(steps, start=1)
        ],
        "updated_at": task.progress.updated_at,
    }


class TaskContext(Protocol):
    """What a running task has of its surroundings."""

    @property
    def task(self) -> Task: ...

    def progress(self, percent: float | None, step: str = "", message: str = "") -> None:
        """Say how far it is; cheap, so call it often.

        Raises TaskCancelled once somebody has cancelled it, TaskInterrupted when the worker is to end: let it pass.
        """


Runner = Callable[[Task, TaskContext], Json]
"""Runs one task and returns its result; whatever it raises fails the attempt, a TaskError the task for good."""


class TaskEngine(Protocol):
    """Keeps tasks and hands them to workers. Every engine passes the contract suite in ``tests/operations/``.

    Methods raise StoreError when the engine's store cannot be read or written; nothing is then half done.
    """

    def submit(self, request: TaskRequest) -> Task:
        """Queue a task; when this returns it is durable. Raises TaskError for arguments that are not JSON."""

    def submit_batch(self, requests: Sequence[TaskRequest], batch: str) -> tuple[Task, ...]:
        """Queue several tasks as one batch, all or none."""

    def task(self, task_id: str) -> Task | None: ...

    def tasks(self, query: TaskQuery = ALL_TASKS, *, cursor: str = "", limit: int = 50) -> TaskPage:
        """Return a page of what matches. Raises BadCursor.

        ``counts`` has every state, and counts what matches the query without its ``states``.
        """

    def cancel(self, task_id: str) -> Task | None:
        """Cancel a queued task at once, ask a running one to stop; None when there is no such task."""

    def retry(self, task_id: str) -> Task | None:
        """Queue a failed or cancelled task again with fresh attempts; None when there is no such task.

        Raises TaskStateError for one that is queued, running or done.
        """

    def batch(self, batch: str) -> Batch | None:
        """Return a batch with its one progress, None when no task of it is known."""

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return the workers with a live heartbeat."""

    def queue_key(self, key: str) -> Json:
        """Return what the guide's key name holds, None for a name that is none of them or an unknown task.

        ``global:pending`` and ``user:{id}:pending`` are lists of task ids, next first; ``user:{id}:processing`` and
        ``batch:{id}:tasks`` are sets, given as sorted lists; ``task:{id}:progress`` is ``progress_document``.
        """

    def forget_before(self, at: float) -> int:
        """Delete tasks that ended before ``at``; return how many."""

    def close(self) -> None: ...
