"""The operations on caches, as the API and the command line call them: reads from the index, acts by tasks.

Nothing here walks a disk or changes a cache. An act is checked, put on record and queued; a worker does it
(``operations/work.py``), and puts on record what it did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core import operation_phrases as say
from core.access import Caller, Role
from core.errors import BadRequest, NotFound, TaskStateError
from core.listing import (
    ALL_ENTRIES,
    AgeBand,
    Availability,
    Backend,
    DaySample,
    EntryQuery,
    EntryType,
    Listing,
    ListingPage,
    TargetTotals,
)
from core.tasks import Json, Priority, Task, TaskEngine, TaskQuery, TaskRequest, TaskState, host_queue
from operations.arguments import ALL, Known, checked_arguments, refuse_unknown_target
from operations.auditing import Auditor
from operations.health import HealthBoard


@dataclass(frozen=True)
class Kind:
    """One kind of operation: who may ask for it, whether it deletes, how often it is tried.

    All of them are about one machine, its disks or its fleet, and so wait in that machine's queue.
    """

    role: Role
    destructive: bool = False
    max_attempts: int = 3


KINDS: Mapping[str, Kind] = {
    "cleanup": Kind(Role.OPERATOR, destructive=True),
    "clear": Kind(Role.ADMIN, destructive=True),
    "refresh": Kind(Role.OPERATOR),
    # Tried once: the checker has its own back-off, and a second wish would pass over it.
    "warmup": Kind(Role.OPERATOR, max_attempts=1),
    "list_models": Kind(Role.OPERATOR),
    "verify_models": Kind(Role.OPERATOR),
    "remove_model": Kind(Role.ADMIN, destructive=True),
}


@dataclass(frozen=True)
class Totals:
    """Entries, files and bytes of one type."""

    entries: int
    files: int
    size_bytes: int


@dataclass(frozen=True)
class Stats:
    """What the index counts. ``max_size_bytes`` is the configured cap, None without one.

    ``indexed_at`` is the oldest of the targets' walks (UTC seconds), None while one has never been walked to its end.
    """

    files: int
    entries: int
    size_bytes: int
    max_size_bytes: int | None
    by_type: Mapping[EntryType, Totals]
    targets: tuple[TargetTotals, ...]
    indexed_at: float | None


class Operations:
    """One machine's operations. ``servers`` are the names of the fleet, ``host`` is this machine's queue.

    ``max_size_bytes`` is the cap over all caches. Safe to use from several threads, as its parts are.
    """

    def __init__(
        self,
        *,
        engine: TaskEngine,
        listing: Listing,
        auditor: Auditor,
        backends: Callable[[], Sequence[Backend]],
        servers: Callable[[], Sequence[str]],
        host: str,
        max_size_bytes: int | None,
    ) -> None:
        self.engine = engine
        self.auditor = auditor
        self._listing = listing
        self._backends = backends
        self._servers = servers
        self._host = host
        self._max_size_bytes = max_size_bytes
        self._health = HealthBoard()

    # -- reads: from memory and the index, never from a disk or a server -----------------------------------------

    def stats(self) -> Stats:
        """Return totals over all targets that are configured."""
        known = {each.target: each for each in self._listing.totals()}
        # One that was never walked is there too: what is not counted must not look as if it were not configured.
        targets = tuple(
            known.get(backend.name) or TargetTotals(backend.name, backend.type, 0, 0, 0) for backend in self._backends()
        )
        by_type: dict[EntryType, Totals] = {}
        for each in targets:
            old = by_type.get(each.type, Totals(0, 0, 0))
            by_type[each.type] = Totals(
                old.entries + each.entries, old.files + each.files, old.size_bytes + each.size_bytes
            )
        walked = [each.indexed_at for each in targets if each.indexed_at is not None]
        return Stats(
            files=sum(each.files for each in targets),
            entries=sum(each.entries for each in targets),
            size_bytes=sum(each.size_bytes for each in targets),
            max_size_bytes=self._max_size_bytes,
            by_type=by_type,
            targets=targets,
            indexed_at=min(walked) if walked and len(walked) == len(targets) else None,
        )

    def details(
        self, query: EntryQuery = ALL_ENTRIES, *, cursor: str = "", page: int = 1, page_size: int = 20
    ) -> ListingPage:
        """Return a page of entries; raises NotFound for a target that is not configured, BadCursor."""
        if query.target:
            refuse_unknown_target(query.target, self._names())
        return self._listing.page(query, cursor=cursor, page=page, page_size=page_size)

    def ages(self) -> tuple[AgeBand, ...]:
        """Return the sizes by age of each target, as its last walk found them."""
        return self._listing.ages()

    def samples(self, since_day: int) -> tuple[DaySample, ...]:
        """Return how large each target was, day by day; ``since_day`` counts from 1970-01-01 UTC."""
        return self._listing.samples(since_day)

    def availability(self) -> dict[str, tuple[Backend, Availability]]:
        """Return each backend by name with its health, at most some seconds old."""
        return {backend.name: (backend, health) for backend, health in self._health.look(self._backends())}

    def models(self) -> tuple[Json, float | None]:
        """Return what the last look at the model cache found, and when that was (UTC seconds)."""
        query = TaskQuery(states=(TaskState.DONE,), name="list_models")
        cursor, own = "", host_queue(self._host)
        while True:
            # On a queue of many machines the others look at theirs.
            page = self.engine.tasks(query, cursor=cursor)
            for task in page.tasks:
                if task.queue == own:
                    return task.result, task.ended_at
            cursor = page.next_cursor
            if not cursor:
                return None, None

    # -- acts: checked, on record, queued ------------------------------------------------------------------------

    def cleanup(
        self, caller: Caller, *, days: float | None = None, family: str = ALL, target: str = "", dry_run: bool = False
    ) -> Task:
        """Queue a cleanup of what is older than ``days``, or of what each target's own policy says (None).

        ``family`` is all, file, python, database or model; ``all`` leaves models out, which are only removed when
        they are asked for. Raises BadRequest, NotFound, StoreError.
        """
        return self.submit(caller, "cleanup", {"days": days, "family": family, "target": target, "dry_run": dry_run})

    def clear(self, caller: Caller, *, target: str, confirm: str, dry_run: bool = False) -> Task:
        """Queue the deletion of everything in one target, or with ``all`` in every one but the models.

        Raises NotConfirmed unless ``confirm`` is the target's name.
        """
        return self.submit(caller, "clear", {"target": target, "confirm": confirm, "dry_run": dry_run})

    def refresh(self, caller: Caller, *, target: str = "") -> Task:
        """Queue a walk that brings the index of one target, or of all, up to date."""
        return self.submit(caller, "refresh", {"target": target})

    def warmup(self, caller: Caller, *, servers: Sequence[str], set_name: str = "", force: bool = False) -> Task:
        """Queue a warm-up of servers, all of them where none is named; it is done when the cache shows the keys."""
        return self.submit(caller, "warmup", {"servers": list(servers), "set_name": set_name, "force": force})

    def submit(
        self,
        caller: Caller,
        name: str,
        arguments: Mapping[str, Any],
        *,
        priority: Priority = Priority.NORMAL,
        batch: str = "",
        schedule_key: str = "",
        host: str = "",
    ) -> Task:
        """Check an operation, put the wish for it on record, and queue it; when this returns it is durable.

        ``host`` is the machine whose disks it is about, empty for this one. Raises NotFound for an unknown operation,
        target, server or model, BadRequest for an argument that is not usable, StoreError when it can be neither
        recorded nor queued: then nothing will be done.
        """
        request = self.prepare(
            caller, name, arguments, priority=priority, batch=batch, schedule_key=schedule_key, host=host
        )
        kind = KINDS[name]
        with self.auditor.operation(
            caller, f"{name}.request", _subject(request.arguments), request.arguments, destructive=kind.destructive
        ) as record:
            task = self.engine.submit(request)
            record.effect = {"task": task.id}
        return task

    def submit_batch(
        self, caller: Caller, wishes: Sequence[tuple[str, Mapping[str, Any]]], batch: str
    ) -> tuple[Task, ...]:
        """Queue several operations as one batch, all or none; raises as ``submit`` does."""
        requests = [self.prepare(caller, name, arguments, batch=batch) for name, arguments in wishes]
        names = sorted({request.name for request in requests})
        destructive = any(KINDS[name].destructive for name in names)
        with self.auditor.operation(
            caller, "batch.request", batch, {"operations": names, "tasks": len(requests)}, destructive=destructive
        ) as record:
            tasks = self.engine.submit_batch(requests, batch)
            record.effect = {"tasks": [task.id for task in tasks]}
        return tasks

    def prepare(
        self,
        caller: Caller,
        name: str,
        arguments: Mapping[str, Any],
        *,
        priority: Priority = Priority.NORMAL,
        batch: str = "",
        schedule_key: str = "",
        host: str = "",
    ) -> TaskRequest:
        """Return the request that an operation becomes, with every argument checked and present."""
        kind = _kind(name)
        if host in ("", self._host):
            known = Known(self._names(), list(self._servers()))
        else:
            # What targets and servers another machine has, only its worker knows.
            known = Known(None, None)
            self._refuse_idle(host)
        checked = checked_arguments(name, arguments, known)
        return TaskRequest(
            name, checked, caller.user,
            queue=host_queue(host or self._host),
            priority=priority, max_attempts=kind.max_attempts, batch=batch, schedule_key=schedule_key,
            caller=caller.values(),
        )  # fmt: skip

    def role_for(self, name: str) -> Role:
        """Return the role that an operation needs; raises NotFound for one that there is not."""
        return _kind(name).role

    def cancel(self, caller: Caller, task_id: str) -> Task:
        """Cancel a queued task at once, or ask a running one to stop; raises NotFound, TaskStateError."""
        with self.auditor.operation(caller, "task.cancel", task_id, {}, destructive=False):
            task = self.engine.cancel(task_id)
            if task is None:
                raise NotFound(say.NO_TASK(task=task_id[:100]))
            if task.state in (TaskState.DONE, TaskState.FAILED):
                raise TaskStateError(say.NOTHING_TO_CANCEL(id=task_id, state=task.state))
        return task

    def retry(self, caller: Caller, task_id: str) -> Task:
        """Queue a failed or cancelled task again; raises NotFound, TaskStateError.

        Whoever calls has seen to it that this caller may ask for such a task (``role_for``).
        """
        old = self.engine.task(task_id)
        if old is None:
            raise NotFound(say.NO_TASK(task=task_id[:100]))
        destructive = old.name in KINDS and KINDS[old.name].destructive
        with self.auditor.operation(caller, "task.retry", task_id, {"operation": old.name}, destructive=destructive):
            task = self.engine.retry(task_id)
            if task is None:
                raise NotFound(say.NO_TASK(task=task_id[:100]))
        return task

    def _refuse_idle(self, host: str) -> None:
        """Raise BadRequest for a machine without a worker: its task would wait for nobody knows how long."""
        served = {queue for worker in self.engine.workers() for queue in worker.queues}
        if host_queue(host) not in served:
            known = sorted(queue.removeprefix("host:") for queue in served if queue.startswith("host:"))
            raise BadRequest("host", say.NO_WORKER(host=host[:200], known=", ".join(known) or "-"))

    def _names(self) -> list[str]:
        return [backend.name for backend in self._backends()]


def _subject(arguments: Mapping[str, Any]) -> str:
    """What an operation is about, in one word for the audit log's ``target``."""
    for name in ("target", "name", "family"):
        if arguments.get(name):
            return str(arguments[name])
    servers = arguments.get("servers")
    return ",".join(servers[:5]) + (f" and {len(servers) - 5} more" if len(servers) > 5 else "") if servers else ALL


def _kind(name: str) -> Kind:
    kind = KINDS.get(name)
    if kind is None:
        raise NotFound(say.NO_OPERATION(name=name[:100], known=", ".join(KINDS)))
    return kind
