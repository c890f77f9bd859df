"""What the pages and the JSON cost: ``python -m benchmarks.api`` (two minutes), ``--save`` to keep the results.

A real main.py over simulated servers, asked over a real socket by a client with one kept connection; then one
whose index knows of a million cache entries, asked by several clients at once.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from api.keys import SettingsKeys
from api.tokens import sign
from benchmarks.fleet import fleet
from benchmarks.measure import Running, percentile, publish, running_main, table
from core.access import IssuedToken, Role
from core.listing import EntryType, ListedEntry
from core.secret import Secret
from runtime.limits import raise_open_files
from store.index import EntryIndex

SIZES = (1000, 5000)
ENTRIES = 1_000_000
CLIENTS = 8
LOADED_REQUESTS = 200
LOADED = (
    "/api/cache/stats",
    "/api/cache/details?page=1&page_size=20",
    "/api/cache/details?page=50000&page_size=20",
    "/api/cache/details?page=1&page_size=100&sort=-size",
)
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
    heading = f"{CLIENTS} clients at once, {ENTRIES:,} cache entries in the index"
    sections[heading] = under_load(ENTRIES)
    publish("api", "The API's and the page's cost", sections, save=options.save)


def under_load(entries: int) -> str:
    """Ask main.py for statistics and pages with several clients at once; a table of what each waited for."""
    secret = Secret(secrets.token_hex(32))
    now = time.time()
    issued = IssuedToken("benchmark", "benchmark", Role.VIEWER, now, now + 3600)
    token = sign(SettingsKeys(secret).live()[0], issued)
    with tempfile.TemporaryDirectory() as directory, fleet(1) as (urls, _):
        fill(Path(directory) / "index.sqlite3", entries)
        settings = {
            "CACHE_DIR": directory, "API_SECRET": secret.reveal(), "RATE_LIMIT_READS_PER_MINUTE": "1000000",
            # A worker would find that none of the entries exists.
            "TASK_WORKERS": "0",
        }  # fmt: skip
        with running_main(urls, **settings) as program:
            program.wait_until_polled()
            rows = []
            for path in LOADED:
                with ThreadPoolExecutor(CLIENTS) as pool:
                    began, cpu = time.perf_counter(), program.cpu_seconds()
                    each = [pool.submit(asked, program, path, token) for _ in range(CLIENTS)]
                    waits = [wait for one in each for wait in one.result()]
                    seconds, cpu = time.perf_counter() - began, program.cpu_seconds() - cpu
                rows.append(
                    [
                        f"`{path}`", f"{len(waits) / seconds:,.0f}", f"{percentile(waits, 50) * 1e3:.1f} ms",
                        f"{percentile(waits, 99) * 1e3:.1f} ms", f"{cpu / len(waits) * 1e3:.2f} ms",
                    ]
                )  # fmt: skip
    return table(("path", "requests/s", "p50", "p99", "CPU a request"), rows)


def fill(path: Path, entries: int) -> None:
    """Make an index that knows of so many entries."""
    with closing(EntryIndex(path)) as index:
        walk = index.walk("images", EntryType.IMAGES)
        for first in range(0, entries, 10_000):
            walk.put(
                [
                    ListedEntry(
                        "images", EntryType.IMAGES, f"{each // 1000}/task-{each}", 1000 + each % 977, 1.7e9 + each
                    )
                    for each in range(first, min(first + 10_000, entries))
                ]
            )
        walk.finish(time.time())


def asked(program: Running, path: str, token: str) -> list[float]:
    """Ask for a path many times on one connection; the seconds that each answer took."""
    connection, waits = program.connect(), []
    for number in range(LOADED_REQUESTS + 1):
        began = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        if number:
            waits.append(time.perf_counter() - began)
    connection.close()
    return waits


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
