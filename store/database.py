"""Opens one of the program's SQLite files under CACHE_DIR and brings its tables up to date."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import StoreError

log = logging.getLogger("store")

Versions = tuple[str, ...]
"""The statements that bring an empty file to version 1, those that bring it to version 2, and so on."""

JOURNAL: Versions = (
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL, server TEXT NOT NULL, set_name TEXT NOT NULL, kind TEXT NOT NULL,
        from_state TEXT NOT NULL, to_state TEXT NOT NULL, rule TEXT NOT NULL, reason TEXT NOT NULL,
        prompt_id TEXT NOT NULL, seconds REAL
    );
    CREATE INDEX events_by_server ON events (server, at);
    CREATE INDEX events_by_time ON events (at);
    CREATE TABLE states (
        server TEXT NOT NULL, set_name TEXT NOT NULL, state TEXT NOT NULL, rule TEXT NOT NULL,
        reason TEXT NOT NULL, since REAL NOT NULL,
        PRIMARY KEY (server, set_name)
    ) WITHOUT ROWID;
    CREATE TABLE submissions (
        prompt_id TEXT PRIMARY KEY, server TEXT NOT NULL, set_name TEXT NOT NULL, key TEXT NOT NULL,
        posted_at REAL NOT NULL, confirmed INTEGER NOT NULL DEFAULT 0,
        closed_at REAL, outcome TEXT, reason TEXT NOT NULL DEFAULT '', run_seconds REAL
    );
    -- One open submission a server, whichever process makes it: the index is what enforces it.
    CREATE UNIQUE INDEX one_open_submission ON submissions (server) WHERE closed_at IS NULL;
    CREATE INDEX submissions_by_set ON submissions (server, set_name, posted_at);
    CREATE TABLE pauses (name TEXT PRIMARY KEY, until REAL) WITHOUT ROWID;
    """,
    """
    -- AUTOINCREMENT: whoever waits for the end of a wish must not wait for another one that got its number.
    CREATE TABLE wishes (
        number INTEGER PRIMARY KEY AUTOINCREMENT, server TEXT NOT NULL, set_name TEXT NOT NULL, forced INTEGER NOT NULL,
        at REAL NOT NULL
    );
    """,
)


def connect(
    path: Path, versions: Versions = JOURNAL, *, patience_seconds: float = 5.0, power_safe: bool = False
) -> sqlite3.Connection:
    """Open the database, creating and upgrading it; raises StoreError saying what to do.

    ``patience_seconds`` is how long a statement waits while another process writes.

    WAL lets the pages and the CLI read while the daemon writes. ``synchronous=NORMAL`` survives a kill -9
    of the process; only a power failure may cost the last transactions, and with ``power_safe`` (FULL) not even that.
    """
    try:
        connection = sqlite3.connect(path, timeout=patience_seconds, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if power_safe else 'NORMAL'}")
        _upgrade(connection, path, versions)
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be opened: {error}; move it aside to start with an empty one") from None
    return connection


@contextmanager
def immediate(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything that the block writes, or nothing of it, under the write lock from its first statement on.

    Raises sqlite3.Error, and whatever the block raises.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled it back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _upgrade(connection: sqlite3.Connection, path: Path, versions: Versions) -> None:
    if _version(connection) == len(versions):
        return
    with immediate(connection):
        # Read again under the lock: another process may have upgraded it meanwhile.
        found = _version(connection)
        if found > len(versions):
            raise StoreError(f"the database is of a newer version ({found}) of this program: upgrade the program")
        if found:
            log.info("%s is brought from version %d to %d", path, found, len(versions))
        for number, statements in enumerate(versions[found:], start=found + 1):
            # Not executescript: it would commit, and a kill in between would leave half a version.
            for statement in _statements(statements):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={number}")


def _statements(text: str) -> list[str]:
    found, current = [], ""
    for line in text.splitlines():
        current += line + "\n"
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
