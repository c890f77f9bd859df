"""Opens one machine's operations over its files: for the daemon, and for a command without one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from config import Settings
from operations.auditing import Auditor, LazyAuditLog
from operations.backends import configured
from operations.engines import open_engine
from operations.late import LateEngine, LateListing
from operations.service import Operations
from store.index import EntryIndex

log = logging.getLogger("operations")


class Opened:
    """The operations with what they will hold open; nothing is opened before it is used. ``close`` ends it all.

    ``servers`` returns the names of the fleet: the running one's, or without it that of the settings.
    """

    def __init__(
        self,
        settings: Settings,
        servers: Callable[[], Sequence[str]] | None = None,
        auditor: Auditor | None = None,
    ) -> None:
        self.auditor = auditor or Auditor(LazyAuditLog(settings))
        self._engine = LateEngine(lambda: open_engine(settings))
        self._listing = LateListing(lambda: open_index(settings))
        self._backends = configured(settings)
        self.operations = Operations(
            engine=self._engine,
            listing=self._listing,
            auditor=self.auditor,
            backends=lambda: self._backends,
            servers=servers or (lambda: [server.name for server in settings.servers]),
            host=settings.host_queue,
            max_size_bytes=_cap(settings),
        )

    def take(self, settings: Settings) -> None:
        """Take the targets of new settings; a task reads the settings itself."""
        self._backends = configured(settings)

    def close(self) -> None:
        self._engine.close()
        self._listing.close()
        self.auditor.log.close()


def open_index(settings: Settings) -> EntryIndex:
    """Return the index of this machine's caches; raises StoreError. That a damaged one was set aside is logged."""
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    index = EntryIndex(settings.index_database)
    if index.warning:
        log.warning("%s", index.warning)
    return index


def _cap(settings: Settings) -> int | None:
    """MAX_CACHE_SIZE, or without it what the targets' own limits come to, where every target has one."""
    if settings.max_cache_size is not None:
        return settings.max_cache_size
    limits = [target.policy.max_size_bytes for target in settings.targets]
    return sum(limit for limit in limits if limit) if limits and all(limits) else None
