"""Which API tokens were given out, and which are revoked. A file of its own, ``tokens.sqlite3`` in CACHE_DIR.

Not in the audit or the task database: those may be on MongoDB and Redis, moved aside or begun anew, and a revoked
token must stay revoked. The tokens themselves are not in it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from threading import Lock
from typing import Any

from core import store_phrases as say
from core.access import IssuedToken, Role
from store.database import Versions, connect
from store.trouble import trouble

_TOKENS: Versions = (
    """
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY, user TEXT NOT NULL, role TEXT NOT NULL,
        issued_at REAL NOT NULL, expires_at REAL NOT NULL, revoked_at REAL
    ) WITHOUT ROWID;
    CREATE INDEX tokens_by_end ON tokens (expires_at);
    """,
)
_COLUMNS = "id, user, role, issued_at, expires_at, revoked_at"


class IssuedTokens:
    """Several processes may have the file open, and any thread may call; what one writes the others read at once.

    Methods raise StoreError.
    """

    def __init__(self, path: Path, *, patience_seconds: float = 5.0) -> None:
        self._path = path
        self._patience_seconds = patience_seconds
        self._lock = Lock()
        # Opened when it is first asked: a damaged register costs whoever brings a token, not the fleet its daemon.
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def add(self, token: IssuedToken) -> None:
        self._run(
            f"INSERT INTO tokens ({_COLUMNS}) VALUES (?,?,?,?,?,?)",
            (token.id, token.user, token.role.value, token.issued_at, token.expires_at, token.revoked_at),
        )

    def revoke(self, token_id: str, now: float) -> IssuedToken | None:
        """Refuse a token from now on; return it, None when there is none with this id. Twice is once."""
        self._run("UPDATE tokens SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (now, token_id))
        rows = self._run(f"SELECT {_COLUMNS} FROM tokens WHERE id = ?", (token_id,))
        return _token(rows[0]) if rows else None

    def is_revoked(self, token_id: str) -> bool:
        rows = self._run("SELECT revoked_at IS NOT NULL FROM tokens WHERE id = ?", (token_id,))
        return bool(rows and rows[0][0])

    def all(self) -> list[IssuedToken]:
        """Return every token given out that is not forgotten, the newest first."""
        return [_token(row) for row in self._run(f"SELECT {_COLUMNS} FROM tokens ORDER BY issued_at DESC, id")]

    def forget_before(self, at: float) -> int:
        """Forget tokens that expired before ``at``: their end is in themselves. Return how many."""
        return len(self._run("DELETE FROM tokens WHERE expires_at < ? RETURNING id", (at,)))

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            with self._lock:
                if self._connection is None:
                    # Power-safe: a revocation that a power failure takes back would be worse than a slow one.
                    self._connection = connect(
                        self._path, _TOKENS, patience_seconds=self._patience_seconds, power_safe=True
                    )
                return self._connection.execute(statement, values).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise trouble(self._path, say.CANNOT_USE, error) from None


def _token(row: Any) -> IssuedToken:
    return IssuedToken(row[0], row[1], Role(row[2]), row[3], row[4], row[5])
