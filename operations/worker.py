"""A worker process: ``python -m operations worker``. It runs tasks until told to end, whatever engine keeps them."""

from __future__ import annotations

import faulthandler
import logging
import sys
from collections.abc import Sequence

from config import Settings
from operations import engines, registry
from operations.ending import Ending

log = logging.getLogger("worker")


def main(
    settings: Settings,
    *,
    host: str = "",
    queues: Sequence[str] = (),
    modules: Sequence[str] = (),
    leash: bool = False,
    lease_seconds: float | None = None,
    retry_seconds: float | None = None,
) -> None:
    """Run tasks until SIGTERM, SIGINT or, with ``leash``, the end of stdin. Raises StoreError and TaskError.

    SIGHUP ends it after the task in hand: whoever started it starts the next one, with the settings of then.
    """
    faulthandler.enable()
    # First of all: who starts us may want us to stop before we have begun.
    ending = Ending()
    ending.watch_signals()
    if leash:
        ending.watch_leash(settings.stop_grace_seconds)
    stamp = "" if settings.supervised else "[%(asctime)s] "
    logging.basicConfig(
        level=settings.log_level, stream=sys.stdout, format=stamp + "worker %(process)d: %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S", force=True,
    )  # fmt: skip
    registry.load(modules)
    options = engines.WorkerOptions(engines.queues_of(settings, host, queues), lease_seconds, retry_seconds)
    log.debug("tasks=%s", ",".join(registry.names()) or "none")
    engines.work(settings, options, ending)
    log.info("Ended")
