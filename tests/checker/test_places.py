"""Who goes first, how many at a time, and whose wish counts."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from checker.places import Limits
from core.model import Action, State
from examples.fake_comfyui import FakeFleet, FakeServer
from store.journal import Journal
from tests.checker.acts import SLOW, WARMUP, ours
from tests.checker.harness import LIMITS, RunningChecker, events_in, quick, server_of, set_of


def test_users_jobs_go_first_until_patience_is_over(journal: Path) -> None:
    with FakeServer() as server:
        for _ in range(4):
            server.occupy(0.5)
        began = time.monotonic()
        with RunningChecker([server_of(server.url, set_of(SLOW, patience_seconds=0.4))], journal) as running:
            running.wait(lambda: running.decision().rule == "users_first")
            assert ours(server) == []
            running.wait(lambda: ours(server))
            assert time.monotonic() - began >= 0.35
            assert ours(server)[0].number > 0, "at the end of the queue, not in front"


def test_users_jobs_are_over_before_patience_is(journal: Path) -> None:
    with FakeServer() as server:
        server.occupy(0.4)
        server.occupy(0.4)
        with RunningChecker([server_of(server.url, set_of(SLOW, patience_seconds=60))], journal) as running:
            running.wait_state(State.LOADED)
            assert [event.rule for event in running.events("state")][:2] == ["users_first", "submit"]


def test_a_set_with_priority_goes_to_the_front(journal: Path) -> None:
    with FakeServer() as server:
        for seconds in (4, 0, 0):
            server.occupy(seconds)
        with RunningChecker([server_of(server.url, set_of(SLOW, priority="front"))], journal) as running:
            running.wait_state(State.QUEUED)
            assert server.queue()[1][0] == ours(server)[0].prompt_id
            running.wait_state(State.LOADED)


def test_no_more_warm_ups_than_places_run_at_the_same_time_and_all_get_one(journal: Path) -> None:
    limits = Limits(LIMITS.check_interval_seconds, max_concurrent_warmups=2, warmup_start_gap_seconds=0.0)
    with FakeFleet(6) as fleet:
        for server in fleet:
            server.set_loader("SAM3ModelLoader", seconds=0.12)
        servers = [server_of(url, set_of(SLOW), name=f"s{index}") for index, url in enumerate(fleet.urls)]
        with RunningChecker(servers, journal, limits=limits) as running:
            running.wait(lambda: all(running.state(number) is State.LOADED for number in range(6)))
        # From the record, not by looking: a look that comes late sees one where there were two.
        open_now, most = set(), 0
        for event in events_in(journal):
            if event.kind == "submitted":
                open_now.add(event.server)
            elif event.kind == "verified":
                open_now.discard(event.server)
            most = max(most, len(open_now))
        assert (most, open_now) == (2, set())


def test_the_first_warm_ups_of_a_fleet_are_spread(journal: Path) -> None:
    limits = Limits(LIMITS.check_interval_seconds, max_concurrent_warmups=4, warmup_start_gap_seconds=0.2)
    with FakeFleet(4) as fleet:
        servers = [server_of(url, set_of(SLOW), name=f"s{index}") for index, url in enumerate(fleet.urls)]
        with RunningChecker(servers, journal, limits=limits) as running:
            for number in range(4):
                running.wait_state(State.LOADED, server=number)
        starts = sorted(server.prompts[0].at for server in fleet)
        # Begun 0.2 s apart; how long each request then takes on a busy machine is another matter.
        assert starts[-1] - starts[0] > 0.4, starts
        assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(starts)), starts


@pytest.mark.parametrize("end", ["dies", "pauses", "worker dies"])
def test_a_server_that_is_lost_in_the_middle_of_a_warm_up_gives_its_place_back(journal: Path, end: str) -> None:
    from core.model import Pause

    limits = Limits(LIMITS.check_interval_seconds, max_concurrent_warmups=1, warmup_start_gap_seconds=0.0)
    with FakeFleet(2) as fleet:
        fleet[0].set_loader("SAM3ModelLoader", seconds=60)
        fleet[1].stop()
        servers = [server_of(url, set_of(SLOW), name=f"s{index}") for index, url in enumerate(fleet.urls)]
        with RunningChecker(servers, journal, limits=limits) as running:
            running.wait_state(State.WARMING)
            fleet[1].start()
            running.wait(lambda: running.decision(1).rule == "fleet_cap")
            if end == "dies":
                fleet[0].stop()
            elif end == "pauses":
                running.call(lambda: running.journal.pause(Pause("s0", None)))
            else:
                fleet[0].stop()
                fleet[0].start()
                fleet[0].kill_worker()
            running.wait_state(State.LOADED, server=1)


def test_two_sets_of_one_server_are_warmed_one_after_the_other(journal: Path) -> None:
    with FakeServer() as server:
        server.set_loader(seconds=0.1)
        sets = (set_of(WARMUP, name="a"), set_of(SLOW, name="b"))
        with RunningChecker([server_of(server.url, *sets)], journal) as running:
            running.wait(lambda: running.decision(number=1).rule == "one_at_a_time")
            running.wait_state(State.LOADED, number=0)
            running.wait_state(State.LOADED, number=1)


def test_a_wish_passes_over_the_breaker_once(journal: Path) -> None:
    with FakeServer() as server:
        server.set_loader(fail=True)
        with RunningChecker([server_of(server.url, set_of(SLOW))], journal) as running:
            running.wait(lambda: running.decision().rule == "breaker_open")
            before = len(server.prompts)
            running.call(lambda: running.checker.warm([running.track().server.name]))
            running.wait(lambda: len(server.prompts) == before + 1)
            running.wait_polls(4)
            assert len(server.prompts) == before + 1


def test_a_forced_warm_up_of_a_loaded_server_runs_once_and_is_verified(journal: Path) -> None:
    with FakeServer() as server, RunningChecker([server_of(server.url, set_of(SLOW))], journal) as running:
        running.wait_state(State.LOADED)
        running.call(lambda: running.checker.warm([running.track().server.name], force=True))
        running.wait(lambda: len(server.prompts) == 2)
        running.wait(lambda: len(running.events("verified")) == 2)
        running.wait_polls(2)
        assert running.state() is State.LOADED
        assert running.decision().action is Action.NONE
        assert running.events("failed", "lost", "not_stored", "eviction") == []


def test_the_time_a_run_may_take_is_learnt_from_the_journal(journal: Path) -> None:
    with FakeServer() as server:
        # Long enough to be seen running on a busy machine, too.
        server.set_loader("SAM3ModelLoader", seconds=0.5)
        for number in range(3):
            server.stop()
            server.start()
            with RunningChecker([server_of(server.url, set_of(SLOW))], journal) as running:
                running.wait(lambda n=number: len(running.events("verified")) == n + 1)  # type: ignore[misc]
        with RunningChecker([server_of(server.url, set_of(SLOW))], journal, policy=quick()) as running:
            assert len(running.set().memory.past_run_seconds) == 3
        reader = Journal(journal)
        try:
            assert all(0 < seconds < 5 for times in reader.run_seconds().values() for seconds in times)
        finally:
            reader.close()
