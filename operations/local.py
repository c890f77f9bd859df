"""The operations of this machine, without a daemon's API: the same queue, the same records, the same tasks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from config import Settings
from core import operation_phrases as say
from core.errors import NotFound
from core.listing import EntryQuery, EntryType, Sort
from core.tasks import TaskQuery, TaskState
from operations import views
from operations.callers import command_caller
from operations.opening import Opened
from operations.surface import EntriesWanted, TasksWanted


class LocalOperations:
    """Implements ``operations.surface.Surface``. Whoever may write CACHE_DIR is its admin, and on record as such."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened = Opened(settings)
        self._worker: subprocess.Popen[bytes] | None = None
        self._operations = self._opened.operations
        self._caller = command_caller()

    def stats(self) -> dict[str, Any]:
        self._read("cache.stats")
        return views.stats(self._operations.stats())

    def details(self, wanted: EntriesWanted) -> dict[str, Any]:
        self._read("cache.details", wanted.target)
        types = (EntryType(wanted.type),) if wanted.type else ()
        query = EntryQuery(types, wanted.target, Sort(wanted.sort or Sort.NEWEST))
        found = self._operations.details(query, cursor=wanted.cursor, page=wanted.page, page_size=wanted.page_size)
        return views.details(found, page=None if wanted.cursor else wanted.page, page_size=wanted.page_size)

    def backend_info(self) -> dict[str, Any]:
        self._read("cache.backend-info")
        return views.backend_info(self._operations.availability())

    def submit(self, name: str, arguments: Mapping[str, Any], *, host: str = "") -> dict[str, Any]:
        return views.task(self._operations.submit(self._caller, name, arguments, host=host))

    def task(self, task_id: str) -> dict[str, Any]:
        found = self._operations.engine.task(task_id)
        if found is None:
            raise NotFound(say.NO_TASK(task=task_id[:100]))
        return views.task(found)

    def tasks(self, wanted: TasksWanted) -> dict[str, Any]:
        query = TaskQuery([TaskState(each) for each in wanted.state], wanted.user, wanted.name, wanted.batch)
        return views.tasks(self._operations.engine.tasks(query, cursor=wanted.cursor, limit=wanted.limit))

    def cancel(self, task_id: str) -> dict[str, Any]:
        return views.task(self._operations.cancel(self._caller, task_id))

    def retry(self, task_id: str) -> dict[str, Any]:
        return views.task(self._operations.retry(self._caller, task_id))

    def queue_key(self, key: str) -> Any:
        found = self._operations.engine.queue_key(key)
        if found is None:
            raise NotFound(say.NO_QUEUE_KEY(key=key[:100]))
        return found

    def workers(self) -> Any:
        return [views.worker(each) for each in self._operations.engine.workers()]

    def carry_out(self, task_id: str) -> None:
        """Where no worker of this machine's queue lives, run one for this task for as long as this command does."""
        if self._worker is not None or self.goes_on(task_id):
            return
        # Its stdin is its leash: it ends with us, however we end. Ctrl-C is for us, who know what to do about the task.
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "operations", "worker", "--leash", "--only", task_id],
            cwd=self._settings.root, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def goes_on(self, task_id: str) -> bool:
        task = self._operations.engine.task(task_id)
        own = None if self._worker is None else self._worker.pid
        served = {queue for worker in self._operations.engine.workers() if worker.pid != own for queue in worker.queues}
        return task is None or task.queue in served

    def close(self) -> None:
        if self._worker is not None and self._worker.stdin is not None:
            self._worker.stdin.close()
            self._worker.wait()
        self._opened.close()

    def _read(self, action: str, target: str = "") -> None:
        self._operations.auditor.read(self._caller, action, target, {})
