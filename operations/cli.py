"""The commands for people: see what the caches hold, plan and run a cleanup, follow its task. Here or at ``--url``.

    python -m operations stats
    python -m operations cleanup --days 7 --type all --dry-run
    python -m operations clear --target images --confirm images
    python -m operations --url https://keeper.example details --sort=-size

The parser is in ``parser.py``; what a command prints, in ``show.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from core.effects import shortfall
from core.errors import AccessDenied, BadCursor, BadRequest, CacheKeeperError, NotFound
from core.tasks import TaskState
from operations import show
from operations.surface import EntriesWanted, Surface, TasksWanted

EXIT_DONE, EXIT_TROUBLE, EXIT_USAGE, EXIT_BUSY, EXIT_DENIED = 0, 1, 2, 75, 77
"""77 is sysexits' EX_NOPERM; 75 EX_TEMPFAIL: not over yet, or somebody else is at work."""

_LOOK_SECONDS = 0.2
_CANCEL_SECONDS = 30.0
"""How long a cancelled task may take to end, after the entry in hand, before it is left as it is."""


class Commands:
    """One command, on the operations of this machine or of another."""

    def __init__(self, options: argparse.Namespace, surface: Surface, say: show.Say, out: TextIO) -> None:
        self._options = options
        self._surface = surface
        self._say = say
        self._out = out

    def run(self) -> int:
        """Return the exit code; raises CacheKeeperError."""
        command: Callable[[], int] = getattr(self, f"_{self._options.command.replace('-', '_')}")
        return command()

    # -- looks -----------------------------------------------------------------------------------------------

    def _stats(self) -> int:
        return self._tell(self._surface.stats(), show.stats_lines)

    def _details(self) -> int:
        asked = self._options
        wanted = EntriesWanted(asked.type, asked.target, asked.sort, asked.page, asked.page_size, asked.cursor)
        return self._tell(self._surface.details(wanted), show.details_lines)

    def _backend_info(self) -> int:
        return self._tell(self._surface.backend_info(), show.backend_lines)

    def _tasks(self) -> int:
        asked = self._options
        wanted = TasksWanted(tuple(asked.state), asked.user, asked.name, asked.batch, asked.cursor, asked.limit)
        return self._tell(self._surface.tasks(wanted), show.tasks_lines)

    def _workers(self) -> int:
        found = self._surface.workers()
        return self._tell(found, show.workers_lines)

    def _queue(self) -> int:
        found = self._surface.queue_key(self._options.key)
        json.dump(found, self._out, ensure_ascii=False, indent=2)
        self._out.write("\n")
        return EXIT_DONE

    # -- acts ------------------------------------------------------------------------------------------------

    def _cleanup(self) -> int:
        asked = self._options
        if asked.stats:
            return self._stats()
        return self._act("cleanup", {
            "days": asked.days, "family": asked.type, "target": asked.target, "dry_run": asked.dry_run,
        })  # fmt: skip

    def _clear(self) -> int:
        asked = self._options
        return self._act("clear", {"target": asked.target, "confirm": asked.confirm, "dry_run": asked.dry_run})

    def _refresh(self) -> int:
        return self._act("refresh", {"target": self._options.target})

    def _warmup(self) -> int:
        asked = self._options
        return self._act("warmup", {"servers": asked.servers, "set_name": asked.set or "", "force": asked.force})

    def _task(self) -> int:
        found = self._surface.task(self._options.id)
        if self._options.wait:
            self._warn_if_nobody_works_on(found)
            return self._told(self._watch(found["id"], self._options.timeout))
        return self._told(found)

    def _cancel(self) -> int:
        self._tell(self._surface.cancel(self._options.id), show.task_lines)
        return EXIT_DONE

    def _retry(self) -> int:
        found = self._surface.retry(self._options.id)
        if self._options.wait:
            return self._told(self._follow(found["id"]))
        self._warn_if_nobody_works_on(found)
        return self._told(found)

    def _act(self, name: str, arguments: Mapping[str, Any]) -> int:
        found = self._surface.submit(name, arguments, host=self._options.host)
        if self._options.no_wait:
            self._warn_if_nobody_works_on(found)
            return self._tell(found, show.task_lines)
        return self._told(self._follow(found["id"]))

    def _follow(self, task_id: str) -> Mapping[str, Any]:
        """See to the task, and return it once it is over or ``--timeout`` is; Ctrl-C leaves it as it says."""
        try:
            found = self._watch(task_id, self._options.timeout, self._surface.carry_out)
        except KeyboardInterrupt:
            self._leave(task_id)
            raise
        self._warn_if_nobody_works_on(found)
        return found

    def _watch(self, task_id: str, seconds: float, see_to: Callable[[str], None] = lambda _: None) -> Mapping[str, Any]:
        deadline = time.monotonic() + seconds
        with show.watching(self._say, sys.stderr, shown=not self._options.json) as watch:
            while True:
                found = self._surface.task(task_id)
                watch(found)
                if TaskState(found["state"]).is_over or time.monotonic() > deadline:
                    return found
                if found["state"] == TaskState.QUEUED:
                    # At each look: the worker that was there may have ended, with another command perhaps.
                    see_to(task_id)
                time.sleep(_LOOK_SECONDS)

    def _leave(self, task_id: str) -> None:
        """After Ctrl-C: a task that only this command would carry out ends with it, another one goes on."""
        if self._surface.goes_on(task_id):
            found = self._surface.task(task_id)
            if not TaskState(found["state"]).is_over:
                self._note(f"task {task_id} goes on; python -m operations cancel {task_id} ends it",
                           f"任务 {task_id} 继续执行；可用 python -m operations cancel {task_id} 取消")  # fmt: skip
            return
        if not TaskState(self._surface.task(task_id)["state"]).is_over:
            self._surface.cancel(task_id)
        self._tell(self._watch(task_id, _CANCEL_SECONDS), show.task_lines)

    def _warn_if_nobody_works_on(self, found: Mapping[str, Any]) -> None:
        if not TaskState(found["state"]).is_over and not self._surface.goes_on(found["id"]):
            self._note(
                f"task {found['id']} waits for a worker, and none runs here: start the daemon, or cancel it with "
                f"python -m operations cancel {found['id']}",
                f"任务 {found['id']} 在等待工作进程，而本机没有工作进程：请启动守护进程，或用 "
                f"python -m operations cancel {found['id']} 取消",
            )

    def _note(self, english: str, chinese: str) -> None:
        sys.stderr.write(self._say(english, chinese) + "\n")

    def _told(self, found: Mapping[str, Any]) -> int:
        self._tell(found, show.task_lines)
        state = TaskState(found["state"])
        if not state.is_over:
            return EXIT_BUSY
        if state is not TaskState.DONE:
            return EXIT_TROUBLE
        return EXIT_DONE if shortfall(found["result"]) is None else EXIT_TROUBLE

    def _tell(self, found: Any, lines: Callable[[Any, show.Say, TextIO], None]) -> int:
        if self._options.json:
            json.dump(found, self._out, ensure_ascii=False, indent=2)
            self._out.write("\n")
        else:
            lines(found, self._say, self._out)
        return EXIT_DONE


def exit_code_of(error: CacheKeeperError) -> int:
    """Return what the process ends with after this error."""
    match error:
        case AccessDenied():
            return EXIT_DENIED
        case BadRequest() | NotFound() | BadCursor():
            return EXIT_USAGE
    return EXIT_TROUBLE
