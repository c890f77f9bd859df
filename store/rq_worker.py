"""A worker of the queue of many machines: RQ's own, that forks a child for each task, with better manners.

What differs from ``rq worker``: it goes on through a restart of Redis; a dead worker's task is taken over after three
missed heartbeats (RQ: a minute later); the child dies with its worker; a stop asks the task to end instead of waiting
for it; nothing is pickled; instead of RQ's scheduler and its thread for commands, one process looks after the queue.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import platform
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import redis
from rq.exceptions import StopRequested
from rq.job import Job
from rq.queue import Queue
from rq.utils import now
from rq.worker import Worker

from core import store_phrases as say
from core.errors import StoreError, TaskCancelled, TaskError, TaskInterrupted
from core.operation_phrases import TASK_CANCELLED, WORKER_ENDS
from core.reason_phrases import NO_MEMORY, PROCESS_DIED, also
from core.secret import Secret
from core.tasks import RETRY_SECONDS, Runner, Task, retry_delay_seconds
from store.processes import this_process
from store.rq_client import PATIENCE_SECONDS, Address, patient_client, quick_client
from store.rq_job import TaskJob, note, note_death
from store.rq_records import SERIALIZER, Keys, job_key, task_of
from store.rq_scripts import START
from store.rq_upkeep import MAINTENANCE_SECONDS, UPKEEP_SECONDS, Upkeep
from store.task_rows import json_text

MONITORING_SECONDS = 5
"""Pause between two heartbeats of a task that runs; after three that are missed another worker takes the task over."""

WORKER_TTL_SECONDS = 25
"""RQ waits for work 15 s less than this at a time, and says then that it is alive."""

PROGRESS_SECONDS = 0.2
"""Least time between two writes of how far a task is."""

MAX_STEPS = 100

_PR_SET_PDEATHSIG = 1
log = logging.getLogger("worker")
_asked_to_end = False


class TaskWorker(Worker):
    """Runs tasks of ``queues`` until a signal ends it. Times are whole seconds where RQ takes an alarm for them."""

    job_class = TaskJob
    max_connection_wait_time = 5.0

    def __init__(
        self,
        url: Secret,
        prefix: str,
        queues: Sequence[str],
        runner: Runner,
        *,
        monitoring_seconds: int = MONITORING_SECONDS,
        maintenance_seconds: float = MAINTENANCE_SECONDS,
        upkeep_seconds: float = UPKEEP_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._address, self._url, self._runner = Address(url), url, runner
        self._keys, self._retry_seconds = Keys(prefix), retry_seconds
        self._owner = this_process()
        self._monitoring_seconds = monitoring_seconds
        super().__init__(
            self._keys.rq_queues(tuple(queues)),
            name=f"{platform.node() or 'localhost'}-{self._owner.pid}-{secrets.token_hex(3)}",
            connection=patient_client(url, lambda: _asked_to_end),
            exception_handlers=[note_death],
            worker_ttl=WORKER_TTL_SECONDS,
            job_monitoring_interval=monitoring_seconds,
            serializer=SERIALIZER,
            log_job_description=False,
        )
        self._upkeep = Upkeep(
            url,
            self._keys,
            self.name,
            pause_seconds=upkeep_seconds,
            maintenance_seconds=maintenance_seconds,
            missed_seconds=3 * monitoring_seconds,
        )

    def run(self, call_at_end: Callable[[Callable[[], None]], None], at_once: Callable[[], bool]) -> None:
        """Work until told to end; raises StoreError when Redis stays away for too long.

        ``call_at_end`` is given what ends the worker; it may be called from any thread, and more than once. ``at_once``
        says then whether the task in hand goes back to the queue, or is finished first.
        """
        self._call_at_end, self._at_once = call_at_end, at_once
        # Inherited by each child, which so can be asked to end from its first moment on.
        signal.signal(signal.SIGUSR1, _ask_to_end)
        self._start_upkeep()
        try:
            with self._address.telling():
                self.work(logging_level="ERROR")
        except StopRequested:
            # Told to end before it had begun.
            self.teardown()
        finally:
            os.kill(self._upkeep_pid, signal.SIGKILL)
            os.waitpid(self._upkeep_pid, 0)
        if not self._shutdown_requested_date:
            raise StoreError(say.REDIS_GONE(place=self._address.place, seconds=PATIENCE_SECONDS))

    def _start_upkeep(self) -> None:
        self._upkeep_pid = os.fork()
        if self._upkeep_pid == 0:
            try:
                _die_with_parent(self._owner.pid)
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                self._upkeep.run()
            finally:
                os._exit(1)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        super().heartbeat(timeout, pipeline)
        # Only the worker has it as a child; its own children send heartbeats, too.
        if os.getpid() == self._owner.pid and os.waitpid(self._upkeep_pid, os.WNOHANG)[0]:
            log.warning("the queue's upkeep ended: beginning it again")
            self._start_upkeep()

    # -- RQ's worker, where we want it otherwise -------------------------------------------------------------

    def serialize(self) -> dict[str, Any]:
        """Return what RQ keeps of a worker, and by what others on this machine can tell that it is gone."""
        return {**super().serialize(), "ck_machine": self._owner.machine, "ck_pid_started": self._owner.started}

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:  # noqa: ARG002
        return 3 * self._monitoring_seconds

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]
        signal.signal(signal.SIGUSR2, self._retire)

        def end() -> None:
            # By a signal, because the main thread waits in Redis for work and only a signal gets it out.
            os.kill(self._owner.pid, signal.SIGTERM if self._at_once() else signal.SIGUSR2)

        self._call_at_end(end)

    def _retire(self, _number: int, _frame: FrameType | None) -> None:
        """End after the task in hand."""
        self._shutdown_requested_date = now()
        self._shutdown()  # type: ignore[no-untyped-call]

    def subscribe(self) -> None:
        """No commands by way of Redis: a task hears of its cancellation when it says how far it is."""

    def unsubscribe(self) -> None: ...

    def run_maintenance_tasks(self) -> None:
        """RQ does it between two tasks, so that nobody does it while all are busy; here ``Upkeep`` does it."""
        self.last_cleaned_at = now()  # type: ignore[assignment]

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """The runner has logged it; RQ would print it whole."""

    def handle_work_horse_killed(self, job: Job, retpid: int, ret_val: int, rusage: object) -> None:  # noqa: ARG002
        number = os.WTERMSIG(ret_val) if os.WIFSIGNALED(ret_val) else 0
        how = f"signal {number}" if number else f"exit code {os.WEXITSTATUS(ret_val)}"
        note(job, also(PROCESS_DIED(how=how), NO_MEMORY() if number == signal.SIGKILL else ""))
        log.warning("task killed id=%s how=%r", job.id, how)

    def execute_job(self, job: Job, queue: Queue) -> None:
        try:
            super().execute_job(job, queue)
        except redis.RedisError:
            if _asked_to_end:
                raise StopRequested from None
            raise

    def handle_warm_shutdown_request(self) -> None:
        _ask_to_end()
        if self.horse_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGUSR1)

    def set_shutdown_requested_date(self) -> None:
        """Nobody reads it, and a signal's handler must not wait for Redis."""

    def teardown(self) -> None:
        # To be told to end must end it, also while Redis is away.
        self.connection = quick_client(self._url)
        with contextlib.suppress(redis.RedisError):
            super().teardown()  # type: ignore[no-untyped-call]

    # -- in the child ----------------------------------------------------------------------------------------

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        _die_with_parent(self._owner.pid)
        super().main_work_horse(job, queue)

    def perform_job(self, job: Job, queue: Queue, execution: Any) -> bool:
        assert isinstance(job, TaskJob)
        job.work = lambda: self._work(job)
        return bool(super().perform_job(job, queue, execution))

    def _work(self, job: TaskJob) -> None:
        """Run a task. What it raises RQ takes for a failed attempt; ``job`` says then whether there is another."""
        connection, key = self.connection, job.key
        if connection.register_script(START)(args=[job.id, repr(time.time())]) != b"go":
            return
        task = task_of(job.id, connection.hgetall(key), time.time())
        assert task is not None
        context = _Context(task, self._url)
        try:
            result = self._runner(task, context)
            ending: dict[Any, Any] = {
                "ck_ending": "done",
                "ck_result": json_text(result, say.RESULT_OF(word=task.name)),
                "ck_error": "",
            }
            ending["ck_progress"] = context.said(100.0)
        except TaskInterrupted:
            log.info("Put back id=%s name=%s", task.id, task.name)
            connection.hincrby(key, "ck_attempts", -1)
            job.retries_left = (job.retries_left or 0) + 1
            raise
        except TaskCancelled:
            ending = {"ck_ending": "cancelled"}
        except Exception as error:
            said = str(error) if isinstance(error, TaskError) else f"{type(error).__name__}: {error}"
            log.warning("Failed id=%s name=%s attempt=%d error=%s", task.id, task.name, task.attempts, said)
            note(job, said)
            if isinstance(error, TaskError):
                job.retries_left = 0
            job.pause_seconds = retry_delay_seconds(task.attempts, self._retry_seconds)
            raise
        connection.hset(key, mapping={**ending, "ck_ended": repr(time.time())})
        log.info("%s id=%s name=%s", str(ending["ck_ending"]).capitalize(), task.id, task.name)


class _Context:
    """What a running task has of its surroundings: ``core.tasks.TaskContext``."""

    def __init__(self, task: Task, url: Secret) -> None:
        self.task = task
        self._address, self._client = Address(url), quick_client(url)
        self._said: dict[str, Any] = {"percent": None, "step": "", "message": "", "steps": []}
        self._next_write = 0.0

    def said(self, percent: float | None) -> str:
        return json.dumps({**self._said, "percent": percent, "at": time.time()})

    def progress(self, percent: float | None, step: str = "", message: str = "") -> None:
        if _asked_to_end:
            raise TaskInterrupted(WORKER_ENDS())
        steps = self._said["steps"]
        if step and steps[-1:] != [step]:
            self._said["steps"] = [*steps, step][-MAX_STEPS:]
        self._said.update(percent=percent, step=step, message=message)
        if time.monotonic() < self._next_write:
            return
        try:
            with self._address.telling(), self._client.pipeline(transaction=False) as pipe:
                pipe.hset(job_key(self.task.id), "ck_progress", self.said(percent))
                pipe.hget(job_key(self.task.id), "ck_cancel")
                cancelled = pipe.execute()[1] == b"1"
            self._next_write = time.monotonic() + PROGRESS_SECONDS
        except StoreError:
            # The work goes on without Redis; its end is written when Redis is there again.
            cancelled = False
            self._next_write = time.monotonic() + 10 * PROGRESS_SECONDS
        if cancelled:
            raise TaskCancelled(TASK_CANCELLED(id=self.task.id))


def _ask_to_end(_number: int = 0, _frame: FrameType | None = None) -> None:
    global _asked_to_end
    _asked_to_end = True


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its worker is gone: the task is somebody else's then (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
