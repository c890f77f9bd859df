"""Writes what a walk has found to be different: all of it, or after a kill nothing of it."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise

from core.listing import AGE_LIMITS_DAYS
from store.index_schema import RECOUNT, with_orders, without_orders

_SAMPLE_DAYS = 400
_FEW = 20_000
"""Differences that are written one by one, however small the index."""
_REBUILT_PER_WRITTEN = 8
"""As many entries are sorted into new indexes in the time in which one is put into all of the old ones."""


class Difference(IntEnum):
    """What is different about an entry. ``ACCESSED`` is its last use, and nothing that it is sorted by."""

    NEW = 1
    CHANGED = 2
    ACCESSED = 3


DIFFERENCES = """
    CREATE TEMP TABLE {name} (
        name TEXT NOT NULL, size INTEGER NOT NULL, created_at REAL NOT NULL, last_accessed REAL, files INTEGER NOT NULL,
        kind INTEGER NOT NULL
    )"""


def merge(connection: sqlite3.Connection, target: int, differences: str, gone: Sequence[str]) -> int:
    """Write the differences that a temporary table holds, remove the names that are gone; return how many were.

    Given a connection inside a transaction.
    """
    (few,) = connection.execute(
        f"SELECT max(?, sum(entries) / {_REBUILT_PER_WRITTEN}) FROM targets", (_FEW,)
    ).fetchone()
    (written,) = connection.execute(f"SELECT count(*) FROM temp.{differences}").fetchone()
    wholesale = written + len(gone) > few
    if wholesale:
        _each(connection, without_orders())
    # No statement that could be undone alone (OR ROLLBACK, OR IGNORE): SQLite would copy every page that it touches.
    theirs = f"FROM temp.{differences} AS new WHERE entries.target = ? AND entries.name = new.name AND new.kind = ?"
    # What was only looked at has its place in every order, and no index has to be touched.
    connection.execute(
        f"UPDATE OR ROLLBACK entries SET last_accessed = new.last_accessed {theirs}", (target, Difference.ACCESSED)
    )
    connection.execute(
        "UPDATE OR ROLLBACK entries SET size = new.size, created_at = new.created_at,"
        f" last_accessed = new.last_accessed, files = new.files {theirs}",
        (target, Difference.CHANGED),
    )
    connection.execute(
        "INSERT OR IGNORE INTO entries (target, name, size, created_at, last_accessed, files)"
        f" SELECT ?, name, size, created_at, last_accessed, files FROM temp.{differences} WHERE kind = ? ORDER BY name",
        (target, Difference.NEW),
    )
    removed = connection.executemany(
        "DELETE FROM entries WHERE target = ? AND name = ?", [(target, name) for name in gone]
    ).rowcount
    if wholesale:
        connection.execute(f"{RECOUNT} WHERE id = ?", (target,))
        _each(connection, with_orders())
    return max(removed, 0)


def note_ages(connection: sqlite3.Connection, target: int, now: float) -> None:
    """Count a target's entries and bytes by age band, and keep them; its last walk of a day is the day's sample."""
    limits = [now - days * 86400.0 for days in AGE_LIMITS_DAYS]
    # Entries are counted inside an index, which knows no sizes.
    entries = [
        connection.execute(
            "SELECT count(*) FROM entries WHERE target = ? AND created_at > ? AND created_at <= ?",
            (target, older, younger),
        ).fetchone()[0]
        for younger, older in pairwise([math.inf, *limits, -math.inf])
    ]
    # Sums up to each limit, whose differences are the bands: a GROUP BY would sort every row.
    sums = ", ".join(["coalesce(sum(size) FILTER (WHERE created_at > ?), 0)"] * len(limits))
    sizes = connection.execute(
        f"SELECT 0, {sums}, coalesce(sum(size), 0) FROM entries NOT INDEXED WHERE target = ?", (*limits, target)
    ).fetchone()
    (name,) = connection.execute("SELECT name FROM targets WHERE id = ?", (target,)).fetchone()
    connection.execute("DELETE FROM ages WHERE target = ?", (name,))
    connection.executemany(
        "INSERT INTO ages VALUES (?, ?, ?, ?)",
        [
            (name, band, entries[band], upto - before)
            for band, (before, upto) in enumerate(pairwise(sizes))
            if entries[band]
        ],
    )
    day = int(now // 86400)
    connection.execute(
        "INSERT OR REPLACE INTO samples SELECT ?, name, entries, size FROM targets WHERE id = ?", (day, target)
    )
    connection.execute("DELETE FROM samples WHERE day < ?", (day - _SAMPLE_DAYS,))


def _each(connection: sqlite3.Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        connection.execute(statement)
