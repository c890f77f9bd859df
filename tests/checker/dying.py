"""A checker in a process of its own that kills itself with SIGKILL at one point of its journal's work."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.model import Event
from store.journal import Journal
from tests.checker.harness import RunningChecker, server_of, set_of, warmup_of

KEYS = ("clip", "vae")


@dataclass(frozen=True)
class Death:
    """``when``: before, during (inside the open transaction) or after the ``number``-th call of ``method``."""

    when: str
    method: str
    number: int

    def __str__(self) -> str:
        return f"{self.when} {self.method} {self.number}"


def dying_journal(death: Death) -> type[Journal]:
    calls = 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    class Dying(Journal):
        inside = ""

        def _insert(self, events: Iterable[Event]) -> None:
            super()._insert(events)
            if death.when == "during" and self.inside == death.method and calls == death.number:
                die()

    def wrap(method: str) -> Callable[..., Any]:
        original = getattr(Journal, method)

        def call(self: Dying, *arguments: Any) -> Any:
            nonlocal calls
            # record() is called after each poll, mostly with nothing to tell.
            counts = method == death.method and (method != "record" or bool(arguments[0]))
            calls += counts
            if counts and death.when == "before" and calls == death.number:
                die()
            self.inside = method
            result = original(self, *arguments)
            if counts and death.when == "after" and calls == death.number:
                die()
            return result

        return call

    for method in ("open_submission", "confirm_submission", "close_submission", "record"):
        setattr(Dying, method, wrap(method))
    return Dying


def warm(url: str, journal: str, death: Death | None) -> None:
    """Warm two keys on one server, until killed; ends by itself only after 20 s."""
    end = time.monotonic() + 20
    kind = Journal if death is None else dying_journal(death)
    with RunningChecker([server_of(url, set_of(warmup_of(*KEYS)), name="s")], Path(journal), journal_class=kind):
        while time.monotonic() < end:
            time.sleep(0.05)
