"""The embedded queue as whoever asks for work sees it: a SQLite file, no server. Workers: ``store/task_claims.py``."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from core import store_phrases as say
from core.errors import BadCursor, StoreError, TaskError, TaskStateError
from core.tasks import (
    ALL_TASKS,
    Batch,
    Json,
    Task,
    TaskPage,
    TaskQuery,
    TaskRequest,
    TaskState,
    WorkerInfo,
    batch_of,
    progress_document,
)
from store.processes import Owner, is_gone
from store.task_rows import COLUMNS, PRIORITIES, TaskFile, json_text, number_of, task_of
from store.wake import wake_all

MAX_PENDING_SHOWN = 1000
"""Most task ids in a ``…:pending`` list: a longer one is for a person to count, not to read."""

_FORGET_AT_ONCE = 5000
"""Rows of one deletion, so that no worker waits for the lock longer than some hundredths of a second."""


class TaskQueue:
    """A ``core.tasks.TaskEngine`` on one file, for any number of threads and processes.

    What it writes is on the disk when the method returns (``synchronous=FULL``): no power failure loses a task that
    was accepted. ``patience_seconds`` is how long a locked file is waited for.
    """

    def __init__(self, path: Path, *, patience_seconds: float = 5.0, clock: Callable[[], float] = time.time) -> None:
        self._file = TaskFile(path, power_safe=True, patience_seconds=patience_seconds, clock=clock)
        self._path = path

    def close(self) -> None:
        self._file.close()

    # -- asking for work -------------------------------------------------------------------------------------

    def submit(self, request: TaskRequest) -> Task:
        return self._accept([request], "")[0]

    def submit_batch(self, requests: Sequence[TaskRequest], batch: str) -> tuple[Task, ...]:
        return tuple(self._accept(requests, batch))

    def _accept(self, requests: Sequence[TaskRequest], batch: str) -> list[Task]:
        now = self._file.clock()
        rows = [_row(request, batch, now) for request in requests]
        with self._file.transaction() as connection:
            numbers = [_insert(connection, row) for row in rows]
            tasks = [_read(connection, number, now) for number in numbers]
        wake_all(self._path)
        return tasks

    def cancel(self, task_id: str) -> Task | None:
        number, now = number_of(task_id), self._file.clock()
        with self._file.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state='cancelled', ended_at=?, cancel_asked=1 WHERE id=? AND state='queued'",
                (now, number),
            )
            connection.execute("UPDATE jobs SET cancel_asked=1 WHERE id=? AND state='running'", (number,))
        return self.task(task_id)

    def retry(self, task_id: str) -> Task | None:
        number, now = number_of(task_id), self._file.clock()
        with self._file.transaction() as connection:
            changed = connection.execute(
                "UPDATE jobs SET state='queued', run_at=?, attempts=0, cancel_asked=0, started_at=NULL, ended_at=NULL, "
                "percent=NULL, step='', message='', steps='[]', progress_at=NULL "
                "WHERE id=? AND state IN ('failed', 'cancelled')",
                (now, number),
            ).rowcount
        task = self.task(task_id)
        if task is not None and not changed:
            raise TaskStateError(say.ONLY_ENDED(id=task_id, state=task.state))
        wake_all(self._path)
        return task

    def forget_before(self, at: float) -> int:
        forgotten = 0
        while True:
            with self._file.transaction() as connection:
                deleted = connection.execute(
                    "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state IN ('done', 'failed', 'cancelled') "
                    "AND ended_at < ? LIMIT ?)",
                    (at, _FORGET_AT_ONCE),
                ).rowcount
                forgotten += deleted
                if deleted < _FORGET_AT_ONCE:
                    connection.execute("DELETE FROM turns WHERE user NOT IN (SELECT user FROM jobs)")
                    return forgotten

    # -- looking ---------------------------------------------------------------------------------------------

    def task(self, task_id: str) -> Task | None:
        rows = self._file.rows(f"SELECT {COLUMNS} FROM jobs WHERE id=?", (number_of(task_id),))
        return task_of(rows[0], self._file.clock()) if rows else None

    def tasks(self, query: TaskQuery = ALL_TASKS, *, cursor: str = "", limit: int = 50) -> TaskPage:
        limit = max(limit, 1)
        where: list[str] = ["1"]
        values: list[object] = []
        for column, value in (("user", query.user), ("name", query.name), ("batch", query.batch)):
            if value:
                where.append(f"{column} = ?")
                values.append(value)
        counts = {state.value: 0 for state in TaskState}
        # Says what the index on batches can be used for.
        extra = " AND batch != ''" if query.batch else ""
        counts |= dict(
            self._file.rows(
                f"SELECT state, count(*) FROM jobs WHERE {' AND '.join(where)}{extra} GROUP BY state", tuple(values)
            )
        )
        if query.states:
            where.append(f"state IN ({','.join('?' * len(query.states))})")
            values += [str(state) for state in query.states]
        if cursor:
            before = number_of(cursor)
            if before is None:
                raise BadCursor(say.NO_TASK_CURSOR(cursor=cursor[:40]))
            where.append("id < ?")
            values.append(before)
        rows = self._file.rows(
            f"SELECT {COLUMNS} FROM jobs WHERE {' AND '.join(where)}{extra} ORDER BY id DESC LIMIT ?",
            (*values, limit + 1),
        )
        now = self._file.clock()
        tasks = tuple(task_of(row, now) for row in rows[:limit])
        return TaskPage(tasks, tasks[-1].id if len(rows) > limit else "", counts)

    def batch(self, batch: str) -> Batch | None:
        if not batch:
            return None
        rows = self._file.rows(
            "SELECT id, state, percent FROM jobs WHERE batch=? AND batch != '' ORDER BY id", (batch,)
        )
        return batch_of(batch, [(str(number), TaskState(state), percent) for number, state, percent in rows])

    def workers(self) -> tuple[WorkerInfo, ...]:
        rows = self._file.rows(
            "SELECT name, host, machine, pid, pid_started, queues, started_at, seen_at, done, "
            "coalesce((SELECT id FROM jobs WHERE state='running' AND worker=workers.name), '') "
            "FROM workers WHERE leased_until > ? ORDER BY started_at, name",
            (self._file.clock(),),
        )
        return tuple(
            WorkerInfo(name, host, pid, tuple(json.loads(queues)), started_at, seen_at, str(task), done)
            for name, host, machine, pid, pid_started, queues, started_at, seen_at, done, task in rows
            if not is_gone(Owner(machine, pid, pid_started))
        )

    def queue_key(self, key: str) -> Json:
        if key == "global:pending":
            return self._pending("", ())
        kind, _, rest = key.partition(":")
        name, _, what = rest.rpartition(":")
        if (kind, what) == ("user", "pending"):
            return self._pending("AND user=?", (name,))
        if (kind, what) == ("user", "processing"):
            return sorted(self._ids("SELECT id FROM jobs WHERE state='running' AND user=?", (name,)))
        if (kind, what) == ("batch", "tasks"):
            return sorted(self._ids("SELECT id FROM jobs WHERE batch=? AND batch != ''", (name,)))
        if (kind, what) == ("task", "progress"):
            return self._progress(name)
        return None

    def _pending(self, condition: str, values: tuple[str, ...]) -> list[str]:
        return self._ids(
            f"SELECT id FROM jobs WHERE state='queued' {condition} ORDER BY priority, run_at, id LIMIT ?",
            (*values, MAX_PENDING_SHOWN),
        )

    def _ids(self, statement: str, values: tuple[object, ...]) -> list[str]:
        return [str(number) for (number,) in self._file.rows(statement, values)]

    def _progress(self, task_id: str) -> Json:
        task = self.task(task_id)
        if task is None:
            return None
        steps = self._file.rows("SELECT steps FROM jobs WHERE id=?", (number_of(task_id),))
        return progress_document(task, json.loads(steps[0][0]) if steps else ())


_INSERT = (
    "INSERT INTO jobs (name, arguments, user, caller, queue, priority, state, batch, schedule_key, created_at, run_at, "
    "max_attempts) VALUES (?,?,?,?,?,?,'queued',?,?,?,?,?)"
)
_SCHEDULE_KEY = 7


def _row(request: TaskRequest, batch: str, now: float) -> tuple[object, ...]:
    for text in (request.name, request.user, request.queue, request.schedule_key, batch):
        if not text.isprintable():
            raise TaskError(say.NO_NAME(text=text))
    return (
        request.name, json_text(dict(request.arguments), say.ARGUMENTS_OF(word=request.name)), request.user,
        json_text(dict(request.caller), say.THE_CALLER()), request.queue, PRIORITIES[request.priority], batch,
        request.schedule_key or None, now, now if request.run_at is None else request.run_at, request.max_attempts,
    )  # fmt: skip


def _insert(connection: sqlite3.Connection, row: tuple[object, ...]) -> int:
    """Insert a task, or find the one that has its schedule key already; return its number."""
    if row[_SCHEDULE_KEY] is not None:
        found = connection.execute("SELECT id FROM jobs WHERE schedule_key=?", (row[_SCHEDULE_KEY],)).fetchone()
        if found is not None:
            return int(found[0])
    return int(connection.execute(_INSERT, row).lastrowid or 0)


def _read(connection: sqlite3.Connection, number: int, now: float) -> Task:
    row = connection.execute(f"SELECT {COLUMNS} FROM jobs WHERE id=?", (number,)).fetchone()
    if row is None:
        raise StoreError(say.TASK_VANISHED(id=number))
    return task_of(row, now)
