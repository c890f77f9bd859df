"""One walk over a target, compared with the index: only what has changed is written."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from core.listing import AGE_LIMITS_DAYS, EntryType, ListedEntry

if TYPE_CHECKING:
    from store.index import EntryIndex

TRANSACTION_ENTRIES = 20_000
"""Rows of one transaction, so that no reader or writer waits long."""

_LARGEST_SIZE = 1 << 50
"""Bytes; a sparse file may claim more, and sums must fit into 64 bits."""
_MOST_FILES = 1 << 40
_SAMPLE_DAYS = 400
_FACTS, _LAST_ACCESSED = itemgetter(3, 4, 5, 6), itemgetter(5)
_MARK, _NUMBER = itemgetter(1), itemgetter(2)


class Walk:
    """One walk over a target: ``put`` what is found, then ``finish``, or ``fail`` when it could not be read to the end.

    Only what has changed is written. A walk that never finishes leaves the old picture and what it has seen anew.
    """

    def __init__(self, index: EntryIndex, target: str, type: EntryType, tolerance_seconds: float) -> None:
        self._index = index
        self._name = target
        self._tolerance_seconds = tolerance_seconds
        self.seen = self.added = self.changed = self.removed = 0
        with index.writing() as connection:
            connection.execute(
                "INSERT INTO targets (name, type) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET type = excluded.type",
                (target, type),
            )
            self._target, self._before = connection.execute(
                "SELECT id, entries FROM targets WHERE name = ?", (target,)
            ).fetchone()
            (last,) = connection.execute("SELECT max(id) FROM entries WHERE target = ?", (self._target,)).fetchone()
        self._last = last or 0
        # The numbers of the rows that were found again: 8 MB for a million entries.
        self._met = array("q")

    def put(self, batch: Sequence[ListedEntry]) -> None:
        """Compare entries with the index, and write those that are new or different."""
        if not batch:
            return
        self.seen += len(batch)
        with self._index.writing() as connection:
            rows = self._known(connection, batch)
            new: dict[str, ListedEntry] = {}
            different: list[tuple[ListedEntry, int]] = []
            # Nearly every batch of every walk is as it was: this one comparison is all that happens to it.
            unused = None in map(_LAST_ACCESSED, batch)
            marks = list(map(_mark, batch)) if unused else list(map(hash, map(_FACTS, batch)))
            if None in rows or list(map(_MARK, rows)) != marks:
                for entry, row, mark in zip(batch, rows, marks, strict=True):
                    if row is None:
                        new[entry[2]] = entry
                    elif row[1] != mark and not self._same(connection, row[2], entry):
                        different.append((entry, row[2]))
                rows = [row for row in rows if row is not None]
            self._met.extend(map(_NUMBER, rows))
            if new:
                self.added += len(new)
                connection.executemany(
                    "INSERT INTO entries (target, name, size, created_at, last_accessed, files, mark)"
                    " VALUES (?,?,?,?,?,?,?)",
                    [(self._target, *_values(entry)) for entry in new.values()],
                )
            if different:
                self.changed += len(different)
                connection.executemany(
                    "UPDATE entries SET name=?, size=?, created_at=?, last_accessed=?, files=?, mark=? WHERE id=?",
                    [(*_values(entry), number) for entry, number in different],
                )

    def finish(self, now: float) -> None:
        """Remove what was not seen, set ``indexed_at``, and note how large and how old what is left is."""
        # A set: a scan may have shown an entry twice. Later numbers were not there as the walk began.
        met = {number for number in self._met if number <= self._last}
        if len(met) < self._before:
            self._remove_unseen(met)
        ages = self._ages(now)
        with self._index.writing() as connection:
            connection.execute("UPDATE targets SET indexed_at = ?, error = '' WHERE id = ?", (now, self._target))
            connection.execute("DELETE FROM ages WHERE target = ?", (self._name,))
            connection.executemany("INSERT INTO ages VALUES (?, ?, ?, ?)", [(self._name, *row) for row in ages])
            # The last walk of a day is the day's sample.
            connection.execute(
                "INSERT OR REPLACE INTO samples SELECT ?, name, entries, size FROM targets WHERE id = ?",
                (int(now // 86400), self._target),
            )
            connection.execute("DELETE FROM samples WHERE day < ?", (int(now // 86400) - _SAMPLE_DAYS,))

    def _ages(self, now: float) -> list[tuple[int, int, int]]:
        """Count the target's entries and bytes by age band: one pass over them."""
        bands = " ".join(f"WHEN created_at > ? THEN {band}" for band in range(len(AGE_LIMITS_DAYS)))
        limits = [now - days * 86400.0 for days in AGE_LIMITS_DAYS]
        with self._index.reading() as connection:
            found: list[tuple[int, int, int]] = connection.execute(
                f"SELECT CASE {bands} ELSE {len(AGE_LIMITS_DAYS)} END AS band, count(*), sum(size) "
                "FROM entries NOT INDEXED WHERE target = ? GROUP BY band",
                (*limits, self._target),
            ).fetchall()
        return found

    def fail(self, error: str) -> None:
        """Note why the target could not be read to the end; nothing is removed."""
        with self._index.writing() as connection:
            connection.execute("UPDATE targets SET error = ? WHERE id = ?", (error, self._target))

    def _known(self, connection: sqlite3.Connection, batch: Sequence[ListedEntry]) -> list[Any]:
        """Return (name, mark, number) of each entry, None for new ones.

        By one scan where the names lie together, as those of a walk do; else one by one.
        """
        names = [entry[2] for entry in batch]
        low, high = min(names), max(names)
        limit = 3 * len(batch) + 64
        columns = "name, mark, id"
        rows = connection.execute(
            f"SELECT {columns} FROM entries WHERE target = ? AND name BETWEEN ? AND ? LIMIT ?",
            (self._target, low, high, limit),
        ).fetchall()
        if len(rows) == limit:
            rows = connection.execute(
                f"SELECT {columns} FROM (SELECT value FROM json_each(?)) CROSS JOIN entries"
                " ON target = ? AND name = value",
                (json.dumps(names), self._target),
            ).fetchall()
        return list(map({row[0]: row for row in rows}.get, names))

    def _same(self, connection: sqlite3.Connection, number: int, entry: ListedEntry) -> bool:
        """Whether a row says the same though its mark differs: within the tolerance, or marked by another Python."""
        _, size, created_at, last_accessed, files, _ = _values(entry)
        row = connection.execute(
            "SELECT size, files, created_at, last_accessed FROM entries WHERE id = ?", (number,)
        ).fetchone()
        if row is None or row[:2] != (size, files) or (last_accessed is None) != (row[3] is None):
            return False
        apart = max(abs(created_at - row[2]), abs((last_accessed or 0.0) - (row[3] or 0.0)))
        return bool(apart <= self._tolerance_seconds)

    def _remove_unseen(self, met: set[int]) -> None:
        with self._index.reading() as connection:
            # By the smallest index that has the numbers. Later ones are new since this walk began: of this walk, or of
            # another process's.
            rows = connection.execute(
                "SELECT id FROM entries INDEXED BY entries_of_target_by_size WHERE target = ? AND id <= ?",
                (self._target, self._last),
            )
            gone = array("q", (number for (number,) in rows if number not in met))
        for first in range(0, len(gone), TRANSACTION_ENTRIES):
            with self._index.writing() as connection:
                portion = [(number,) for number in gone[first : first + TRANSACTION_ENTRIES]]
                self.removed += connection.executemany("DELETE FROM entries WHERE id = ?", portion).rowcount


def _values(entry: ListedEntry) -> tuple[str, int, float, float | None, int, int]:
    """Return an entry's columns."""
    _, _, name, size, created_at, last_accessed, files = entry
    return name, min(size, _LARGEST_SIZE), created_at, last_accessed, min(files, _MOST_FILES), _mark(entry)


def _mark(entry: ListedEntry) -> int:
    """Return what stands for all of an entry but its name. Every process hashes numbers alike, and None otherwise."""
    facts = _FACTS(entry)
    return hash(facts if facts[2] is not None else (facts[0], facts[1], facts[3]))
