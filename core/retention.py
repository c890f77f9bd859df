"""What may be deleted: a policy over entries, with one reason for each decision.

    entries ──survey──▶ Rules ──decide──▶ Decision(delete, reason) ──▶ SweepPlan (a bounded summary)

An age can be judged entry by entry. ``keep_last``, ``max_size`` and ``min_free`` need to know the whole target
first: a ``Survey`` reads every entry once and keeps only a histogram of bytes by time, so that a target of
millions of entries costs a few megabytes. ``Rules.decide`` is then stateless: a dry run, the run right after
it, and two workers that share a target all reach the same answer for the same entry.

Times are seconds since the epoch, sizes are bytes.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

from core.amounts import DAY_SECONDS as DAY_SECONDS
from core.amounts import HOUR_SECONDS as HOUR_SECONDS
from core.entries import (
    DELETE_BEYOND_KEEP_LAST,
    DELETE_CLEARED,
    DELETE_MAX_SIZE,
    DELETE_MIN_FREE,
    DELETE_OLDER_THAN,
    KEEP_EMPTY_POLICY,
    KEEP_FUTURE_TIME,
    KEEP_KEEP_FILE,
    KEEP_LAST,
    KEEP_PINNED,
    KEEP_RECENTLY_ARRIVED,
    KEEP_RECENTLY_MODIFIED,
    KEEP_WITHIN_LIMITS,
    KEEP_YOUNG,
    Decision,
    Entry,
    SweepPlan,
    order_key,
)

# Clocks of file servers differ a little from ours; only a time beyond this is called "in the future".
FUTURE_SLACK_SECONDS = 300.0


@dataclass(frozen=True)
class FreeSpace:
    """An amount of disk: bytes, or a fraction (0–1) of the disk, which then counts for inodes as well."""

    amount_bytes: int = 0
    fraction: float = 0.0

    def of(self, total: int) -> int:
        return self.amount_bytes if self.amount_bytes else math.ceil(total * self.fraction)


@dataclass(frozen=True)
class DiskSpace:
    """The disk under a target now; inode numbers are 0 on file systems that have no such limit."""

    total_bytes: int
    free_bytes: int
    total_inodes: int = 0
    free_inodes: int = 0


@dataclass(frozen=True)
class RetentionPolicy:
    """Which entries expire. Rules that delete combine by "or"; rules that keep win over all of them.

    ``keep_last`` protects the newest N from the other rules; as the only rule it expires all but those N.
    ``min_free`` is the low watermark that starts deleting, ``free_until`` the high one that ends it (default:
    the same). Nothing modified within ``grace_seconds`` goes, as it may still be written; nor what came here
    within ``arrival_grace_seconds`` with old times of its own (tar, cp -p), for those who restore backups into a
    target. ``pinned`` has shell patterns; ``keep_file`` is the name of a file that protects the unit it is in.
    ``everything`` takes all that is not pinned or in use, whatever times it has: for somebody who clears a target.
    """

    older_than_seconds: float | None = None
    keep_last: int = 0
    max_size_bytes: int | None = None
    min_free: FreeSpace | None = None
    free_until: FreeSpace | None = None
    pinned: tuple[str, ...] = ()
    keep_file: str = ".keep"
    grace_seconds: float = HOUR_SECONDS
    arrival_grace_seconds: float = 0.0
    everything: bool = False

    @property
    def deletes_nothing(self) -> bool:
        """An empty policy, or one that only protects, deletes nothing."""
        return (
            not self.everything
            and self.older_than_seconds is None
            and not self.keep_last
            and self.max_size_bytes is None
            and self.min_free is None
        )

    @property
    def needs_survey(self) -> bool:
        """Whether a decision depends on the other entries of the target."""
        return bool(self.keep_last or self.max_size_bytes is not None or self.min_free is not None)

    def pins(self, name: str) -> bool:
        """Whether a pin names this entry: by its path below the root, or by the last part of it."""
        return any(
            fnmatchcase(name, pattern) or fnmatchcase(name.rpartition("/")[2], pattern) for pattern in self.pinned
        )


class AgeHistogram:
    """Bytes and inodes by time in bounded memory: exact for small targets, coarser as more times appear."""

    def __init__(self, limit: int = 16_384) -> None:
        self._limit = limit
        # Milliseconds, the finest that a float of today's order keys resolves; doubles when buckets get too many.
        self._width = 2.0**-11
        self._buckets: dict[int, tuple[int, int]] = {}

    def add(self, key: float, size_bytes: int, inodes: int) -> None:
        bucket = math.floor(key / self._width)
        bytes_before, inodes_before = self._buckets.get(bucket, (0, 0))
        self._buckets[bucket] = (bytes_before + size_bytes, inodes_before + inodes)
        while len(self._buckets) > self._limit:
            self._coarsen()

    def _coarsen(self) -> None:
        self._width *= 2
        merged: dict[int, tuple[int, int]] = {}
        for bucket, (size_bytes, inodes) in self._buckets.items():
            bytes_before, inodes_before = merged.get(bucket >> 1, (0, 0))
            merged[bucket >> 1] = (bytes_before + size_bytes, inodes_before + inodes)
        self._buckets = merged

    def steps(self) -> list[tuple[float, float, int, int]]:
        """Return (start, end, bytes, inodes) of each bucket, oldest first; its keys are in start ≤ key < end."""
        width = self._width
        return [(bucket * width, (bucket + 1) * width, *self._buckets[bucket]) for bucket in sorted(self._buckets)]


@dataclass(frozen=True)
class Rules:
    """A policy with everything resolved to points in time; ``decide`` needs nothing else."""

    policy: RetentionPolicy
    now: float
    keep_from_key: float = math.inf
    max_size_before_key: float = -math.inf
    min_free_before_key: float = -math.inf

    @cached_property
    def cutoff(self) -> float:
        """The time before which ``older_than`` expires; strictly before, in seconds, not in whole days."""
        if self.policy.older_than_seconds is None:
            return -math.inf
        return self.now - self.policy.older_than_seconds

    @cached_property
    def young_from(self) -> float:
        """Nothing with a part modified at or after this time can expire, so nothing more of it need be read."""
        if self.policy.deletes_nothing:
            return -math.inf
        if self.policy.everything:
            return math.inf
        expires_before = self.cutoff
        if self.policy.needs_survey:
            last_key = max(self.max_size_before_key, self.min_free_before_key)
            if self._only_keep_last:
                last_key = self.keep_from_key
            # An order key exceeds its time by less than a millisecond.
            expires_before = max(expires_before, (last_key + 1) / 1000)
        return min(expires_before, self.now - self.policy.grace_seconds)

    @cached_property
    def unread(self) -> Decision:
        """The decision on an entry that no rule takes and nothing protects."""
        if self.policy.deletes_nothing:
            return KEEP_EMPTY_POLICY
        return KEEP_WITHIN_LIMITS if self.policy.older_than_seconds is None else KEEP_YOUNG

    @cached_property
    def _only_keep_last(self) -> bool:
        policy = self.policy
        return (
            policy.keep_last > 0
            and policy.older_than_seconds is None
            and policy.max_size_bytes is None
            and policy.min_free is None
        )

    @cached_property
    def _protection(self) -> Protection:
        return Protection(self.policy, self.now)

    def decide(self, entry: Entry) -> Decision:
        """Given an entry, return whether it goes and why. The first rule that speaks wins; keeping comes first."""
        protected = self._protection.of(entry)
        if protected is not None:
            return protected
        if self.policy.everything:
            return DELETE_CLEARED
        key = 0.0
        if self._needs_survey:
            key = order_key(entry.name, entry.modified)
            if key >= self.keep_from_key:
                return KEEP_LAST
        if entry.modified < self.cutoff:
            return DELETE_OLDER_THAN
        if self._needs_survey:
            if key < self.max_size_before_key:
                return DELETE_MAX_SIZE
            if key < self.min_free_before_key:
                return DELETE_MIN_FREE
            if self._only_keep_last:
                return DELETE_BEYOND_KEEP_LAST
        return self.unread

    @cached_property
    def _needs_survey(self) -> bool:
        return self.policy.needs_survey


class Protection:
    """The rules that keep an entry whatever the other entries are; they win over every rule that deletes."""

    def __init__(self, policy: RetentionPolicy, now: float) -> None:
        self._policy = policy
        self._nothing_goes = policy.deletes_nothing
        self._pinned = bool(policy.pinned)
        self._everything = policy.everything
        self._future_from = now + FUTURE_SLACK_SECONDS
        self._recent_from = now - policy.grace_seconds
        self._young_from = math.inf if policy.older_than_seconds is None else now - policy.older_than_seconds
        self._arrived_from = now - policy.arrival_grace_seconds if policy.arrival_grace_seconds else math.inf

    def of(self, entry: Entry) -> Decision | None:
        if self._nothing_goes:
            return KEEP_EMPTY_POLICY
        if entry.has_keep_file:
            return KEEP_KEEP_FILE
        if self._pinned and self._policy.pins(entry.name):
            return KEEP_PINNED
        if self._everything:
            return None
        modified = entry.modified
        if modified > self._future_from:
            return KEEP_FUTURE_TIME
        if modified >= self._recent_from:
            return KEEP_YOUNG if modified >= self._young_from else KEEP_RECENTLY_MODIFIED
        if entry.arrived >= self._arrived_from:
            return KEEP_RECENTLY_ARRIVED
        return None


@dataclass
class Survey:
    """One reading of a whole target, for the rules that compare entries with each other."""

    policy: RetentionPolicy
    now: float
    total_bytes: int = 0
    entries: int = 0
    _newest: list[float] = field(default_factory=list)
    _histogram: AgeHistogram = field(default_factory=AgeHistogram)

    def __post_init__(self) -> None:
        self._protection = Protection(self.policy, self.now)

    def add(self, entry: Entry) -> None:
        self.entries += 1
        self.total_bytes += entry.allocated_bytes
        key = order_key(entry.name, entry.modified)
        if self.policy.keep_last:
            if len(self._newest) < self.policy.keep_last:
                heapq.heappush(self._newest, key)
            elif key > self._newest[0]:
                heapq.heapreplace(self._newest, key)
        if self._protection.of(entry) is None:
            self._histogram.add(key, entry.allocated_bytes, entry.files + entry.directories)

    def rules(self, disk: DiskSpace | None) -> Rules:
        """Given the disk under the target, return the rules that bring the target within its limits."""
        policy = self.policy
        keep_from = math.inf
        if policy.keep_last:
            keep_from = self._newest[0] if len(self._newest) >= policy.keep_last else -math.inf
        cutoff_key = -math.inf
        if policy.older_than_seconds is not None:
            cutoff_key = (self.now - policy.older_than_seconds) * 1000
        bytes_over, bytes_short, inodes_short = self._shortage(disk)
        max_size_before = min_free_before = -math.inf
        for start, end, size_bytes, inodes in self._histogram.steps():
            if start >= keep_from:
                break
            # What age takes anyway counts towards the limits, but needs no second reason.
            if end > cutoff_key:
                if bytes_over > 0:
                    max_size_before = end
                if bytes_short > 0 or inodes_short > 0:
                    min_free_before = end
            bytes_over -= size_bytes
            bytes_short -= size_bytes
            inodes_short -= inodes
        return Rules(policy, self.now, keep_from, max_size_before, min_free_before)

    def _shortage(self, disk: DiskSpace | None) -> tuple[int, int, int]:
        """How many bytes are over ``max_size``, and how many bytes and inodes short of ``free_until``."""
        policy = self.policy
        bytes_over = 0 if policy.max_size_bytes is None else self.total_bytes - policy.max_size_bytes
        low, high = policy.min_free, policy.free_until or policy.min_free
        if low is None or high is None or disk is None:
            return bytes_over, 0, 0
        bytes_short = inodes_short = 0
        if disk.free_bytes < low.of(disk.total_bytes):
            bytes_short = high.of(disk.total_bytes) - disk.free_bytes
        if low.fraction and disk.free_inodes < low.fraction * disk.total_inodes:
            inodes_short = math.ceil(high.fraction * disk.total_inodes) - disk.free_inodes
        return bytes_over, bytes_short, inodes_short


def resolve(entries: Iterable[Entry], policy: RetentionPolicy, now: float, disk: DiskSpace | None = None) -> Rules:
    """Given every entry of a target (read once), return the rules to decide each of them by."""
    survey = Survey(policy, now)
    if policy.needs_survey:
        for entry in entries:
            survey.add(entry)
    return survey.rules(disk)


def plan(
    entries: Sequence[Entry], policy: RetentionPolicy, now: float, disk: DiskSpace | None = None, shown: int = 20
) -> SweepPlan:
    """Given entries and a policy, return what goes and what stays, each with its reason.

    For a target too big to hold, use ``Survey``, ``Rules.decide`` and ``SweepPlan.add`` entry by entry, as this does.
    """
    rules = resolve(entries, policy, now, disk)
    sweep_plan = SweepPlan(shown)
    for entry in entries:
        sweep_plan.add(entry, rules.decide(entry))
    return sweep_plan
