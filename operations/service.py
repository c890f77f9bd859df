"""The operations on caches, as the API and the command line call them: reads from the index, acts by tasks.

Nothing here walks a disk or changes a cache. An act is checked, put on record and queued; a worker does it
(``operations/work.py``), and puts on record what it did.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.access import Caller, Role
from core.errors import BadRequest, NotConfirmed, NotFound, TaskError
from core.listing import (
    AgeBand,
    Availability,
    Backend,
    DaySample,
    EntryType,
    Family,
    Listing,
    ListingPage,
    Sort,
    TargetTotals,
)
from core.tasks import Json, Priority, Task, TaskEngine, TaskRequest, TaskState
from operations.auditing import Auditor
from operations.health import HealthBoard

ALL = "all"
LEAST_DAYS, MOST_DAYS = 1.0, 365.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.01, 0.25


@dataclass(frozen=True)
class Kind:
    """One kind of operation: who may ask for it, whether it deletes, where it must run, how often it is tried."""

    role: Role
    destructive: bool = False
    needs_own_disk: bool = True
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
        names = {backend.name for backend in self._backends()}
        targets = tuple(each for each in self._listing.totals() if each.target in names)
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
            indexed_at=min(walked) if walked and len(walked) == len(names) else None,
        )

    def details(
        self,
        *,
        type: EntryType | None = None,
        target: str = "",
        sort: Sort = Sort.NEWEST,
        cursor: str = "",
        page: int = 1,
        page_size: int = 20,
    ) -> ListingPage:
        """Return a page of entries; raises NotFound for a target that is not configured, BadCursor."""
        if target:
            self._refuse_unknown(target)
        types = () if type is None else (type,)
        return self._listing.page(types=types, target=target, sort=sort, cursor=cursor, page=page, page_size=page_size)

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
        page = self.engine.tasks(name="list_models", states=(TaskState.DONE,), limit=1)
        return (page.tasks[0].result, page.tasks[0].ended_at) if page.tasks else (None, None)

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
    ) -> Task:
        """Check an operation, put the wish for it on record, and queue it; when this returns it is durable.

        Raises NotFound for an unknown operation, target, server or model, BadRequest for an argument that is not
        usable, StoreError when it can be neither recorded nor queued: then nothing will be done.
        """
        request = self.prepare(caller, name, arguments, priority=priority, batch=batch, schedule_key=schedule_key)
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
    ) -> TaskRequest:
        """Return the request that an operation becomes, with every argument checked and present."""
        kind = _kind(name)
        checked = self._checked(name, dict(arguments))
        return TaskRequest(
            name, checked, caller.user,
            queue=f"host:{self._host}" if kind.needs_own_disk else "default",
            priority=priority, max_attempts=kind.max_attempts, batch=batch, schedule_key=schedule_key,
            caller=caller.values(),
        )  # fmt: skip

    def role_for(self, name: str) -> Role:
        """Return the role that an operation needs; raises NotFound for one that there is not."""
        return _kind(name).role

    def cancel(self, caller: Caller, task_id: str) -> Task:
        """Cancel a queued task at once, or ask a running one to stop; raises NotFound."""
        with self.auditor.operation(caller, "task.cancel", task_id, {}, destructive=False):
            task = self.engine.cancel(task_id)
            if task is None:
                raise NotFound(f"there is no task {task_id[:100]!r}")
        return task

    def retry(self, caller: Caller, task_id: str) -> Task:
        """Queue a failed or cancelled task again; raises NotFound, TaskStateError, BadRequest for one that this caller
        could not have asked for.
        """
        old = self.engine.task(task_id)
        if old is None:
            raise NotFound(f"there is no task {task_id[:100]!r}")
        destructive = old.name in KINDS and KINDS[old.name].destructive
        with self.auditor.operation(caller, "task.retry", task_id, {"operation": old.name}, destructive=destructive):
            task = self.engine.retry(task_id)
            if task is None:
                raise NotFound(f"there is no task {task_id[:100]!r}")
        return task

    def wait(self, task_id: str, seconds: float, watch: Callable[[Task], None] | None = None) -> Task:
        """Block until the task is over, for at most ``seconds``; return it as it then stands.

        ``watch`` is called with the task at every look.
        """
        deadline, pause = time.monotonic() + seconds, _FIRST_WAIT_SECONDS
        while True:
            task = self.engine.task(task_id)
            if task is None:
                raise NotFound(f"there is no task {task_id[:100]!r}")
            if watch is not None:
                watch(task)
            left = deadline - time.monotonic()
            if task.state.is_over or left <= 0:
                return task
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_WAIT_SECONDS)

    # -- arguments -----------------------------------------------------------------------------------------------

    def _checked(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        checks: dict[str, Callable[[_Arguments], dict[str, Any]]] = {
            "cleanup": self._for_cleanup,
            "clear": self._for_clear,
            "refresh": lambda take: {"target": self._known_or_empty(take.text("target"))},
            "warmup": self._for_warmup,
            "list_models": lambda _: {},
            "verify_models": lambda take: {"name": take.text("name"), "full": take.flag("full")},
            "remove_model": self._for_remove_model,
        }
        take = _Arguments(given)
        found = checks[name](take)
        take.refuse_rest()
        return found

    def _for_cleanup(self, take: _Arguments) -> dict[str, Any]:
        days, family, target = (
            take.number("days", LEAST_DAYS, MOST_DAYS),
            take.text("family") or ALL,
            take.text("target"),
        )
        families = [ALL, *(each.value for each in Family)]
        if family not in families:
            raise BadRequest("family", f"family must be one of {', '.join(families)}")
        return {
            "days": days, "family": family, "target": self._known_or_empty(target), "dry_run": take.flag("dry_run"),
        }  # fmt: skip

    def _for_clear(self, take: _Arguments) -> dict[str, Any]:
        target, confirm, dry_run = take.text("target"), take.text("confirm"), take.flag("dry_run")
        if not target:
            raise BadRequest("target", f"target is needed: one of {', '.join([*self._names(), ALL])}")
        if target != ALL:
            self._refuse_unknown(target)
        if confirm != target and not dry_run:
            raise NotConfirmed("confirm", f"confirm must be the target's own name, {target!r}")
        return {"target": target, "dry_run": dry_run}

    def _for_warmup(self, take: _Arguments) -> dict[str, Any]:
        servers, known = take.texts("servers"), list(self._servers())
        if unknown := [name for name in servers if name not in set(known)]:
            raise NotFound(f"there is no server {unknown[0][:200]!r}; GET /api/status lists them")
        return {"servers": servers or known, "set_name": take.text("set_name"), "force": take.flag("force")}

    @staticmethod
    def _for_remove_model(take: _Arguments) -> dict[str, Any]:
        name, confirm = take.text("name"), take.text("confirm")
        if not name:
            raise BadRequest("name", "name is needed: the model's own, as GET /api/models lists it")
        if confirm != name:
            raise NotConfirmed("confirm", f"confirm must be the model's own name, {name!r}")
        return {"name": name}

    def _known_or_empty(self, target: str) -> str:
        if target:
            self._refuse_unknown(target)
        return target

    def _refuse_unknown(self, target: str) -> None:
        if target not in self._names():
            raise NotFound(f"there is no target {target[:200]!r}; there are: {', '.join(self._names())}")

    def _names(self) -> list[str]:
        return [backend.name for backend in self._backends()]


def _kind(name: str) -> Kind:
    kind = KINDS.get(name)
    if kind is None:
        raise NotFound(f"there is no operation {name[:100]!r}; there are: {', '.join(KINDS)}")
    return kind


def result_of(task: Task) -> Json:
    """Given a task that is over, return its result; raises TaskError with what it failed of."""
    if task.state is TaskState.DONE:
        return task.result
    raise TaskError(task.error or f"the task {task.id} is {task.state.value}")


def _subject(arguments: Mapping[str, Any]) -> str:
    """What an operation is about, in one word for the audit log's ``target``."""
    for name in ("target", "name", "family"):
        if arguments.get(name):
            return str(arguments[name])
    servers = arguments.get("servers")
    return ",".join(servers[:5]) + (f" and {len(servers) - 5} more" if len(servers) > 5 else "") if servers else ALL


class _Arguments:
    """Reads typed values of one operation's arguments; whatever is not asked for is refused."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given

    def text(self, name: str) -> str:
        value = self._given.pop(name, None)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > 1000:
            raise BadRequest(name, f"{name} must be a text of at most 1000 characters")
        return value

    def texts(self, name: str) -> list[str]:
        value = self._given.pop(name, None)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > 10_000 or not all(isinstance(each, str) for each in value):
            raise BadRequest(name, f"{name} must be a list of texts")
        return list(dict.fromkeys(value))

    def flag(self, name: str) -> bool:
        value = self._given.pop(name, None)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise BadRequest(name, f"{name} must be true or false")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self._given.pop(name, None)
        if value is None:
            return None
        # "not inside" instead of "outside": nan is refused too; True is an int in Python.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise BadRequest(name, f"{name} must be a number from {low:g} to {high:g}")
        return float(value)

    def refuse_rest(self) -> None:
        for name in self._given:
            raise BadRequest(name[:100], f"{name[:100]!r} is no argument of this operation")
