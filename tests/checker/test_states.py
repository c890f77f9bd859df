"""What is known of a server: a state with a reason for whatever it answers, and never a false 'loaded'."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import pytest

from core.fleet import Expectation
from core.memory import PATIENT_POLLS
from core.model import DetectorUsed, Pause, State
from examples.fake_comfyui import FakeFleet, FakeServer
from tests.checker.harness import LIMITS, RunningChecker, detector_of, server_of, set_of, warmup_of

WARMUP = warmup_of("clip", "vae")
LOGIN = "<!DOCTYPE html><html><title>Login</title><body>缓存已加载。</body></html>".encode()
BAD: dict[str, dict[str, Any]] = {
    "HTML login page": {"body": LOGIN, "headers": {"Content-Type": "text/html"}},
    "302": {"status": 302, "headers": {"Location": "/login"}},
    "401": {"status": 401, "body": b'{"error":"Authentication required."}'},
    "404": {"status": 404},
    "cut body": {"body": b"---- [String Key Caches] ----\nclip: N/A", "declared_length": 9999},
    "500": {"status": 500, "body": b"Server got itself in trouble"},
    "10 MB": {"body": b"clip: N/A(tag)\n" * 700_000},
    "wrong charset": {"body": "缓存已加载。".encode("gbk")},
    "no answer at all": {"drop": True},
    "a sentence of another kind": {"body": "缓存已加载？".encode()},
}


@pytest.mark.parametrize("flavour", ["stock", "fork", "plain"])
def test_a_bad_answer_on_every_route_gives_a_state_with_a_reason(
    journal: Path, caplog: pytest.LogCaptureFixture, flavour: str
) -> None:
    with FakeFleet(len(BAD), flavour=flavour, wanted_keys=["clip", "vae"]) as fleet:
        for server, fault in zip(fleet, BAD.values(), strict=True):
            server.store("clip", "vae")
            server.misbehave("*", **fault)
        servers = [server_of(url, set_of(WARMUP), name=bad) for bad, url in zip(BAD, fleet.urls, strict=True)]
        with RunningChecker(servers, journal) as running:
            running.wait(lambda: all(track.polls_total >= 3 for track in running.checker.tracks.values()))
            for number, bad in enumerate(BAD):
                assert running.state(number) in (State.UNKNOWN, State.UNREACHABLE), bad
                assert running.decision(number).reason
            told = {event.server: event for event in running.events("state")}
        assert "poll failed" not in caplog.text, "an exception came through"
        assert all(server.prompts == [] for server in fleet)
        assert set(told) == set(BAD)
        assert all(event.to_state in ("unknown", "unreachable") and event.reason for event in told.values())


@pytest.mark.parametrize("route", ["/inspire/cache/list", "/queue", "/object_info/*", "/history*", "POST /prompt"])
def test_a_bad_answer_on_one_route_never_ends_in_a_false_loaded_or_an_exception(
    journal: Path, caplog: pytest.LogCaptureFixture, route: str
) -> None:
    with FakeFleet(len(BAD), flavour="fork", wanted_keys=["clip", "vae"], determine_mode="silent") as fleet:
        for server, fault in zip(fleet, BAD.values(), strict=True):
            server.misbehave(route, **fault)
        servers = [server_of(url, set_of(WARMUP), name=bad) for bad, url in zip(BAD, fleet.urls, strict=True)]
        with RunningChecker(servers, journal) as running:
            running.wait(lambda: all(track.polls_total >= 3 for track in running.checker.tracks.values()))
            for number, server in enumerate(fleet):
                if running.state(number) is State.LOADED:
                    assert sorted(map(str, server.keys())) == ["clip", "vae"]
        assert "poll failed" not in caplog.text
        assert all(max(_times(server).values(), default=0) <= 1 for server in fleet)


def _times(server: FakeServer) -> dict[str, int]:
    """How often each key was submitted."""
    times: dict[str, int] = {}
    for prompt in server.prompts:
        for node in prompt.graph.values():
            if "key" in node["inputs"]:
                times[node["inputs"]["key"]] = times.get(node["inputs"]["key"], 0) + 1
    return times


@pytest.mark.parametrize("key", ["a:b:c", "a: b", "a\nb: c", "缓存: 模型", "a\n\n---- [Number Key Caches] ----\n", " "])
def test_a_key_of_any_spelling_is_warmed_once_and_then_loaded(journal: Path, key: str) -> None:
    with FakeServer() as server:
        server.store("a", "b: c", "---- [Number Key Caches] ----")
        with RunningChecker([server_of(server.url, set_of(warmup_of(key)))], journal) as running:
            running.wait_state(State.LOADED)
            running.wait_polls(2)
            assert running.state() is State.LOADED
        assert server.keys()[-1] == key
        assert len(server.prompts) == 1


def test_refused_black_hole_and_late_are_told_apart(journal: Path) -> None:
    with FakeFleet(3) as fleet:
        fleet[0].stop()
        fleet[1].black_hole()
        fleet[2].busy(2.0)
        servers = [server_of(url, set_of(WARMUP), name=f"s{index}") for index, url in enumerate(fleet.urls)]
        with RunningChecker(servers, journal, connect_timeout_seconds=0.2, answer_timeout_seconds=0.2) as running:
            running.wait_state(State.UNREACHABLE, server=0)
            running.wait_state(State.UNREACHABLE, server=1)
            running.wait_state(State.BUSY, server=2)
            assert "refused" in running.decision(0).reason
            assert "in time" in running.decision(1).reason
            assert "not answered in time" in running.decision(2).reason
            assert fleet[2].prompts == []


def test_a_dead_server_is_polled_less_and_less_often_and_costs_the_others_nothing(journal: Path) -> None:
    with FakeFleet(2) as fleet:
        fleet[0].black_hole()
        fleet[1].store("clip", "vae")
        servers = [server_of(url, set_of(WARMUP), name=f"s{index}") for index, url in enumerate(fleet.urls)]
        with RunningChecker(servers, journal, connect_timeout_seconds=0.05) as running:
            arrived = []
            for polls in (3, 4, 5):
                running.wait(lambda polls=polls: running.track(0).polls_total >= polls)  # type: ignore[misc]
                arrived.append(time.monotonic())
            # From the second poll on 0.1, 0.2, 0.4 s, less a quarter at most, and the connect timeout each.
            assert arrived[2] - arrived[1] > 0.3
            assert arrived[1] - arrived[0] > 0.15
            assert running.track(1).polls_total > running.track(0).polls_total + 2
            assert running.state(1) is State.LOADED


def test_a_server_that_comes_back_is_found_again(journal: Path) -> None:
    with FakeServer() as server:
        server.store("clip", "vae")
        server.stop()
        with RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
            running.wait_state(State.UNREACHABLE)
            server.start()
            server.store("clip", "vae")
            running.wait_state(State.LOADED)
            running.wait(lambda: running.track().away == 0)


def test_a_server_that_hangs_for_long_is_polled_less_often_until_it_answers(journal: Path) -> None:
    with FakeServer() as server:
        server.store("clip", "vae")
        server.busy(1.0)
        with RunningChecker(
            [server_of(server.url, set_of(WARMUP))], journal, connect_timeout_seconds=0.05, answer_timeout_seconds=0.05
        ) as running:

            def is_left_alone() -> bool:
                server.busy(1.0)
                wait = running.track().next_poll_at - time.monotonic()
                return 4 * LIMITS.check_interval_seconds < wait < math.inf

            running.wait(is_left_alone)
            assert running.track().hung > PATIENT_POLLS
            assert running.state() is State.BUSY
            running.wait_state(State.LOADED)
            assert running.track().hung == 0


# -- detectors


def test_where_list_and_determine_exist_the_list_decides_and_determine_is_not_read(journal: Path) -> None:
    with FakeServer(flavour="fork", wanted_keys=["something else"], determine_mode="claims") as server:
        server.store("clip", "vae")
        with RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
            running.wait_state(State.LOADED)
            cache = running.set().observation.cache
            assert cache is not None
            assert cache.detector is DetectorUsed.LIST
        assert not any("determine" in each.path for each in server.requests)


def test_determine_is_read_where_asked_for(journal: Path) -> None:
    with FakeServer(flavour="fork", wanted_keys=["clip", "vae"], determine_mode="claims") as server:
        warmup = set_of(WARMUP, detector=detector_of("determine"))
        with RunningChecker([server_of(server.url, warmup)], journal) as running:
            running.wait_state(State.AUTO_EXECUTING)
            assert server.prompts == [], "its claim is waited for first"
            running.wait_state(State.LOADED)
            assert [event.to_state for event in running.events("state")][:2] == ["auto_executing", "needs_submission"]
        assert _times(server) == {"clip": 1, "vae": 1}
        assert not any("cache/list" in each.path for each in server.requests)


def test_a_determine_that_starts_the_workflow_is_read_once_a_poll_and_left_to_it(journal: Path) -> None:
    with FakeServer(flavour="fork", wanted_keys=["clip", "vae"], warmup_workflow=WARMUP) as server:
        server.set_loader(seconds=0.15)
        warmup = set_of(WARMUP, detector=detector_of("determine"))
        with RunningChecker([server_of(server.url, warmup)], journal) as running:
            running.wait_state(State.AUTO_EXECUTING)
            first_poll = [each.path for each in server.requests]
            assert first_poll.count("/inspire/cache/determine") == 1
            running.wait_state(State.LOADED)
        assert not any(prompt.extra_data.get("client_id", "").startswith("cache-keeper") for prompt in server.prompts)


def test_without_list_a_set_with_unknown_keys_asks_determine(journal: Path) -> None:
    with FakeServer(flavour="fork", wanted_keys=["clip"], determine_mode="claims") as server:
        with RunningChecker([server_of(server.url, set_of(None))], journal) as running:
            running.wait_state(State.AUTO_EXECUTING)
            running.wait_state(State.NEEDS_SUBMISSION)
            assert running.decision().rule == "no_workflow"
            server.store("clip")
            running.wait_state(State.LOADED)
        assert server.prompts == []


def test_without_the_pack_our_own_run_in_the_history_is_what_is_known(journal: Path) -> None:
    graph = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
             "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "warm"}}}  # fmt: skip
    with (
        FakeServer(flavour="plain") as server,
        RunningChecker([server_of(server.url, set_of(graph))], journal) as running,
    ):
        running.wait_state(State.LOADED)
        cache = running.set().observation.cache
        assert cache is not None
        assert cache.detector is DetectorUsed.HISTORY
        running.wait_polls(3)
        assert len(server.prompts) == 1
        server.restart()
        running.wait(lambda: len(server.prompts) == 2, what="not warmed again after a restart")
        running.wait_state(State.LOADED)
        assert running.events("restart")


def test_a_run_in_the_history_is_believed_only_for_its_time_to_live(journal: Path) -> None:
    graph = {"1": {"class_type": "FakeSleep", "inputs": {"seconds": 0}}}
    warmup = set_of(graph, detector=detector_of("history", time_to_live_seconds=0.5))
    with FakeServer(flavour="plain") as server, RunningChecker([server_of(server.url, warmup)], journal) as running:
        running.wait_state(State.LOADED)
        running.wait(lambda: len(server.prompts) >= 2, what="not run again")


@pytest.mark.parametrize(
    ("expect", "cold", "warm"),
    [
        (Expectation(text="models: 5"), b"models: 0", b"models: 5"),
        (Expectation(regex=r"^ready \d"), b"not ready 1", b"ready 1"),
        (Expectation(json_path="models.loaded"), b'{"models": {"loaded": false}}', b'{"models": {"loaded": true}}'),
    ],
)
def test_a_custom_address_tells_what_is_loaded(journal: Path, expect: Expectation, cold: bytes, warm: bytes) -> None:
    with FakeServer(flavour="plain") as server:
        server.misbehave("/ready", body=cold)
        warmup = set_of(None, detector=detector_of("custom", url="/ready", expect=expect))
        with RunningChecker([server_of(server.url, warmup)], journal) as running:
            running.wait_state(State.NEEDS_SUBMISSION)
            server.misbehave("/ready", body=warm)
            running.wait_state(State.LOADED)
            server.misbehave("/ready", body=LOGIN)
            running.wait_state(State.UNKNOWN)


def test_a_pack_that_is_installed_later_is_noticed_after_some_polls(journal: Path) -> None:
    with FakeServer(flavour="plain") as server:
        warmup = set_of(WARMUP)
        with RunningChecker([server_of(server.url, warmup)], journal) as running:
            running.wait_state(State.FAILED)
            assert "lacks node class 'CacheBackendData //Inspire'" in running.decision().reason
            server.settings.flavour = "stock"
            server.store("clip", "vae")
            running.wait_state(State.LOADED, deadline_seconds=20)


# -- paused


@pytest.mark.parametrize("name", ["s0", "g"])
def test_a_pause_of_a_server_or_its_group_leaves_it_alone_until_it_is_resumed(journal: Path, name: str) -> None:
    with FakeServer() as server, RunningChecker([server_of(server.url, set_of(WARMUP), name="s0")], journal) as running:
        running.wait_state(State.LOADED)
        running.call(lambda: running.journal.pause(Pause(name, None)))
        running.wait_state(State.PAUSED)
        server.clear_cache()
        asked = len(server.requests)
        time.sleep(0.3)
        assert len(server.requests) == asked, "a paused server is not asked anything"
        running.call(lambda: running.journal.resume(name))
        running.wait_state(State.LOADED)
        assert running.events("eviction")


def test_a_pause_ends_by_itself(journal: Path) -> None:
    with FakeServer() as server, RunningChecker([server_of(server.url, set_of(WARMUP), name="s0")], journal) as running:
        running.wait_state(State.LOADED)
        running.call(lambda: running.journal.pause(Pause("s0", time.time() + 0.3)))
        running.wait_state(State.PAUSED)
        running.wait_state(State.LOADED)


def test_a_secret_is_in_no_event_and_no_log_line(journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeServer(token="hunter2hunter2") as server:
        good = server_of(server.url, set_of(WARMUP), headers={"Authorization": "Bearer hunter2hunter2"})
        with RunningChecker([good], journal) as running:
            running.wait_state(State.LOADED)
        with RunningChecker([server_of(server.url, set_of(WARMUP), name="other")], journal) as running:
            running.wait(lambda: "401" in running.decision().reason)
        assert "hunter2" not in caplog.text + repr(running.events())
