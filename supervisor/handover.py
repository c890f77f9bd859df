"""What the command line hands to the supervisor it becomes or starts: resolved values, never unread settings.

Reading the settings costs memory (dotenv, dataclasses, pathlib: 3 MB) that would stay with a process which lives
for months. So the command reads them, takes the lock, and then replaces itself (``run``) or starts a process
(``start``) that gets these few values through a pipe and imports none of that.
"""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from core.restart import Limits

FLAG = "--handover"
"""Internal option of ``daemon.py run``: be the supervisor at once, with the values from this file descriptor."""


class Handover(NamedTuple):
    """Everything that the supervisor needs to know.

    ``notes`` are log lines from before the supervisor lived; ``echo`` repeats the log on stdout (``run``);
    ``report`` says that stderr is the pipe on which ``start`` waits (see report.py).
    """

    root: str
    cache_dir: str
    python: str
    lock_fd: int
    limits: Limits
    log_max_bytes: int
    log_backups: int
    notes: list[str]
    echo: bool
    report: bool
    notify_socket: str | None = None
    watchdog_seconds: float | None = None


def send(handover: Handover) -> int:
    """Return an inheritable file descriptor from which ``receive`` reads the handover in another process.

    The values fit into a pipe's buffer, so writing does not wait for the reader.
    """
    read_end, write_end = os.pipe()
    os.write(write_end, json.dumps(handover._asdict()).encode())
    os.close(write_end)
    os.set_inheritable(read_end, True)
    return read_end


def receive(fd: int) -> Handover:
    """Read what ``send`` wrote, close ``fd``, and keep the lock from later children that are not meant to have it."""
    with os.fdopen(fd, "rb") as pipe:
        values = json.load(pipe)
    values["limits"] = Limits(*values["limits"])
    os.set_inheritable(values["lock_fd"], False)
    return Handover(**values)
