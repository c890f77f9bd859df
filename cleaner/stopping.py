"""Ends a cleaning by hand after the entry in hand, so that it can say what it did."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cleaner.judge import Progress
from cleaner.report import SweepReport


class Stopping:
    """Whether SIGINT or SIGTERM has asked the run to end: ``number`` is that signal, 0 before.

    ``cut_short`` says that something was left undone for it.
    """

    def __init__(self) -> None:
        self.number = 0
        self.cut_short = False

    def asked(self) -> bool:
        """Whether to end now; whoever asks leaves the rest undone."""
        self.cut_short = self.cut_short or bool(self.number)
        return self.cut_short

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that such a signal ended."""
        return 128 + self.number

    def heeded_by(self, progress: Progress | None) -> Progress:
        """Return a progress that ends the run once it was asked to; ``progress`` is called as before."""

        def look(report: SweepReport) -> bool:
            goes_on = progress is None or progress(report) is not False
            return goes_on and not self.asked()

        return look


@contextmanager
def stopping_on_signals() -> Iterator[Stopping]:
    """Listen to the signals while this lasts; a second one does not wait: KeyboardInterrupt. Main thread only."""
    stopping = Stopping()

    def heard(number: int, _: FrameType | None) -> None:
        if stopping.number:
            raise KeyboardInterrupt
        stopping.number = number

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
