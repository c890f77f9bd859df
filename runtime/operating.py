"""The daemon's side of the operations on caches: what the API, the timetable and the worker processes share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from api.app import create_app
from config import Settings
from core.errors import CacheKeeperError
from core.setting_phrases import NO_TASKS, NOTHING_DELETED, TOKENS_REFUSED
from core.tasks import Priority, TaskQuery, TaskState
from operations.auditing import Auditor
from operations.callers import schedule_caller
from operations.opening import Opened
from runtime.fleet import RunningFleet
from runtime.gate import open_gate
from runtime.upkeep import Upkeep
from runtime.workers import LOOK_SECONDS, TaskWorkers

HOUR_SECONDS, DAY_SECONDS = 3600.0, 86400.0

log = logging.getLogger("main")


class Operating:
    """Raises ConfigError when the API's keys cannot be used; anything else that is amiss is for whoever asks later."""

    def __init__(self, settings: Settings, fleet: RunningFleet, auditor: Auditor) -> None:
        self._settings = settings
        self._indexed = ""
        self._asked_for: set[str] = set()
        self._opened = Opened(settings, fleet.names, auditor)
        gate, self._tokens = open_gate(settings, auditor)
        self.workers = TaskWorkers(settings)
        self._upkeep = Upkeep(auditor.log, self._tokens)
        self.app: Any = create_app(
            fleet, self._opened.operations, auditor.log, gate, settings.host,
            allowed_hosts=settings.allowed_hosts, trusted_proxies=settings.trusted_proxies,
        )  # fmt: skip

    def take(self, settings: Settings) -> None:
        """Take what a reload may change; workers end after the task in hand, and the next ones read it themselves."""
        self._settings = settings
        self._opened.take(settings)
        self.workers.renew()

    def chores(self) -> list[tuple[float, str, Callable[[], None]]]:
        """Return what is to be done again and again: the seconds between, a name, and the work, for a thread."""
        settings = self._settings
        found: list[tuple[float, str, Callable[[], None]]] = [
            (HOUR_SECONDS, "forget tasks", self.workers.forget),
            (HOUR_SECONDS, "audit head", self._upkeep.publish_head),
            (DAY_SECONDS, "audit retention", lambda: self._upkeep.prune(settings)),
        ]
        if settings.task_workers:
            found.append((LOOK_SECONDS, "look after workers", self.workers.look))
            # Looked at more often than done: what a restart or a night's sleep left out is made up for.
            found.append((60.0, "index", self.index_if_due))
        return found

    def troubles(self) -> list[str]:
        """Look whether the operations can be done, and return what is in the way, for whoever starts the daemon.

        Waits for disks and, with QUEUE_URL or MONGODB_URL, for their servers.
        """
        parts: list[tuple[str, Callable[[], object]]] = [
            (NOTHING_DELETED(), self._opened.auditor.log.head),
            (NO_TASKS(), self._opened.operations.engine.workers),
            (TOKENS_REFUSED(), lambda: self._tokens.is_revoked("")),
        ]
        found = []
        for what, look in parts:
            try:
                look()
            except CacheKeeperError as error:
                found.append(f"{what}: {error}")
        return found

    def begin(self) -> None:
        """Do, in a thread, what is not to wait for its first turn."""
        # A day is long: a daemon that is restarted every day would never come to it.
        self._upkeep.prune(self._settings)
        self._upkeep.publish_head()
        self.index_if_due()

    def index_if_due(self) -> None:
        """Queue the walks that keep the index and the list of models true, once for each interval. Never raises.

        What the index does not know at all is walked at once. Without workers here nothing is queued.
        """
        if not self._settings.task_workers:
            return
        interval = self._settings.index_interval_hours * HOUR_SECONDS
        turn = f"{self._settings.host_queue}/{interval:g}s/{int(time.time() // interval)}"
        caller, operations = schedule_caller(), self._opened.operations
        try:
            if turn != self._indexed:
                for name in ("refresh", "list_models"):
                    # The key is the same after a restart: the second wish finds the first one's task.
                    operations.submit(caller, name, {}, priority=Priority.LOW, schedule_key=f"{name}@{turn}")
                self._indexed = turn
            unknown = {each.target for each in operations.stats().targets if each.indexed_at is None}
            under_way = TaskQuery((TaskState.QUEUED, TaskState.RUNNING), name="refresh")
            if unknown - self._asked_for and not operations.engine.tasks(under_way, limit=1).tasks:
                # New in the settings, or the index was lost. Once: one that cannot be walked waits for its turn.
                for target in sorted(unknown - self._asked_for):
                    operations.submit(caller, "refresh", {"target": target}, priority=Priority.LOW)
                self._asked_for = unknown
            self._asked_for &= unknown
        except CacheKeeperError as error:
            log.warning("the caches are not indexed: %s", error)

    def close(self, seconds: float) -> None:
        """End the workers, each after the entry in hand; what is left after ``seconds`` is killed."""
        self.workers.stop(seconds)

    def let_go(self) -> None:
        """Close the files, last of all: the last to close one moves its -wal into it, and a copy of it is whole."""
        self._opened.close()
        self._tokens.close()
