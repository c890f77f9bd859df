"""Ages and sizes as people write them: "36h", "50GB". Apart from the rules that use them, which cost more to import."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

DAY_SECONDS = 86_400.0
HOUR_SECONDS = 3_600.0

_AGE_UNITS = {"m": 60.0, "h": HOUR_SECONDS, "d": DAY_SECONDS, "w": 7 * DAY_SECONDS}
_SIZE_UNITS = {
    "": 1, "b": 1,
    "k": 1000, "kb": 1000, "m": 1000**2, "mb": 1000**2, "g": 1000**3, "gb": 1000**3, "t": 1000**4, "tb": 1000**4,
    "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4,
}  # fmt: skip
_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*")


def parse_age_seconds(value: object) -> float:
    """Given "90m", "36h", "7d", "2w" or a number of days, return seconds; ValueError unless above 0."""
    seconds = amount(value, _AGE_UNITS | {"": DAY_SECONDS})
    if not seconds > 0:
        raise ValueError(value)
    return seconds


def parse_size_bytes(value: object) -> int:
    """Given "50GB" (powers of 1000), "50GiB" (of 1024) or a number, return bytes; ValueError otherwise."""
    return int(amount(value, _SIZE_UNITS))


def amount(value: object, units: Mapping[str, float]) -> float:
    """Given a number with a unit, return it in the unit whose factor is 1; ValueError unless finite and 0 or more."""
    if isinstance(value, bool):
        raise ValueError(value)
    if isinstance(value, int | float):
        number, unit = float(value), ""
    else:
        match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(value)
        number, unit = float(match[1]), match[2].lower()
    if unit not in units or not math.isfinite(number) or number < 0:
        raise ValueError(value)
    return number * units[unit]
