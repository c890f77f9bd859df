"""The stamp of the last scheduled run: a small JSON file in CACHE_DIR that survives restarts and power cuts."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from dataclasses import asdict
from pathlib import Path

from core.clean_schedule import ClockReading

STAMP_NAME = "cache_cleaner.stamp"
log = logging.getLogger("cleaner")


def read_clock() -> ClockReading:
    """Return the wall clock and, where the system has one, the clock since boot that goes on in suspend."""
    boot_clock = getattr(time, "CLOCK_BOOTTIME", None)
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    if boot_clock is None or not boot:
        return ClockReading(time.time())
    return ClockReading(time.time(), time.clock_gettime(boot_clock), boot)


def read_stamp(path: Path) -> ClockReading | None:
    """Return the clock as it stood at the last scheduled run; None when there was none, or no one can tell."""
    try:
        reading = ClockReading(**json.loads(path.read_text(encoding="utf-8")))
        if not (math.isfinite(float(reading.wall)) and math.isfinite(float(reading.since_boot_seconds))):
            raise ValueError("not a time")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        log.warning("the stamp %s cannot be used, so the last cleaning counts as never: %s", path, error)
        return None
    return reading


def write_stamp(path: Path, reading: ClockReading) -> None:
    """Replace the stamp whole or not at all; a full disk is a warning, the cleaning was done all the same."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(reading), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        log.warning("the stamp %s cannot be written: %s", path, error.strerror or error)
        temporary.unlink(missing_ok=True)
