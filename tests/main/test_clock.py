"""The wall clock as other people set it: a running process sees it jump, by libfaketime, and DST nights by TZ."""

from __future__ import annotations

import os
import shutil
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from examples.fake_comfyui import FakeServer
from tests.workspace import SOURCE, Program, Workspace, wait_for

KEYS = ("pulid_eva_clip", "pulid_face_analysis", "pulid_model", "ben2_base", "sam3")
DAY = 86400.0


def _libfaketime() -> str | None:
    found = shutil.which("faketime")
    places = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), *Path("/usr/lib/faketime").glob("*MT.so.1")]
    return str(places[0]) if found and places else None


LIBRARY = _libfaketime()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="libfaketime (Debian package faketime) is not installed")


class Clock:
    """The wall clock of a workspace's processes; the monotonic one stays the machine's."""

    def __init__(self, workspace: Workspace, zone: str = "UTC") -> None:
        self._zone = ZoneInfo(zone)
        self._file = workspace.root / "clock"
        workspace.settings |= {
            "TZ": zone,
            "LD_PRELOAD": str(LIBRARY),
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
        }
        self.jump_by(0)

    def jump_by(self, seconds: float) -> None:
        """Set the clock so far from the machine's own."""
        # Replaced whole: a process reads it at each look at the clock.
        temporary = self._file.with_suffix(".new")
        temporary.write_text(f"{seconds:+.3f}")
        temporary.replace(self._file)

    def set(self, text: str, fold: int = 0) -> None:
        """Set the clock to a local time; ``fold`` 1 is the second of two that have the same name."""
        moment = datetime.fromisoformat(text).replace(tzinfo=self._zone, fold=fold)
        self.jump_by(moment.timestamp() - time.time())


def make_task(workspace: Workspace, name: str, made: datetime) -> Path:
    """Make a task's directory in the image cache, as old as it is said to be."""
    task = workspace.root / "resources" / "img" / "02" / name
    task.mkdir(parents=True)
    (task / "0.png").write_bytes(b"png")
    for path in (task / "0.png", task):
        os.utime(path, (made.timestamp(), made.timestamp()))
    return task


def test_polling_keeps_its_interval_when_the_clock_is_set_back_a_day_and_forward_two(workspace: Workspace) -> None:
    with FakeServer() as fake:
        fake.store(*KEYS)
        workspace.settings |= {"SERVERS": fake.url, "CHECK_INTERVAL_SECONDS": "0.2"}
        clock = Clock(workspace)
        program = workspace.running()

        def polls_go_on() -> None:
            before = len(fake.requests)
            wait_for(lambda: len(fake.requests) >= before + 3, 10)
            at = [request.at for request in fake.requests[before:]]
            # Two polls are never nearer to each other than the loop's tick of 0.25 s.
            assert min(later - earlier for earlier, later in pairwise(at)) > 0.1

        polls_go_on()
        clock.jump_by(-DAY)
        program.wait_for_output("the wall clock jumped by -86400 s")
        polls_go_on()
        clock.jump_by(DAY)
        program.wait_for_output("the wall clock jumped by +172800 s")
        polls_go_on()


def test_the_daily_cleaning_is_armed_anew_when_the_clock_is_set_back_a_day_and_forward_a_day(
    workspace: Workspace,
) -> None:
    long_ago, lately = datetime(2020, 1, 1), datetime(2026, 2, 17, 1)
    first, kept = make_task(workspace, "first", long_ago), make_task(workspace, "kept", lately)
    workspace.settings |= {"SERVERS": "http://127.0.0.1:1", "CLEAN_TIME": "02:00"}
    clock = Clock(workspace)
    clock.set("2026-02-17 01:30:00")
    program = workspace.running()
    clock.set("2026-02-17 01:59:59")
    wait_for(lambda: not first.exists())
    program.wait_for_output("cleaned target=images units=1")

    second = make_task(workspace, "second", long_ago)
    clock.set("2026-02-16 01:59:59")
    program.wait_for_output("cleaning refused: the clock went back by 1.0 days")
    clock.set("2026-02-17 01:59:59")
    wait_for(lambda: not second.exists())
    assert kept.exists()


def timetable(workspace: Workspace, clean_time: str) -> Program:
    shutil.copy(SOURCE / "tests" / "main" / "clock_script.py", workspace.root / "clock_script.py")
    program = workspace.start("0.2", clean_time, script="clock_script.py")
    program.wait_for_output("ready")
    return program


def test_on_the_night_that_lacks_an_hour_intervals_go_on_and_the_daily_job_comes_at_its_time(
    workspace: Workspace,
) -> None:
    clock = Clock(workspace, "Europe/Berlin")
    clock.set("2026-03-29 01:00:00")
    program = timetable(workspace, "04:00")
    clock.set("2026-03-29 01:59:59.5")
    wait_for(lambda: "jumped by +3600 s" in program.output())
    so_far = program.output().count("poll")
    program.wait_for_output("poll", 3, times=so_far + 5)
    clock.set("2026-03-29 03:59:59")
    program.wait_for_output("clean 29 04:00:00")


def test_on_the_night_that_has_an_hour_twice_intervals_do_not_wait_an_hour(workspace: Workspace) -> None:
    clock = Clock(workspace, "Europe/Berlin")
    clock.set("2026-10-25 02:00:00")
    program = timetable(workspace, "03:30")
    clock.set("2026-10-25 02:59:59.5")
    wait_for(lambda: "jumped by -3600 s" in program.output())
    so_far = program.output().count("poll")
    program.wait_for_output("poll", 3, times=so_far + 5)
    clock.set("2026-10-25 03:29:59")
    program.wait_for_output("clean 25 03:30:00")
