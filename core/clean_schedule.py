"""When a scheduled cleaning is due, and when the clock is not to be believed.

Daylight saving: 02:30 does not exist on one night and comes twice on another. A cleaning is therefore not tied
to the instant: it is due once the local clock has passed the time of day on a date that has had no run yet,
and at least 20 hours after the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from core.cleaning_phrases import CLOCK_BACK, CLOCK_FORWARD
from core.retention import DAY_SECONDS

LEAST_HOURS_BETWEEN_DAILY_RUNS = 20
# Less is NTP correcting a clock: the daily run is late by as much, and need not come twice.
_SET_BACK = timedelta(hours=1)


@dataclass(frozen=True)
class ClockReading:
    """The wall clock (seconds since the epoch) beside a clock that nobody sets (seconds since boot).

    ``boot`` names the boot that ``since_boot_seconds`` counts from; readings of different boots do not compare.
    """

    wall: float
    since_boot_seconds: float = 0.0
    boot: str = ""


def should_run(
    now: datetime,
    last_run: datetime | None,
    daily_time: str | None,
    interval_seconds: float | None = None,
    *,
    watching_since: datetime | None = None,
) -> bool:
    """Given aware local times and the schedule, return whether a cleaning is due.

    ``daily_time`` is "HH:MM". Without a last run the daily one waits for its next time after ``watching_since``
    (when this program started to look), so that installing it in the afternoon deletes nothing at once; an
    interval without a last run is due now. So is either after a last run in the future, which a clock stamped that
    has been set back since: waiting for that day to come again could take years.
    """
    if daily_time is not None and last_run is not None and last_run - now > _SET_BACK:
        return True
    if interval_seconds is not None and (
        last_run is None or (now - last_run).total_seconds() >= interval_seconds or last_run > now
    ):
        return True
    if daily_time is None:
        return False
    since = last_run or watching_since
    if since is None or _slot(now, daily_time) <= _slot(since.astimezone(now.tzinfo), daily_time):
        return False
    return last_run is None or now - last_run >= timedelta(hours=LEAST_HOURS_BETWEEN_DAILY_RUNS)


def _slot(moment: datetime, daily_time: str) -> int:
    """The date (as a day number) whose daily time has last been reached on the local clock."""
    hour, minute = (int(part) for part in daily_time.split(":"))
    passed = (moment.hour, moment.minute) >= (hour, minute)
    return moment.toordinal() if passed else moment.toordinal() - 1


def clock_jump_seconds(last: ClockReading, now: ClockReading) -> float:
    """Return by how much the wall clock was set since the last reading; positive is forward.

    Within one boot the difference to the other clock tells exactly. Across a reboot only a wall clock that lies
    before the last reading is certainly wrong.
    """
    elapsed = now.wall - last.wall
    if last.boot and last.boot == now.boot:
        return elapsed - (now.since_boot_seconds - last.since_boot_seconds)
    return min(elapsed, 0.0)


def clock_refusal(last: ClockReading | None, now: ClockReading) -> str | None:
    """Return why a scheduled run must not trust the clock, or None. A jump of up to a day is tolerated."""
    if last is None:
        return None
    jump = clock_jump_seconds(last, now)
    if abs(jump) <= DAY_SECONDS:
        return None
    return (CLOCK_FORWARD if jump > 0 else CLOCK_BACK)(days=abs(jump) / DAY_SECONDS)
