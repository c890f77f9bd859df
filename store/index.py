"""The index of cache entries in SQLite: what makes a page or a total a matter of microseconds.

It is rebuildable: walks over the caches (``operations.indexing``) fill it, and whatever it says is as old as its last
walk. Totals are kept by triggers, pages are found by key or inside an index that covers the order; nothing here
ever counts rows. A damaged file is set aside and begun anew.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import threading
from array import array
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import BadCursor, StoreError
from core.listing import (
    AGE_LIMITS_DAYS,
    MAX_PAGE_SIZE,
    AgeBand,
    DaySample,
    EntryType,
    ListedEntry,
    ListingPage,
    Sort,
    TargetTotals,
)
from store.database import Versions, connect

INDEX: Versions = (
    """
    CREATE TABLE targets (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
        entries INTEGER NOT NULL DEFAULT 0, files INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0,
        indexed_at REAL, error TEXT NOT NULL DEFAULT ''
    );
    -- AUTOINCREMENT: a number is never used twice, so that a cursor cannot meet another entry under an old number.
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT, target INTEGER NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
        created_at REAL NOT NULL, last_accessed REAL, files INTEGER NOT NULL, mark INTEGER NOT NULL
    );
    -- With the mark, so that a walk compares without touching a row; a name is unique by the trigger below.
    CREATE INDEX entries_of_target ON entries (target, name, mark);
    CREATE INDEX entries_of_target_by_time ON entries (target, created_at);
    CREATE INDEX entries_of_target_by_size ON entries (target, size);
    CREATE INDEX entries_by_name ON entries (name);
    CREATE INDEX entries_by_time ON entries (created_at);
    CREATE INDEX entries_by_size ON entries (size);
    CREATE TRIGGER entry_known BEFORE INSERT ON entries
        WHEN EXISTS (SELECT 1 FROM entries WHERE target = new.target AND name = new.name)
    BEGIN
        SELECT raise(IGNORE);
    END;
    CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
        UPDATE targets SET entries = entries + 1, files = files + new.files, size = size + new.size
        WHERE id = new.target;
    END;
    CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
        UPDATE targets SET entries = entries - 1, files = files - old.files, size = size - old.size
        WHERE id = old.target;
    END;
    CREATE TRIGGER entry_changed AFTER UPDATE OF files, size ON entries BEGIN
        UPDATE targets SET files = files + new.files - old.files, size = size + new.size - old.size
        WHERE id = new.target;
    END;
    """,
    """
    CREATE TABLE ages (
        target TEXT NOT NULL, band INTEGER NOT NULL, entries INTEGER NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (target, band)
    ) WITHOUT ROWID;
    CREATE TABLE samples (
        day INTEGER NOT NULL, target TEXT NOT NULL, entries INTEGER NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (day, target)
    ) WITHOUT ROWID;
    """,
)

_LARGEST_SIZE = 1 << 50
"""Bytes; a sparse file may claim more, and sums must fit into 64 bits."""
_MOST_FILES = 1 << 40
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TRANSACTION_ENTRIES = 20_000
_SAMPLE_DAYS = 400
_FACTS, _MARK, _NUMBER = itemgetter(3, 4, 5, 6), itemgetter(1), itemgetter(2)
_COLUMNS = {
    Sort.NEWEST: ("created_at", True), Sort.OLDEST: ("created_at", False), Sort.LARGEST: ("size", True),
    Sort.SMALLEST: ("size", False), Sort.NAME: ("name", False),
}  # fmt: skip


class _Order(NamedTuple):
    column: str
    descending: bool

    @property
    def direction(self) -> str:
        return "DESC" if self.descending else "ASC"

    def reversed(self) -> _Order:
        return _Order(self.column, not self.descending)


class EntryIndex:
    """The index of one CACHE_DIR; implements ``core.listing.Listing`` and, with ``walk``, its writer's side.

    May be used by several threads; other processes may read and write the same file meanwhile. ``warning`` says
    so when a damaged file has been set aside. Methods raise StoreError.
    """

    def __init__(self, path: Path, *, patience_seconds: float = 5.0) -> None:
        self._path = path
        self._patience_seconds = patience_seconds
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self.warning = ""
        with self._reporting():
            self._open()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # Reading

    def totals(self) -> tuple[TargetTotals, ...]:
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT name, type, entries, files, size, indexed_at, error FROM targets ORDER BY name"
            ).fetchall()
        return tuple(TargetTotals(row[0], EntryType(row[1]), *row[2:]) for row in rows)

    def ages(self) -> tuple[AgeBand, ...]:
        with self.reading() as connection:
            rows = connection.execute("SELECT target, band, entries, size FROM ages ORDER BY target, band").fetchall()
        return tuple(AgeBand(*row) for row in rows)

    def samples(self, since_day: int) -> tuple[DaySample, ...]:
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT day, target, entries, size FROM samples WHERE day >= ? ORDER BY day, target", (since_day,)
            ).fetchall()
        return tuple(DaySample(*row) for row in rows)

    def age_rows(self, target: int, now: float) -> list[tuple[int, int, int]]:
        """Count a target's entries and bytes by age band. One pass over them: for the end of a walk."""
        bands = " ".join(f"WHEN created_at > ? THEN {band}" for band in range(len(AGE_LIMITS_DAYS)))
        limits = [now - days * 86400.0 for days in AGE_LIMITS_DAYS]
        with self.reading() as connection:
            return connection.execute(
                f"SELECT CASE {bands} ELSE {len(AGE_LIMITS_DAYS)} END AS band, count(*), sum(size) "
                "FROM entries NOT INDEXED WHERE target = ? GROUP BY band",
                (*limits, target),
            ).fetchall()

    def page(
        self,
        *,
        types: Collection[EntryType] = (),
        target: str = "",
        sort: Sort = Sort.NEWEST,
        cursor: str = "",
        page: int = 1,
        page_size: int = 20,
    ) -> ListingPage:
        order = _Order(*_COLUMNS[sort])
        after = _read_cursor(cursor, sort) if cursor else None
        size = min(max(page_size, 1), MAX_PAGE_SIZE)
        skipped = (max(page, 1) - 1) * size
        with self.reading() as connection:
            targets = connection.execute("SELECT id, name, type, entries FROM targets").fetchall()
            chosen = [
                row for row in targets if (not types or row[2] in types) and (not target or row[1] == target) and row[3]
            ]
            total = sum(row[3] for row in chosen)
            # All of them are one order without a target, which the smaller indexes keep.
            only = [] if len(chosen) == sum(1 for row in targets if row[3]) else [row[0] for row in chosen]
            if not total or (after is None and skipped >= total):
                return ListingPage((), total, "")
            if after is not None:
                rows = _rows(connection, only, order, size + 1, after=after)
                more, rows = len(rows) > size, rows[:size]
            else:
                count = min(size, total - skipped)
                from_end = total - skipped - count
                # What is passed over is read, so it is counted from the nearer end.
                if from_end < skipped:
                    rows = _rows(connection, only, order.reversed(), count, offset=from_end)[::-1]
                else:
                    rows = _rows(connection, only, order, count, offset=skipped)
                more = from_end > 0
        following = _write_cursor(sort, rows[-1]) if more and rows else ""
        return ListingPage(tuple(_entry(row) for row in rows), total, following)

    # Writing

    def walk(self, target: str, type: EntryType, *, tolerance_seconds: float = 0.0) -> Walk:
        """Begin to bring a target up to date; times that differ by no more than the tolerance count as the same."""
        return Walk(self, target, type, tolerance_seconds)

    def keep_targets(self, names: Collection[str]) -> None:
        """Forget every target that is not among these: what is no longer configured is nobody's cache."""
        with self.writing() as connection:
            known = connection.execute("SELECT id, name FROM targets").fetchall()
            connection.execute(
                "DELETE FROM ages WHERE target NOT IN (SELECT value FROM json_each(?))", (json.dumps(list(names)),)
            )
        for number, name in known:
            if name not in names:
                self._forget(number)

    def _forget(self, number: int) -> None:
        gone = 1
        while gone:
            with self.writing() as connection:
                gone = connection.execute(
                    "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE target = ? LIMIT ?)",
                    (number, _TRANSACTION_ENTRIES),
                ).rowcount
                if not gone:
                    connection.execute("DELETE FROM targets WHERE id = ?", (number,))

    # Connections

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent picture for all that is read inside."""
        with self._lock, self._reporting():
            connection = self._current()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                _end(connection, "ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, which is undone when the body raises. For ``Walk``."""
        with self._lock, self._reporting():
            connection = self._current()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                _end(connection, "ROLLBACK")
                raise

    def _current(self) -> sqlite3.Connection:
        # Another process may have set a damaged file aside, or a person deleted it.
        if self._connection is None or _identity(self._path) != self._inode:
            self._open()
        assert self._connection is not None
        return self._connection

    def _open(self) -> None:
        self.close()
        try:
            self._connection = self._connect()
        except StoreError as error:
            cause = error.__context__
            if not isinstance(cause, sqlite3.Error) or not _is_damage(cause):
                raise
            self._set_aside(cause)
            self._connection = self._connect()
        self._inode = _identity(self._path)

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self._path, INDEX, patience_seconds=self._patience_seconds)
        # A million entries and their indexes are some hundred megabytes: the default of 2 MB would thrash in a walk.
        connection.execute("PRAGMA cache_size=-32768")
        return connection

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if _is_damage(error):
                with suppress(StoreError):
                    self.close()
                    self._set_aside(error)
                raise StoreError(f"the index was damaged ({error}): {self.warning}") from None
            raise StoreError(f"the index {self._path} cannot be used: {error}") from None

    def _set_aside(self, why: sqlite3.Error) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged")
        try:
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            # The one before, if any, is replaced: damage again and again must not fill the disk.
            self._path.replace(aside)
        except OSError as error:
            raise StoreError(
                f"the index {self._path} is damaged ({why}) and cannot be set aside: {error.strerror}"
            ) from None
        self.warning = f"a damaged index was set aside as {aside.name}; the next walks fill a new one"


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
            marks = list(map(hash, map(_FACTS, batch)))
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
        ages = self._index.age_rows(self._target, now)
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
        for first in range(0, len(gone), _TRANSACTION_ENTRIES):
            with self._index.writing() as connection:
                portion = [(number,) for number in gone[first : first + _TRANSACTION_ENTRIES]]
                self.removed += connection.executemany("DELETE FROM entries WHERE id = ?", portion).rowcount


def _rows(
    connection: sqlite3.Connection,
    targets: Sequence[int],
    order: _Order,
    limit: int,
    *,
    offset: int = 0,
    after: tuple[float | int | str, int] | None = None,
) -> list[tuple[Any, ...]]:
    """Return full rows of a page. The inner statement touches one index a target and no row; SQLite merges several."""
    values: list[Any] = []
    parts = []
    beyond = "<" if order.descending else ">"
    chosen: Sequence[int | None] = targets or [None]
    for target in chosen:
        # Two ranges instead of one comparison of pairs, of which SQLite uses only the first half: a page in the middle
        # of a million entries of the same size would read half of them.
        ranges = [f"{order.column} = ? AND id {beyond} ?", f"{order.column} {beyond} ?"] if after else [""]
        for number, each in enumerate(ranges):
            conditions = [each] if each else []
            if target is not None:
                conditions.insert(0, "target = ?")
                values.append(target)
            if after is not None:
                values += after if number == 0 else after[:1]
            where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
            parts.append(f"SELECT id, {order.column} AS key FROM entries {where}")
    inner = f"{' UNION ALL '.join(parts)} ORDER BY key {order.direction}, id {order.direction} LIMIT ? OFFSET ?"
    return connection.execute(
        f"""
        SELECT targets.name, targets.type, entries.name, entries.size, entries.created_at, entries.last_accessed,
            entries.files, entries.id
        FROM ({inner}) AS page JOIN entries ON entries.id = page.id JOIN targets ON targets.id = entries.target
        ORDER BY page.key {order.direction}, page.id {order.direction}
        """,
        (*values, limit, offset),
    ).fetchall()


def _entry(row: tuple[Any, ...]) -> ListedEntry:
    return ListedEntry(row[0], EntryType(row[1]), *row[2:7])


def _values(entry: ListedEntry) -> tuple[str, int, float, float | None, int, int]:
    """Return an entry's columns. The mark stands for all but the name; Python hashes numbers alike in every process."""
    _, _, name, size, created_at, last_accessed, files = entry
    return name, min(size, _LARGEST_SIZE), created_at, last_accessed, min(files, _MOST_FILES), hash(_FACTS(entry))


def _write_cursor(sort: Sort, row: tuple[Any, ...]) -> str:
    key = {"created_at": row[4], "size": row[3], "name": row[2]}[_COLUMNS[sort][0]]
    return base64.urlsafe_b64encode(json.dumps([sort, key, row[7]]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, sort: Sort) -> tuple[float | int | str, int]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        of, key, number = json.loads(text)
    # A list of another length, text of another encoding and nested brackets without end are all the same to us.
    except (ValueError, TypeError, RecursionError):
        raise BadCursor("the cursor is not one that this service gave out") from None
    if of != sort:
        raise BadCursor(f"the cursor belongs to another order than {sort.value}")
    kinds = {"created_at": (float,), "size": (int,), "name": (str,)}[_COLUMNS[sort][0]]
    if type(key) not in kinds or type(number) is not int or not _fits(key) or not 0 < number < 1 << 63:
        raise BadCursor("the cursor is not one that this service gave out")
    return key, number


def _fits(key: float | int | str) -> bool:
    if isinstance(key, str):
        return key.isascii() or not any("\ud800" <= each <= "\udfff" for each in key)
    return -(1 << 63) <= key < 1 << 63  # nan is not either


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_damage(error: sqlite3.Error) -> bool:
    # Extended codes have the plain one in their lowest byte.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _end(connection: sqlite3.Connection, how: str) -> None:
    with suppress(sqlite3.Error):
        connection.execute(how)
