"""RQ's job with our ways to fail: a pause before the next attempt, an end that helps nobody to repeat."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from redis.client import Pipeline
from rq.exceptions import AbandonedJobError
from rq.job import Job, JobStatus
from rq.queue import Queue

from core.reason_phrases import WORKER_DIED
from store.rq_records import Keys, order_of, task_of

MAX_ERROR_CHARACTERS = 2000


class TaskJob(Job):
    """One of RQ's jobs that is a task of ours.

    ``pause_seconds`` is how long a further attempt waits; ``work`` is what runs it, set in the worker's child.
    """

    pause_seconds: float = 0.0
    work: Callable[[], None] | None = None
    raw: dict[bytes, bytes]

    def restore(self, raw_data: Any) -> Any:
        self.raw = raw_data
        return super().restore(raw_data)

    def _execute(self) -> None:
        assert self.work is not None, "only our own worker runs tasks"
        self.work()

    def retry(self, queue: Queue, pipeline: Pipeline) -> None:
        """Wait for the next attempt; RQ's own way would need its scheduler, one process more for each worker."""
        now = time.time()
        task = task_of(self.id, self.raw, now)
        assert task is not None
        assert self.retries_left
        keys = Keys(queue.name.removesuffix(f"{task.queue}:{task.priority.value}"))
        self.retries_left -= 1
        # Asked of Redis now: a task that somebody cancelled while it ran has no next attempt.
        cancelled = self.connection.hget(self.key, "ck_cancel") == b"1"
        self.set_status(JobStatus.CANCELED if cancelled else JobStatus.SCHEDULED, pipeline=pipeline)
        self.save(pipeline=pipeline, include_meta=False, include_result=False)
        if cancelled:
            pipeline.hset(self.key, mapping={"ck_ending": "cancelled", "ck_ended": repr(now)})
            return
        run_at = now + self.pause_seconds
        pipeline.hset(self.key, mapping={"ck_run_at": repr(run_at), "ck_order": repr(order_of(task.priority, run_at))})
        pipeline.zadd(keys.later, {self.id: run_at})


def note(job: Job, error: str) -> None:
    """Write down why an attempt failed, and when."""
    text = error.encode(errors="replace").decode()[:MAX_ERROR_CHARACTERS]
    job.connection.hset(job.key, mapping={"ck_error": text, "ck_ended": repr(time.time())})


def note_death(job: Job, kind: type[BaseException], *_: object) -> None:
    """Called by RQ for each exception; the one that we want to hear of is that a job's worker died."""
    if issubclass(kind, AbandonedJobError):
        note(job, WORKER_DIED(worker=job.worker_name))
