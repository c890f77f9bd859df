"""Names of keys and fields in Redis, and how a task becomes RQ's job and the other way round.

Everything that RQ keeps is JSON (its own default is pickle: whoever can write to Redis could run code here).
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import redis
from rq.defaults import RQ_KEY_PREFIX
from rq.job import Job, JobStatus, Retry
from rq.serializers import JSONSerializer
from rq.utils import utcparse

from core import store_phrases as say
from core.errors import StoreError, TaskError
from core.tasks import Priority, Progress, Task, TaskRequest, TaskState, remaining_seconds
from store.rq_client import text_of
from store.task_rows import json_text

if RQ_KEY_PREFIX != "rq":
    raise StoreError(say.KEY_PREFIX_SET())

SERIALIZER = JSONSerializer
FUNCTION = "operations.runner.run"
"""What RQ shows as a job's function. Our worker needs no name from Redis to know what to call."""

RANKS = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}

_RANK_SPAN = 1e10
"""More seconds than any time has: rank and time make one number that orders the tasks of a user."""


@dataclass(frozen=True)
class Keys:
    """Names in Redis. RQ's begin with ``rq:`` and hold ``prefix`` where RQ lets us choose a name."""

    prefix: str

    @property
    def all(self) -> str:
        """Sorted set of every task, by id alone, which is by age."""
        return f"{self.prefix}engine:all"

    @property
    def recent(self) -> str:
        """Sorted set of the tasks that are open or ended lately, by when they were last queued or ended."""
        return f"{self.prefix}engine:recent"

    @property
    def later(self) -> str:
        """Sorted set of the tasks whose time has not come, by that time."""
        return f"{self.prefix}engine:later"

    @property
    def schedule(self) -> str:
        """Hash from schedule keys to tasks."""
        return f"{self.prefix}engine:schedule"

    @property
    def batches(self) -> str:
        """What the names of the sets with each batch's tasks begin with."""
        return f"{self.prefix}engine:batch:"

    @property
    def upkeep(self) -> str:
        """Lock of the one worker that mends and shows."""
        return f"{self.prefix}engine:upkeep"

    @property
    def shown(self) -> str:
        """Set of the names of the readable view that exist, without the prefix."""
        return f"{self.prefix}engine:shown"

    def rq_queue(self, queue: str, priority: Priority) -> str:
        return f"{self.prefix}{queue}:{priority.value}"

    def rate_limit(self, queue: str, user: str) -> str:
        """Of a user on one queue: tasks that wait for a machine that is off must not hold up the others."""
        # Quoted: the name of another key of RQ's must not come out of any user's name.
        return f"{self.prefix}{queue}:{quote(user, safe='')}"

    def rq_queues(self, queues: tuple[str, ...]) -> list[str]:
        """Return what a worker of these queues listens to, the most urgent first."""
        return [self.rq_queue(queue, priority) for priority in Priority for queue in queues]

    def queues_of(self, rq_queues: str) -> tuple[str, ...]:
        """Given RQ's list of a worker's queues, return ours; empty for a worker of another prefix."""
        names = [name.removeprefix(self.prefix) for name in rq_queues.split(",") if name.startswith(self.prefix)]
        return tuple(dict.fromkeys(name.rpartition(":")[0] for name in names))


def job_key(task_id: str) -> str:
    return str(Job.key_for(task_id))


def rq_list(name: str) -> str:
    """Return the key of the list of one of RQ's queues."""
    return f"rq:queue:{name}"


def limit_sets(limit: str) -> list[str]:
    """Return the keys of the allowed and the waiting tasks of one of RQ's rate limits."""
    return [f"rq:rl:{limit}:allowed", f"rq:rl:{limit}:rate_limited"]


class Ids:
    """Gives out ids of tasks that sort by age, also within one process and microsecond."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def next(self, now: float) -> str:
        with self._lock:
            self._last = max(self._last + 1, int(now * 1e6))
            return f"{self._last:014x}{secrets.token_hex(5)}"


def order_of(priority: Priority, run_at: float) -> float:
    """Return the number by which a user's waiting tasks are ordered, the smallest first."""
    return RANKS[priority] * _RANK_SPAN + run_at


def fields_of(
    client: redis.Redis, request: TaskRequest, batch: str, task_id: str, now: float, keys: Keys, per_user: int
) -> dict[str, str | bytes | int | float]:
    """Return the hash of a new task: what RQ writes for a job, and our fields beside it."""
    for text in (request.name, request.user, request.queue, request.schedule_key, batch):
        if not text.isprintable():
            raise TaskError(say.NO_NAME(text=text))
    job = Job.create(
        FUNCTION,
        args=(task_id,),
        id=task_id,
        connection=client,
        # Never forgotten by itself, never ended because of its length.
        timeout=-1,
        result_ttl=-1,
        failure_ttl=-1,
        status=JobStatus.CREATED,
        description=request.name,
        origin=keys.rq_queue(request.queue, request.priority),
        retry=Retry(max=request.max_attempts - 1) if request.max_attempts > 1 else None,
        serializer=SERIALIZER,
    )
    job.rate_limit_key, job.rate_limit_concurrency = keys.rate_limit(request.queue, request.user), per_user
    run_at = now if request.run_at is None else request.run_at
    return {
        **job.to_dict(),
        "ck_name": request.name,
        "ck_user": request.user,
        "ck_queue": request.queue,
        "ck_priority": request.priority.value,
        "ck_batch": batch,
        "ck_arguments": json_text(dict(request.arguments), say.ARGUMENTS_OF(word=request.name)),
        "ck_caller": json_text(dict(request.caller), say.THE_CALLER()),
        "ck_schedule": request.schedule_key,
        "ck_created": repr(now),
        "ck_run_at": repr(run_at),
        "ck_order": repr(order_of(request.priority, run_at)),
        "ck_max_attempts": request.max_attempts,
    }


_STATES = {
    "started": TaskState.RUNNING,
    "finished": TaskState.DONE,
    "failed": TaskState.FAILED,
    "canceled": TaskState.CANCELLED,
    "stopped": TaskState.CANCELLED,
}


def state_of(status: str, ending: str) -> TaskState:
    """Given RQ's status and our ``ck_ending``, return the state."""
    return TaskState(ending) if ending else _STATES.get(status, TaskState.QUEUED)


def task_of(task_id: str, raw: Mapping[Any, Any], now: float) -> Task | None:
    """Given the hash of a job, return the task as it stands at ``now``, None for a job that is not ours."""
    if b"ck_name" not in raw:
        return None
    record = _Record(raw)
    state = state_of(record.text("status"), record.text("ck_ending"))
    started_at, ended_at = record.number("ck_started"), record.number("ck_ended") if state.is_over else None
    if state.is_over and ended_at is None:
        ended_at = record.rq_time("ended_at") or record.rq_time("last_heartbeat") or started_at
    if state is TaskState.RUNNING and started_at is None:
        started_at = record.rq_time("started_at")
    created_at, run_at = record.number("ck_created") or 0.0, record.number("ck_run_at") or 0.0
    said = record.json("ck_progress") or {}
    percent = said.get("percent")
    elapsed = 0.0 if started_at is None else max(0.0, (now if ended_at is None else ended_at) - started_at)
    return Task(
        id=task_id,
        name=record.text("ck_name"),
        arguments=record.json("ck_arguments") or {},
        user=record.text("ck_user"),
        queue=record.text("ck_queue"),
        priority=Priority(record.text("ck_priority")),
        state=state,
        created_at=created_at,
        run_at=run_at,
        batch=record.text("ck_batch"),
        attempts=int(record.number("ck_attempts") or 0),
        max_attempts=int(record.number("ck_max_attempts") or 1),
        started_at=started_at,
        ended_at=ended_at,
        worker=record.text("worker_name"),
        progress=Progress(
            percent,
            said.get("step", ""),
            said.get("message", ""),
            elapsed,
            remaining_seconds(percent, elapsed) if state is TaskState.RUNNING else None,
            said.get("at") or ended_at or started_at or created_at,
        ),
        result=record.json("ck_result"),
        error=record.text("ck_error"),
        cancel_asked=record.text("ck_cancel") == "1",
        caller=record.json("ck_caller") or {},
    )


def steps_of(raw: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return the steps that a task has named so far, the present one last."""
    said = _Record(raw).json("ck_progress") or {}
    return tuple(said.get("steps", ()))


class _Record:
    def __init__(self, raw: Mapping[Any, Any]) -> None:
        self._raw = raw

    def text(self, name: str) -> str:
        return text_of(self._raw.get(name.encode(), b""))

    def number(self, name: str) -> float | None:
        text = self.text(name)
        return float(text) if text else None

    def rq_time(self, name: str) -> float | None:
        text = self.text(name)
        return utcparse(text).timestamp() if text else None

    def json(self, name: str) -> Any:
        text = self.text(name)
        return json.loads(text) if text else None
