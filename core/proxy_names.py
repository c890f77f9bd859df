"""The debug files of an API proxy: which names are its own, and the time that a name states.

``20260217_143709_853_REQUEST_<anything>.json``, ``20260217_143709_853_ERROR_<anything>.json`` and
``CALLS_20260217.json``. They lie in a directory with other things, so the shape of the name is the only title.
"""

from __future__ import annotations

import calendar
import re
from datetime import datetime

from core.retention import DAY_SECONDS

_SHAPE = re.compile(r"(?:(\d{8})_(\d{6})_\d{3}_(?:REQUEST|ERROR)_.*|CALLS_(\d{8}))\.json", re.DOTALL)


def is_debug_file(name: str) -> bool:
    """Whether a file of this name was written by the proxy."""
    return _SHAPE.fullmatch(name) is not None


def stated_time(name: str) -> float | None:
    """Given a debug file's name, return the latest time it can mean, or None where it states none.

    A name does not say whether it is local time or UTC: a day is added for that, and another for the daily
    files, which are written until midnight.
    """
    match = _SHAPE.fullmatch(name)
    if match is None:
        return None
    day, clock, whole_day = match.groups()
    try:
        if whole_day:
            return _seconds(whole_day, "000000") + 2 * DAY_SECONDS
        return _seconds(day, clock) + DAY_SECONDS
    except ValueError:  # 20261345: digits, but not a date
        return None


def _seconds(day: str, clock: str) -> float:
    # Five times as fast as strptime, which counts in a directory of a million files.
    moment = datetime(int(day[:4]), int(day[4:6]), int(day[6:]), int(clock[:2]), int(clock[2:4]), int(clock[4:]))
    return calendar.timegm(moment.timetuple())
