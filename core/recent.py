"""A server's recent past in little memory: its last 24 hours as a strip, its last polls' latencies. Pure."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

from core.model import State

STRIP_CELLS = 48
CELL_SECONDS = 1800
LATENCIES = 120

WORST_FIRST = (
    State.FAILED,
    State.UNREACHABLE,
    State.UNKNOWN,
    State.BUSY,
    State.NEEDS_SUBMISSION,
    State.QUEUED,
    State.WARMING,
    State.AUTO_EXECUTING,
    State.PAUSED,
    State.LOADED,
)
"""The states by how much they need a person's eye."""

RANKS = {state: rank for rank, state in enumerate(WORST_FIRST)}
_NOTHING = 0
"""A cell before anything was known; the others hold a state's rank plus one, so that the worst is the smallest."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Cells in a row whose worst state is the same; ``state`` None where nothing was known. UTC seconds."""

    state: State | None
    begins_at: float
    cells: int


class Strip:
    """The worst state in each half hour of the last day: 48 bytes, however often the state changes.

    One thread writes, others may read. Half hours are those of UTC.
    """

    __slots__ = ("_cells", "_current", "_newest")

    def __init__(self) -> None:
        self._cells = bytearray(STRIP_CELLS)
        self._newest: int | None = None
        self._current = _NOTHING

    def mark(self, state: State | None, at: float) -> None:
        """Note that the state is ``state`` from ``at`` (UTC seconds) on; until then it was what was marked before."""
        number = int(at // CELL_SECONDS)
        if self._newest is not None:
            # A clock that was set back must not undo what is known.
            number = max(number, self._newest)
            for passed in range(max(self._newest + 1, number - STRIP_CELLS + 1), number + 1):
                self._cells[passed % STRIP_CELLS] = self._current
        self._newest = number
        self._current = RANKS[state] + 1 if state is not None else _NOTHING
        known = [code for code in (self._cells[number % STRIP_CELLS], self._current) if code != _NOTHING]
        self._cells[number % STRIP_CELLS] = min(known, default=_NOTHING)

    def stretches(self, now: float) -> list[Stretch]:
        """Return the day until ``now`` (UTC seconds), oldest first; the cells always add up to STRIP_CELLS."""
        cells, newest, current = bytes(self._cells), self._newest, self._current
        last = int(now // CELL_SECONDS)
        if newest is not None:
            last = max(last, newest)
        found: list[Stretch] = []
        for number in range(last - STRIP_CELLS + 1, last + 1):
            code = _NOTHING
            if newest is not None and number > newest:
                code = current
            elif newest is not None and number > newest - STRIP_CELLS:
                code = cells[number % STRIP_CELLS]
            state = WORST_FIRST[code - 1] if code != _NOTHING else None
            if found and found[-1].state is state:
                found[-1] = Stretch(state, found[-1].begins_at, found[-1].cells + 1)
            else:
                found.append(Stretch(state, float(number * CELL_SECONDS), 1))
        return found


class Latencies:
    """How long the last polls took, in seconds; a poll without an answer is NaN. Half a kilobyte a server."""

    __slots__ = ("_next", "_values")

    def __init__(self) -> None:
        self._values = array("f")
        self._next = 0

    def add(self, seconds: float | None) -> None:
        """Note one poll; None is one that was not answered."""
        value = math.nan if seconds is None else seconds
        if len(self._values) < LATENCIES:
            self._values.append(value)
        else:
            self._values[self._next] = value
        self._next = (self._next + 1) % LATENCIES

    def values(self) -> list[float | None]:
        """Return the polls, oldest first."""
        ring, place = list(self._values), self._next
        ordered = ring[place:] + ring[:place] if len(ring) == LATENCIES else ring
        return [None if math.isnan(value) else value for value in ordered]
