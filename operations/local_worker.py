"""A worker of the embedded queue: claims tasks one after the other and runs them in this process."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from core.errors import StoreError, TaskCancelled, TaskError, TaskInterrupted
from core.operation_phrases import PUT_BACK, TAKEN_OVER
from core.printable import printable
from core.reason_phrases import CANCELLED
from core.tasks import Json, Runner, Task
from operations.ending import Ending
from store.task_claims import TaskClaims
from store.wake import Alarm

IDLE_SECONDS = 1.0
"""How often an idle worker looks for itself, should nobody have woken it."""

WATCH_SECONDS = 0.25
"""How often it is looked for dead workers: what they had in hand is taken over by then."""

PROGRESS_SECONDS = 0.25
"""How often progress is written down at most, and a wish to cancel seen."""

TROUBLE_SECONDS = 1.0
"""Pause after an error of the store, a full disk say, before the next try."""

NEWS_SECONDS = 1.0
"""How often the number of tasks done is written down, at most."""

JUMP_SECONDS = 2.0
"""A difference between the two clocks that is no drift."""

MAX_STEPS = 100

T = TypeVar("T")

log = logging.getLogger("worker")


class LocalWorker:
    """Runs tasks until told to end, and says that it lives from a thread of its own."""

    def __init__(self, claims: TaskClaims, alarm: Alarm, run: Runner, ending: Ending) -> None:
        self._claims = claims
        self._alarm = alarm
        self._run = run
        self._ending = ending
        ending.call(alarm.ring)

    def run(self) -> None:
        """Return once told to end; the task in hand is put back."""
        with Heartbeat(self._claims):
            while not self._ending.retiring:
                task = self._tried(self._claims.claim)
                if task is not None:
                    self._work(task)
                elif not self._ending.retiring:
                    self._idle()

    def _idle(self) -> None:
        due = self._tried(self._claims.next_due)
        # Never less than this: a task that is due and held up by its user's limit must not make us spin.
        self._alarm.wait(IDLE_SECONDS if due is None else min(max(due - self._claims.clock(), 0.001), IDLE_SECONDS))

    def _work(self, task: Task) -> None:
        context, began = Context(self._claims, task, self._ending), time.monotonic()
        try:
            try:
                result = self._run(task, context)
            finally:
                context.write_the_rest()
        except TaskInterrupted:
            # Also when the task is no longer ours: the store sees to it that nothing is changed then.
            self._note(lambda: self._claims.release(task))
            log.info("Put back id=%s name=%s", task.id, task.name)
        except TaskCancelled:
            self._note(lambda: self._claims.cancelled(task))
            log.info("Cancelled id=%s name=%s", task.id, task.name)
        except Exception as error:  # noqa: BLE001 - whatever a task raises is the task's failure, not the worker's
            self._fail(task, error)
        else:
            self._finish(task, result, began)

    def _finish(self, task: Task, result: Json, began: float) -> None:
        try:
            self._note(lambda: self._claims.finish(task, result))
        except TaskError as error:
            self._fail(task, error)
        else:
            log.info("Done id=%s name=%s seconds=%.3f", task.id, task.name, time.monotonic() - began)

    def _fail(self, task: Task, error: Exception) -> None:
        final = isinstance(error, TaskError)
        text = str(error) or type(error).__name__
        said = text if isinstance(error, TaskError) else f"{type(error).__name__}: {text}"
        log.warning("Failed id=%s name=%s attempt=%d error=%s", task.id, task.name, task.attempts, printable(said))
        log.debug("traceback of task %s", task.id, exc_info=error)
        self._note(lambda: self._claims.fail(task, said, final=final))

    def _note(self, write: Callable[[], bool]) -> None:
        """Write down how a task ended, as soon as the store lets us: the work is done, and only its note is missing."""
        while True:
            try:
                write()
                return
            except StoreError as error:
                log.error("cannot note the end of a task: %s", error)
                if self._ending.asked:
                    # It will be run again by whoever finds us gone.
                    return
                self._alarm.wait(TROUBLE_SECONDS)

    def _tried(self, look: Callable[[], T | None]) -> T | None:
        try:
            return look()
        except StoreError as error:
            log.error("%s", error)
            self._alarm.wait(TROUBLE_SECONDS)
            return None


class Context:
    """The ``core.tasks.TaskContext`` of one attempt."""

    def __init__(self, claims: TaskClaims, task: Task, ending: Ending) -> None:
        self._claims = claims
        self._task = task
        self._ending = ending
        self._steps: list[str] = []
        self._unwritten: tuple[float | None, str, str] | None = None
        self._written_at = -math.inf

    @property
    def task(self) -> Task:
        return self._task

    def progress(self, percent: float | None, step: str = "", message: str = "") -> None:
        if self._ending.asked:
            raise TaskInterrupted(PUT_BACK())
        if step and self._steps[-1:] != [step]:
            self._steps = [*self._steps, step][-MAX_STEPS:]
        self._unwritten = (percent, step, message)
        if time.monotonic() - self._written_at >= PROGRESS_SECONDS:
            self._write()

    def write_the_rest(self) -> None:
        """Write down what was said since the last time: how a task stood when it ended. Raises nothing."""
        with contextlib.suppress(TaskCancelled):
            self._write()

    def _write(self) -> None:
        if self._unwritten is None:
            return
        self._written_at = time.monotonic()
        try:
            asked = self._claims.progress(self._task, *self._unwritten, self._steps)
        except StoreError as error:
            # How far a task is must not decide whether it is done.
            log.warning("progress is not written down: %s", error)
            return
        self._unwritten = None
        if asked is None:
            raise TaskInterrupted(TAKEN_OVER())
        if asked:
            raise TaskCancelled(CANCELLED())


class Heartbeat:
    """A thread that renews the worker's lease, and puts back what dead workers had in hand.

    A thread, so that a task which never says how far it is keeps its lease. A process that is stopped as a whole, or
    hangs as a whole, loses it.
    """

    def __init__(self, claims: TaskClaims) -> None:
        self._claims = claims
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        every = self._claims.lease_seconds / 4
        beaten_at, patience_until, told = time.monotonic(), -math.inf, self._claims.done
        ahead = self._claims.clock() - beaten_at
        while not self._over.wait(min(WATCH_SECONDS, every)):
            now = time.monotonic()
            jumped = self._claims.clock() - now - ahead
            ahead += jumped
            if abs(jumped) > JUMP_SECONDS:
                # Every lease looks run out, or far from it, until its worker has renewed it by the new clock.
                beaten_at, patience_until = -math.inf, now + every * 2
            try:
                news = self._claims.done != told and now - beaten_at >= NEWS_SECONDS
                if news or now - beaten_at >= every:
                    told = self._claims.done
                    self._claims.heartbeat()
                    beaten_at = now
                if now >= patience_until:
                    for task_id in self._claims.take_back():
                        log.warning("Took back id=%s: its worker died", task_id)
            except StoreError as error:
                log.error("%s", error)
