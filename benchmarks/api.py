"""What the pages and the JSON cost: ``python -m benchmarks.api`` (a minute), ``--save`` to keep the results.

A real main.py over simulated servers, asked over a real socket by a client with one kept connection.
"""

from __future__ import annotations

import argparse
import statistics
import time

from benchmarks.fleet import fleet
from benchmarks.measure import Running, publish, running_main, table
from runtime.limits import raise_open_files

SIZES = (1000, 5000)
REQUESTS = 21
TARGETS = {
    "/healthz": "",
    "/api/status": "< 200 ms at 1,000",
    "/api/detailed_status": "< 200 ms at 1,000",
    "/api/submission_status": "",
    "/api/servers": "< 200 ms at 1,000",
    "/api/servers?page_size=1000": "< 200 ms at 1,000",
    "/api/servers?q=127.0.0.1&sort=-age": "< 200 ms at 1,000",
    "/api/servers/0": "",
    "/status": "< 300 ms at 1,000",
    "/status/0": "",
}


def main() -> None:
    """Measure, print, and save if so wished."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/api.md")
    options = parser.parse_args()
    raise_open_files(max(SIZES) + 1000)
    sections = {}
    for size in SIZES:
        with fleet(size) as (urls, _), running_main(urls) as program:
            program.wait_until_polled()
            sections[f"{size:,} servers"] = latencies(program)
    publish("api", "The API's and the page's cost", sections, save=options.save)


def latencies(program: Running) -> str:
    """Ask for each path many times, the paths in turn; a table of what a client waited for."""
    whole: dict[str, list[float]] = {path: [] for path in TARGETS}
    first: dict[str, list[float]] = {path: [] for path in TARGETS}
    size = {}
    connection = program.connect()
    for _ in range(REQUESTS):
        for path in TARGETS:
            began = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read(1)
            first[path].append(time.perf_counter() - began)
            size[path] = 1 + len(answer.read())
            whole[path].append(time.perf_counter() - began)
    connection.close()
    rows = [
        [
            f"`{path}`", f"{size[path] / 1024:,.0f} KiB", f"{statistics.median(first[path]) * 1e3:.1f} ms",
            f"{statistics.median(whole[path]) * 1e3:.1f} ms", f"{max(whole[path]) * 1e3:.1f} ms", target,
        ]
        for path, target in TARGETS.items()
    ]  # fmt: skip
    heads = ("path", "size", "first byte, median", "whole, median", "worst", "target")
    return table(heads, rows) + f"\n\nmain.py's memory afterwards: {program.memory_mib()[0]:.0f} MiB."


if __name__ == "__main__":
    main()
