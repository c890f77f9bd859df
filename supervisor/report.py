"""What ``start`` hears of the start: the supervisor's stderr is a pipe that ``start`` reads until it is closed.

Being stderr, it also carries a traceback of a supervisor that fails before it has a log.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from core.control import MARK, Control, Ready, StartWarning, encode, parse

STDERR = 2


class Report:
    """The supervisor's end. Without anybody who waits (``run``) only ``failure`` before the log is open speaks."""

    def __init__(self, *, awaited: bool) -> None:
        self._awaited = awaited

    def pass_on(self, control: Control) -> None:
        if self._awaited:
            _write(encode(control))

    def failure(self, text: str) -> None:
        if self._awaited:
            self.say(text)

    def say(self, text: str) -> None:
        _write(text.encode("utf-8", "replace") + b"\n")

    def close(self) -> None:
        """Let ``start`` go. Keeping its pipe would make it, and whatever waits for it, wait for ever."""
        if self._awaited:
            self._awaited = False
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, STDERR)
            os.close(nowhere)


class Outcome(NamedTuple):
    """What ``start`` heard: ``ready`` is None when main did not become ready, and then ``text`` says why."""

    ready: Ready | None
    warnings: list[str]
    text: str


def hear(lines: Iterable[bytes]) -> Outcome:
    """Read the report to its end: the supervisor closes it when main is ready, has failed, or with its own end."""
    ready: Ready | None = None
    warnings: list[str] = []
    text: list[str] = []
    for line in lines:
        control = parse(line) if line.startswith(MARK) else None
        if isinstance(control, Ready):
            ready = control
        elif isinstance(control, StartWarning):
            warnings.append(control.message)
        elif not line.startswith(MARK):
            text.append(line.decode("utf-8", "replace").rstrip("\r\n"))
    return Outcome(ready, warnings, "\n".join(text))


def _write(line: bytes) -> None:
    try:
        os.write(STDERR, line)
    except OSError:
        pass  # ``start`` was interrupted, or a terminal is gone: nobody listens
