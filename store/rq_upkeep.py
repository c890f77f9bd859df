"""What must be seen to from time to time in a queue of many machines; every worker has a process that does it.

Not a thread: the worker forks for each task, and a child that is forked while a thread of its parent holds a lock
waits for that lock for ever.

1. Tasks whose time has come get in line.
2. Tasks of workers of this machine that are surely dead go back at once, not when their heartbeat is missed.
3. Tasks of workers that have fallen silent go back, and RQ's own registries are tidied up (one worker at a time).
4. What RQ lost between taking a task off its list and noting who runs it is put back (the same one).
5. The readable view is brought up to date (the same one).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from rq.queue import Queue
from rq.rate_limit import RateLimitRegistry
from rq.registry import StartedJobRegistry
from rq.worker_registration import clean_worker_registry

from core.errors import StoreError
from core.secret import Secret
from store.processes import Owner, is_gone
from store.rq_client import Address, quick_client, text_of, texts_of
from store.rq_job import TaskJob, note_death
from store.rq_records import SERIALIZER, Keys, job_key, limit_sets, rq_list
from store.rq_scripts import DUE, PREFER, PUT_BACK
from store.rq_view import PROGRESS_SECONDS, Glance, View, glances

UPKEEP_SECONDS = 1.0
"""Pause between two rounds, and the most that a task with a time of its own is late."""

MAINTENANCE_SECONDS = 5.0
"""Pause between two looks for tasks whose worker has died on another machine, and for what RQ tidies up."""

MISSED_SECONDS = 15.0
"""A task whose worker has been silent for so long goes to another, and one that is in no list and that nobody runs."""

_LOCK_MILLISECONDS = 15_000
_SHARE = 20
"""The view rests so many times as long as it took: showing the queue takes at most a twentieth of a core."""

log = logging.getLogger(__name__)


class Upkeep:
    """Rounds over one queue. ``name`` tells this worker from the others; times are seconds."""

    def __init__(
        self,
        url: Secret,
        keys: Keys,
        name: str,
        *,
        pause_seconds: float = UPKEEP_SECONDS,
        maintenance_seconds: float = MAINTENANCE_SECONDS,
        missed_seconds: float = MISSED_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address, self._keys, self._name, self._clock = Address(url), keys, name, clock
        self._client = quick_client(url)
        self._pause_seconds, self._missed_seconds = pause_seconds, missed_seconds
        self._maintenance_seconds, self._next_maintenance, self._next_view = maintenance_seconds, 0.0, 0.0
        self._view = View(self._client, keys)
        self._missing: dict[str, float] = {}
        self._due = self._client.register_script(DUE)
        self._prefer = self._client.register_script(PREFER)
        self._put_back = self._client.register_script(PUT_BACK)

    def run(self) -> None:
        """Go round for ever."""
        answers = True
        while True:
            time.sleep(self._pause_seconds)
            try:
                self.round()
                if not answers:
                    log.info("Redis answers again place=%s", self._address.place)
                answers = True
            except StoreError as error:
                if answers:
                    log.warning("queue waits: %s", error)
                answers = False
            except Exception:
                # One bad record must not end the upkeep of the others.
                log.exception("a round of the queue's upkeep failed")

    def round(self) -> None:
        """Do what is due; raises StoreError."""
        with self._address.telling():
            self.let_due_in()
            self.free_dead()
            if not self._is_ours():
                return
            if time.monotonic() >= self._next_maintenance:
                self.take_back_silent()
                self.put_back_lost()
                self._next_maintenance = time.monotonic() + self._maintenance_seconds
            if time.monotonic() >= self._next_view:
                began = time.monotonic()
                self._view.show(self._prune(glances(self._client, self._keys)), self._clock())
                self._next_view = time.monotonic() + _SHARE * (time.monotonic() - began)

    def _is_ours(self) -> bool:
        key = self._keys.upkeep
        if self._client.set(key, self._name, nx=True, px=_LOCK_MILLISECONDS):
            return True
        # Between the two another may get it: two rounds at once do no harm, they only cost.
        return self._client.get(key) == self._name.encode() and bool(self._client.pexpire(key, _LOCK_MILLISECONDS))

    def let_due_in(self) -> None:
        now = self._clock()
        limits = {raw.decode() for raw in self._due(keys=[self._keys.later], args=[repr(now), 500])}
        for limit in limits:
            slots = int(self._client.hget(f"rq:rl:{limit}", "concurrency") or 1)
            registry = RateLimitRegistry(limit, self._client)
            with self._client.pipeline(transaction=True) as pipe:
                for _ in range(slots):
                    self._prefer(keys=limit_sets(limit), args=[slots], client=pipe)
                    registry.acquire_and_enqueue(slots, pipeline=pipe)
                pipe.execute()

    def free_dead(self) -> list[str]:
        """Give back what dead workers of this machine were running; return these workers' names."""
        names = sorted(texts_of(self._client.smembers("rq:workers")))
        with self._client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(name, "queues", "ck_machine", "pid", "ck_pid_started")
            rows = pipe.execute()
        dead = []
        for name, row in zip(names, rows, strict=True):
            queues, machine, pid, started = ((raw or b"").decode() for raw in row)
            if machine and self._keys.queues_of(queues) and is_gone(Owner(machine, int(pid), started)):
                self._free(name, queues.split(","))
                dead.append(name.removeprefix("rq:worker:"))
        return dead

    def _free(self, name: str, queues: list[str]) -> None:
        executions = texts_of(self._client.smembers(f"{name}:executions"))
        with self._client.pipeline(transaction=True) as pipe:
            for execution in executions:
                for queue in queues:
                    # Due for RQ's own care of abandoned jobs; only in the registry where it is.
                    pipe.zadd(f"rq:wip:{queue}", {execution: 1}, xx=True)
            pipe.srem("rq:workers", name)
            for queue in queues:
                pipe.srem(f"rq:workers:{queue}", name)
            pipe.delete(name, f"{name}:executions")
            pipe.execute()
        for queue in queues if executions else ():
            self._registry(queue).cleanup(exception_handlers=[note_death])
        log.warning("worker died name=%s tasks=%d", name.removeprefix("rq:worker:"), len(executions))

    def take_back_silent(self) -> None:
        """Let RQ give the tasks of workers that say nothing any more to others, whatever machine they are of."""
        if self._client.info("server")["uptime_in_seconds"] <= self._missed_seconds:
            # After a restart of Redis every worker needs a moment to say that it lives.
            return
        for name in sorted(texts_of(self._client.smembers("rq:queues"))):
            name = name.removeprefix("rq:queue:")
            if name.startswith(self._keys.prefix):
                self._registry(name).cleanup(exception_handlers=[note_death])
                clean_worker_registry(Queue(name, connection=self._client, serializer=SERIALIZER))
        for limit in self._limits():
            limit.cleanup()

    def put_back_lost(self) -> int:
        """Put back tasks that are in no list though they should be; return how many.

        Such a task holds a slot of its user: the rate limits know all that can be lost.
        """
        with self._client.pipeline(transaction=False) as pipe:
            for limit in self._limits():
                pipe.zrange(limit.allowed_key, 0, -1)
            ids = [task_id for row in pipe.execute() for task_id in texts_of(row)]
            for task_id in ids:
                pipe.hmget(job_key(task_id), "status", "origin")
            origins = [text_of(origin) if status == b"queued" else "" for status, origin in pipe.execute()]
        listed = {
            origin: set(texts_of(self._client.lrange(rq_list(origin), 0, -1))) for origin in set(origins) if origin
        }
        now = time.monotonic()
        self._missing = {
            task_id: self._missing.get(task_id, now)
            for task_id, origin in zip(ids, origins, strict=True)
            if origin and task_id not in listed[origin]
        }
        lost = [task_id for task_id, since in self._missing.items() if now - since >= self._missed_seconds]
        put_back = sum(int(self._put_back(args=[task_id])) for task_id in lost)
        if put_back:
            log.warning("tasks put back that nobody ran count=%d", put_back)
        return put_back

    def _limits(self) -> list[RateLimitRegistry]:
        limits = RateLimitRegistry.all(self._client)
        return [limit for limit in limits if limit.key.startswith(self._keys.prefix)]

    def _registry(self, queue: str) -> StartedJobRegistry:
        return StartedJobRegistry(queue, self._client, job_class=TaskJob, serializer=SERIALIZER)

    def _prune(self, found: list[Glance]) -> list[Glance]:
        """Drop what ended long ago from the set of recent tasks; return the rest."""
        latest = self._clock() - PROGRESS_SECONDS
        old = [each.id for each in found if each.state.is_over and (each.ended_at or 0.0) < latest]
        if old:
            self._client.zrem(self._keys.recent, *old)
        gone = set(old)
        return [each for each in found if each.id not in gone]
