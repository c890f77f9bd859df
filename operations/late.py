"""What is opened at its first use, and tried again at the next where that fails.

The daemon starts, and keeps servers warm, with a queue or an index that cannot be opened: Redis may be away, a file
damaged. Whoever then asks for them gets the StoreError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, Protocol, TypeVar

from core import store_phrases as say
from core.errors import StoreError
from core.listing import (
    ALL_ENTRIES,
    AgeBand,
    DaySample,
    EntryQuery,
    Listing,
    ListingPage,
    TargetTotals,
)
from core.phrases import Phrase
from core.tasks import ALL_TASKS, Batch, Json, Task, TaskEngine, TaskPage, TaskQuery, TaskRequest, WorkerInfo


class Closable(Protocol):
    def close(self) -> None: ...


class ClosableListing(Listing, Closable, Protocol):
    """A listing that holds a file open."""


T = TypeVar("T", bound=Closable)


class Late(Generic[T]):
    """Holds what ``open`` returns from the first ``get`` on. Any thread may call.

    ``unopened`` is what its errors say, with a ``reason``.
    """

    def __init__(self, unopened: Phrase, open: Callable[[], T]) -> None:
        self._unopened = unopened
        self._open = open
        self._lock = Lock()
        self._opened: T | None = None

    def get(self) -> T:
        """Return it; raises StoreError as long as it cannot be opened."""
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = self._open()
                except OSError as error:
                    raise StoreError(self._unopened(reason=error)) from None
            return self._opened

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None


class LateEngine:
    """A ``core.tasks.TaskEngine`` that is opened late."""

    def __init__(self, open: Callable[[], TaskEngine]) -> None:
        self._engine = Late(say.QUEUE_UNOPENED, open)

    def submit(self, request: TaskRequest) -> Task:
        return self._engine.get().submit(request)

    def submit_batch(self, requests: Sequence[TaskRequest], batch: str) -> tuple[Task, ...]:
        return self._engine.get().submit_batch(requests, batch)

    def task(self, task_id: str) -> Task | None:
        return self._engine.get().task(task_id)

    def tasks(self, query: TaskQuery = ALL_TASKS, *, cursor: str = "", limit: int = 50) -> TaskPage:
        return self._engine.get().tasks(query, cursor=cursor, limit=limit)

    def cancel(self, task_id: str) -> Task | None:
        return self._engine.get().cancel(task_id)

    def retry(self, task_id: str) -> Task | None:
        return self._engine.get().retry(task_id)

    def batch(self, batch: str) -> Batch | None:
        return self._engine.get().batch(batch)

    def workers(self) -> tuple[WorkerInfo, ...]:
        return self._engine.get().workers()

    def queue_key(self, key: str) -> Json:
        return self._engine.get().queue_key(key)

    def forget_before(self, at: float) -> int:
        return self._engine.get().forget_before(at)

    def close(self) -> None:
        self._engine.close()


class LateListing:
    """A ``core.listing.Listing`` that is opened late."""

    def __init__(self, open: Callable[[], ClosableListing]) -> None:
        self._listing = Late(say.INDEX_UNOPENED, open)

    def totals(self) -> tuple[TargetTotals, ...]:
        return self._listing.get().totals()

    def ages(self) -> tuple[AgeBand, ...]:
        return self._listing.get().ages()

    def samples(self, since_day: int) -> tuple[DaySample, ...]:
        return self._listing.get().samples(since_day)

    def page(
        self, query: EntryQuery = ALL_ENTRIES, *, cursor: str = "", page: int = 1, page_size: int = 20
    ) -> ListingPage:
        return self._listing.get().page(query, cursor=cursor, page=page, page_size=page_size)

    def close(self) -> None:
        self._listing.close()
