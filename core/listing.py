"""What the index knows of the caches: entries, pages of them, totals. Times are UTC seconds, sizes bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from core.effects import Effect

MAX_PAGE_SIZE = 100

LAST_PAGE = 10**9
"""So that no page's offset leaves SQLite's 64 bits."""


class EntryType(StrEnum):
    """What an entry is: the kind of target or server that holds it."""

    IMAGES = "images"
    COMFYUI_OUTPUT = "comfyui-output"
    API_PROXY = "api-proxy"
    DIRECTORY = "directory"
    PYTHON = "python"
    REDIS = "redis"
    MONGODB = "mongodb"
    MODEL = "model"


class Family(StrEnum):
    """The words of ``--type``: what somebody means by a kind of cache."""

    FILE = "file"
    PYTHON = "python"
    DATABASE = "database"
    MODEL = "model"


class ListedEntry(NamedTuple):
    """One entry of a target. ``last_accessed`` is None where the backend does not know."""

    target: str
    type: EntryType
    name: str
    size_bytes: int
    created_at: float
    last_accessed: float | None = None
    files: int = 1


class Sort(StrEnum):
    """Orders of a page; ``-`` is descending. Ties are broken by an entry's number in the index."""

    NEWEST = "-created_at"
    OLDEST = "created_at"
    LARGEST = "-size"
    SMALLEST = "size"
    NAME = "name"


@dataclass(frozen=True)
class EntryQuery:
    """Which entries are meant, and in which order; an empty field matches all."""

    types: Collection[EntryType] = ()
    target: str = ""
    sort: Sort = Sort.NEWEST


ALL_ENTRIES = EntryQuery()


@dataclass(frozen=True)
class ListingPage:
    """``total`` counts what matches. ``next_cursor`` is empty at the end."""

    items: tuple[ListedEntry, ...]
    total: int
    next_cursor: str


@dataclass(frozen=True)
class TargetTotals:
    """One target's totals. ``indexed_at`` is when the last complete walk ended, None before the first."""

    target: str
    type: EntryType
    entries: int
    files: int
    size_bytes: int
    indexed_at: float | None = None
    error: str = ""


AGE_LIMITS_DAYS = (1, 7, 30, 90, 365)
"""Where one band of ages ends and the next begins; the last one has no end."""


@dataclass(frozen=True)
class AgeBand:
    """What of one target is of one age: younger than ``AGE_LIMITS_DAYS[band]``, and not of an earlier band."""

    target: str
    band: int
    entries: int
    size_bytes: int


@dataclass(frozen=True)
class DaySample:
    """How large a target was at the last walk of a day; ``day`` counts from 1970-01-01 UTC."""

    day: int
    target: str
    entries: int
    size_bytes: int


class Listing(Protocol):
    """The index, as readers see it. Raises StoreError."""

    def totals(self) -> tuple[TargetTotals, ...]: ...

    def ages(self) -> tuple[AgeBand, ...]:
        """Return the sizes by age, as each target's last walk found them."""

    def samples(self, since_day: int) -> tuple[DaySample, ...]:
        """Return one sample a target and day from ``since_day`` on, by day."""

    def page(
        self, query: EntryQuery = ALL_ENTRIES, *, cursor: str = "", page: int = 1, page_size: int = 20
    ) -> ListingPage:
        """Return a page, by ``cursor`` where one is given, else by number; raises BadCursor."""


@dataclass(frozen=True)
class Availability:
    """Whether a backend can be used now; ``error`` says why not, ``detail`` what it is (version, address)."""

    available: bool
    error: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)


class Pulse(Protocol):
    """Called by a backend a few times a second with entries done, and all there are where that is known.

    Raises TaskCancelled when the work is to stop; the backend ends after the entry in hand and lets it pass.
    """

    def __call__(self, done: int, total: int | None = None) -> None: ...


class Backend(Protocol):
    """One target of any kind of store. Every backend passes the contract suite in ``tests/operations/``.

    ``name`` is the target's name, unique among all backends.
    """

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> EntryType: ...
    @property
    def family(self) -> Family: ...

    def health(self) -> Availability:
        """Return whether it can be used, within five seconds; never raises."""

    def entries(self, pulse: Pulse) -> Iterator[Iterable[ListedEntry]]:
        """Yield all entries in batches; raises BackendError when they cannot be read to the end."""

    def expire(self, older_than_seconds: float | None, *, now: float, dry_run: bool, pulse: Pulse) -> Effect:
        """Delete what has expired: by the given age, or by the target's own policy (None).

        Entries without a known age are kept. Never raises for one bad entry; BackendError when it cannot be
        reached.
        """

    def clear(self, *, now: float, dry_run: bool, pulse: Pulse) -> Effect:
        """Delete every entry of this target and nothing beside it. Raises BackendError."""
