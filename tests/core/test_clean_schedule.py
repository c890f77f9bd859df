"""When a cleaning is due: on ordinary days, on the nights of daylight saving, and with a clock that lies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from core.clean_schedule import ClockReading, clock_refusal, should_run

BERLIN = ZoneInfo("Europe/Berlin")


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def runs_between(start: datetime, end: datetime, daily_time: str, last_run: datetime) -> list[datetime]:
    """Look every 20 minutes, as a scheduler would, and return the moments at which it runs."""
    found = []
    moment = start.astimezone(UTC)
    while moment < end.astimezone(UTC):
        now = moment.astimezone(BERLIN)
        if should_run(now, last_run, daily_time):
            found.append(now)
            last_run = now
        moment += timedelta(minutes=20)
    return found


def test_it_runs_once_a_day_at_its_time() -> None:
    runs = runs_between(local("2026-06-01 12:00"), local("2026-06-04 12:00"), "02:00", local("2026-06-01 02:00"))
    assert [(each.day, each.hour, each.minute) for each in runs] == [(2, 2, 0), (3, 2, 0), (4, 2, 0)]


def test_the_spring_night_without_half_past_two_still_has_a_run() -> None:
    runs = runs_between(local("2026-03-28 12:00"), local("2026-03-30 12:00"), "02:30", local("2026-03-28 02:30"))
    assert [(each.day, each.hour) for each in runs] == [(29, 3), (30, 2)]


def test_the_autumn_night_with_two_half_past_twos_has_one_run() -> None:
    runs = runs_between(local("2026-10-24 12:00"), local("2026-10-26 12:00"), "02:30", local("2026-10-24 02:30"))
    assert [each.day for each in runs] == [25, 26]


def test_a_missed_time_is_made_up_for() -> None:
    assert should_run(local("2026-06-02 09:00"), local("2026-06-01 02:00"), "02:00")


def test_a_first_start_in_the_afternoon_waits_for_the_night() -> None:
    watching = local("2026-06-01 15:00")
    assert not should_run(local("2026-06-01 15:00"), None, "02:00", watching_since=watching)
    assert not should_run(local("2026-06-02 01:59"), None, "02:00", watching_since=watching)
    assert should_run(local("2026-06-02 02:00"), None, "02:00", watching_since=watching)


@pytest.mark.parametrize(("hours", "due"), [(5.9, False), (6, True), (-3, True)])
def test_an_interval_counts_from_the_last_run(hours: float, due: bool) -> None:
    last = local("2026-06-01 12:00")
    assert should_run(last + timedelta(hours=hours), last, None, 6 * 3600) is due


def test_an_interval_without_any_run_yet_is_due() -> None:
    assert should_run(local("2026-06-01 12:00"), None, None, 3600)


def test_a_clock_that_was_set_within_one_boot_is_found_out() -> None:
    last = ClockReading(1000.0, 50.0, "boot")
    assert clock_refusal(last, ClockReading(1000.0 + 90_000, 50.0 + 90_000, "boot")) is None
    assert "forward by 2.0 days" in str(clock_refusal(last, ClockReading(1060.0 + 172_800, 110.0, "boot")))
    assert "back by 3.0 days" in str(clock_refusal(last, ClockReading(1060.0 - 259_200, 110.0, "boot")))


def test_across_a_reboot_only_a_clock_before_the_last_run_is_certainly_wrong() -> None:
    last = ClockReading(1_000_000.0, 50.0, "boot")
    assert clock_refusal(last, ClockReading(9_000_000.0, 5.0, "another")) is None
    assert clock_refusal(last, ClockReading(800_000.0, 5.0, "another")) is not None
    assert clock_refusal(None, ClockReading(1.0)) is None
