"""The audit log in SQLite: ``audit.sqlite3`` in CACHE_DIR. See core/audit.py and core/audit_chain.py."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import RLock
from typing import Any

from core import store_phrases as say
from core.audit import AuditPage, AuditQuery, AuditRecord, Head
from core.audit_chain import COLUMNS, Row, chained, checkpoint_record, parse_head, record_of
from core.errors import BadCursor, StoreError
from store.database import Versions, connect, immediate
from store.trouble import trouble

_AUDIT: Versions = (
    """
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY, previous_hash TEXT NOT NULL, at REAL NOT NULL, request_id TEXT NOT NULL,
        stage TEXT NOT NULL, actor TEXT NOT NULL, role TEXT NOT NULL, token_id TEXT NOT NULL, address TEXT NOT NULL,
        channel TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL, parameters TEXT NOT NULL,
        outcome TEXT NOT NULL, duration_seconds REAL, effect TEXT NOT NULL, error TEXT NOT NULL,
        intent_seq INTEGER NOT NULL, hash TEXT NOT NULL
    );
    -- Each holds seq too, so a filtered page comes in order and is not sorted.
    CREATE INDEX audit_by_actor ON audit (actor);
    CREATE INDEX audit_by_action ON audit (action);
    CREATE INDEX audit_by_target ON audit (target);
    CREATE INDEX audit_by_outcome ON audit (outcome);
    CREATE INDEX audit_by_request ON audit (request_id);
    CREATE INDEX audit_by_intent ON audit (intent_seq) WHERE intent_seq > 0;
    CREATE INDEX audit_checkpoints ON audit (seq) WHERE stage = 'checkpoint';
    -- What the log remembers of its own end: without it nobody would miss the last records.
    CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL);
    """,
)
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM audit"
_INSERT = f"INSERT INTO audit ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_FEW = 2000


class SqliteAuditLog:
    """Implements ``core.audit.AuditLog``. Any thread may call, and several processes may have the file open."""

    def __init__(self, path: Path, *, patience_seconds: float = 5.0) -> None:
        self._path = path
        self._lock = RLock()
        self._connection = connect(path, _AUDIT, patience_seconds=patience_seconds, power_safe=True)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def append(self, record: AuditRecord) -> AuditRecord:
        with self._transaction():
            return record_of(self._append(record))

    def _append(self, record: AuditRecord) -> Row:
        row = chained(record, self._last())
        self._connection.execute(_INSERT, row)
        self._connection.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?)", (row[0], row[-1]))
        return row

    def _last(self) -> Head | None:
        """The last record, or what the head remembers: a log that was cut goes on where it was, and is found out."""
        last = self._connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
        remembered = self._connection.execute("SELECT seq, hash FROM head").fetchone()
        found = max((row for row in (last, remembered) if row), default=None)
        return Head(*found) if found else None

    def page(self, query: AuditQuery, *, cursor: str = "", limit: int = 50) -> AuditPage:
        conditions, values = _conditions(query)
        if cursor:
            conditions.append("seq < ?")
            values.append(_seq_of(cursor))
        rows = self._rows(f"{_SELECT}{_where(conditions)} ORDER BY seq DESC LIMIT ?", (*values, limit + 1))
        shown = tuple(record_of(row) for row in rows[:limit])
        intents = [each.seq for each in shown if each.stage == "intent"]
        ended = self._rows(
            f"SELECT intent_seq FROM audit WHERE intent_seq > 0 AND intent_seq IN ({','.join('?' * len(intents))})",
            intents,
        )
        unfinished = frozenset(intents) - {seq for (seq,) in ended}
        return AuditPage(shown, str(shown[-1].seq) if len(rows) > limit else "", unfinished)

    def records(self, query: AuditQuery) -> Iterator[AuditRecord]:
        conditions, values = _conditions(query)
        for row in self._in_order(conditions, values):
            yield record_of(row)

    def rows(self, after: int = 0) -> Iterator[Row]:
        return self._in_order([], [], after)

    def _in_order(self, conditions: list[str], values: list[Any], after: int = 0) -> Iterator[Row]:
        """Some at a time: a reader that stands still must not keep the file's old pages for ever."""
        where = _where([*conditions, "seq > ?"])
        while rows := self._rows(f"{_SELECT}{where} ORDER BY seq LIMIT {_FEW}", (*values, after)):
            yield from rows
            after = rows[-1][0]

    def head(self) -> Head | None:
        rows = self._rows("SELECT seq, hash FROM head")
        return Head(*rows[0]) if rows else None

    def checkpoint(self) -> Head | None:
        rows = self._rows("SELECT target FROM audit WHERE stage = 'checkpoint' ORDER BY seq DESC LIMIT 1")
        return parse_head(rows[0][0]) if rows else None

    def prune(self, before: float, now: float) -> int:
        done = self.checkpoint()
        with self._transaction():
            if done is not None:
                self._connection.execute("DELETE FROM audit WHERE seq <= ?", (done.seq,))
            # Up to the first that is young enough, whatever the clock did behind it: what is left must be one chain.
            young = self._one("SELECT seq FROM audit WHERE at >= ? ORDER BY seq LIMIT 1", before)
            end = (2**63 - 1,) if young is None else young
            last = self._one("SELECT seq, hash FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT 1", *end)
            # Checkpoints alone are what an earlier pruning left.
            if not self._one("SELECT 1 FROM audit WHERE seq < ? AND stage <> 'checkpoint' LIMIT 1", *end):
                return 0
            pruned = Head(*last)
            count = self._connection.execute("DELETE FROM audit WHERE seq <= ?", (pruned.seq,)).rowcount
            self._append(checkpoint_record(pruned, count, now))
            return count

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            try:
                # The last hash is read under the lock that the record is written under, whichever process appends.
                with immediate(self._connection):
                    yield
            except sqlite3.Error as error:
                raise self._broken(error) from None

    def _one(self, statement: str, *values: Any) -> Any:
        return self._connection.execute(statement, values).fetchone()

    def _rows(self, statement: str, values: Any = ()) -> list[Any]:
        try:
            with self._lock:
                return self._connection.execute(statement, tuple(values)).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> StoreError:
        return trouble(self._path, say.THE_AUDIT_LOG, error)


def _conditions(query: AuditQuery) -> tuple[list[str], list[Any]]:
    wanted = {
        "actor = ?": query.actor, "action = ?": query.action, "target = ?": query.target,
        "request_id = ?": query.request_id, "stage = ?": query.stage and query.stage.value,
        "outcome = ?": query.outcome and query.outcome.value,
    }  # fmt: skip
    found = {condition: value for condition, value in wanted.items() if value}
    bounds = {"at >= ?": query.since, "at < ?": query.until}
    found |= {condition: value for condition, value in bounds.items() if value is not None}  # type: ignore[misc]
    return list(found), list(found.values())


def _where(conditions: list[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _seq_of(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 18):
        raise BadCursor(say.NO_CURSOR(cursor=cursor[:50]))
    return int(cursor)
