"""One walk over a target, compared with the index: only what has changed is written, and all of it at the end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from operator import itemgetter
from typing import TYPE_CHECKING

from core import store_phrases as say
from core.errors import StoreError
from core.listing import EntryType, ListedEntry
from core.printable import printable
from store.index_memory import Facts, Memory, Run, forget, marks_of, remember
from store.index_merge import DIFFERENCES, Difference, merge, note_ages

if TYPE_CHECKING:
    from store.index import EntryIndex

_LARGEST_SIZE = 1 << 50
"""Bytes; a sparse file may claim more, and sums must fit into 64 bits."""
_MOST_FILES = 1 << 40
_RUN = 4096
_FACTS = itemgetter(3, 4, 5, 6)

_numbers = count(1)


class Walk:
    """One walk over a target: ``put`` what is found, then ``finish``, or ``fail`` when it could not be read to the end.

    Readers see nothing of a walk until it ends, and then all of it; one that never ends leaves the picture as it was.
    """

    def __init__(self, index: EntryIndex, target: str, type: EntryType, tolerance_seconds: float) -> None:
        self._index = index
        self._name = target
        self._tolerance_seconds = tolerance_seconds
        self.seen = self.added = self.changed = self.removed = 0
        self._differences = f"differences_{next(_numbers)}"
        with index.writing() as connection:
            connection.execute(
                "INSERT INTO targets (name, type) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET type = excluded.type",
                (target, type),
            )
            self._target, self._before = connection.execute(
                "SELECT id, entries FROM targets WHERE name = ?", (target,)
            ).fetchone()
            connection.execute(DIFFERENCES.format(name=self._differences))
            self._connection = connection
        self._memory = Memory(index, self._target)
        self._positions = 0
        self._runs: dict[int, Run] = {}
        # Known entries that the memory did not have where they were seen.
        self._elsewhere: set[str] = set()

    def put(self, batch: Sequence[ListedEntry]) -> None:
        """Compare entries with what is known, and set aside those that are new or different."""
        if not batch:
            return
        names = [entry[2] for entry in batch]
        marks = marks_of(list(map(_FACTS, batch)))
        run = Run.of(names, marks)
        if not run.faithful(len(batch)):
            names = list(map(printable, names))
            run = Run.of(names, marks)
        position = self._positions
        self.seen += len(batch)
        self._positions += 1
        # Nearly every batch of every walk is as it was, and this comparison is all that happens to it.
        if self._memory.passes(position, run):
            return
        self._runs[position] = run
        otherwise, strange = self._memory.unlike(run, names)
        if otherwise or strange:
            rows = self._compare({names[each]: batch[each] for each in (*otherwise, *strange)})
            elsewhere = [names[each] for each in strange if names[each] in rows]
            self._elsewhere.update(elsewhere)
            if 2 * len(elsewhere) > len(batch):
                self._memory.catch_up()

    def finish(self, now: float) -> None:
        """Write what is different, remove what was not seen, set ``indexed_at``, note how large and how old all is."""
        gone = sorted(name for name, _ in self._rest())
        with self._ending() as connection:
            undisturbed = self._memory.still_true(connection)
            # What another walk has written meanwhile may be what this one came too early to see.
            self._merge(connection, gone if undisturbed else ())
            self._remember(connection, self.seen if undisturbed else None)
            connection.execute("UPDATE targets SET indexed_at = ?, error = '' WHERE id = ?", (now, self._target))
            note_ages(connection, self._target, now)

    def fail(self, error: str) -> None:
        """Write what is different, and why the target could not be read to the end; nothing is removed."""
        # What was not seen is as it was, and is known at the next walk too.
        unseen = list(self._rest())
        for first in range(0, len(unseen), _RUN):
            names, marks = zip(*unseen[first : first + _RUN], strict=True)
            self._runs[self._positions] = Run.of(names, marks)
            self._positions += 1
        with self._ending() as connection:
            undisturbed = self._memory.still_true(connection)
            self._merge(connection, ())
            self._remember(connection, self.seen + len(unseen) if undisturbed else None)
            connection.execute("UPDATE targets SET error = ? WHERE id = ?", (error, self._target))

    def _rest(self) -> Iterator[tuple[str, int]]:
        return (each for each in self._memory.rest() if each[0] not in self._elsewhere)

    def _compare(self, entries: dict[str, ListedEntry]) -> dict[str, Facts]:
        """Set aside the entries that no row is the same as; return the rows of the others' and theirs by name."""
        with self._index.staging() as connection:
            self._check(connection)
            rows = self._rows(connection, entries) if self._before else {}
            different = []
            for name, entry in entries.items():
                values, row = _values(entry), rows.get(name)
                if row is None:
                    kind = Difference.NEW
                elif self._same(values, row):
                    continue
                else:
                    sorted_by_the_same = values[:2] == row[:2] and values[3] == row[3]
                    kind = Difference.ACCESSED if sorted_by_the_same else Difference.CHANGED
                    self.changed += 1
                different.append((name, *values, kind))
            connection.executemany(f"INSERT INTO temp.{self._differences} VALUES (?, ?, ?, ?, ?, ?)", different)
        return rows

    def _rows(self, connection: sqlite3.Connection, names: Iterable[str]) -> dict[str, Facts]:
        found = connection.execute(
            "SELECT name, size, created_at, last_accessed, files FROM (SELECT value FROM json_each(?))"
            " CROSS JOIN entries ON target = ? AND name = value",
            (json.dumps(sorted(names)), self._target),
        )
        return {row[0]: row[1:] for row in found}

    def _same(self, values: Facts, row: Facts) -> bool:
        """Whether a row says the same though it is marked otherwise: within the tolerance, or by another Python."""
        size, created_at, last_accessed, files = values
        if (size, files) != (row[0], row[3]) or (last_accessed is None) != (row[2] is None):
            return False
        apart = max(abs(created_at - row[1]), abs((last_accessed or 0.0) - (row[2] or 0.0)))
        return apart <= self._tolerance_seconds

    @contextmanager
    def _ending(self) -> Iterator[sqlite3.Connection]:
        """One transaction for all that the walk has found."""
        with self._index.merging() as connection:
            self._check(connection)
            if not connection.execute("SELECT 1 FROM targets WHERE id = ?", (self._target,)).fetchone():
                raise StoreError(say.LEFT_THE_INDEX(target=self._name))
            yield connection
            connection.execute(f"DROP TABLE temp.{self._differences}")

    def _merge(self, connection: sqlite3.Connection, gone: Sequence[str]) -> None:
        before = self._entries(connection)
        self.removed = merge(connection, self._target, self._differences, gone)
        # Not as many as were new to the index: a scan may have shown one twice.
        self.added = self._entries(connection) - before + self.removed

    def _remember(self, connection: sqlite3.Connection, seen: int | None) -> None:
        """Keep what was seen for the next walk, unless another one has changed the entries, or some were seen twice."""
        if seen == self._entries(connection):
            remember(connection, self._target, self._runs, self._positions)
        else:
            forget(connection, self._target)

    def _entries(self, connection: sqlite3.Connection) -> int:
        (entries,) = connection.execute("SELECT entries FROM targets WHERE id = ?", (self._target,)).fetchone()
        return int(entries)

    def _check(self, connection: sqlite3.Connection) -> None:
        if connection is not self._connection:
            raise StoreError(say.INDEX_BEGUN_ANEW(target=self._name))


def _values(entry: ListedEntry) -> Facts:
    """Return an entry's columns but its name."""
    _, _, _, size, created_at, last_accessed, files = entry
    return min(size, _LARGEST_SIZE), created_at, last_accessed, min(files, _MOST_FILES)
