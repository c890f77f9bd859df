"""The shapes of the answers about caches and tasks. Sizes are bytes, times UTC, durations seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field

from api.envelope import moment
from core.listing import EntryType, ListedEntry, TargetTotals
from core.printable import printable
from core.tasks import Batch, Priority, Task, TaskPage, TaskState, WorkerInfo


class TargetData(BaseModel):
    """One target's totals, as the index knows them; ``indexed_at`` is null before the first walk."""

    target: str
    type: EntryType
    entries: int
    files: int
    size: int
    indexed_at: datetime | None
    error: str

    @classmethod
    def of(cls, totals: TargetTotals) -> TargetData:
        return cls(
            target=totals.target, type=totals.type, entries=totals.entries, files=totals.files, size=totals.size_bytes,
            indexed_at=moment(totals.indexed_at), error=printable(totals.error),
        )  # fmt: skip


class StatsData(BaseModel):
    """All targets together. ``maxSize`` is the configured cap, null without one; ``indexed_at`` is the oldest."""

    totalFiles: int
    totalSize: int
    maxSize: int | None
    counts: dict[str, int] = Field(description="entries by type", examples=[{"images": 8, "python": 120}])
    backends: list[TargetData]
    indexed_at: datetime | None


class EntryData(BaseModel):
    """One entry of a cache; ``last_accessed`` is null where the backend does not know."""

    target: str
    type: EntryType
    name: str
    size: int
    files: int
    created_at: datetime | None
    last_accessed: datetime | None

    @classmethod
    def of(cls, entry: ListedEntry) -> EntryData:
        return cls(
            target=entry.target, type=entry.type, name=printable(entry.name), size=entry.size_bytes, files=entry.files,
            created_at=moment(entry.created_at), last_accessed=moment(entry.last_accessed),
        )  # fmt: skip


class DetailsData(BaseModel):
    """A page of entries. ``next_cursor`` is empty at the end; ``page`` is null for a page by cursor."""

    items: list[EntryData]
    total: int
    page: int | None
    page_size: int
    next_cursor: str
    indexed_at: datetime | None


class BackendData(BaseModel):
    """One target's backend, and whether it could be used when it was last asked."""

    name: str
    type: EntryType
    family: str
    available: bool
    error: str
    detail: dict[str, str] = {}


class BackendInfoData(BaseModel):
    """What keeps the caches."""

    system: str
    primary_backend: str
    fallback_enabled: bool
    mongodb_available: bool
    redis_available: bool
    backends: list[BackendData]


class ProgressData(BaseModel):
    """How far a task is; ``percent`` is null while the whole is not known."""

    percent: float | None
    step: str
    message: str
    elapsed_seconds: float
    remaining_seconds: float | None
    updated_at: datetime | None


class TaskData(BaseModel):
    """A task as it stands; ``address`` is where to ask again."""

    id: str
    address: str
    name: str
    arguments: dict[str, Any]
    user: str
    queue: str
    priority: Priority
    state: TaskState
    created_at: datetime | None
    run_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    batch: str
    attempts: int
    max_attempts: int
    worker: str
    progress: ProgressData
    result: Any
    error: str
    cancel_asked: bool

    @classmethod
    def of(cls, task: Task) -> TaskData:
        progress = task.progress
        return cls(
            id=task.id, address=address_of(task.id), name=task.name, arguments=dict(task.arguments), user=task.user,
            queue=task.queue, priority=task.priority, state=task.state, created_at=moment(task.created_at),
            run_at=moment(task.run_at), started_at=moment(task.started_at), ended_at=moment(task.ended_at),
            batch=task.batch, attempts=task.attempts, max_attempts=task.max_attempts, worker=task.worker,
            progress=ProgressData(
                percent=progress.percent, step=progress.step, message=progress.message,
                elapsed_seconds=progress.elapsed_seconds, remaining_seconds=progress.remaining_seconds,
                updated_at=moment(progress.updated_at or None),
            ),
            result=task.result, error=task.error, cancel_asked=task.cancel_asked,
        )  # fmt: skip


class TroubleData(BaseModel):
    """What was skipped or failed: counted by reason, with the first ones by name."""

    total: int = 0
    counts: dict[str, int] = {}
    first: list[dict[str, str]] = []

    @classmethod
    def together(cls, several: Iterable[Mapping[str, Any]]) -> TroubleData:
        whole = cls()
        for each in several:
            whole.total += each.get("total", 0)
            for reason, count in each.get("counts", {}).items():
                whole.counts[reason] = whole.counts.get(reason, 0) + count
            whole.first += each.get("first", ())
        return whole


class CleaningData(BaseModel):
    """A cleanup or a clearing: its task, and what it did once that is ``done``; the numbers are null before.

    In a dry run the numbers are what a run would do. ``effects`` has one report for each target.
    """

    task_id: str
    address: str
    state: TaskState
    dry_run: bool
    deleted_files: int | None = None
    deleted_dirs: int | None = None
    deleted_entries: int | None = None
    freed_bytes: int | None = None
    skipped: TroubleData | None = None
    failed: TroubleData | None = None
    effects: list[dict[str, Any]] = []

    @classmethod
    def of(cls, task: Task, *, dry_run: bool) -> CleaningData:
        data = cls(task_id=task.id, address=address_of(task.id), state=task.state, dry_run=dry_run)
        if task.state is TaskState.DONE and isinstance(task.result, Mapping):
            effects = task.result.get("effects", [])
            data.deleted_files = task.result.get("deleted_files", 0)
            data.deleted_dirs = task.result.get("deleted_dirs", 0)
            data.deleted_entries = task.result.get("deleted_entries", 0)
            data.freed_bytes = task.result.get("freed_bytes", 0)
            data.skipped = TroubleData.together(each.get("skipped", {}) for each in effects)
            data.failed = TroubleData.together(each.get("failed", {}) for each in effects)
            data.effects = effects
        return data


class TaskListData(BaseModel):
    """A page of tasks, newest first, with the number of all that match, by state."""

    items: list[TaskData]
    counts: dict[str, int]
    next_cursor: str


class BatchData(BaseModel):
    """One progress for all tasks of a batch, and a page of them; what is over counts whole, however it ended."""

    batch: str
    percent: float
    total: int
    is_over: bool
    counts: dict[str, int]
    items: list[TaskData]
    next_cursor: str

    @classmethod
    def of(cls, batch: Batch, page: TaskPage) -> BatchData:
        return cls(
            batch=batch.id, percent=round(batch.percent, 1), total=len(batch.task_ids), is_over=batch.is_over,
            counts=dict(batch.counts), items=[TaskData.of(each) for each in page.tasks], next_cursor=page.next_cursor,
        )  # fmt: skip


class WorkerData(BaseModel):
    """A worker process and its last heartbeat; ``task`` is empty while it is idle."""

    name: str
    host: str
    pid: int
    queues: list[str]
    started_at: datetime | None
    seen_at: datetime | None
    task: str
    done: int

    @classmethod
    def of(cls, worker: WorkerInfo) -> WorkerData:
        return cls(
            name=worker.name, host=worker.host, pid=worker.pid, queues=list(worker.queues),
            started_at=moment(worker.started_at), seen_at=moment(worker.seen_at), task=worker.task, done=worker.done,
        )  # fmt: skip


QueueValue = list[str] | dict[str, Any]
"""What one of the guide's key names holds: task ids, or a task's progress."""


class ModelsData(BaseModel):
    """The models as the last look found them; ``looked_at`` is null before the first."""

    models: list[dict[str, Any]] = []
    disk_bytes: int = 0
    disks: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    looked_at: datetime | None


def batch_address(batch: str) -> str:
    """Return the path of a batch."""
    return f"/api/cache/batches/{quote(batch, safe='')}"


def address_of(task_id: str) -> str:
    """Return the path of a task."""
    return f"/api/cache/operations/{task_id}"
