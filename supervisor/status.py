"""daemon.py status: what the lock, the processes and the state file say, for people and as JSON.

``Daemon is running (PID: …)`` and ``Daemon is not running`` are the same in every language; scripts know them.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, NamedTuple

from core import setting_phrases as said
from supervisor.files import Files, read_state
from supervisor.identity import orphan_of, supervisor_of
from supervisor.lock import is_held

# Exit codes of an LSB init script's status.
RUNNING, DEAD_WITH_PID_FILE, STOPPED, UNKNOWN = 0, 1, 3, 4


class Status(NamedTuple):
    """``exit_code`` is LSB's; ``summary`` is the first line, in English; the rest is None unless the daemon runs."""

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

    def as_text(self, *, chinese: bool) -> str:
        """Return the lines for people; ``chinese`` chooses the language."""

        def say(english: str, chinese_words: str) -> str:
            return chinese_words if chinese else english

        lines = [self._summary(chinese=chinese)]
        if self.exit_code == RUNNING:
            main = self.main_state or say("unknown", "未知")
            lines += [
                say("  Uptime: ", "  已运行：") + duration(self.uptime_seconds or 0),
                say("  Main program: ", "  主程序：") + main + (f" (PID: {self.main_pid})" if self.main_pid else ""),
                say("  Restarts: ", "  重启次数：") + str(self.restarts),
                say("  Last poll: ", "  上次检测：")
                + (self.last_poll or say("none yet", "尚无"))
                + (f" ({self.last_poll_summary})" if self.last_poll_summary else ""),
                say("  Page: ", "  页面：") + (self.page or say("none", "无")),
            ]
            if self.dropped_log_lines:
                lost = say("  Log lines lost to a full disk: ", "  因磁盘已满丢失的日志行数：")
                lines.append(f"{lost}{self.dropped_log_lines}")
        return "\n".join([*lines, say("  Log: ", "  日志：") + self.log])

    def _summary(self, *, chinese: bool) -> str:
        if self.exit_code in (RUNNING, STOPPED) or not chinese:
            return self.summary
        # Here: a daemon that runs, or does not, is told at once.
        from core.error_words import error_text

        return error_text(self.summary, chinese=True)


def look(files: Files) -> Status:
    """Return how the daemon of this CACHE_DIR is. Never fails: what cannot be known is LSB's 4."""
    try:
        held = is_held(files.lock)
    except OSError as error:
        return Status(UNKNOWN, said.STATUS_UNKNOWN(path=files.lock, words=error.strerror or error), files.log)
    pid = supervisor_of(files) if held else None
    if pid is not None:
        return _running(pid, files)
    if held:
        orphan = orphan_of(files)
        if orphan is None:
            return Status(UNKNOWN, said.STATUS_BETWEEN(path=files.lock), files.log)
        return Status(UNKNOWN, said.STATUS_ORPHAN(pid=orphan), files.log)
    if os.path.lexists(files.pid):
        return Status(DEAD_WITH_PID_FILE, said.STATUS_DEAD(path=files.pid), files.log)
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
