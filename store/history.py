"""Reads one server's past from the journal, for pages and commands, from whatever thread asks."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from core import store_phrases as say
from core.history import ServerHistory, SubmissionRecord
from core.model import Event
from store.trouble import trouble

_EVENT_COLUMNS = "at, server, set_name, kind, from_state, to_state, rule, reason, prompt_id, seconds"


class History:
    """The journal of one CACHE_DIR, read only. Each call has a connection of its own, so threads need no lock."""

    def __init__(self, path: Path, *, patience_seconds: float = 1.0) -> None:
        self._path = path
        self._patience_seconds = patience_seconds

    def of(self, server: str, *, cursor: str = "", events: int = 50, submissions: int = 20) -> ServerHistory:
        """Return the newest events (those after ``cursor``) and submissions of a server; raises StoreError."""
        where, values = "server = ?", [server]
        if cursor:
            at, _, number = cursor.partition("-")
            # SQLite would compare a text with a number by their kinds: whatever is no number finds nothing.
            where += " AND (at, id) < (CAST(? AS REAL), CAST(? AS INTEGER))"
            values += [at, number]
        try:
            address = f"{self._path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=self._patience_seconds)) as connection:
                happened = connection.execute(
                    f"SELECT id, {_EVENT_COLUMNS} FROM events WHERE {where} ORDER BY at DESC, id DESC LIMIT ?",
                    (*values, events + 1),
                ).fetchall()
                sent = connection.execute(
                    "SELECT prompt_id, set_name, key, posted_at, confirmed, closed_at, outcome, reason, run_seconds "
                    "FROM submissions WHERE server = ? ORDER BY posted_at DESC LIMIT ?",
                    (server, submissions),
                ).fetchall()
        except sqlite3.Error as error:
            raise trouble(self._path, say.CANNOT_READ, error) from None
        shown = happened[:events]
        return ServerHistory(
            events=tuple(Event(*columns) for _, *columns in shown),
            submissions=tuple(
                SubmissionRecord(
                    prompt_id, set_name, json.loads(key), posted_at, bool(confirmed), closed_at, outcome or "", reason,
                    run_seconds,
                )
                for prompt_id, set_name, key, posted_at, confirmed, closed_at, outcome, reason, run_seconds in sent
            ),
            next_cursor=f"{shown[-1][1]!r}-{shown[-1][0]}" if len(happened) > events else "",
        )  # fmt: skip
