"""The index of cache entries in SQLite: what makes a page or a total a matter of microseconds.

It is rebuildable: walks over the caches (``operations.indexing``) fill it, and whatever it says is as old as its last
walk. Totals are kept by triggers, pages are found by key or inside an index that covers the order; nothing here
ever counts rows. A damaged file is set aside and begun anew.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from core import store_phrases as say
from core.errors import StoreError
from core.listing import ALL_ENTRIES, AgeBand, DaySample, EntryQuery, EntryType, ListingPage, TargetTotals
from store.database import connect
from store.index_pages import read_page
from store.index_schema import INDEX
from store.index_walk import Walk
from store.trouble import is_damage, trouble

_PORTION = 20_000
"""Entries that are forgotten in one transaction, so that no other writer waits long."""
_CACHE_KIB = 32 << 10
_MERGING_KIB = 192 << 10
"""A hundredth of a million entries, all over the tree, is on half of the 240 MB of pages: written in turn, each of them
would be written several times over."""


class EntryIndex:
    """The index of one CACHE_DIR; implements ``core.listing.Listing`` and, with ``walk``, its writer's side.

    May be used by several threads; other processes may read and write the same file meanwhile. ``warning`` says
    so when a damaged file has been set aside. Methods raise StoreError. ``patience_seconds`` is how long to wait
    while another process writes: the first walk over a million entries ends with ten seconds of it.
    """

    def __init__(self, path: Path, *, patience_seconds: float = 60.0) -> None:
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

    def page(
        self, query: EntryQuery = ALL_ENTRIES, *, cursor: str = "", page: int = 1, page_size: int = 20
    ) -> ListingPage:
        with self.reading() as connection:
            return read_page(connection, query, cursor=cursor, page=page, page_size=page_size)

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
                    (number, _PORTION),
                ).rowcount
                if not gone:
                    connection.execute("DELETE FROM runs WHERE target = ?", (number,))
                    connection.execute("DELETE FROM targets WHERE id = ?", (number,))

    # Connections

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """One consistent picture for all that is read inside."""
        return self._transaction("DEFERRED", "ROLLBACK")

    def staging(self) -> AbstractContextManager[sqlite3.Connection]:
        """One consistent picture, and temporary tables to write to, which nobody waits for. For ``Walk``."""
        return self._transaction("DEFERRED", "COMMIT")

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """One transaction, which is undone when the body raises. For ``Walk``."""
        return self._transaction("IMMEDIATE", "COMMIT")

    @contextmanager
    def merging(self) -> Iterator[sqlite3.Connection]:
        """The same for changes all over the file: for its time most of a large index may be in memory."""
        with self._lock, self._reporting():
            connection = self._current()
            connection.execute(f"PRAGMA cache_size=-{_MERGING_KIB}")
            try:
                with self.writing() as connection:
                    yield connection
            finally:
                with suppress(sqlite3.Error):
                    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
                    connection.execute("PRAGMA shrink_memory")

    @contextmanager
    def _transaction(self, kind: str, end: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self._reporting():
            connection = self._current()
            connection.execute(f"BEGIN {kind}")
            try:
                yield connection
                connection.execute(end)
            except BaseException:
                # A full disk, or damage, may have rolled it back already.
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
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
            if not isinstance(cause, sqlite3.Error) or not is_damage(cause):
                raise
            self._set_aside(cause)
            self._connection = self._connect()
        self._inode = _identity(self._path)

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self._path, INDEX, patience_seconds=self._patience_seconds)
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        # After the first walk over a million entries the log would keep its 250 MB.
        connection.execute(f"PRAGMA journal_size_limit={_CACHE_KIB << 10}")
        return connection

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if is_damage(error):
                with suppress(StoreError):
                    self.close()
                    self._set_aside(error)
                raise StoreError(say.INDEX_DAMAGED(words=error, reason=self.warning)) from None
            raise trouble(self._path, say.THE_INDEX, error) from None

    def _set_aside(self, why: sqlite3.Error) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged")
        try:
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            # The one before, if any, is replaced: damage again and again must not fill the disk.
            self._path.replace(aside)
        except OSError as error:
            raise StoreError(say.INDEX_STUCK(path=self._path, why=why, words=error.strerror)) from None
        self.warning = say.INDEX_SET_ASIDE(file=aside.name)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
