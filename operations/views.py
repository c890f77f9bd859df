"""Operations as plain JSON values, in the shapes of the REST API, so that a command prints the same near and far.

Sizes are bytes, times ISO 8601 UTC. A test compares these with what the API answers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from core.listing import Availability, Backend, ListedEntry, ListingPage
from core.printable import printable
from core.tasks import Task, TaskPage, WorkerInfo
from operations.service import Stats

SYSTEM = "comfyui-cache-keeper"


def stats(found: Stats) -> dict[str, Any]:
    """Return totals over all targets, and each target's own."""
    return {
        "totalFiles": found.files,
        "totalSize": found.size_bytes,
        "maxSize": found.max_size_bytes,
        "counts": {kind.value: totals.entries for kind, totals in found.by_type.items()},
        "backends": [
            {
                "target": each.target, "type": each.type.value, "entries": each.entries, "files": each.files,
                "size": each.size_bytes, "indexed_at": moment(each.indexed_at), "error": printable(each.error),
            }
            for each in found.targets
        ],
        "indexed_at": moment(found.indexed_at),
    }  # fmt: skip


def details(found: ListingPage, *, page: int | None, page_size: int) -> dict[str, Any]:
    """Return a page of entries; ``page`` is None for one by cursor."""
    return {
        "items": [_entry(each) for each in found.items],
        "total": found.total,
        "page": page,
        "page_size": page_size,
        "next_cursor": found.next_cursor,
    }


def _entry(entry: ListedEntry) -> dict[str, Any]:
    return {
        "target": entry.target, "type": entry.type.value, "name": printable(entry.name), "size": entry.size_bytes,
        "files": entry.files, "created_at": moment(entry.created_at), "last_accessed": moment(entry.last_accessed),
    }  # fmt: skip


def backend_info(found: dict[str, tuple[Backend, Availability]]) -> dict[str, Any]:
    """Return what keeps the caches, and which of it can be used."""

    def available(kind: str) -> bool:
        return any(health.available for backend, health in found.values() if backend.type.value == kind)

    return {
        "system": SYSTEM,
        "primary_backend": "file",
        "fallback_enabled": True,
        "mongodb_available": available("mongodb"),
        "redis_available": available("redis"),
        "backends": [
            {
                "name": name, "type": backend.type.value, "family": backend.family.value,
                "available": health.available, "error": printable(health.error), "detail": dict(health.detail),
            }
            for name, (backend, health) in found.items()
        ],
    }  # fmt: skip


def task(found: Task) -> dict[str, Any]:
    """Return a task as it stands."""
    progress = found.progress
    return {
        "id": found.id,
        "name": found.name,
        "arguments": dict(found.arguments),
        "user": found.user,
        "queue": found.queue,
        "priority": found.priority.value,
        "state": found.state.value,
        "created_at": moment(found.created_at),
        "run_at": moment(found.run_at),
        "started_at": moment(found.started_at),
        "ended_at": moment(found.ended_at),
        "batch": found.batch,
        "attempts": found.attempts,
        "max_attempts": found.max_attempts,
        "worker": found.worker,
        "progress": {
            "percent": progress.percent, "step": progress.step, "message": progress.message,
            "elapsed_seconds": progress.elapsed_seconds, "remaining_seconds": progress.remaining_seconds,
            "updated_at": moment(progress.updated_at or None),
        },
        "result": found.result,
        "error": found.error,
        "cancel_asked": found.cancel_asked,
    }  # fmt: skip


def tasks(found: TaskPage) -> dict[str, Any]:
    """Return a page of tasks, newest first."""
    return {
        "items": [task(each) for each in found.tasks],
        "counts": {str(state): count for state, count in found.counts.items()},
        "next_cursor": found.next_cursor,
    }


def worker(found: WorkerInfo) -> dict[str, Any]:
    """Return a worker and its last heartbeat."""
    return {
        "name": found.name,
        "host": found.host,
        "pid": found.pid,
        "queues": list(found.queues),
        "started_at": moment(found.started_at),
        "seen_at": moment(found.seen_at),
        "task": found.task,
        "done": found.done,
    }


def moment(at: float | None) -> str | None:
    """Given UTC seconds, return ISO 8601; None for none, and for a time that no calendar has (a file may claim any)."""
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, OSError, ValueError):
        return None
