"""What a sweep judges, and the bounded summary of what it decided.

Times are seconds since the epoch, sizes are bytes.
"""

from __future__ import annotations

import heapq
import math
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

# zip cannot store less than 1980, and SOURCE_DATE_EPOCH builds use 0 or 1980: such a time says nothing of age.
OLDEST_CREDIBLE_TIME = 315_619_200.0  # 1980-01-02T00:00:00Z


class Reason(StrEnum):
    """Why an entry is kept or deleted; the value is the name in JSON and logs."""

    # kept
    EMPTY_POLICY = "empty_policy"
    KEEP_FILE = "keep_file"
    PINNED = "pinned"
    IN_USE = "in_use"
    FUTURE_TIME = "future_time"
    RECENTLY_MODIFIED = "recently_modified"
    RECENTLY_ARRIVED = "recently_arrived"
    KEEP_LAST = "keep_last"
    YOUNG = "young"
    WITHIN_LIMITS = "within_limits"
    # deleted
    OLDER_THAN = "older_than"
    MAX_SIZE = "max_size"
    MIN_FREE = "min_free"
    BEYOND_KEEP_LAST = "beyond_keep_last"
    CLEARED = "cleared"


class Entry(NamedTuple):
    """One expirable thing of a target. A tuple, because a sweep makes one for every candidate.

    ``modified`` decides the age: the newest mtime in the unit, or a time that its name states. ``arrived`` is the
    newest ctime: when something last came here, whatever mtime it brought along. ``allocated_bytes`` is what a
    deletion frees (blocks of files with one link), ``apparent_bytes`` what ``ls`` shows.
    """

    name: str
    modified: float
    arrived: float = 0.0
    allocated_bytes: int = 0
    apparent_bytes: int = 0
    files: int = 0
    directories: int = 0
    has_keep_file: bool = False


class Decision(NamedTuple):
    delete: bool
    reason: Reason


KEPT_REASONS = frozenset(list(Reason)[: list(Reason).index(Reason.OLDER_THAN)])
# Each decision once and by name: looking up enum members costs as much as the rest of a judgement, and a sweep
# makes one for every candidate.
KEEP_EMPTY_POLICY = Decision(False, Reason.EMPTY_POLICY)
KEEP_KEEP_FILE = Decision(False, Reason.KEEP_FILE)
KEEP_PINNED = Decision(False, Reason.PINNED)
KEEP_IN_USE = Decision(False, Reason.IN_USE)
KEEP_FUTURE_TIME = Decision(False, Reason.FUTURE_TIME)
KEEP_RECENTLY_MODIFIED = Decision(False, Reason.RECENTLY_MODIFIED)
KEEP_RECENTLY_ARRIVED = Decision(False, Reason.RECENTLY_ARRIVED)
KEEP_LAST = Decision(False, Reason.KEEP_LAST)
KEEP_YOUNG = Decision(False, Reason.YOUNG)
KEEP_WITHIN_LIMITS = Decision(False, Reason.WITHIN_LIMITS)
DELETE_OLDER_THAN = Decision(True, Reason.OLDER_THAN)
DELETE_MAX_SIZE = Decision(True, Reason.MAX_SIZE)
DELETE_MIN_FREE = Decision(True, Reason.MIN_FREE)
DELETE_BEYOND_KEEP_LAST = Decision(True, Reason.BEYOND_KEEP_LAST)
DELETE_CLEARED = Decision(True, Reason.CLEARED)


def age_time(newest_mtime: float, newest_ctime: float) -> float:
    """Given the newest mtime and ctime of a unit, return the time that its age counts from.

    An mtime of 0 or 1980 (zip, reproducible builds) is no age at all; the ctime then says when it came here.
    """
    return newest_ctime if newest_mtime < OLDEST_CREDIBLE_TIME else newest_mtime


def order_key(name: str, modified: float) -> float:
    """Return the place of an entry in oldest-first order, in milliseconds.

    A fraction below one millisecond comes from the name: thousands of entries with the very same time (a
    restored backup) still have an order, so that a size limit takes some of them and not all or none.
    """
    return math.floor(modified * 1000) + zlib.crc32(name.encode("utf-8", "surrogateescape")) / 2**32


class Line(NamedTuple):
    """One entry as a plan shows it."""

    name: str
    delete: bool
    reason: Reason
    modified: float
    allocated_bytes: int


_Ranked = tuple[float, str, Line]


@dataclass
class Tally:
    """Sums for one reason. ``unread`` of the entries were kept without being read: their size is not in the sums."""

    entries: int = 0
    unread: int = 0
    files: int = 0
    directories: int = 0
    allocated_bytes: int = 0
    apparent_bytes: int = 0

    @property
    def measured_bytes(self) -> int | None:
        """What they take on the disk; None where not all were measured, which is not 0."""
        return None if self.unread else self.allocated_bytes


class SweepPlan:
    """What a sweep would do, in bounded memory: sums by reason and the first, biggest and oldest entries."""

    def __init__(self, shown: int = 20) -> None:
        self.shown = shown
        self.tallies: dict[Reason, Tally] = {}
        self.first: list[Line] = []
        self._biggest: list[_Ranked] = []
        self._oldest: list[_Ranked] = []
        # Decisions come in long runs of the same one, and hashing an enum member is slow.
        self._last_decision: Decision | None = None
        self._last_tally = Tally()

    def add(self, entry: Entry, decision: Decision) -> None:
        if decision is not self._last_decision:
            self._last_decision = decision
            self._last_tally = self.tallies.setdefault(decision.reason, Tally())
        tally = self._last_tally
        tally.entries += 1
        tally.files += entry.files
        tally.directories += entry.directories
        tally.allocated_bytes += entry.allocated_bytes
        tally.apparent_bytes += entry.apparent_bytes
        if not decision.delete:
            return
        if len(self.first) < self.shown:
            self.first.append(_line(entry, decision))
            heapq.heappush(self._biggest, (entry.allocated_bytes, entry.name, _line(entry, decision)))
            heapq.heappush(self._oldest, (-entry.modified, entry.name, _line(entry, decision)))
            return
        if self.shown and entry.allocated_bytes > self._biggest[0][0]:
            heapq.heapreplace(self._biggest, (entry.allocated_bytes, entry.name, _line(entry, decision)))
        if self.shown and -entry.modified > self._oldest[0][0]:
            heapq.heapreplace(self._oldest, (-entry.modified, entry.name, _line(entry, decision)))

    def keep_unread(self, reason: Reason, entries: int) -> None:
        """Count entries that were kept without being read."""
        if entries:
            tally = self.tallies.setdefault(reason, Tally())
            tally.entries += entries
            tally.unread += entries

    @property
    def biggest(self) -> list[Line]:
        return [line for _, _, line in sorted(self._biggest, reverse=True)]

    @property
    def oldest(self) -> list[Line]:
        return [line for _, _, line in sorted(self._oldest, reverse=True)]

    @property
    def entries(self) -> int:
        return sum(tally.entries for tally in self.tallies.values())

    @property
    def deleted(self) -> Tally:
        return self._sum(delete=True)

    @property
    def kept(self) -> Tally:
        return self._sum(delete=False)

    def _sum(self, *, delete: bool) -> Tally:
        total = Tally()
        for reason, tally in self.tallies.items():
            if (reason not in KEPT_REASONS) == delete:
                add_tally(total, tally)
        return total

    def merge(self, other: SweepPlan) -> None:
        """Add another plan over other entries of the same target (a second worker's share)."""
        for reason, tally in other.tallies.items():
            add_tally(self.tallies.setdefault(reason, Tally()), tally)
        self.first = (self.first + other.first)[: self.shown]
        self._biggest = heapq.nlargest(self.shown, self._biggest + other._biggest)[::-1]
        self._oldest = heapq.nlargest(self.shown, self._oldest + other._oldest)[::-1]


def add_tally(into: Tally, tally: Tally) -> None:
    into.entries += tally.entries
    into.unread += tally.unread
    into.files += tally.files
    into.directories += tally.directories
    into.allocated_bytes += tally.allocated_bytes
    into.apparent_bytes += tally.apparent_bytes


def _line(entry: Entry, decision: Decision) -> Line:
    return Line(entry.name, decision.delete, decision.reason, entry.modified, entry.allocated_bytes)
