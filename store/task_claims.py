"""The embedded queue as a worker sees it: claim, say how far, give back.

A worker's lease is renewed by its heartbeat. A worker that is surely dead (its process is gone: the PID, the start time
and the boot are known) loses its task at once, any other when its lease runs out. Whoever comes back from the dead
finds that the task is no longer its own: every write names the worker and the attempt.
"""

from __future__ import annotations

import json
import platform
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from core import store_phrases as say
from core.tasks import RETRY_SECONDS, Json, Task, retry_delay_seconds
from store.processes import Owner, is_gone, this_process
from store.task_rows import COLUMNS, TaskFile, json_text, number_of, task_of
from store.wake import wake_all

LEASE_SECONDS = 30.0
MAX_TEXT_CHARACTERS = 2000

# The head of every user's line: each step of the recursion is one seek in the index, so that a claim costs a seek for
# each line that waits, however many tasks wait in it.
# Three things keep it a seek: the index is named, or the planner may sort all that wait; the pluses take the columns'
# affinity away, or it would seek by the first of them alone; and it seeks past infinity, the end of the present line,
# since SQLite turns ``>`` of rows into a seek of ``>=`` and would walk through the line.
_HEADS = """
WITH RECURSIVE heads (id) AS (
    SELECT (
        SELECT id FROM jobs INDEXED BY jobs_queued WHERE state = 'queued'
        ORDER BY queue, priority, user, run_at, id LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT next.id FROM jobs AS next INDEXED BY jobs_queued
        WHERE next.state = 'queued'
        AND (next.queue, next.priority, next.user, next.run_at) > (+job.queue, +job.priority, +job.user, 9e999)
        ORDER BY next.queue, next.priority, next.user, next.run_at, next.id LIMIT 1
    ) FROM heads JOIN jobs AS job ON job.id = heads.id
)
"""

# Of the heads that are due, those of users below their limit; among them the highest priority, the user with the
# fewest running, the one passed over the longest, the oldest.
CLAIM = f"""
{_HEADS}, due AS (
    SELECT job.id AS id, job.user AS user, job.priority AS priority, job.run_at AS run_at,
        (
            SELECT count(*) FROM jobs AS other INDEXED BY jobs_running
            WHERE other.state = 'running' AND other.user = job.user
        ) AS running
    FROM heads JOIN jobs AS job ON job.id = heads.id
    WHERE job.run_at <= :now AND job.queue IN (SELECT value FROM json_each(:queues))
)
SELECT id, user FROM due WHERE running < :per_user
ORDER BY priority, running, coalesce((SELECT turn FROM turns WHERE turns.user = due.user), 0), run_at, id LIMIT 1
"""

_NEXT_DUE = f"""
{_HEADS} SELECT min(job.run_at) FROM heads JOIN jobs AS job ON job.id = heads.id
WHERE job.run_at > :now AND job.queue IN (SELECT value FROM json_each(:queues))
"""

_CLAIM_ONE = "SELECT id, user FROM jobs WHERE id = :only AND state = 'queued' AND run_at <= :now"
_ONE_DUE = "SELECT run_at FROM jobs WHERE id = :only AND state = 'queued' AND run_at > :now"

_START = f"""
UPDATE jobs SET state='running', attempts=attempts+1, worker=?, started_at=?, percent=NULL, step='', message='',
    steps='[]', progress_at=NULL
WHERE id=? RETURNING {COLUMNS}
"""
_TURN = """
INSERT INTO turns VALUES (?, (SELECT coalesce(max(turn), 0) + 1 FROM turns))
ON CONFLICT (user) DO UPDATE SET turn=excluded.turn
"""
_ORPHANED = "WHERE state='running' AND worker NOT IN (SELECT name FROM workers)"
_OURS = "WHERE id=? AND worker=? AND attempts=? AND state='running'"


class TaskClaims:
    """One worker's hands on the queue. Methods raise StoreError; times are seconds.

    Writes survive a kill -9, but not each a power failure (``synchronous=NORMAL``): a task whose end is lost that way
    is run again. With ``only`` it takes no other task than that one. ``heartbeat`` and ``take_back`` may be called from
    another thread than the rest.
    """

    def __init__(
        self,
        path: Path,
        queues: Sequence[str],
        *,
        per_user: int,
        only: str = "",
        lease_seconds: float = LEASE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        patience_seconds: float = 5.0,
        clock: Callable[[], float] = time.time,
        owner: Owner | None = None,
    ) -> None:
        self._path = path
        self._file = TaskFile(path, power_safe=False, patience_seconds=patience_seconds, clock=clock)
        self._owner = owner or this_process()
        # Nobody else's task is to wait for a worker that will not take it.
        self._queues = json.dumps([] if only else list(queues))
        self._only = number_of(only)
        self._claim, self._due = (_CLAIM_ONE, _ONE_DUE) if only else (CLAIM, _NEXT_DUE)
        self._per_user = per_user
        self.lease_seconds = lease_seconds
        self._retry_seconds = retry_seconds
        self.clock = clock
        self._started_at = clock()
        self._host = platform.node() or "localhost"
        self._was_idle = True
        self.name = f"{self._host}-{self._owner.pid}-{secrets.token_hex(3)}"
        self.done = 0
        self.heartbeat()

    def close(self) -> None:
        """Strike this worker off the list; a task still in hand goes back."""
        try:
            with self._file.transaction() as connection:
                connection.execute("DELETE FROM workers WHERE name=?", (self.name,))
        finally:
            self._file.close()

    # -- one task --------------------------------------------------------------------------------------------

    def claim(self) -> Task | None:
        """Take the task whose turn it is, None when there is none for us now."""
        now = self._file.clock()
        wanted = {"now": now, "queues": self._queues, "per_user": self._per_user, "only": self._only}
        # An idle worker looks before it locks: it must not hold up those that write.
        if self._was_idle and not self._file.rows(self._claim, wanted):
            return None
        with self._file.transaction() as connection:
            found = connection.execute(self._claim, wanted).fetchone()
            self._was_idle = found is None
            if found is None:
                return None
            number, user = found
            row = connection.execute(_START, (self.name, now, number)).fetchone()
            connection.execute(_TURN, (user,))
            lease = connection.execute("SELECT leased_until FROM workers WHERE name=?", (self.name,)).fetchone()
            if lease is None or lease[0] < now + self.lease_seconds / 2:
                # We were stopped for a while, and perhaps given up for dead.
                self._enter(connection, now)
        return task_of(row, now)

    def next_due(self) -> float | None:
        """Return when the next task that waits for its time becomes due, None when there is none."""
        wanted = {"now": self._file.clock(), "queues": self._queues, "only": self._only}
        found = self._file.rows(self._due, wanted)
        return found[0][0] if found else None

    def progress(self, task: Task, percent: float | None, step: str, message: str, steps: Sequence[str]) -> bool | None:
        """Write down how far a task is; return whether somebody has asked to cancel it, None when it is not ours."""
        with self._file.transaction() as connection:
            found = connection.execute(
                f"UPDATE jobs SET percent=?, step=?, message=?, steps=?, progress_at=? {_OURS} RETURNING cancel_asked",
                (
                    percent,
                    _text(step),
                    _text(message),
                    json_text(list(steps), say.STEPS()),
                    self._file.clock(),
                    *self._ours(task),
                ),
            ).fetchone()
        return None if found is None else bool(found[0])

    def finish(self, task: Task, result: Json) -> bool:
        """Note that a task is done; False when it is no longer ours. Raises TaskError for a result that is not JSON."""
        text = json_text(result, say.RESULT_OF(word=task.name))
        return self._end(
            "UPDATE jobs SET state='done', percent=100, result=?, error='', ended_at=?, progress_at=ended_at ",
            (text, self._file.clock()), task,
        )  # fmt: skip

    def cancelled(self, task: Task) -> bool:
        """Note that a task has ended because somebody cancelled it."""
        return self._end("UPDATE jobs SET state='cancelled', ended_at=? ", (self._file.clock(),), task)

    def fail(self, task: Task, error: str, *, final: bool = False) -> bool:
        """Note a failed attempt: the task waits for the next one, or is put aside when there is none.

        ``final`` says that no further attempt would help.
        """
        now, text = self._file.clock(), _text(error)
        if final or task.attempts >= task.max_attempts:
            return self._end("UPDATE jobs SET state='failed', error=?, ended_at=? ", (text, now), task)
        again = now + retry_delay_seconds(task.attempts, self._retry_seconds)
        return self._end(
            "UPDATE jobs SET state=iif(cancel_asked, 'cancelled', 'queued'), error=?, run_at=?, "
            "ended_at=iif(cancel_asked, ?, NULL) ",
            (text, again, now), task,
        )  # fmt: skip

    def release(self, task: Task) -> bool:
        """Put a task back as if it had not been tried: the worker is told to end, which is not the task's fault."""
        released = self._end(
            "UPDATE jobs SET state=iif(cancel_asked, 'cancelled', 'queued'), ended_at=iif(cancel_asked, ?, NULL), "
            "attempts=attempts-1 ",
            (self._file.clock(),), task,
        )  # fmt: skip
        wake_all(self._path)
        return released

    def _end(self, update: str, values: tuple[object, ...], task: Task) -> bool:
        with self._file.transaction() as connection:
            ended = connection.execute(update + _OURS, (*values, *self._ours(task))).rowcount > 0
        self.done += ended
        return ended

    def _ours(self, task: Task) -> tuple[object, ...]:
        return int(task.id), self.name, task.attempts

    # -- leases ----------------------------------------------------------------------------------------------

    def heartbeat(self) -> None:
        """Renew our lease; a worker that was given up for dead is entered again."""
        with self._file.transaction() as connection:
            self._enter(connection, self._file.clock())

    def _enter(self, connection: sqlite3.Connection, now: float) -> None:
        owner = self._owner
        connection.execute(
            "INSERT OR REPLACE INTO workers VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                self.name, self._host, owner.machine, owner.pid, owner.started, self._queues, self._started_at, now,
                now + self.lease_seconds, self.done,
            ),
        )  # fmt: skip

    def take_back(self) -> list[str]:
        """Put the tasks of dead workers back and return their ids. One whose attempts are used up has failed."""
        if not self._dead() and not self._file.rows(f"SELECT 1 FROM jobs {_ORPHANED} LIMIT 1"):
            return []
        with self._file.transaction() as connection:
            # Asked again under the lock: a worker may have renewed its lease meanwhile.
            connection.executemany("DELETE FROM workers WHERE name=?", [(name,) for name in self._dead()])
            # run_at stays: the task keeps its place in its line. The error is core.reason_phrases.WORKER_DIED.
            taken = connection.execute(
                "UPDATE jobs SET state=CASE WHEN cancel_asked THEN 'cancelled' WHEN attempts >= max_attempts "
                "THEN 'failed' ELSE 'queued' END, ended_at=iif(cancel_asked OR attempts >= max_attempts, ?, NULL), "
                f"error='its worker ' || worker || ' died' {_ORPHANED} RETURNING id",
                (self._file.clock(),),
            ).fetchall()
        wake_all(self._path)
        return [str(number) for (number,) in taken]

    def _dead(self) -> list[str]:
        now = self._file.clock()
        return [
            name
            for name, machine, pid, started, leased_until in self._file.rows(
                "SELECT name, machine, pid, pid_started, leased_until FROM workers WHERE name != ?", (self.name,)
            )
            if leased_until <= now or is_gone(Owner(machine, pid, started))
        ]


def _text(text: str) -> str:
    """Return what SQLite can keep of a text: no half of a surrogate pair, as names of files may have."""
    return text[:MAX_TEXT_CHARACTERS].encode(errors="replace").decode()
