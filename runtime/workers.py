"""The daemon's worker processes: started with a leash, restarted when they die, replaced when they hang."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

from config import Settings
from core.errors import CacheKeeperError
from core.restart import Limits, backoff_seconds
from operations.engines import open_engine

COMMAND = ("-m", "operations", "worker", "--leash")

LOOK_SECONDS = 30.0
"""How often it is looked whether each worker's heartbeat lives. One that lacks it twice in a row is replaced."""

log = logging.getLogger("workers")


@dataclass
class _Place:
    """One of TASK_WORKERS: its process, or when the next one is due. All times are monotonic seconds."""

    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    failures: int = 0
    silent: int = 0


@dataclass
class TaskWorkers:
    """Keeps TASK_WORKERS processes running. They read the settings themselves.

    They stay in our process group: what kills all of us at once kills them too. ``tick`` is for the main loop;
    ``look`` and ``stop`` take their time and belong in a thread.
    """

    settings: Settings
    _places: list[_Place] = field(default_factory=list)
    _stopping: bool = False

    def __post_init__(self) -> None:
        self._places = [_Place() for _ in range(self.settings.task_workers)]

    def tick(self, now: float) -> None:
        """Notice the dead, and start what is due. Never raises."""
        for place in [] if self._stopping else self._places:
            if place.process is not None and (code := place.process.poll()) is not None:
                self._bury(place, place.process, code, now)
            if place.process is None and now >= place.due_at:
                self._start(place, now)

    def _start(self, place: _Place, now: float) -> None:
        try:
            place.process = subprocess.Popen(
                [sys.executable, *COMMAND], cwd=self.settings.root, stdin=subprocess.PIPE, bufsize=0
            )
        except OSError as error:
            # No memory or no more processes: that may pass.
            self._fail(place, now)
            log.error("no worker can be started: %s", error)
            return
        place.started_at, place.silent = now, 0

    def _bury(self, place: _Place, process: subprocess.Popen[bytes], code: int, now: float) -> None:
        if process.stdin is not None:
            process.stdin.close()
        place.process = None
        if code == 0:
            # It was told to end, by us after a reload or by somebody else.
            place.failures, place.due_at = 0, now
            return
        if now - place.started_at >= self.settings.healthy_after_seconds:
            place.failures = 0
        self._fail(place, now)
        log.warning("worker %d ended code=%d; the next starts in %.0f s", process.pid, code, place.due_at - now)

    def _fail(self, place: _Place, now: float) -> None:
        place.failures += 1
        place.due_at = now + backoff_seconds(_limits(self.settings), place.failures)

    def renew(self) -> None:
        """Let each worker end after the task in hand; the next one reads the settings anew."""
        for place in self._places:
            if place.process is not None and hasattr(signal, "SIGHUP"):
                place.process.send_signal(signal.SIGHUP)

    def look(self) -> None:
        """Kill the workers whose heartbeat has stopped: stopped or hanging as a whole, they do not end by themselves.

        Others have their tasks by then; only the place is to be free again. Never raises.
        """
        try:
            engine = open_engine(self.settings)
            try:
                living = {worker.pid for worker in engine.workers()}
            finally:
                engine.close()
        except CacheKeeperError as error:
            log.warning("%s", error)
            return
        for place in self._places:
            process = place.process
            if process is None or process.pid in living:
                place.silent = 0
                continue
            place.silent += 1
            if place.silent >= 2:
                log.error("worker %d gives no sign of life: it is killed", process.pid)
                process.kill()

    def forget(self) -> None:
        """Delete what ended longer ago than TASK_RETENTION_DAYS. Never raises."""
        try:
            engine = open_engine(self.settings)
            try:
                forgotten = engine.forget_before(time.time() - self.settings.task_retention_days * 86400)
            finally:
                engine.close()
        except CacheKeeperError as error:
            log.warning("%s", error)
            return
        if forgotten:
            log.info("Forgot tasks=%d", forgotten)

    def stop(self, seconds: float) -> None:
        """End all workers, each after the entry in hand; what is left after ``seconds`` is killed."""
        self._stopping = True
        running = [place.process for place in self._places if place.process is not None]
        for process in running:
            if process.stdin is not None:
                process.stdin.close()
            process.terminate()
        deadline = time.monotonic() + seconds
        for process in running:
            try:
                process.wait(max(deadline - time.monotonic(), 0.05))
            except subprocess.TimeoutExpired:
                log.warning("worker %d does not end: it is killed", process.pid)
                process.kill()


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.start_timeout_seconds, settings.heartbeat_timeout_seconds, settings.stop_grace_seconds,
        settings.backoff_initial_seconds, settings.backoff_max_seconds, settings.healthy_after_seconds,
    )  # fmt: skip
