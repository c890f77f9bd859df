"""Opens one of the program's SQLite files under CACHE_DIR and brings its tables up to date."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core import store_phrases as say
from core.errors import StoreError
from store.trouble import trouble

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
        _keep_private(path)
        connection = sqlite3.connect(path, timeout=patience_seconds, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={'FULL' if power_safe else 'NORMAL'}")
            _upgrade(connection, path, versions)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise trouble(path, say.CANNOT_OPEN, error) from None
    return connection


def _keep_private(path: Path) -> None:
    """Make the file for its owner alone, or let one be so that another version made; raises OSError.

    What is asked for by API needs a token; the file must not give it to everybody. SQLite gives -wal and -shm the mode
    and, for root, the owner of the file.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    except FileExistsError:
        _tighten(path)
        return
    try:
        if sys.platform != "win32" and os.geteuid() == 0:
            # A command under sudo: the daemon's own account must be able to open what was made in its directory.
            directory = path.parent.stat()
            os.fchown(fd, directory.st_uid, directory.st_gid)
    finally:
        os.close(fd)


def _tighten(path: Path) -> None:
    if sys.platform == "win32":
        return
    for suffix in ("", "-wal", "-shm"):
        each = path.with_name(path.name + suffix)
        with suppress(FileNotFoundError):
            status = each.stat()
            if status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                each.chmod(0o600)


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
            raise StoreError(say.NEWER(version=found))
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
