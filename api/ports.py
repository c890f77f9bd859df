"""What the routes need of the rest of the program; ``operations/`` provides it, and ``main.py`` hands it in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from core.access import Caller, Role
from core.listing import Availability, Backend, EntryType, ListingPage, Sort, TargetTotals
from core.tasks import Json, Priority, Task, TaskEngine


class TypeTotals(Protocol):
    """Entries, files and bytes of one type."""

    @property
    def entries(self) -> int: ...


class Stats(Protocol):
    """All targets together; see ``operations.service.Stats``."""

    @property
    def files(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def max_size_bytes(self) -> int | None: ...
    @property
    def by_type(self) -> Mapping[EntryType, TypeTotals]: ...
    @property
    def targets(self) -> tuple[TargetTotals, ...]: ...
    @property
    def indexed_at(self) -> float | None: ...


class Auditor(Protocol):
    """Puts operations on record, and looks, which never raise."""

    def read(self, caller: Caller, action: str, target: str, parameters: Mapping[str, Any]) -> None: ...
    def operation(
        self, caller: Caller, action: str, target: str, parameters: Mapping[str, Any], *, destructive: bool
    ) -> AbstractContextManager[object]: ...


class AuditLog(Protocol):
    """Where records are kept."""


class Operations(Protocol):
    """The operations on caches; see ``operations.service.Operations`` for what each raises.

    All of them may wait for a disk, so they are called in threads.
    """

    @property
    def engine(self) -> TaskEngine: ...
    @property
    def auditor(self) -> Auditor: ...

    def stats(self) -> Stats: ...
    def details(
        self, *, type: EntryType | None, target: str, sort: Sort, cursor: str, page: int, page_size: int
    ) -> ListingPage: ...
    def availability(self) -> Mapping[str, tuple[Backend, Availability]]: ...
    def models(self) -> tuple[Json, float | None]: ...
    def role_for(self, name: str) -> Role: ...
    def cleanup(self, caller: Caller, *, days: float | None, family: str, target: str, dry_run: bool) -> Task: ...
    def clear(self, caller: Caller, *, target: str, confirm: str, dry_run: bool) -> Task: ...
    def refresh(self, caller: Caller, *, target: str) -> Task: ...
    def warmup(self, caller: Caller, *, servers: Sequence[str], set_name: str, force: bool) -> Task: ...
    def submit(
        self, caller: Caller, name: str, arguments: Mapping[str, Any], *, priority: Priority, batch: str
    ) -> Task: ...
    def submit_batch(
        self, caller: Caller, wishes: Sequence[tuple[str, Mapping[str, Any]]], batch: str
    ) -> tuple[Task, ...]: ...
    def cancel(self, caller: Caller, task_id: str) -> Task: ...
    def retry(self, caller: Caller, task_id: str) -> Task: ...
