"""What the command line needs of the operations, near or far. All values are plain JSON, in the API's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class EntriesWanted:
    """Which page of entries, in the words of the API; empty texts ask for nothing in particular."""

    type: str = ""
    target: str = ""
    sort: str = ""
    page: int = 1
    page_size: int = 20
    cursor: str = ""


@dataclass(frozen=True)
class TasksWanted:
    """Which page of tasks, in the words of the API."""

    state: tuple[str, ...] = ()
    user: str = ""
    name: str = ""
    batch: str = ""
    cursor: str = ""
    limit: int = 50


class Surface(Protocol):
    """Implemented by ``local.LocalOperations`` and ``remote.RemoteOperations``. Raises CacheKeeperError."""

    def stats(self) -> dict[str, Any]: ...
    def details(self, wanted: EntriesWanted) -> dict[str, Any]: ...
    def backend_info(self) -> dict[str, Any]: ...
    def submit(self, name: str, arguments: Mapping[str, Any], *, host: str = "") -> dict[str, Any]:
        """Queue an operation for this machine, or for the one named ``host``."""

    def task(self, task_id: str) -> dict[str, Any]: ...
    def tasks(self, wanted: TasksWanted) -> dict[str, Any]: ...
    def cancel(self, task_id: str) -> dict[str, Any]: ...
    def retry(self, task_id: str) -> dict[str, Any]: ...
    def queue_key(self, key: str) -> Any: ...
    def workers(self) -> Any: ...

    def carry_out(self, task_id: str) -> None:
        """See to it that somebody works on the task: this command does, where no worker is there to do it."""

    def goes_on(self, task_id: str) -> bool:
        """Return whether somebody works on the task once this command has ended."""

    def close(self) -> None: ...
