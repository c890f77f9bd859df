"""The timetable and the lanes with real functions; times are handed in, so nothing here waits for a night."""

from __future__ import annotations

import logging
import time

import pytest

from core.lanes import Lanes
from runtime.jobs import Timetable, local_seconds
from tests.workspace import wait_for


def tick(table: Timetable) -> None:
    table.tick(local_seconds(), time.monotonic())


def test_a_job_that_raises_is_logged_with_its_stack_and_counted_and_runs_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table, runs, others = Timetable(), [], []

    def fail() -> None:
        runs.append(1)
        raise ValueError(f"run {len(runs)} went wrong")

    table.every(0.05, "bad", fail)
    table.every(0.05, "good", lambda: others.append(1))

    def look() -> bool:
        tick(table)
        return len(runs) >= 2 and len(others) >= 2

    with caplog.at_level(logging.ERROR):
        wait_for(look)
    assert table.failures_total == len(runs)
    assert "job failed name=bad failures_total=2" in caplog.text
    assert "ValueError: run 2 went wrong" in caplog.text


def test_an_interval_job_first_runs_after_its_interval_and_clear_forgets_it() -> None:
    table, runs = Timetable(), []
    began = time.monotonic()
    table.every(0.2, "job", lambda: runs.append(time.monotonic() - began))

    def look() -> bool:
        tick(table)
        return len(runs) >= 2

    wait_for(look)
    assert runs[0] >= 0.2
    table.clear()
    table.every(0.2, "other", lambda: None)
    ended = time.monotonic() + 0.5
    while time.monotonic() < ended:
        tick(table)
        time.sleep(0.01)
    assert len(runs) == 2


@pytest.mark.parametrize("jump", [-86400.0, 86400.0, -3600.0, 3600.0, 10 * 365 * 86400.0])
def test_a_jump_of_the_wall_clock_is_told_and_a_slow_drift_is_not(
    jump: float, caplog: pytest.LogCaptureFixture
) -> None:
    table = Timetable()
    with caplog.at_level(logging.WARNING):
        for second in range(1000):
            table.tick(5e8 + second * 1.0005, float(second))
        assert caplog.text == ""
        table.tick(5e8 + 1000.5 + jump, 1000.0)
        assert f"the wall clock jumped by {jump:+.0f} s" in caplog.text
        caplog.clear()
        table.tick(5e8 + 1001.5 + jump, 1001.0)
        assert caplog.text == ""


def test_a_lane_is_stuck_when_it_has_work_in_hand_and_is_silent_for_longer_than_allowed() -> None:
    lanes = Lanes()
    lanes.add("poll", 10)
    lanes.add("clean", 60)
    assert lanes.stuck(1e9) == []
    lanes.begin("poll", 100)
    assert lanes.stuck(110) == []
    assert lanes.stuck(110.1) == ["poll"]
    lanes.progress("poll", 110)
    assert lanes.stuck(120) == []
    lanes.begin("clean", 100)
    assert lanes.stuck(170) == ["poll", "clean"]
    lanes.end("clean", 170)
    assert lanes.stuck(170) == ["poll"]
    lanes.end("poll", 170)
    assert lanes.stuck(1e9) == []


def test_a_lane_with_two_pieces_of_work_is_watched_until_both_have_ended() -> None:
    lanes = Lanes()
    lanes.add("poll", 10)
    lanes.begin("poll", 0)
    lanes.begin("poll", 5)
    lanes.end("poll", 6)
    assert lanes.is_working("poll")
    assert lanes.stuck(17) == ["poll"]
    lanes.end("poll", 18)
    assert not lanes.is_working("poll")
    assert lanes.stuck(1e9) == []
