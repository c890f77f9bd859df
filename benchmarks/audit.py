"""What the audit log costs: ``python -m benchmarks.audit`` (a minute), ``--save`` to keep the results.

Records of a usual length, in a file of this machine's disk. Appending is compared with plain inserts of the same rows
at the same safety (``synchronous=FULL``), the two taking turns: what the chain costs is the difference.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import publish, table
from core.audit import AuditOutcome, AuditQuery, AuditRecord, Head, Stage
from core.audit_chain import COLUMNS, chained, verify
from store.audit_log import SqliteAuditLog

APPENDS, ROUNDS, PAGES = 300, 5, 50


def main() -> None:
    """Measure, print, and save if so wished."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/audit.md")
    parser.add_argument("--records", type=int, default=200_000, metavar="N", help="kept while reading (200000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        sections = {
            "Appending": appending(Path(directory)),
            f"Reading {options.records:,} records": reading(Path(directory), options.records),
        }
    publish("audit", "The audit log's cost", sections, save=options.save)


def record(number: int) -> AuditRecord:
    action = ("cache.cleanup", "fleet.warm", "cache.stats", "model.verify")[number % 4]
    outcome = AuditOutcome.SUCCESS if number % 100 else AuditOutcome.FAILURE
    return AuditRecord(
        1_700_000_000.0 + number, f"{number:016x}", Stage.RESULT, f"user-{number % 50}", "operator",
        f"{number % 9:016x}", "203.0.113.7", "api", action, f"target-{number % 20}", {"days": 7, "dry_run": False},
        outcome, 1.25, {"deleted_files": number, "freed_bytes": number * 4096}, "", number,
    )  # fmt: skip


def appending(directory: Path) -> str:
    log = SqliteAuditLog(directory / "appended.sqlite3")
    plain = sqlite3.connect(directory / "plain.sqlite3", isolation_level=None)
    plain.execute("PRAGMA journal_mode=WAL")
    plain.execute("PRAGMA synchronous=FULL")
    plain.execute(f"CREATE TABLE audit ({', '.join(COLUMNS)}, PRIMARY KEY (seq))")
    insert = f"INSERT INTO audit VALUES ({', '.join('?' * len(COLUMNS))})"

    def append(start: int) -> None:
        for number in range(start, start + APPENDS):
            log.append(record(number))

    def insert_plainly(start: int) -> None:
        for number in range(start, start + APPENDS):
            plain.execute(insert, (number, *chained(record(number), None)[1:]))

    rates: dict[str, list[float]] = {"chained": [], "plain": []}
    for turn in range(ROUNDS):
        rates["chained"].append(APPENDS / seconds(append, turn * APPENDS))
        rates["plain"].append(APPENDS / seconds(insert_plainly, turn * APPENDS))
    log.close()
    plain.close()
    chained_rate, plain_rate = (statistics.median(rates[name]) for name in ("chained", "plain"))
    return table(
        ("one transaction each, synchronous=FULL", "records/s", "of plain inserts"),
        [
            ("chained, with its indexes", f"{chained_rate:,.0f}", f"{chained_rate / plain_rate:.2f}"),
            ("plain, without an index", f"{plain_rate:,.0f}", "1.00"),
        ],
    )


def reading(directory: Path, count: int) -> str:
    path = directory / "read.sqlite3"
    log = SqliteAuditLog(path)
    fill(path, count)
    verdicts = []
    took = seconds(lambda: verdicts.append(verify(log.rows(), None)))
    assert verdicts[0].ok
    rows = [("verify the whole chain", f"{took:.1f} s", f"{count / took:,.0f} records/s")]
    for words, query in {
        "a page of 50, no filter": AuditQuery(),
        "a page by actor": AuditQuery(actor="user-7"),
        "a page by action and outcome": AuditQuery(action="cache.cleanup", outcome=AuditOutcome.FAILURE),
        "a page by request": AuditQuery(request_id=f"{count // 2:016x}"),
        "a page of one hour": AuditQuery(since=1_700_000_000.0 + count // 2, until=1_700_003_600.0 + count // 2),
    }.items():
        times = [seconds(log.page, query) for _ in range(PAGES)]
        rows.append((words, f"{statistics.median(times) * 1000:.2f} ms", ""))
    rows.append(("on disk", f"{path.stat().st_size / count:,.0f} bytes a record", "indexes included"))
    log.close()
    return table(("", "median", ""), rows)


def fill(path: Path, count: int) -> None:
    """All in one transaction: what is measured is the reading."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    insert, last = f"INSERT INTO audit ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})", None
    for number in range(count):
        row = chained(record(number), last)
        last = Head(row[0], row[-1])
        connection.execute(insert, row)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def seconds(work: Callable[..., object], *arguments: Any) -> float:
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
