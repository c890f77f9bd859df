"""Which engine keeps the tasks: the embedded one, or a queue for many machines where QUEUE_URL names its Redis."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from config import Settings
from core.errors import CacheKeeperError
from core.operation_phrases import NOT_INSTALLED
from core.secret import Secret
from core.tasks import DEFAULT_QUEUE, RETRY_SECONDS, Runner, TaskEngine, host_queue
from operations.ending import Ending
from operations.runner import run
from operations.stalls import StallWatch

log = logging.getLogger("worker")


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker's command line says. None means the engine's own default; times are seconds.

    ``only`` is the one task that the worker is for; a worker of many machines' queue is always for all.
    """

    queues: tuple[str, ...]
    only: str = ""
    lease_seconds: float | None = None
    retry_seconds: float | None = None


def open_engine(settings: Settings) -> TaskEngine:
    """Return the engine that the settings name; raises StoreError when it cannot be opened.

    A Redis that does not answer is told by the methods, not here: programs must start in any order.
    """
    if settings.queue_url:
        with _servers_installed():
            from store.rq_queue import RqQueue
        return RqQueue(settings.queue_url, settings.queue_prefix, per_user=settings.tasks_per_user)
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
    if settings.queue_url:
        _work_for_many(settings, settings.queue_url, options, ending)
        return
    from operations.local_worker import LocalWorker
    from store.task_claims import LEASE_SECONDS, TaskClaims
    from store.wake import Alarm

    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    claims = TaskClaims(
        settings.tasks_database,
        options.queues,
        per_user=settings.tasks_per_user,
        only=options.only,
        lease_seconds=options.lease_seconds or LEASE_SECONDS,
        retry_seconds=options.retry_seconds or RETRY_SECONDS,
    )
    alarm = Alarm(settings.tasks_database, claims.name)
    log.info("Ready name=%s queues=%s", claims.name, ",".join(options.queues))
    try:
        LocalWorker(claims, alarm, _runner(settings), ending).run()
    finally:
        alarm.close()
        claims.close()


def _work_for_many(settings: Settings, url: Secret, options: WorkerOptions, ending: Ending) -> None:
    with _servers_installed():
        from store.rq_client import wait_until_it_answers
        from store.rq_worker import MONITORING_SECONDS, TaskWorker

    if not wait_until_it_answers(url, lambda: ending.asked):
        return
    # Three heartbeats that are missed are the end of a lease.
    monitoring = max(1, round(options.lease_seconds / 3)) if options.lease_seconds else MONITORING_SECONDS
    worker = TaskWorker(
        url,
        settings.queue_prefix,
        options.queues,
        _runner(settings),
        monitoring_seconds=monitoring,
        maintenance_seconds=monitoring,
        retry_seconds=options.retry_seconds or RETRY_SECONDS,
    )
    log.info("Ready name=%s queues=%s", worker.name, ",".join(options.queues))
    worker.run(ending.call, lambda: ending.asked)


def _runner(settings: Settings) -> Runner:
    return StallWatch(run, settings.task_stall_seconds).run if settings.task_stall_seconds else run


@contextmanager
def _servers_installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise CacheKeeperError(NOT_INSTALLED(package=package)) from None
