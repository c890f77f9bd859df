"""The last day of a server and its last latencies, which cost the same however much happens."""

from __future__ import annotations

import pytest

from core.model import State
from core.recent import CELL_SECONDS, LATENCIES, STRIP_CELLS, Latencies, Strip

DAY = 1_000_000 * CELL_SECONDS


def drawn(strip: Strip, now: float) -> list[tuple[State | None, int]]:
    return [(each.state, each.cells) for each in strip.stretches(now)]


def test_before_anything_is_known_the_whole_day_is_unknown() -> None:
    assert drawn(Strip(), DAY) == [(None, STRIP_CELLS)]


def test_a_state_lasts_until_the_next_one_and_to_now() -> None:
    strip = Strip()
    strip.mark(State.LOADED, DAY)
    strip.mark(State.FAILED, DAY + 3 * CELL_SECONDS)
    assert drawn(strip, DAY + 5 * CELL_SECONDS) == [(None, STRIP_CELLS - 6), (State.LOADED, 3), (State.FAILED, 3)]
    first = strip.stretches(DAY + 5 * CELL_SECONDS)[1]
    assert first.begins_at == DAY


def test_a_cell_shows_the_worst_of_its_half_hour() -> None:
    strip = Strip()
    strip.mark(State.LOADED, DAY)
    strip.mark(State.UNREACHABLE, DAY + 10)
    strip.mark(State.WARMING, DAY + 20)
    strip.mark(State.LOADED, DAY + 30)
    assert drawn(strip, DAY + CELL_SECONDS) == [
        (None, STRIP_CELLS - 2),
        (State.UNREACHABLE, 1),
        (State.LOADED, 1),
    ]


@pytest.mark.parametrize("cells", [STRIP_CELLS, STRIP_CELLS + 1, 10 * STRIP_CELLS])
def test_what_is_older_than_a_day_is_gone(cells: int) -> None:
    strip = Strip()
    strip.mark(State.FAILED, DAY)
    strip.mark(State.LOADED, DAY + 1)
    strip.mark(State.LOADED, DAY + cells * CELL_SECONDS)
    assert drawn(strip, DAY + cells * CELL_SECONDS) == [(State.LOADED, STRIP_CELLS)]
    assert drawn(strip, DAY + 3 * cells * CELL_SECONDS) == [(State.LOADED, STRIP_CELLS)]


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    strip = Strip()
    strip.mark(State.LOADED, DAY)
    strip.mark(State.FAILED, DAY - 5 * CELL_SECONDS)
    assert drawn(strip, DAY - 5 * CELL_SECONDS) == [(None, STRIP_CELLS - 1), (State.FAILED, 1)]


def test_time_of_which_nothing_is_known_stays_unknown() -> None:
    strip = Strip()
    strip.mark(None, DAY)
    strip.mark(State.LOADED, DAY + 2 * CELL_SECONDS)
    assert drawn(strip, DAY + 2 * CELL_SECONDS) == [(None, STRIP_CELLS - 1), (State.LOADED, 1)]


def test_only_the_last_latencies_are_kept_oldest_first() -> None:
    latencies = Latencies()
    assert latencies.values() == []
    latencies.add(0.5)
    latencies.add(None)
    assert latencies.values() == [0.5, None]
    for number in range(LATENCIES + 7):
        latencies.add(float(number))
    assert latencies.values() == [float(number) for number in range(7, LATENCIES + 7)]
