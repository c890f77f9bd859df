"""Which engine keeps the tasks: the embedded one, or a queue for many machines where QUEUE_URL names its Redis."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from config import Settings
from core.tasks import DEFAULT_QUEUE, RETRY_SECONDS, TaskEngine, host_queue
from operations.ending import Ending
from operations.runner import run

log = logging.getLogger("worker")


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker's command line says. None means the engine's own default; times are seconds."""

    queues: tuple[str, ...]
    lease_seconds: float | None = None
    retry_seconds: float | None = None


def open_engine(settings: Settings) -> TaskEngine:
    """Return the engine that the settings name; raises StoreError when it cannot be opened."""
    from store.task_queue import TaskQueue

    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    return TaskQueue(settings.tasks_database)


def queues_of(settings: Settings, host: str = "", others: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the queues that a worker of this machine serves: the common one, the machine's own, and ``others``."""
    return tuple(dict.fromkeys([DEFAULT_QUEUE, host_queue(host or settings.host_queue), *others]))


def work(settings: Settings, options: WorkerOptions, ending: Ending) -> None:
    """Run tasks until ``ending`` is asked for; raises StoreError when the engine cannot be opened.

    Says ``Ready`` in the log once it takes tasks.
    """
    from operations.local_worker import LocalWorker
    from store.task_claims import LEASE_SECONDS, TaskClaims
    from store.wake import Alarm

    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    claims = TaskClaims(
        settings.tasks_database,
        options.queues,
        per_user=settings.tasks_per_user,
        lease_seconds=options.lease_seconds or LEASE_SECONDS,
        retry_seconds=options.retry_seconds or RETRY_SECONDS,
    )
    alarm = Alarm(settings.tasks_database, claims.name)
    log.info("Ready name=%s queues=%s", claims.name, ",".join(options.queues))
    try:
        LocalWorker(claims, alarm, run, ending).run()
    finally:
        alarm.close()
        claims.close()
