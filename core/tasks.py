"""Tasks: what is asked for, how it stands, and what an engine that keeps them can do.

    queued ──► running ──► done
      ▲           │ ├────► failed      dead letter: its attempts are used up; ``retry`` queues it again
      │           │ └────► cancelled   asked for while it ran; a queued task is cancelled at once
      └───────────┘ failed once with attempts left, or its worker died

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
class TaskPage:
    """Tasks, newest first. ``next_cursor`` continues after the last one, empty at the end."""

    tasks: tuple[Task, ...]
    next_cursor: str
    counts: Mapping[str, int]


class TaskContext(Protocol):
    """What a running task has of its surroundings."""

    @property
    def task(self) -> Task: ...

    def progress(self, percent: float | None, step: str = "", message: str = "") -> None:
        """Say how far it is; cheap, so call it often. Raises TaskCancelled once somebody has cancelled it."""


Runner = Callable[[Task, TaskContext], Json]
"""Runs one task and returns its result; whatever it raises fails the attempt."""


class TaskEngine(Protocol):
    """Keeps tasks and hands them to workers. Every engine passes the contract suite in ``tests/operations/``.

    Methods raise StoreError when the engine's store cannot be read or written; nothing is then half done.
    """

    def submit(self, request: TaskRequest) -> Task:
        """Queue a task; when this returns it is durable."""

    def submit_batch(self, requests: Sequence[TaskRequest], batch: str) -> tuple[Task, ...]:
        """Queue several tasks as one batch, all or none."""

    def task(self, task_id: str) -> Task | None: ...

    def tasks(
        self,
        *,
        states: Collection[TaskState] = (),
        user: str = "",
        name: str = "",
        batch: str = "",
        cursor: str = "",
        limit: int = 50,
    ) -> TaskPage:
        """Return a page of what matches; an empty filter matches everything."""

    def cancel(self, task_id: str) -> Task | None:
        """Cancel a queued task at once, ask a running one to stop; None when there is no such task."""

    def retry(self, task_id: str) -> Task | None:
        """Queue a failed or cancelled task again with fresh attempts; None when there is no such task.

        Raises TaskStateError for one that is queued, running or done.
        """

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return the workers with a live heartbeat."""

    def queue_key(self, key: str) -> Json:
        """Return what the guide's key name holds (``global:pending`` …), None for a name that is none of them."""

    def forget_before(self, at: float) -> int:
        """Delete tasks that ended before ``at``; return how many."""

    def close(self) -> None: ...
