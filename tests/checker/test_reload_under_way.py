"""A reload that takes servers away while they are being polled, or wait for their turn."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from checker.places import Limits
from checker.poll import Checker
from client.server_client import FleetSession
from core.fleet import Group, Server, WarmupSet
from core.model import Pause, Policy, State
from core.workflow import Graph, wanted_keys
from examples.fake_comfyui import FakeFleet
from store.journal import Journal

GRAPH: Graph = {
    "1": {"class_type": "PulidFluxEvaClipLoader", "inputs": {}},
    "2": {"class_type": "CacheBackendData //Inspire", "inputs": {"key": "eva", "tag": "", "data": ["1", 0]}},
}
POLICY = Policy(follow_seconds=0.02)
LIMITS = Limits(check_interval_seconds=0.1, max_concurrent_warmups=1, warmup_start_gap_seconds=0.0)


def servers_of(fleet: FakeFleet) -> list[Server]:
    group = Group("g", check_interval_seconds=LIMITS.check_interval_seconds)
    warmup = WarmupSet("models", GRAPH, tuple(wanted_keys(GRAPH)))
    return [Server(f"s{number}", url, group, (warmup,)) for number, url in enumerate(fleet.urls)]


def session() -> FleetSession:
    return FleetSession(connect_timeout_seconds=1, answer_timeout_seconds=1)


def test_a_server_that_is_taken_away_while_it_is_polled_leaves_its_place_to_others(tmp_path: Path) -> None:
    async def story(fleet: FakeFleet) -> None:
        journal = Journal(tmp_path / "journal.sqlite3")
        async with session() as asked:
            gone, stays = servers_of(fleet)
            checker = Checker([gone, stays], asked, journal, POLICY, LIMITS)
            polls = asyncio.create_task(checker.poll_cycle(["s0"]))
            deadline = time.monotonic() + 10
            while not fleet[0].requests:
                assert time.monotonic() < deadline, "it was not asked"
                await asyncio.sleep(0.005)
            checker.replace_servers([stays], POLICY, LIMITS)
            await polls
            assert fleet[0].prompts, "its own warm-up has begun after the reload"
            while checker.tracks["s1"].sets[0].memory.state is not State.LOADED:
                assert time.monotonic() < deadline, checker.tracks["s1"].sets[0].decision
                await checker.poll_cycle(["s1"])
                await asyncio.sleep(0.02)
        journal.close()

    with FakeFleet(2) as fleet:
        fleet[0].misbehave("/inspire/cache/list", status=None, delay_seconds=0.3)
        fleet[0].set_loader(seconds=5.0)
        asyncio.run(story(fleet))


def test_servers_that_are_taken_away_no_longer_wait(tmp_path: Path) -> None:
    async def story(fleet: FakeFleet) -> None:
        journal = Journal(tmp_path / "journal.sqlite3")
        async with session() as asked:
            *taken_away, another = servers_of(fleet)
            checker = Checker(taken_away, asked, journal, POLICY, LIMITS)
            await checker.poll_cycle()
            rules = [track.sets[0].decision.rule for track in checker.tracks.values()]
            assert rules.count("fleet_cap") == 2, "one of three is warmed, the others wait"
            checker.replace_servers([another], POLICY, LIMITS)
            await checker.poll_cycle()
            assert checker.tracks["s3"].sets[0].memory.state is State.LOADED
            assert not checker.anything_due(), "nobody waits"
        journal.close()

    with FakeFleet(4) as fleet:
        for fake in fleet:
            fake.set_loader(seconds=5.0)
        fleet[3].store("eva")
        asyncio.run(story(fleet))


def test_a_pause_holds_over_a_reload(tmp_path: Path) -> None:
    async def story(fleet: FakeFleet) -> None:
        journal = Journal(tmp_path / "journal.sqlite3")
        async with session() as asked:
            servers = servers_of(fleet)
            checker = Checker(servers, asked, journal, POLICY, LIMITS)
            journal.pause(Pause("s0", None))
            await checker.poll_cycle()
            checker.replace_servers(servers, POLICY, LIMITS)
            await checker.poll_cycle()
            assert checker.tracks["s0"].sets[0].memory.state is State.PAUSED
            assert fleet[0].requests == []
            journal.resume("s0")
            await checker.poll_cycle()
            assert fleet[0].requests, "resumed, it is polled in the very next cycle"
        journal.close()

    with FakeFleet(1) as fleet:
        asyncio.run(story(fleet))
