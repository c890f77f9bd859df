"""Runs a real Timetable on this process's clock; arguments: seconds between two interval jobs, a time of day."""

from __future__ import annotations

import logging
import select
import sys
import time

from runtime.jobs import Timetable, local_seconds

logging.basicConfig(stream=sys.stdout, format="%(message)s")
table = Timetable()
table.every(float(sys.argv[1]), "poll", lambda: print("poll", flush=True))
table.daily(sys.argv[2], "clean", lambda: print(f"clean {time.strftime('%d %H:%M:%S')}", flush=True))
print("ready", flush=True)
while True:
    table.tick(local_seconds(), time.monotonic())
    # Not time.sleep: libfaketime 0.9.10 breaks it when the monotonic clock is left alone.
    select.select([], [], [], 0.02)
