"""The words that main says to its supervisor, in-band among its log lines on stdout.

A control line is the record separator (0x1E), one JSON object, a newline: ``\\x1e{"event": "beat", ...}\\n``.
Everything else on the pipe is a log line. ``encode`` keeps a line within PIPE_BUF, so one ``os.write`` of its
result is atomic (POSIX.1-2017, write(), "Pipe or FIFO"): no other writer on the pipe can tear it.

NamedTuples, not dataclasses: the supervisor imports this module and lives for months, and dataclasses would
bring ``inspect`` and ``ast`` along, one megabyte more for it.
"""

from __future__ import annotations

import json
from typing import NamedTuple

MARK = b"\x1e"
# PIPE_BUF is 4096 on Linux and 512, the least that POSIX allows, on macOS and the BSDs.
MAX_LINE_BYTES = 512


class Ready(NamedTuple):
    """main works: it serves its page and begins to poll. ``page`` is its URL, "" without a page."""

    page: str


class Beat(NamedTuple):
    """main made progress: a poll or a unit of work ended. ``last_poll`` is ISO 8601, UTC; None before any."""

    last_poll: str | None
    summary: str


class StartWarning(NamedTuple):
    """Something that the person who types ``start`` should read, though main goes on."""

    message: str


Control = Ready | Beat | StartWarning


def encode(control: Control) -> bytes:
    """Return the control line for ``control``, at most ``MAX_LINE_BYTES`` long; a text too long is cut."""
    if isinstance(control, Ready):
        return _line({"event": "ready"}, "page", control.page)
    if isinstance(control, Beat):
        return _line({"event": "beat", "last_poll": control.last_poll}, "summary", control.summary)
    return _line({"event": "warning"}, "message", control.message)


def parse(line: bytes) -> Control | None:
    """Return what a control line says (``MARK`` and newline optional), or None when it says nothing we know.

    Never raises: the bytes come from another process, perhaps cut short by its death.
    """
    try:
        message = json.loads(line.strip().removeprefix(MARK))
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    if not isinstance(message, dict):
        return None
    match message.get("event"):
        case "ready":
            return Ready(_text(message.get("page")))
        case "beat":
            return Beat(_text(message.get("last_poll")) or None, _text(message.get("summary")))
        case "warning":
            return StartWarning(_text(message.get("message")))
    return None


def _line(message: dict[str, str | None], field: str, text: str) -> bytes:
    while True:
        body = json.dumps({**message, field: text}, ensure_ascii=False).encode("utf-8", "replace")
        excess = len(MARK) + len(body) + 1 - MAX_LINE_BYTES
        if excess <= 0 or not text:
            return MARK + body + b"\n"
        # A character takes one byte or more, so dropping excess // 6 + 1 of them never drops too many
        # (6 is the longest: \u001e), and the loop ends because the text shrinks.
        text = text[: -(excess // 6 + 1)]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
