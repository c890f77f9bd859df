"""How numbers and times are told to people."""

from __future__ import annotations

import time
from datetime import UTC, datetime

UNITS = "s,min,h,d"


def duration(seconds: float | None, units: str = UNITS) -> str:
    """Return seconds as people say them: 8 s, 3 min, 2 h 5 min, 4 d; ``units`` are the words for s, min, h and d."""
    if seconds is None:
        return "–"
    second, minute, hour, day = units.split(",")
    whole = int(seconds)
    if whole < 60:
        return f"{whole} {second}"
    if whole < 3600:
        return f"{whole // 60} {minute}"
    if whole < 86400:
        return f"{whole // 3600} {hour} {whole % 3600 // 60} {minute}"
    return f"{whole // 86400} {day} {whole % 86400 // 3600} {hour}"


def bytes_of(number: float | None) -> str:
    """Return a size in powers of 1000, as the commands tell it: 512 B, 1.5 MB."""
    if number is None:
        return "–"
    size = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("the last unit takes everything")


def count(number: float | None) -> str:
    """Return a whole number with its thousands set apart."""
    return "–" if number is None else f"{number:,.0f}"


def percent(part: float) -> str:
    """Return a share, 0–1, as whole percents that are 0 and 100 only where nothing or everything is meant."""
    whole = round(part * 100)
    return f"{min(max(whole, 1 if part > 0 else 0), 99 if part < 1 else 100)} %"


def clock(at: float | None) -> str:
    """Return UTC seconds as this machine's date and time; the page's script makes it the reader's."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at is not None else "–"


def iso(at: float) -> str:
    """Return UTC seconds as ISO 8601."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
