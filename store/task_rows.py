"""The tables of tasks.sqlite3, and how a row becomes a task."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core import store_phrases as say
from core.errors import TaskError
from core.tasks import Json, Priority, Progress, Task, TaskState, remaining_seconds
from store.database import Versions, connect, immediate
from store.trouble import trouble

TASKS: Versions = (
    """
    CREATE TABLE jobs (
        -- AUTOINCREMENT: the audit log names tasks by their id long after they were forgotten here.
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL, arguments TEXT NOT NULL, user TEXT NOT NULL, caller TEXT NOT NULL,
        queue TEXT NOT NULL, priority INTEGER NOT NULL, state TEXT NOT NULL, batch TEXT NOT NULL, schedule_key TEXT,
        created_at REAL NOT NULL, run_at REAL NOT NULL, started_at REAL, ended_at REAL,
        attempts INTEGER NOT NULL DEFAULT 0, max_attempts INTEGER NOT NULL, worker TEXT NOT NULL DEFAULT '',
        percent REAL, step TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '',
        steps TEXT NOT NULL DEFAULT '[]', progress_at REAL,
        result TEXT NOT NULL DEFAULT 'null', error TEXT NOT NULL DEFAULT '', cancel_asked INTEGER NOT NULL DEFAULT 0
    );
    -- A claim looks at the head of each user's line: the order of the index is the order of the line.
    CREATE INDEX jobs_queued ON jobs (queue, priority, user, run_at, id) WHERE state = 'queued';
    CREATE INDEX jobs_running ON jobs (user) WHERE state = 'running';
    CREATE INDEX jobs_by_state ON jobs (state);
    CREATE INDEX jobs_by_batch ON jobs (batch) WHERE batch != '';
    CREATE UNIQUE INDEX jobs_by_schedule ON jobs (schedule_key) WHERE schedule_key IS NOT NULL;
    -- Whose turn it is among users who wait: the lowest number has been passed over the longest.
    CREATE TABLE turns (user TEXT PRIMARY KEY, turn INTEGER NOT NULL) WITHOUT ROWID;
    -- A worker runs one task at a time, so its lease is its task's.
    CREATE TABLE workers (
        name TEXT PRIMARY KEY, host TEXT NOT NULL, machine TEXT NOT NULL, pid INTEGER NOT NULL,
        pid_started TEXT NOT NULL, queues TEXT NOT NULL, started_at REAL NOT NULL, seen_at REAL NOT NULL,
        leased_until REAL NOT NULL, done INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    """,
)

Values = tuple[object, ...] | Mapping[str, object]

PRIORITIES = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
_PRIORITY_OF = {number: priority for priority, number in PRIORITIES.items()}

COLUMNS = (
    "id, name, arguments, user, queue, priority, state, created_at, run_at, batch, attempts, max_attempts, started_at, "
    "ended_at, worker, percent, step, message, progress_at, result, error, cancel_asked, caller"
)


def task_of(row: tuple[Any, ...], now: float) -> Task:
    """Given a row of COLUMNS, return the task as it stands at ``now``."""
    (
        number, name, arguments, user, queue, priority, state, created_at, run_at, batch, attempts, max_attempts,
        started_at, ended_at, worker, percent, step, message, progress_at, result, error, cancel_asked, caller,
    ) = row  # fmt: skip
    state = TaskState(state)
    elapsed = 0.0 if started_at is None else max(0.0, (now if ended_at is None else ended_at) - started_at)
    return Task(
        id=str(number), name=name, arguments=json.loads(arguments), user=user, queue=queue,
        priority=_PRIORITY_OF[priority], state=state, created_at=created_at, run_at=run_at, batch=batch,
        attempts=attempts, max_attempts=max_attempts, started_at=started_at, ended_at=ended_at, worker=worker,
        progress=Progress(
            percent, step, message, elapsed,
            remaining_seconds(percent, elapsed) if state is TaskState.RUNNING else None,
            progress_at or ended_at or started_at or created_at,
        ),
        result=json.loads(result), error=error, cancel_asked=bool(cancel_asked), caller=json.loads(caller),
    )  # fmt: skip


def number_of(task_id: str) -> int | None:
    """Return the row's number that a task's id stands for, None for what cannot be one."""
    # 18 digits: a number that fits SQLite's 64 bits whatever its digits are.
    return int(task_id) if task_id.isascii() and task_id.isdecimal() and len(task_id) <= 18 else None


def json_text(value: Json, what: str) -> str:
    """Return ``value`` as JSON; raises TaskError naming ``what`` it is when it has no such form.

    ``what`` is a phrase of the kind ``part``.
    """
    try:
        # ASCII only: SQLite cannot keep half a surrogate pair, which JSON may hold.
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise TaskError(say.NO_JSON(part=what, words=error)) from None


class TaskFile:
    """A connection to tasks.sqlite3 for the threads of one process. Its methods raise StoreError.

    ``clock`` gives seconds since 1970 UTC.
    """

    def __init__(self, path: Path, *, power_safe: bool, patience_seconds: float, clock: Callable[[], float]) -> None:
        self._path = path
        self._connection = connect(path, TASKS, power_safe=power_safe, patience_seconds=patience_seconds)
        self._lock = threading.RLock()
        self.clock = clock

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def rows(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except (sqlite3.Error, OverflowError) as error:
                raise trouble(self._path, say.CANNOT_READ, error) from None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything that the block writes, or nothing of it."""
        with self._lock:
            try:
                with immediate(self._connection):
                    yield self._connection
            except sqlite3.Error as error:
                raise trouble(self._path, say.CANNOT_WRITE, error) from None
