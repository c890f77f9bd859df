"""The checker's memory on disk: events, last states, submissions, pauses and wishes, in SQLite.

Every change of state is one transaction: the event and the state it leads to. Submissions are written before
their POST, and a unique index lets one server have one open submission, whichever process makes it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from core import store_phrases as say
from core.errors import StoreError
from core.model import Event, OpenSubmission, Outcome, Pause, State, Wish
from core.workflow import Key
from store.database import connect, immediate
from store.trouble import trouble

_EVENT_COLUMNS = "at, server, set_name, kind, from_state, to_state, rule, reason, prompt_id, seconds"
_BACKLOG = 20_000


class Journal:
    """The journal of one CACHE_DIR. Methods raise StoreError, except ``record``, which keeps what it cannot write.

    One instance belongs to one thread at a time; several processes may have the same file open.
    """

    def __init__(self, path: Path, *, patience_seconds: float = 5.0) -> None:
        self._path = path
        self._connection = connect(path, patience_seconds=patience_seconds)
        self._backlog: deque[Event] = deque(maxlen=_BACKLOG)
        self.unwritten_reason = ""

    @property
    def path(self) -> Path:
        return self._path

    def close(self) -> None:
        self._connection.close()

    def record(self, events: Iterable[Event]) -> None:
        """Append events. On a full disk or a locked file they are kept in memory and written with the next ones.

        Keeping servers warm must not depend on a disk; ``unwritten_reason`` says why events are waiting.
        """
        self._backlog.extend(events)
        if not self._backlog:
            return
        try:
            with self._transaction():
                self._insert(self._backlog)
                self._connection.executemany(
                    "INSERT OR REPLACE INTO states VALUES (?,?,?,?,?,?)",
                    [
                        (event.server, event.set_name, event.to_state, event.rule, event.reason, event.at)
                        for event in self._backlog
                        if event.kind == "state"
                    ],
                )
        except StoreError as error:
            self.unwritten_reason = str(error)
            return
        self._backlog.clear()
        self.unwritten_reason = ""

    def _insert(self, events: Iterable[Event]) -> None:
        self._connection.executemany(
            f"INSERT INTO events ({_EVENT_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)", [astuple(event) for event in events]
        )

    def open_submission(self, submission: OpenSubmission, event: Event) -> bool:
        """Write a submission and its event down before it is sent; False when the server has an open one already."""
        try:
            with self._transaction():
                self._connection.execute(
                    "INSERT INTO submissions (prompt_id, server, set_name, key, posted_at) VALUES (?,?,?,?,?)",
                    (
                        submission.prompt_id,
                        submission.server,
                        submission.set_name,
                        json.dumps(submission.key),
                        submission.posted_at,
                    ),
                )
                self._insert([event])
        except _AlreadyOpen:
            return False
        return True

    def confirm_submission(self, prompt_id: str) -> None:
        """Note that the server has the prompt."""
        with self._transaction():
            self._connection.execute("UPDATE submissions SET confirmed=1 WHERE prompt_id=?", (prompt_id,))

    def close_submission(
        self, prompt_id: str, outcome: Outcome, reason: str, at: float, run_seconds: float | None, event: Event
    ) -> None:
        """Note how a submission ended, with the event that tells it, once, whoever comes first.

        ``run_seconds`` is how long it ran, None when it was never seen running. A submission that could not be
        written down when it was sent (the disk was full) is written down now.
        """
        with self._transaction():
            # Closed from the start: an open row would count as the server's one open submission.
            inserted = self._connection.execute(
                "INSERT OR IGNORE INTO submissions (prompt_id, server, set_name, key, posted_at, closed_at, outcome, "
                "reason, run_seconds) VALUES (?,?,?,'null',?,?,?,?,?)",
                (
                    prompt_id, event.server, event.set_name, at - (event.seconds or 0.0), at, outcome.value, reason,
                    run_seconds,
                ),
            ).rowcount  # fmt: skip
            closed = self._connection.execute(
                "UPDATE submissions SET closed_at=?, outcome=?, reason=?, run_seconds=? "
                "WHERE prompt_id=? AND closed_at IS NULL",
                (at, outcome.value, reason, run_seconds, prompt_id),
            ).rowcount
            if inserted or closed:
                self._insert([event])

    def open_submissions(self) -> list[OpenSubmission]:
        """Return the submissions whose end nobody has seen yet."""
        rows = self._rows(
            "SELECT server, set_name, prompt_id, key, posted_at, confirmed FROM submissions WHERE closed_at IS NULL"
        )
        return [
            OpenSubmission(server, set_name, prompt_id, _key(key), posted_at, bool(confirmed))
            for server, set_name, prompt_id, key, posted_at, confirmed in rows
        ]

    def open_submission_of(self, server: str) -> OpenSubmission | None:
        """Return the one open submission of a server, this process's or another's."""
        return next((each for each in self.open_submissions() if each.server == server), None)

    def last_submissions(self) -> dict[str, float]:
        """Return when each server was last submitted to, by any process; seconds since 1970 UTC."""
        return dict(self._rows("SELECT server, max(posted_at) FROM submissions GROUP BY server"))

    def last_verified(self) -> dict[tuple[str, str], tuple[str, float]]:
        """Return the last verified run of each (server, set): its prompt id and when it ended, UTC seconds."""
        rows = self._rows(
            "SELECT server, set_name, prompt_id, max(closed_at) FROM submissions WHERE outcome=? GROUP BY 1, 2",
            (Outcome.VERIFIED.value,),
        )
        return {(server, set_name): (prompt_id, closed_at) for server, set_name, prompt_id, closed_at in rows}

    def run_seconds(self, newest: int = 10) -> dict[tuple[str, str], tuple[float, ...]]:
        """Return how long the newest verified runs of each (server, set) took."""
        rows = self._rows(
            "SELECT server, set_name, run_seconds FROM (SELECT *, row_number() OVER (PARTITION BY server, set_name "
            "ORDER BY posted_at DESC) AS place FROM submissions WHERE outcome=? AND run_seconds IS NOT NULL) "
            "WHERE place <= ?",
            (Outcome.VERIFIED.value, newest),
        )
        found: dict[tuple[str, str], tuple[float, ...]] = {}
        for server, set_name, seconds in rows:
            found[server, set_name] = (*found.get((server, set_name), ()), seconds)
        return found

    def states(self) -> dict[tuple[str, str], tuple[State, str, str, float]]:
        """Return the last recorded (state, rule, reason, since) of each (server, set); since in UTC seconds."""
        rows = self._rows("SELECT server, set_name, state, rule, reason, since FROM states")
        known = set(State)
        return {
            (server, set_name): (State(state), rule, reason, since)
            for server, set_name, state, rule, reason, since in rows
            if state in known
        }

    def events(
        self,
        *,
        server: str | None = None,
        since: float | None = None,
        until: float | None = None,
        newest: int = 100,
    ) -> list[Event]:
        """Return the newest events that match, oldest first; times in UTC seconds, both ends included."""
        where, values = ["1"], []
        for condition, value in (("server = ?", server), ("at >= ?", since), ("at <= ?", until)):
            if value is not None:
                where.append(condition)
                values.append(value)
        rows = self._rows(
            f"SELECT {_EVENT_COLUMNS} FROM events WHERE {' AND '.join(where)} ORDER BY at DESC, id DESC LIMIT ?",
            (*values, newest),
        )
        return [Event(*row) for row in rows][::-1]

    def state_changes(self, since: float) -> list[tuple[float, str, str, State, State]]:
        """Return every (at, server, set, from, to) from ``since`` (UTC seconds) on, oldest first."""
        rows = self._rows(
            "SELECT at, server, set_name, from_state, to_state FROM events "
            "WHERE at >= ? AND kind = 'state' AND from_state <> to_state ORDER BY at, id",
            (since,),
        )
        known = set(State)
        return [
            (at, server, set_name, State(before), State(after))
            for at, server, set_name, before, after in rows
            if before in known and after in known
        ]

    def forget_before(self, at: float) -> int:
        """Delete events and closed submissions older than ``at`` (UTC seconds), except each set's last verified
        run; return how many rows went. States and open submissions stay.
        """
        with self._transaction():
            events = self._connection.execute("DELETE FROM events WHERE at < ?", (at,)).rowcount
            runs = self._connection.execute(
                "DELETE FROM submissions WHERE closed_at < ? AND prompt_id NOT IN "
                "(SELECT prompt_id FROM (SELECT prompt_id, max(closed_at) FROM submissions WHERE outcome=? "
                "GROUP BY server, set_name))",
                (at, Outcome.VERIFIED.value),
            ).rowcount
        return events + runs

    def pause(self, pause: Pause) -> None:
        """Leave a server or group alone, from the next poll on, in every process."""
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO pauses VALUES (?,?)", (pause.name, pause.until))

    def resume(self, name: str) -> bool:
        """End a pause; False when there was none."""
        with self._transaction():
            return self._connection.execute("DELETE FROM pauses WHERE name=?", (name,)).rowcount > 0

    def pauses(self, now: float) -> dict[str, Pause]:
        """Return the pauses in force at ``now`` (UTC seconds) by name."""
        rows = self._rows("SELECT name, until FROM pauses WHERE until IS NULL OR until > ?", (now,))
        return {name: Pause(name, until) for name, until in rows}

    def wish(self, wishes: Iterable[Wish]) -> list[int]:
        """Leave wishes for the daemon, all or none; return their numbers."""
        with self._transaction():
            numbers = [
                self._connection.execute(
                    "INSERT INTO wishes (server, set_name, forced, at) VALUES (?,?,?,?)",
                    (wish.server, wish.set_name, wish.force, wish.at),
                ).lastrowid
                for wish in wishes
            ]
        return [number for number in numbers if number is not None]

    def wishes(self) -> list[Wish]:
        """Return the wishes that wait, oldest first."""
        rows = self._rows("SELECT server, set_name, forced, at, number FROM wishes ORDER BY number")
        return [Wish(server, set_name, bool(forced), at, number) for server, set_name, forced, at, number in rows]

    def end_wish(self, number: int) -> None:
        """Note that a wish was carried out, or that whoever had it wants it no more."""
        with self._transaction():
            self._connection.execute("DELETE FROM wishes WHERE number=?", (number,))

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise trouble(self._path, say.CANNOT_READ, error) from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with immediate(self._connection):
                yield
        except sqlite3.IntegrityError as error:
            raise _AlreadyOpen(str(error)) from None
        except sqlite3.Error as error:
            raise trouble(self._path, say.CANNOT_WRITE, error) from None


class _AlreadyOpen(StoreError):
    """A second open submission for one server; the unique index refused it."""


def _key(text: str) -> Key | None:
    key = json.loads(text)
    return key if isinstance(key, str | int) else None
