"""How a worker is told to end: at once by SIGTERM, SIGINT or its leash, after the task in hand by SIGHUP."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType


class Ending:
    """Says whether the worker is to end: ``asked`` now, the task in hand goes back; ``retiring`` after that task.

    What is given to ``call`` is called then, also from a signal handler: keep it small.
    """

    def __init__(self) -> None:
        self.asked = False
        self.retiring = False
        self._calls: list[Callable[[], None]] = []

    def call(self, call: Callable[[], None]) -> None:
        self._calls.append(call)
        if self.retiring:
            call()

    def ask(self) -> None:
        self.asked = True
        self.retire()

    def retire(self) -> None:
        self.retiring = True
        for each in self._calls:
            each()

    def watch_signals(self) -> None:
        """Listen to the signals; call it from the main thread."""

        def heard(number: int, _: FrameType | None) -> None:
            if number in (signal.SIGTERM, signal.SIGINT):
                self.ask()
            else:
                self.retire()

        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), heard)

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
            time.sleep(grace_seconds)
            os._exit(1)

        threading.Thread(target=watch, name="leash", daemon=True).start()
