"""Main's side of the pipes to its supervisor: words on stdout, the leash on stdin."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

from core.control import Control, encode
from entry import OutputLost


def say(control: Control) -> None:
    """Send one word to the supervisor. A supervisor that is gone is noticed by the leash, not here."""
    try:
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), encode(control))
    except (OSError, OutputLost):
        pass


def watch_leash(loop: asyncio.AbstractEventLoop, let_go: Callable[[], None]) -> None:
    """Call ``let_go`` once stdin ends: the supervisor holds its other end, so it is gone or wants us to stop."""

    def read() -> None:
        try:
            if os.read(0, 4096):
                return
        except OSError:
            pass
        loop.remove_reader(0)
        let_go()

    loop.add_reader(0, read)
