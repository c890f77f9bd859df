"""The queue of many machines as whoever asks for work sees it: RQ on Redis. Workers: ``store/rq_worker.py``."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis
from redis.client import Pipeline
from rq.job import Job
from rq.rate_limit import RateLimitRegistry
from rq.utils import utcparse

from core import store_phrases as say
from core.errors import BadCursor, StoreError, TaskStateError
from core.secret import Secret
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
from store.rq_client import Address, quick_client, texts_of
from store.rq_records import SERIALIZER, Ids, Keys, fields_of, job_key, limit_sets, steps_of, task_of
from store.rq_scripts import CANCEL, PAGE, PREFER, RETRY, SUBMIT
from store.rq_view import glances, key_of

SILENT_SECONDS = 30.0
"""A worker that has said nothing for so long is not alive: an idle one says so every 10 s, a busy one every 5 s."""

_IDS = Ids()


class RqQueue:
    """A ``core.tasks.TaskEngine`` on one Redis, for any number of threads, processes and machines.

    A method takes a few seconds at most, also when Redis does not answer. What Redis has acknowledged it has written
    to its log (with ``appendfsync always`` it is on the disk too).
    """

    def __init__(self, url: Secret, prefix: str, *, per_user: int = 2, clock: Callable[[], float] = time.time) -> None:
        self._address = Address(url)
        self._client = quick_client(url)
        self._keys, self._per_user, self._clock = Keys(prefix), per_user, clock
        self._submit = self._client.register_script(SUBMIT)
        self._prefer = self._client.register_script(PREFER)
        self._cancel = self._client.register_script(CANCEL)
        self._retry = self._client.register_script(RETRY)
        self._page = self._client.register_script(PAGE)

    def close(self) -> None:
        self._client.close()

    # -- asking for work -------------------------------------------------------------------------------------

    def submit(self, request: TaskRequest) -> Task:
        return self._accept([request], request.batch)[0]

    def submit_batch(self, requests: Sequence[TaskRequest], batch: str) -> tuple[Task, ...]:
        return tuple(self._accept(requests, batch))

    def _accept(self, requests: Sequence[TaskRequest], batch: str) -> list[Task]:
        now = self._clock()
        arguments: list[Any] = [repr(now)]
        origins: set[str] = set()
        limits: Counter[str] = Counter()
        ids = [_IDS.next(now) for _ in requests]
        for task_id, request in zip(ids, requests, strict=True):
            fields = fields_of(self._client, request, batch, task_id, now, self._keys, self._per_user)
            flat = [each for pair in fields.items() for each in pair]
            arguments += [task_id, request.schedule_key, fields["ck_run_at"], batch, len(flat), *flat]
            origins.add(str(fields["origin"]))
            if request.run_at is None or request.run_at <= now:
                limits[self._keys.rate_limit(request.queue, request.user)] += 1
        keys = self._keys
        # One transaction: the tasks are accepted and in line, or nothing has happened.
        with self._address.telling(), self._client.pipeline(transaction=True) as pipe:
            names = [keys.all, keys.recent, keys.later, keys.schedule, keys.batches]
            self._submit(keys=names, args=arguments, client=pipe)
            for task_id in ids:
                pipe.hgetall(job_key(task_id))
            if origins:
                pipe.sadd("rq:queues", *(f"rq:queue:{origin}" for origin in sorted(origins)))
            for limit, count in limits.items():
                self._hand_out(limit, count, pipe)
            kept, *rows = pipe.execute()
        tasks = []
        for task_id, row, own in zip((each.decode() for each in kept), rows, ids, strict=False):
            task = task_of(task_id, row, now) if task_id == own else self.task(task_id)
            if task is None:
                raise StoreError(say.TASK_VANISHED(id=task_id))
            tasks.append(task)
        return tasks

    def _hand_out(self, limit: str, count: int, pipe: Pipeline) -> None:
        """Give the free slots of a rate limit to the most urgent of ``count`` new tasks."""
        registry = RateLimitRegistry(limit, self._client)
        for _ in range(min(count, self._per_user)):
            self._prefer(keys=limit_sets(limit), args=[self._per_user], client=pipe)
            registry.acquire_and_enqueue(self._per_user, pipeline=pipe)

    def cancel(self, task_id: str) -> Task | None:
        task = self.task(task_id)
        if task is None:
            return None
        with self._address.telling(), self._client.pipeline(transaction=True) as pipe:
            names = [self._keys.later, self._keys.recent]
            self._cancel(keys=names, args=[task_id, repr(self._clock())], client=pipe)
            self._hand_out(self._keys.rate_limit(task.queue, task.user), 1, pipe)
            pipe.execute()
        return self.task(task_id)

    def retry(self, task_id: str) -> Task | None:
        task = self.task(task_id)
        if task is None:
            return None
        with self._address.telling(), self._client.pipeline(transaction=True) as pipe:
            arguments: list[Any] = [task_id, repr(self._clock()), max(task.max_attempts - 1, 0)]
            self._retry(keys=[self._keys.recent], args=arguments, client=pipe)
            self._hand_out(self._keys.rate_limit(task.queue, task.user), 1, pipe)
            before, *_ = pipe.execute()
        state = before[0].decode() if before else ""
        if state and state not in (TaskState.FAILED, TaskState.CANCELLED):
            raise TaskStateError(say.ONLY_ENDED(id=task_id, state=state))
        return self.task(task_id)

    def forget_before(self, at: float) -> int:
        forgotten, start = 0, "-"
        while True:
            with self._address.telling():
                # Ids are by age: nothing younger than ``at`` can have ended before it.
                ids = texts_of(self._client.zrange(
                    self._keys.all, start, f"[{int(at * 1e6):014x}", bylex=True, offset=0, num=500))  # fmt: skip
            old = [task for task in self._read(ids) if task.state.is_over and (task.ended_at or at) < at]
            with self._address.telling():
                forgotten += sum(self._forget(task) for task in old)
            if len(ids) < 500:
                return forgotten
            start = f"({ids[-1]}"

    def _forget(self, task: Task) -> bool:
        key, keys = job_key(task.id), self._keys
        with self._client.pipeline(transaction=True) as pipe:
            pipe.watch(key)  # type: ignore[no-untyped-call]
            schedule_key = pipe.hget(key, "ck_schedule")
            now_stands = task_of(task.id, pipe.hgetall(key), self._clock())
            if now_stands is None or not now_stands.state.is_over:
                return False
            job = Job.fetch(task.id, self._client, serializer=SERIALIZER)
            pipe.multi()
            job.delete(pipeline=pipe)
            pipe.zrem(keys.all, task.id)
            pipe.zrem(keys.recent, task.id)
            pipe.delete(f"{keys.prefix}task:{task.id}:progress")
            if task.batch:
                pipe.srem(keys.batches + task.batch, task.id)
            if schedule_key:
                pipe.hdel(keys.schedule, schedule_key)
            try:
                pipe.execute()
            except redis.WatchError:
                # Somebody has just queued it again.
                return False
        return True

    # -- looking ---------------------------------------------------------------------------------------------

    def task(self, task_id: str) -> Task | None:
        found = self._read([task_id])
        return found[0] if found else None

    def _read(self, ids: Iterable[str]) -> list[Task]:
        """Return those of the tasks that exist, in the order of their ids."""
        ids, now = list(ids), self._clock()
        with self._address.telling(), self._client.pipeline(transaction=False) as pipe:
            for task_id in ids:
                pipe.hgetall(job_key(task_id))
            rows = pipe.execute()
        return [task for task_id, row in zip(ids, rows, strict=True) if (task := task_of(task_id, row, now))]

    def tasks(self, query: TaskQuery = ALL_TASKS, *, cursor: str = "", limit: int = 50) -> TaskPage:
        if cursor and not re.fullmatch(r"[0-9a-f]{24}", cursor):
            raise BadCursor(say.NO_TASK_CURSOR(cursor=cursor[:40]))
        states = f",{','.join(state.value for state in query.states)}," if query.states else ""
        with self._address.telling():
            names = [self._keys.all, self._keys.batches + query.batch]
            filters = [states, query.user, query.name, query.batch]
            ids, counted = self._page(keys=names, args=[cursor, limit + 1, *filters])
        counts = {state.value: 0 for state in TaskState}
        for state, count in zip(counted[::2], counted[1::2], strict=True):
            counts[state.decode()] = count
        shown = self._read(each.decode() for each in ids[:limit])
        return TaskPage(tuple(shown), ids[limit - 1].decode() if len(ids) > limit else "", counts)

    def batch(self, batch: str) -> Batch | None:
        if not batch:
            return None
        with self._address.telling():
            ids = sorted(texts_of(self._client.smembers(self._keys.batches + batch)))
        return batch_of(batch, [(task.id, task.state, task.progress.percent) for task in self._read(ids)])

    def workers(self) -> tuple[WorkerInfo, ...]:
        with self._address.telling():
            names = sorted(texts_of(self._client.smembers("rq:workers")))
            with self._client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hgetall(name)
                    pipe.smembers(f"{name}:executions")
                rows = pipe.execute()
        found = []
        for name, row, executions in zip(names, rows[::2], rows[1::2], strict=True):
            text = {key.decode(): value.decode() for key, value in row.items()}
            queues = self._keys.queues_of(text.get("queues", ""))
            if not queues or "death" in text or "last_heartbeat" not in text:
                continue
            seen_at = utcparse(text["last_heartbeat"]).timestamp()
            pid = int(text["pid"])
            if self._clock() - seen_at > SILENT_SECONDS or is_gone(
                Owner(text.get("ck_machine", ""), pid, text.get("ck_pid_started", ""))
            ):
                continue
            task = min(executions, default=b"").decode().partition(":")[0]
            found.append(
                WorkerInfo(
                    name.removeprefix("rq:worker:"), text.get("hostname", ""), pid, queues,
                    utcparse(text["birth"]).timestamp(), seen_at, task, int(text.get("successful_job_count", 0)),
                )
            )  # fmt: skip
        return tuple(sorted(found, key=lambda worker: (worker.started_at, worker.name)))

    def queue_key(self, key: str) -> Json:
        kind, _, rest = key.partition(":")
        if kind == "task" and rest.endswith(":progress"):
            task_id = rest.removesuffix(":progress")
            with self._address.telling():
                row = self._client.hgetall(job_key(task_id))
            task = task_of(task_id, row, self._clock())
            return progress_document(task, steps_of(row)) if task else None
        if kind == "batch" and rest.endswith(":tasks"):
            found = self.batch(rest.removesuffix(":tasks"))
            return sorted(found.task_ids) if found else []
        with self._address.telling():
            return key_of(key, glances(self._client, self._keys))
