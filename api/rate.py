"""How often somebody may ask: a token bucket for each caller and class of request, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

MOST_BUCKETS = 10_000
"""Some 3 MB. Whoever makes up more callers than this only evicts buckets that were not used for longest."""


class Kind(StrEnum):
    READ = "read"
    WRITE = "write"
    FAILED_SIGN_IN = "failed sign-in"


@dataclass
class _Bucket:
    level: float
    at: float


class RateLimiter:
    """A bucket holds a minute's worth of requests and fills up steadily. Times are monotonic seconds."""

    def __init__(self, per_minute: dict[Kind, int], *, most_buckets: int = MOST_BUCKETS) -> None:
        self._per_minute = per_minute
        self._most = most_buckets
        self._buckets: OrderedDict[tuple[Kind, str], _Bucket] = OrderedDict()

    def take(self, kind: Kind, who: str, now: float) -> float:
        """Count one request; return 0, or after how many seconds there is room for it again."""
        capacity = float(self._per_minute[kind])
        bucket = self._buckets.setdefault((kind, who), _Bucket(capacity, now))
        self._buckets.move_to_end((kind, who))
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        bucket.level = min(bucket.level + max(now - bucket.at, 0.0) * capacity / 60, capacity)
        bucket.at = now
        if bucket.level < 1:
            return (1 - bucket.level) * 60 / capacity
        bucket.level -= 1
        return 0.0
