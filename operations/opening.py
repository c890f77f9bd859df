"""Opens one machine's operations over its files: for the daemon, and for a command without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from config import Settings
from core.audit import AuditLog
from core.tasks import TaskEngine
from operations.auditing import Auditor, open_audit_log
from operations.backends import configured
from operations.engines import open_engine
from operations.service import Operations
from store.index import EntryIndex

_FRESH_SECONDS = 5.0


class Opened:
    """The operations with what they hold open. ``close`` ends it all."""

    def __init__(self, settings: Settings, servers: Callable[[], Sequence[str]] | None = None) -> None:
        self._held = ExitStack()
        try:
            self.engine: TaskEngine = open_engine(settings)
            self._held.callback(self.engine.close)
            index = EntryIndex(settings.index_database)
            self._held.callback(index.close)
            self.audit_log: AuditLog = open_audit_log(settings)
            self._held.callback(self.audit_log.close)
            known = configured(settings)
            self.operations = Operations(
                engine=self.engine,
                listing=index,
                auditor=Auditor(self.audit_log),
                backends=lambda: known,
                servers=servers or (lambda: [server.name for server in settings.servers]),
                host=settings.host_queue,
                max_size_bytes=_cap(settings),
            )
        except BaseException:
            self._held.close()
            raise

    def close(self) -> None:
        self._held.close()


def _cap(settings: Settings) -> int | None:
    """MAX_CACHE_SIZE, or without it what the targets' own limits come to, where every target has one."""
    if settings.max_cache_size is not None:
        return settings.max_cache_size
    limits = [target.policy.max_size_bytes for target in settings.targets]
    return sum(limit for limit in limits if limit) if limits and all(limits) else None
