"""daemon.py status: what the lock, the processes and the state file say, for people and as JSON."""

from __future__ import annotations

import json
import os
import time
from typing import Any, NamedTuple

from supervisor.files import Files, read_state
from supervisor.identity import orphan_of, supervisor_of
from supervisor.lock import is_held

# Exit codes of an LSB init script's status.
RUNNING, DEAD_WITH_PID_FILE, STOPPED, UNKNOWN = 0, 1, 3, 4


class Status(NamedTuple):
    """``exit_code`` is LSB's; ``summary`` is the first line for people; the rest is None unless the daemon runs."""

    exit_code: int
    summary: str
    log: str
    pid: int | None = None
    uptime_seconds: float | None = None
    main_pid: int | None = None
    main_state: str | None = None
    restarts: int | None = None
    last_poll: str | None = None
    last_poll_summary: str | None = None
    page: str | None = None
    dropped_log_lines: int | None = None

    def as_json(self) -> str:
        return json.dumps({"running": self.exit_code == RUNNING, **self._asdict()}, ensure_ascii=False, indent=2)

    def as_text(self) -> str:
        lines = [self.summary]
        if self.exit_code == RUNNING:
            main = self.main_state or "unknown"
            lines += [
                f"  Uptime: {duration(self.uptime_seconds or 0)}",
                f"  Main program: {main}" + (f" (PID: {self.main_pid})" if self.main_pid else ""),
                f"  Restarts: {self.restarts}",
                f"  Last poll: {self.last_poll or 'none yet'}"
                + (f" ({self.last_poll_summary})" if self.last_poll_summary else ""),
                f"  Page: {self.page or 'none'}",
            ]
            if self.dropped_log_lines:
                lines.append(f"  Log lines lost to a full disk: {self.dropped_log_lines}")
        return "\n".join([*lines, f"  Log: {self.log}"])


def look(files: Files) -> Status:
    """Return how the daemon of this CACHE_DIR is. Never fails: what cannot be known is LSB's 4."""
    try:
        held = is_held(files.lock)
    except OSError as error:
        return Status(UNKNOWN, f"Daemon status is unknown: {files.lock}: {error.strerror or error}", files.log)
    pid = supervisor_of(files) if held else None
    if pid is not None:
        return _running(pid, files)
    if held:
        orphan = orphan_of(files)
        if orphan is None:
            return Status(UNKNOWN, f"Daemon is just starting or stopping, or a stranger holds {files.lock}", files.log)
        return Status(UNKNOWN, f"Daemon is dead, its main program still ends (PID: {orphan})", files.log)
    if os.path.lexists(files.pid):
        return Status(DEAD_WITH_PID_FILE, f"Daemon is dead, and its PID file is left: {files.pid}", files.log)
    return Status(STOPPED, "Daemon is not running", files.log)


def duration(seconds: float) -> str:
    """Return a duration for people: ``2d 03:04:05``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (f"{days}d " if days else "") + f"{hour:02d}:{minute:02d}:{second:02d}"


def _running(pid: int, files: Files) -> Status:
    state: dict[str, Any] = read_state(files.state)
    started = state.get("started_monotonic")
    return Status(
        RUNNING,
        f"Daemon is running (PID: {pid})",
        files.log,
        pid=pid,
        # The monotonic clock is the whole machine's, so an adjusted wall clock does not touch the uptime.
        uptime_seconds=round(time.monotonic() - started, 1) if isinstance(started, int | float) else None,
        main_pid=state.get("main_pid"),
        main_state=state.get("main_state"),
        restarts=state.get("restarts"),
        last_poll=state.get("last_poll"),
        last_poll_summary=state.get("summary") or None,
        page=state.get("page") or None,
        dropped_log_lines=state.get("dropped_log_lines"),
    )
