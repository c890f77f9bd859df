"""The timetable: the ``schedule`` package drives it, guarded against exceptions and against the wall clock.

schedule computes due times on the wall clock: set back a day, a 30 s job would wait a day and 30 s. So the
clock is compared with the monotonic one at every tick, and a jump moves the interval jobs along with it.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable

import schedule

log = logging.getLogger("jobs")

JUMP_SECONDS = 2.0
"""A difference between the two clocks that is no drift: NTP slews at most 0.5 ms a second."""


class Timetable:
    """Interval and daily jobs. The main loop calls ``tick``, which never raises."""

    def __init__(self) -> None:
        self._scheduler = schedule.Scheduler()
        self._daily: list[tuple[str, str, Callable[[], None]]] = []
        self._offset: float | None = None
        self.failures_total = 0

    def every(self, seconds: float, name: str, job: Callable[[], None]) -> None:
        """Run ``job`` every ``seconds``, the first time after as many."""
        # schedule's own annotation says int; its timedelta takes fractions just as well.
        self._scheduler.every(seconds).seconds.do(self._guarded, name, job).tag("interval")  # type: ignore[arg-type]

    def daily(self, clock_time: str, name: str, job: Callable[[], None]) -> None:
        """Run ``job`` every day at ``HH:MM`` local time."""
        self._daily.append((clock_time, name, job))
        self._scheduler.every().day.at(clock_time).do(self._guarded, name, job).tag("daily")

    def clear(self) -> None:
        """Forget every job, so that the timetable can be filled anew after a reload."""
        self._scheduler.clear()
        self._daily.clear()

    def tick(self, local_seconds: float, monotonic_seconds: float) -> None:
        """Run what is due. Given both clocks, mend the due times first if the wall clock jumped.

        ``local_seconds`` is the local wall clock, the one that schedule reads: it jumps on DST nights too.
        """
        offset = local_seconds - monotonic_seconds
        jumped = offset - self._offset if self._offset is not None else 0.0
        if self._offset is None or abs(jumped) > JUMP_SECONDS:
            self._offset = offset
        if abs(jumped) > JUMP_SECONDS:
            self._follow_clock(jumped)
        self._scheduler.run_pending()

    def _follow_clock(self, jumped: float) -> None:
        log.warning("the wall clock jumped by %+.0f s: due times are moved along", jumped)
        for entry in self._scheduler.get_jobs("interval"):
            if entry.next_run is not None:
                entry.next_run += datetime.timedelta(seconds=jumped)
        # A time of day is what it is on the new clock.
        daily, self._daily = self._daily, []
        self._scheduler.clear("daily")
        for clock_time, name, job in daily:
            self.daily(clock_time, name, job)

    def _guarded(self, name: str, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:
            # One failing job must neither end the loop nor its own later runs.
            self.failures_total += 1
            log.exception("job failed name=%s failures_total=%d", name, self.failures_total)


def local_seconds() -> float:
    """Return the local wall clock as a number of seconds; it jumps where that clock jumps."""
    return (datetime.datetime.now() - datetime.datetime(1970, 1, 1)).total_seconds()
