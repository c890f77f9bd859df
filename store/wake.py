"""Wakes idle workers at once: a named pipe for each, beside the queue's file.

Looking every few milliseconds for work would cost each idle worker a per cent of a core; a byte in a pipe costs
nothing until it comes. It is only a hint: a worker looks for itself every second, and where there are no named pipes
(Windows, some file systems) it looks as often as it must.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path

POLL_SECONDS = 0.02
"""How often a worker without a pipe looks for work."""


def wake_all(database: Path) -> None:
    """Tell the workers of a queue that there may be work. Never raises: they would find it by themselves."""
    try:
        pipes = list(_directory(database).iterdir())
    except OSError:
        return
    for pipe in pipes:
        try:
            descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            # Nobody reads it: its worker was killed. A new one renames its pipe into place only once it reads.
            if not pipe.name.endswith(".new"):
                with contextlib.suppress(OSError):
                    pipe.unlink()
            continue
        # A full pipe wakes as well as one byte more would.
        with contextlib.suppress(OSError):
            os.write(descriptor, b"w")
        os.close(descriptor)


def _directory(database: Path) -> Path:
    return database.with_name(database.name + "-wake")


class Alarm:
    """One worker's end. ``ring`` may be called from a signal handler and from any thread."""

    def __init__(self, database: Path, name: str) -> None:
        self._descriptor: int | None = None
        self._pipe = _directory(database) / name
        if not hasattr(os, "mkfifo"):
            return
        new = self._pipe.with_name(name + ".new")
        try:
            self._pipe.parent.mkdir(exist_ok=True)
            os.mkfifo(new, 0o600)
            # Both ends: with no writer left, a reader alone would be ready for ever, at the end of the file.
            self._descriptor = os.open(new, os.O_RDWR | os.O_NONBLOCK)
            new.rename(self._pipe)
        except OSError:
            self.close()

    @property
    def is_prompt(self) -> bool:
        """Whether others can ring it."""
        return self._descriptor is not None

    def ring(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(self._descriptor, b"w")

    def wait(self, seconds: float) -> None:
        """Return when it is rung, or after ``seconds``; sooner where nobody can ring it."""
        if self._descriptor is None:
            time.sleep(min(seconds, POLL_SECONDS))
        elif select.select([self._descriptor], [], [], max(seconds, 0.0))[0]:
            self._empty(self._descriptor)

    @staticmethod
    def _empty(descriptor: int) -> None:
        with contextlib.suppress(OSError):
            while len(os.read(descriptor, 65536)) == 65536:
                pass

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        for path in (self._pipe, self._pipe.with_name(self._pipe.name + ".new")):
            with contextlib.suppress(OSError):
                path.unlink()
