"""Ends the process of a task that gives no sign of life: it hangs, on a dead mount say, and would do so for ever.

Its worker's heartbeat goes on meanwhile, so nobody else ends it. The engine then finds the process dead: the task is
tried again, or put aside once its attempts are used up.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback

from core.reason_phrases import NO_SIGN_OF_LIFE
from core.tasks import Json, Runner, Task, TaskContext

LONGEST_PAUSE_SECONDS = 30.0
"""Between two looks at the task in hand, which are a tenth of the limit apart at most."""

NOTE_SECONDS = 5.0
"""How long it may take to write down why: the store may be what hangs."""

log = logging.getLogger("worker")


class StallWatch:
    """Runs tasks as ``run`` does, and ends this process once one has not called ``progress`` for ``stall_seconds``."""

    def __init__(self, run: Runner, stall_seconds: float) -> None:
        self._run = run
        self._stall_seconds = stall_seconds
        self._pause_seconds = min(stall_seconds / 10, LONGEST_PAUSE_SECONDS)
        self._watched_pid = 0
        self._in_hand: _Signs | None = None

    def run(self, task: Task, ctx: TaskContext) -> Json:
        """Run a task; a ``core.tasks.Runner``."""
        if self._watched_pid != os.getpid():
            # Where each task has a child of its own, no thread of the parent goes on in it.
            self._watched_pid = os.getpid()
            threading.Thread(target=self._watch, name="stalls", daemon=True).start()
        self._in_hand = signs = _Signs(ctx)
        try:
            return self._run(task, signs)
        finally:
            self._in_hand = None

    def _watch(self) -> None:
        while True:
            time.sleep(self._pause_seconds)
            signs = self._in_hand
            if signs is not None and time.monotonic() - signs.seen_at > self._stall_seconds:
                self._end(signs)

    def _end(self, signs: _Signs) -> None:
        task, why = signs.task, NO_SIGN_OF_LIFE(seconds=self._stall_seconds)
        frame = sys._current_frames().get(signs.thread)
        place = "".join(traceback.format_stack(frame)).rstrip() if frame is not None else "?"
        log.error("Ended with its worker id=%s name=%s: %s; it stood here:\n%s", task.id, task.name, why, place)
        note = threading.Thread(target=signs.progress, args=(None, "stalled", why), daemon=True)
        note.start()
        note.join(NOTE_SECONDS)
        # Not by an exception: a thread that hangs in the system never sees one.
        os._exit(os.EX_SOFTWARE)


class _Signs:
    """The ``core.tasks.TaskContext`` of one attempt; keeps its thread, and when it was last heard of (monotonic)."""

    def __init__(self, ctx: TaskContext) -> None:
        self._ctx = ctx
        self.thread = threading.get_ident()
        self.seen_at = time.monotonic()

    @property
    def task(self) -> Task:
        return self._ctx.task

    def progress(self, percent: float | None, step: str = "", message: str = "") -> None:
        self.seen_at = time.monotonic()
        self._ctx.progress(percent, step, message)
