"""What it costs to start, and to do nothing: ``python -m benchmarks.start`` (two minutes), ``--save``."""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.fleet import fleet
from benchmarks.measure import ROOT, publish, running_main, table
from runtime.limits import raise_open_files

STARTS = 7
SIZES = (1, 1000)


def main() -> None:
    """Measure, print, and save if so wished."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/start.md")
    options = parser.parse_args()
    raise_open_files(max(SIZES) + 1000)
    taken = [start_and_stop() for _ in range(STARTS)]
    rows = [
        [
            "`daemon.py start` until main.py is ready and the page is there",
            f"median {statistics.median(taken):.2f} s, worst {max(taken):.2f} s of {STARTS}",
            "< 1.5 s",
        ]
    ]
    for size in SIZES:
        memory, share = idle(size)
        rows.append([f"main.py over {size:,} loaded servers: CPU, of one core", f"{share:.2%}", ""])
        rows.append([f"main.py over {size:,} loaded servers: memory", f"{memory:.0f} MiB", ""])
    sections = {"Start and idle": table(("what", "measured", "target"), rows)}
    publish("start", "The cost of starting and of idling", sections, save=options.save)


def start_and_stop() -> float:
    """Return the seconds of one start; the daemon is stopped again."""
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as free:
        environment = {**os.environ, "CACHE_DIR": directory, "PORT": str(free.getsockname()[1])}
        free.close()
        command = [sys.executable, "daemon.py"]
        began = time.perf_counter()
        subprocess.run([*command, "start"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
        seconds = time.perf_counter() - began
        subprocess.run([*command, "stop"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
        return seconds


def idle(size: int) -> tuple[float, float]:
    """Return memory in MiB and the share of a core over one interval of 30 s."""
    with fleet(size) as (urls, _), running_main(urls) as program:
        program.wait_until_polled()
        time.sleep(5)
        began, spent = time.monotonic(), program.cpu_seconds()
        time.sleep(30)
        share = (program.cpu_seconds() - spent) / (time.monotonic() - began)
        return program.memory_mib()[0], share


if __name__ == "__main__":
    main()
