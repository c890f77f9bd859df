"""Audit logs for the tests: both kinds, opened again as other processes do, and changed behind their backs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.audit import AuditLog, AuditOutcome, AuditRecord, Stage
from core.audit_chain import Verdict, verify
from core.secret import Secret
from store.audit_log import SqliteAuditLog
from store.mongo_audit import COLLECTION, MongoAuditLog
from tests.mongo_double import MongoDouble


class Place:
    """Where a log is kept. ``open`` opens it once more; the rest is what somebody with the database's password does."""

    def open(self) -> AuditLog:
        raise NotImplementedError

    def change(self, number: int, /, **values: Any) -> None:
        raise NotImplementedError

    def remove(self, *seqs: int) -> None:
        raise NotImplementedError

    def put(self, row: dict[str, Any]) -> None:
        raise NotImplementedError

    def forget_head(self) -> None:
        """As somebody who knows the program would, who cuts the log."""
        raise NotImplementedError

    def row(self, seq: int) -> dict[str, Any]:
        raise NotImplementedError


class SqlitePlace(Place):
    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> AuditLog:
        return SqliteAuditLog(self.path)

    def _run(self, statement: str, *values: Any) -> list[Any]:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=5)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(statement, values).fetchall()]
        finally:
            connection.close()

    def change(self, number: int, /, **values: Any) -> None:
        settings = ", ".join(f"{name} = ?" for name in values)
        self._run(f"UPDATE audit SET {settings} WHERE seq = ?", *values.values(), number)

    def remove(self, *seqs: int) -> None:
        for seq in seqs:
            self._run("DELETE FROM audit WHERE seq = ?", seq)

    def put(self, row: dict[str, Any]) -> None:
        self._run(f"INSERT INTO audit ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", *row.values())

    def forget_head(self) -> None:
        self._run("DELETE FROM head")

    def row(self, seq: int) -> dict[str, Any]:
        found: dict[str, Any] = self._run("SELECT * FROM audit WHERE seq = ?", seq)[0]
        return found


class MongoPlace(Place):
    def __init__(self, double: MongoDouble, database: str) -> None:
        self._double, self._database = double, database
        self.url = double.client_url(database)

    def open(self) -> AuditLog:
        return MongoAuditLog(Secret(self.url))

    @property
    def _audit(self) -> Any:
        return self._double.collection(self._database, COLLECTION)

    def change(self, number: int, /, **values: Any) -> None:
        row = self.row(number)
        self.remove(number)
        self.put({**row, **values})

    def remove(self, *seqs: int) -> None:
        self._audit.delete_many({"_id": {"$in": list(seqs)}})

    def put(self, row: dict[str, Any]) -> None:
        self._audit.insert_one({("_id" if name == "seq" else name): value for name, value in row.items()})

    def forget_head(self) -> None:
        heads: Any = self._double.collection(self._database, f"{COLLECTION}_head")
        heads.delete_many({})

    def row(self, seq: int) -> dict[str, Any]:
        document = self._audit.find_one({"_id": seq})
        return {("seq" if name == "_id" else name): value for name, value in document.items()}


Opener = Callable[[], AuditLog]


def record(number: int = 0, **values: Any) -> AuditRecord:
    """A record of an operation, with what is given in place of the usual."""
    usual = {
        "at": 1_700_000_000.0 + number, "request_id": f"request-{number}", "stage": Stage.RESULT, "actor": "alice",
        "role": "operator", "token_id": "t1", "address": "203.0.113.7", "channel": "api", "action": "cache.cleanup",
        "target": "images", "parameters": {"days": 7, "名": "值"}, "outcome": AuditOutcome.SUCCESS,
        "duration_seconds": 0.1 + number, "effect": {"files": number, "bytes": 2**62}, "error": "",
    }  # fmt: skip
    return AuditRecord(**{**usual, **values})


def judged(log: AuditLog) -> Verdict:
    """What ``audit verify`` finds without the daemon's log."""
    head = log.head()
    checkpoint = log.checkpoint()
    heads = [head] if head and (checkpoint is None or head.seq > checkpoint.seq) else []
    return verify(log.rows(), checkpoint, heads)
