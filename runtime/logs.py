"""How the program logs: bare lines under the supervisor, which stamps them; stamped lines in a terminal."""

from __future__ import annotations

import logging
import sys


class _Line(logging.Formatter):
    """The message alone for what is normal, ``LEVEL message`` for what is not, stamped where nobody else does."""

    def __init__(self, *, stamped: bool) -> None:
        super().__init__("%(message)s")
        self._stamped = stamped

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if record.levelno != logging.INFO:
            line = f"{record.levelname} {line}"
        return f"[{self.formatTime(record, '%Y-%m-%d %H:%M:%S')}] {line}" if self._stamped else line


def set_up(level: str, *, supervised: bool) -> None:
    """Send everything at ``level`` and above to stdout, in the form of daemon.log."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Line(stamped=not supervised))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Their INFO and DEBUG lines are about requests and timers, not about the fleet.
    for name in ("uvicorn", "uvicorn.error", "schedule", "asyncio", "aiohttp"):
        logging.getLogger(name).setLevel(logging.WARNING)
