"""What must be seen to from time to time in a queue of many machines; every worker has a thread that does it.

1. Tasks whose time has come get in line.
2. Tasks of workers of this machine that are surely dead go back at once, not when their heartbeat is missed.
3. Tasks of workers that have fallen silent go back, and RQ's own registries are tidied up (one worker at a time).
4. What RQ lost between taking a task off its list and noting who runs it is put back (the same one).
5. The readable view is brought up to date (the same one).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from rq.queue import Queue
from rq.rate_limit import RateLimitRegistry
from rq.registry import StartedJobRegistry, clean_registries
from rq.worker_registration import clean_worker_registry

from core.errors import StoreError
from core.secret import Secret
from core.tasks import TaskState
from store.processes import Owner, is_gone
from store.rq_client import Address, quick_client, texts_of
from store.rq_job import TaskJob, note_death
from store.rq_records import SERIALIZER, Keys, limit_sets, rq_list
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
"""A round pauses so many times as long as it took: looking after the queue takes at most a twentieth of a core."""

_log = logging.getLogger(__name__)


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
        self._maintenance_seconds, self._next_maintenance = maintenance_seconds, 0.0
        self._view = View(self._client, keys)
        self._missing: dict[str, float] = {}
        self._due = self._client.register_script(DUE)
        self._prefer = self._client.register_script(PREFER)
        self._put_back = self._client.register_script(PUT_BACK)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="queue-upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=10)
        self._client.close()

    def _run(self) -> None:
        pause, answers = 0.0, True
        while not self._stopping.wait(max(pause, self._pause_seconds)):
            began = time.monotonic()
            try:
                self.round()
                if not answers:
                    _log.info("Redis answers again place=%s", self._address.place)
                answers = True
            except StoreError as error:
                if answers:
                    _log.warning("queue waits: %s", error)
                answers = False
            pause = _SHARE * (time.monotonic() - began) if answers else 0.0

    def round(self) -> None:
        """Do everything once; raises StoreError."""
        with self._address.telling():
            self.let_due_in()
            self.free_dead()
            if self._is_ours():
                found = glances(self._client, self._keys)
                if time.monotonic() >= self._next_maintenance:
                    self.take_back_silent(found)
                    self._next_maintenance = time.monotonic() + self._maintenance_seconds
                self.put_back_lost(found)
                self._view.show(self._prune(found), self._clock())

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
            registry = StartedJobRegistry(queue, self._client, job_class=TaskJob, serializer=SERIALIZER)
            registry.cleanup(exception_handlers=[note_death])
        _log.warning("worker died name=%s tasks=%d", name.removeprefix("rq:worker:"), len(executions))

    def take_back_silent(self, found: list[Glance]) -> None:
        """Let RQ give the tasks of workers that say nothing any more to others, whatever machine they are of."""
        if self._client.info("server")["uptime_in_seconds"] <= self._missed_seconds:
            # After a restart of Redis every worker needs a moment to say that it lives.
            return
        for origin in sorted({each.origin for each in found}):
            queue = Queue(origin, connection=self._client, job_class=TaskJob, serializer=SERIALIZER)
            clean_registries(queue, [note_death])
            clean_worker_registry(queue)

    def put_back_lost(self, found: list[Glance]) -> int:
        """Put back tasks that are in no list though they should be; return how many."""
        queued: dict[str, list[str]] = defaultdict(list)
        for each in found:
            if each.status == "queued" and each.state is TaskState.QUEUED:
                queued[each.origin].append(each.id)
        missing: set[str] = set()
        for origin, ids in queued.items():
            listed = set(texts_of(self._client.lrange(rq_list(origin), 0, -1)))
            missing |= set(ids) - listed
        now = time.monotonic()
        self._missing = {task_id: self._missing.get(task_id, now) for task_id in missing}
        lost = [task_id for task_id, since in self._missing.items() if now - since >= self._missed_seconds]
        put_back = sum(int(self._put_back(args=[task_id])) for task_id in lost)
        if put_back:
            _log.warning("tasks put back that nobody ran count=%d", put_back)
        return put_back

    def _prune(self, found: list[Glance]) -> list[Glance]:
        """Drop what ended long ago from the set of recent tasks; return the rest."""
        latest = self._clock() - PROGRESS_SECONDS
        old = [each.id for each in found if each.state.is_over and (each.ended_at or 0.0) < latest]
        if old:
            self._client.zrem(self._keys.recent, *old)
        gone = set(old)
        return [each for each in found if each.id not in gone]
