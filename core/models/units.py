"""Sizes and ages as people write and read them."""

from __future__ import annotations

import re

from core.models import words as say

_UNITS = ("B", "KB", "MB", "GB", "TB")
_SECONDS = {"": 86400, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def size_text(size: int) -> str:
    """Given bytes, return them for a person: ``53.91 GB``. A GB is 1024 MB here, as for du and the tools before."""
    amount, unit = float(size), 0
    while amount >= 999.995 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.2f} {_UNITS[unit]}" if unit else f"{size} B"


def size_bytes(text: str) -> int:
    """Given a size such as ``200GB`` or ``1.5 TiB``, return bytes, 1024 to the step; raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])i?)?b?\s*", text.lower())
    if not match:
        raise ValueError(say.NO_SIZE(typed=text))
    return int(float(match[1]) * 1024.0 ** (" kmgt".index(match[2] or " ")))


def age_seconds(text: str) -> float:
    """Given an age such as ``30d`` or ``12h`` (a bare number means days), return seconds; raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])?\s*", text.lower())
    if not match or float(match[1]) <= 0:
        raise ValueError(say.NO_AGE(typed=text))
    return float(match[1]) * _SECONDS[match[2] or ""]


def ago_text(seconds: float) -> str:
    """Given an age in seconds, return it in days, hours or minutes: ``3 d``."""
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {name}"
    return "now" if seconds >= -60 else "?"
