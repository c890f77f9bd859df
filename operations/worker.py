"""A worker process: ``python -m operations worker``. It runs tasks until told to end, whatever engine keeps them."""

from __future__ import annotations

import faulthandler
import logging
import os
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
    only: str = "",
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
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Line(stamped=not settings.supervised))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    registry.load(modules)
    options = engines.WorkerOptions(engines.queues_of(settings, host, queues), only, lease_seconds, retry_seconds)
    log.debug("tasks=%s", ",".join(registry.names()) or "none")
    engines.work(settings, options, ending)
    log.info("Ended")


class _Line(logging.Formatter):
    """As the daemon's lines, which these stand among: the level only where it is not normal; and whose line it is."""

    def __init__(self, *, stamped: bool) -> None:
        super().__init__("%(message)s")
        self._stamped = stamped

    def format(self, record: logging.LogRecord) -> str:
        line = f"worker {os.getpid()}: {super().format(record)}"
        if record.levelno != logging.INFO:
            line = f"{record.levelname} {line}"
        return f"[{self.formatTime(record, '%Y-%m-%d %H:%M:%S')}] {line}" if self._stamped else line
