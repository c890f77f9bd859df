"""The cache in Redis behind the protocol of all backends. What an age means there: ``store.redis_cache``."""

from __future__ import annotations

import time
from collections.abc import Iterator

from core.effects import Effect
from core.errors import BackendError
from core.listing import Availability, EntryType, Family, ListedEntry, Pulse
from core.printable import printable
from operations.backends.tally import Tally, refusal_of_age
from store.redis_cache import RedisCache, RedisKey

EXPIRING_SECONDS = 60.0


class RedisBackend:
    """One prefix of one server. It has no policy of its own: without an age nothing expires."""

    type = EntryType.REDIS
    family = Family.DATABASE

    def __init__(self, name: str, cache: RedisCache) -> None:
        self.name = name
        self._cache = cache

    def health(self) -> Availability:
        try:
            return Availability(True, detail=self._cache.info())
        except BackendError as error:
            return Availability(False, str(error), {"address": self._cache.address})

    def entries(self, pulse: Pulse) -> Iterator[list[ListedEntry]]:
        done = 0
        for keys in self._cache.scan():
            now = time.time()
            yield [self._entry(key, now) for key in keys]
            done += len(keys)
            pulse(done)

    def _entry(self, key: RedisKey, now: float) -> ListedEntry:
        # When it was made is not known; when it was last touched is, and that is what its age counts from.
        used = None if key.idle_seconds is None else now - key.idle_seconds
        return ListedEntry(self.name, self.type, shown(key.name), key.size_bytes, used or 0.0, used, 0)

    def expire(self, older_than_seconds: float | None, *, now: float, dry_run: bool, pulse: Pulse) -> Effect:
        tally = Tally(self.name, self.type, dry_run, pulse)
        if refusal := refusal_of_age(self.name, older_than_seconds):
            return tally.effect(refused=refusal)
        for keys in self._cache.scan():
            going = []
            for key in keys:
                if older_than_seconds is None:
                    tally.stays("empty_policy", 1, key.size_bytes)
                elif key.idle_seconds is None:
                    tally.stays("no_time", 1, key.size_bytes)
                    tally.skips(
                        shown(key.name), "Redis keeps no idle time of it (maxmemory-policy)", counted_as="no_time"
                    )
                elif key.idle_seconds <= older_than_seconds:
                    tally.stays("young", 1, key.size_bytes)
                elif key.ttl_seconds is not None and key.ttl_seconds <= EXPIRING_SECONDS:
                    tally.stays("expires_by_itself", 1, key.size_bytes)
                else:
                    going.append(key)
            self._remove(going, tally, "older_than", now, older_than_seconds)
            tally.beat(len(keys))
        return tally.effect()

    def clear(self, *, now: float, dry_run: bool, pulse: Pulse) -> Effect:
        tally = Tally(self.name, self.type, dry_run, pulse)
        for keys in self._cache.scan():
            self._remove(keys, tally, "cleared", now, None)
            tally.beat(len(keys))
        return tally.effect()

    def _remove(
        self, keys: list[RedisKey], tally: Tally, reason: str, now: float, idle_over_seconds: float | None
    ) -> None:
        if not keys:
            return
        gone = [True] * len(keys)
        if not tally.dry_run:
            gone = self._cache.unlink([key.name for key in keys], idle_over_seconds=idle_over_seconds)
        for key, went in zip(keys, gone, strict=True):
            if went:
                used = None if key.idle_seconds is None else now - key.idle_seconds
                tally.goes(shown(key.name), reason, used, key.size_bytes)
            else:
                tally.stays("used_meanwhile", 1, key.size_bytes)


def shown(name: bytes) -> str:
    return printable(name.decode("utf-8", "surrogateescape"))
