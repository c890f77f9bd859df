"""How a worker is told to end: by SIGTERM or SIGINT, or by its leash, and what happens to the task in hand."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType


class Ending:
    """Says whether the worker is to end. ``on_ask`` is called once it is, also from a signal handler: keep it small."""

    def __init__(self) -> None:
        self.asked = False
        self._on_ask: list[Callable[[], None]] = []

    def call(self, on_ask: Callable[[], None]) -> None:
        self._on_ask.append(on_ask)
        if self.asked:
            on_ask()

    def ask(self) -> None:
        self.asked = True
        for each in self._on_ask:
            each()

    def watch_signals(self) -> None:
        """End at SIGTERM and SIGINT; call it from the main thread."""

        def asked(_: int, __: FrameType | None) -> None:
            self.ask()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, asked)

    def watch_leash(self, grace_seconds: float) -> None:
        """End when stdin ends: whoever started us holds its other end, so it is gone or wants us to stop.

        A task that does not listen gets ``grace_seconds``: without the one that would kill us we must do it.
        """

        def watch() -> None:
            try:
                while os.read(0, 4096):
                    pass
            except OSError:
                pass
            self.ask()
            threading.Timer(grace_seconds, os._exit, (1,)).start()

        threading.Thread(target=watch, name="leash", daemon=True).start()
