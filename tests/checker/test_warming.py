"""Warming for real: from cold to verified, after losses, beside users and other keepers, and when it fails."""

from __future__ import annotations

import itertools
import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from checker.poll import Limits
from core.model import Action, Outcome, State
from core.warmup import CLIENT_PREFIX
from core.workflow import Graph
from examples.fake_comfyui import AcceptedPrompt, FakeFleet, FakeServer
from store.journal import Journal
from tests.checker.harness import LIMITS, POLICY, RunningChecker, events_in, quick, server_of, set_of, warmup_of

EXAMPLE = json.loads((Path(__file__).resolve().parents[2] / "examples" / "warmup.json").read_text(encoding="utf-8"))
WARMUP = warmup_of("clip", "vae")
SLOW = warmup_of("slow", loader="SAM3ModelLoader", model="sam3.pt")


def keys_of(prompt: AcceptedPrompt) -> list[Any]:
    return [node["inputs"]["key"] for node in prompt.graph.values() if "key" in node["inputs"]]


def kept(server: FakeServer) -> list[Any]:
    return list(server.keys())


def ours(server: FakeServer) -> list[AcceptedPrompt]:
    return [each for each in server.prompts if each.extra_data.get("client_id", "").startswith(CLIENT_PREFIX)]


def post(server: FakeServer, graph: Graph, client_id: str) -> None:
    body = json.dumps({"prompt": graph, "client_id": client_id}).encode()
    with urllib.request.urlopen(f"{server.url}/prompt", body, timeout=5) as answer:
        assert answer.status == 200


# -- the good course


def test_a_cold_server_is_warmed_key_by_key_until_every_key_is_verified(journal: Path) -> None:
    with FakeServer() as server, RunningChecker([server_of(server.url, set_of(EXAMPLE))], journal) as running:
        running.wait_state(State.LOADED)
        wanted = list(running.set().warmup.keys)
        assert server.keys() == wanted
        assert [keys_of(prompt) for prompt in server.prompts] == [[key] for key in wanted], "one key at a time"
        assert len(ours(server)) == len(wanted), "with a client id, so that nobody else sees its progress"
        assert len(running.events("verified")) == len(wanted)
        assert running.call(lambda: running.journal.open_submissions()) == []
        submitted = [event.prompt_id for event in running.events("submitted")]
        assert submitted == [prompt.prompt_id for prompt in server.prompts], "under ids that were written down before"
        running.wait_polls(5)
        assert len(server.prompts) == len(wanted), "a loaded server is left alone"


def test_a_loaded_server_costs_one_request_a_poll(journal: Path) -> None:
    with FakeServer() as server:
        server.store("clip", "vae")
        with RunningChecker([server_of(server.url, set_of(WARMUP), set_of(WARMUP, name="again"))], journal) as running:
            running.wait_state(State.LOADED)
            running.wait_polls(1)
            before = running.track().polls_total, len(server.requests)
            running.wait_polls(4)
            polls, requests = running.track().polls_total - before[0], len(server.requests) - before[1]
            assert abs(requests - polls) <= 1


def test_a_repeated_warm_up_is_no_no_op_although_the_node_cache_is_warm(journal: Path) -> None:
    with FakeServer() as server, RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
        running.wait_state(State.LOADED)
        for round_number in range(2):
            server.clear_cache()
            running.wait(lambda n=round_number: len(server.prompts) == 4 + 2 * n)  # type: ignore[misc]
            running.wait_state(State.LOADED)
        entry = server.history()[server.prompts[-1].prompt_id]
        cached = next(data["nodes"] for name, data in entry["status"]["messages"] if name == "execution_cached")
        assert cached, "the loader was taken from the node cache"
        assert running.events("not_stored") == []


def test_without_our_nonce_the_same_server_would_be_caught_in_the_trap() -> None:
    """What the test above proves is only worth something if the fake has the trap."""
    with FakeServer() as server:
        for _ in range(2):
            server.clear_cache()
            post(server, WARMUP, "a user")
            server.wait_idle()
        assert server.history()[server.prompts[-1].prompt_id]["status"]["status_str"] == "success"
        assert server.keys() == []


def test_only_what_is_missing_is_submitted(journal: Path) -> None:
    with FakeServer() as server:
        server.store("clip")
        with RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
            running.wait_state(State.LOADED)
        assert [keys_of(prompt) for prompt in server.prompts] == [["vae"]]


def test_a_dry_run_says_what_it_would_do_and_sends_nothing(journal: Path) -> None:
    with FakeServer() as server:
        with RunningChecker([server_of(server.url, set_of(WARMUP))], journal, dry_run=True) as running:
            running.wait(lambda: "would submit key 'clip'" in running.decision().reason)
            running.wait_polls(2)
        assert server.prompts == []
        assert {request.method for request in server.requests} == {"GET"}


# -- losses


def test_an_eviction_and_a_restart_are_told_apart(journal: Path) -> None:
    with FakeServer() as server, RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
        running.wait_state(State.LOADED)
        server.evict("vae")
        running.wait(lambda: running.events("eviction"))
        running.wait_state(State.LOADED)
        server.restart(down_seconds=0.1)
        running.wait(lambda: running.events("restart"))
        running.wait_state(State.LOADED)
        assert [event.kind for event in running.events("eviction", "restart")] == ["eviction", "restart"]


def test_a_restart_that_nobody_saw_happen_is_still_a_restart(journal: Path) -> None:
    with FakeServer() as server:
        with RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
            running.wait_state(State.LOADED)
        server.restart()
        server.wait_until(lambda fake: fake.keys() == [])
        with RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
            running.wait(lambda: running.events("restart"))
            running.wait_state(State.LOADED)
            assert running.events("eviction") == []


def test_a_restart_in_the_middle_of_our_run_is_a_lost_submission_and_warmed_again(journal: Path) -> None:
    with FakeServer() as server:
        server.set_loader("SAM3ModelLoader", seconds=30)
        with RunningChecker([server_of(server.url, set_of(SLOW))], journal) as running:
            running.wait_state(State.WARMING)
            server.set_loader("SAM3ModelLoader", seconds=0)
            server.restart()
            running.wait_state(State.LOADED)
            (lost,) = running.events("lost")
            assert lost.prompt_id == server.prompts[0].prompt_id
            assert len(server.prompts) == 2


def test_a_story_is_told_without_a_gap(journal: Path) -> None:
    with FakeServer() as server, RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
        running.wait_state(State.LOADED)
        server.restart(down_seconds=0.2)
        running.wait_state(State.UNREACHABLE)
        running.wait_state(State.LOADED)
        states = running.events("state")
        assert all(before.to_state == after.from_state for before, after in itertools.pairwise(states))
        assert [event.at for event in states] == sorted(event.at for event in states)
        walk = [event.to_state for event in states if event.from_state != event.to_state]
        assert walk[-4:] == ["unreachable", "needs_submission", "queued", "loaded"]
        assert all(event.rule and event.reason for event in running.events())


# -- what goes wrong on the server


def test_a_zombie_worker_is_told_and_nothing_is_sent_after_it(journal: Path) -> None:
    with FakeServer() as server:
        server.kill_worker()
        server.occupy(0)
        with RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
            running.wait(lambda: running.decision().rule == "zombie_worker")
            assert running.state() is State.FAILED
            running.wait_polls(3)
            assert ours(server) == []
            server.restart()
            running.wait_state(State.LOADED)


def test_classes_and_files_that_a_server_lacks_are_named_before_anything_is_sent(journal: Path) -> None:
    graph = warmup_of("clip", loader="NoSuchLoader")
    graph = {
        **graph,
        "8": {"class_type": "UNETLoader", "inputs": {"unet_name": "absent.sft", "weight_dtype": "default"}},
    }
    with FakeServer() as server, RunningChecker([server_of(server.url, set_of(graph))], journal) as running:
        running.wait_state(State.FAILED)
        (told, *_) = [event for event in running.events("state") if event.rule == "preflight"]
        assert "node class 'NoSuchLoader'" in told.reason
        assert "unet_name 'absent.sft' for UNETLoader" in told.reason
        assert server.prompts == []


def test_a_preflight_that_a_proxy_forbids_keeps_nothing_cold(journal: Path) -> None:
    with FakeServer() as server:
        server.misbehave("/object_info/*", status=403)
        with RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
            running.wait_state(State.LOADED)


@pytest.mark.parametrize("dialect", ["old", "new"])
def test_a_refused_prompt_is_told_in_the_servers_words_and_not_repeated_blindly(journal: Path, dialect: str) -> None:
    graph = warmup_of("clip", loader="NoSuchLoader")
    with FakeServer(dialect=dialect) as server:
        server.misbehave("/object_info/*", status=403)
        with RunningChecker([server_of(server.url, set_of(graph))], journal) as running:
            running.wait(lambda: running.decision().rule == "breaker_open")
            posts = [request for request in server.requests if request.path == "/prompt"]
            assert len(posts) == POLICY.breaker_failures
            assert "NoSuchLoader" in running.events("rejected")[0].reason
            running.wait_polls(5)
            assert len([request for request in server.requests if request.path == "/prompt"]) == len(posts)


def test_a_partly_accepted_prompt_is_a_failure_with_the_node_named(journal: Path) -> None:
    graph = {
        **WARMUP,
        "7": {"class_type": "UNETLoader", "inputs": {"unet_name": "absent.sft", "weight_dtype": "default"}},
        "8": {"class_type": "CacheBackendData //Inspire", "inputs": {"key": "flux", "tag": "", "data": ["7", 0]}},
    }
    with FakeServer() as server:
        server.misbehave("/object_info/*", status=403)
        # A key that no node is known to store takes the whole workflow.
        warmup = set_of(graph, keys=("unheard",))
        with RunningChecker([server_of(server.url, warmup)], journal) as running:
            running.wait(lambda: running.events("rejected"))
            (rejected, *_) = running.events("rejected")
            assert "took only a part of the prompt: node 7 (UNETLoader)" in rejected.reason


def test_success_that_stored_nothing_is_a_failure(journal: Path) -> None:
    with FakeServer() as server:
        warmup = set_of(WARMUP, keys=("clip", "unheard"))
        with RunningChecker([server_of(server.url, warmup)], journal) as running:
            running.wait(lambda: running.events("not_stored"))
            assert "is not loaded: unheard" in running.events("not_stored")[0].reason
            running.wait(lambda: running.decision().rule == "breaker_open")
            assert len(server.prompts) == 1 + POLICY.breaker_failures


def test_success_that_carries_an_error_is_a_failure(journal: Path) -> None:
    with FakeServer(error_inside_success=True) as server:
        server.set_loader(seconds=0)
        with RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
            running.wait(lambda: running.events("failed", "verified"))
            for event in running.events("verified"):
                assert any(repr(key) in event.reason for key in kept(server))


def test_one_failing_loader_leaves_the_other_keys_and_sets_alone(journal: Path) -> None:
    stores_x = {"class_type": "CacheBackendData //Inspire", "inputs": {"key": "x", "tag": "", "data": ["11", 0]}}
    graph = {**SLOW, "11": {"class_type": "PulidFluxEvaClipLoader", "inputs": {}}, "12": stores_x}
    with FakeServer() as server:
        server.set_loader("SAM3ModelLoader", fail=True, message="file is\ncorrupt")
        sets = (set_of(graph, name="mixed"), set_of(WARMUP, name="good"))
        with RunningChecker([server_of(server.url, *sets)], journal) as running:
            running.wait_state(State.LOADED, number=1)
            running.wait(lambda: running.decision().rule == "breaker_open", what="the breaker is not open")
            assert "x" in kept(server), "the good key of the failing set"
            assert running.events("failed")[0].reason == "node 1 (SAM3ModelLoader): file is corrupt"
            server.set_loader("SAM3ModelLoader")
            running.call(lambda: running.checker.warm([running.track().server.name]))
            running.wait_state(State.LOADED)


def test_a_failing_server_leaves_the_others_alone(journal: Path) -> None:
    with FakeFleet(3) as fleet:
        fleet[0].set_loader(fail=True)
        servers = [server_of(url, set_of(WARMUP), name=f"s{index}") for index, url in enumerate(fleet.urls)]
        with RunningChecker(servers, journal) as running:
            running.wait_state(State.LOADED, server=1)
            running.wait_state(State.LOADED, server=2)
            running.wait_state(State.FAILED, server=0)
            fleet[0].set_loader()
            running.call(lambda: running.checker.warm(["s0"]))
            running.wait_state(State.LOADED, server=0)


def test_keys_beyond_a_tags_size_are_refused_with_the_numbers(journal: Path) -> None:
    graph = warmup_of(*(f"k{number}" for number in range(21)))
    with FakeServer() as server:
        with RunningChecker([server_of(server.url, set_of(graph))], journal) as running:
            running.wait_state(State.FAILED)
            assert "21 keys wanted with tag '', whose LRU holds 20" in running.decision().reason
            running.wait_polls(2)
            assert server.prompts == []
        few = set_of(graph, keys=("k0", "k1"))
        with RunningChecker([server_of(server.url, few)], journal) as running:
            running.wait_state(State.LOADED)


def test_sets_that_overfill_a_tag_together_are_refused_and_one_with_another_tag_is_not(journal: Path) -> None:
    one = set_of(warmup_of(*(f"a{number}" for number in range(12))), name="one")
    two = set_of(warmup_of(*(f"b{number}" for number in range(12))), name="two")
    apart = set_of(warmup_of("x", tag="apart"), name="apart")
    with FakeServer() as server, RunningChecker([server_of(server.url, one, two, apart)], journal) as running:
        running.wait_state(State.LOADED, number=2)
        running.wait_state(State.FAILED, number=0)
        running.wait_state(State.FAILED, number=1)
        assert "24 keys wanted with tag ''" in running.decision(number=1).reason
        assert server.keys() == ["x"]


def test_a_server_that_answers_late_while_our_loader_holds_the_lock_is_warming(journal: Path) -> None:
    with FakeServer() as server:
        server.set_loader("SAM3ModelLoader", seconds=0.8, holds_lock=True)
        with RunningChecker(
            [server_of(server.url, set_of(SLOW))], journal, connect_timeout_seconds=0.1, answer_timeout_seconds=0.1
        ) as running:
            running.wait_state(State.LOADED)
            assert State.BUSY not in {event.to_state for event in running.events("state")}
        assert len(server.prompts) == 1


# -- never twice


@pytest.mark.parametrize(
    "lost_answer",
    [
        {"delay_seconds": 2.0, "status": None},
        {"drop": True},
        {"body": b'{"prompt_id"', "declared_length": 500},
        {"body": b"\xff"},
    ],
    ids=["late", "dropped", "cut", "garbled"],
)
def test_a_post_that_was_executed_without_an_answer_is_looked_up_and_not_repeated(
    journal: Path, lost_answer: dict[str, Any]
) -> None:
    with FakeServer() as server:
        server.set_loader("SAM3ModelLoader", seconds=0.3)
        server.misbehave("POST /prompt", executes=True, times=1, **lost_answer)
        with RunningChecker(
            [server_of(server.url, set_of(SLOW))], journal, connect_timeout_seconds=0.2, answer_timeout_seconds=0.2
        ) as running:
            running.wait_state(State.LOADED)
            running.wait_polls(3)
            assert running.call(lambda: running.journal.open_submissions()) == []
            assert running.events("lost", "failed", "rejected") == []
        assert len(server.prompts) == 1


def test_a_post_that_never_arrived_is_sent_again_after_the_grace(journal: Path) -> None:
    with FakeServer() as server:
        server.misbehave("POST /prompt", drop=True, times=1)
        with RunningChecker([server_of(server.url, set_of(SLOW))], journal) as running:
            running.wait(lambda: running.decision().rule == "post_unconfirmed")
            running.wait_state(State.LOADED)
        sent = [request.at for request in server.requests if request.path == "/prompt"]
        assert len(sent) == 2
        assert sent[1] - sent[0] >= POLICY.post_grace_seconds


def test_two_keepers_at_one_server_submit_each_key_once(tmp_path: Path) -> None:
    with FakeServer() as server:
        server.set_loader(seconds=0.05)
        target = [server_of(server.url, set_of(EXAMPLE))]
        with (
            RunningChecker(target, tmp_path / "one.sqlite3") as one,
            RunningChecker(target, tmp_path / "two.sqlite3") as two,
        ):
            one.wait_state(State.LOADED)
            two.wait_state(State.LOADED)
            one.wait_polls(2)
            ran = [keys_of(prompt) for prompt in server.prompts if prompt.prompt_id in server.history()]
        assert sorted(ran) == sorted([key] for key in one.set().warmup.keys), "withdrawn ones never ran"


def test_two_keepers_that_posted_at_the_same_moment_withdraw_the_later_one(tmp_path: Path) -> None:
    with FakeServer() as server:
        server.occupy(0.4)
        # Both have read an empty queue; the first POST is held back until the second has come.
        server.misbehave("POST /prompt", status=None, delay_seconds=0.15, times=2)
        target = [server_of(server.url, set_of(SLOW, priority="queue"))]
        with (
            RunningChecker(target, tmp_path / "one.sqlite3") as one,
            RunningChecker(target, tmp_path / "two.sqlite3") as two,
        ):
            one.wait_state(State.LOADED)
            two.wait_state(State.LOADED)
        both = events_in(tmp_path / "one.sqlite3") + events_in(tmp_path / "two.sqlite3")
        ran = [prompt for prompt in ours(server) if prompt.prompt_id in server.history()]
        assert len(ran) == 1
        assert len(ours(server)) == 1 + sum(event.kind == Outcome.WITHDRAWN for event in both)


def test_two_processes_on_one_journal_share_one_open_submission(journal: Path) -> None:
    with FakeServer() as server:
        server.set_loader("SAM3ModelLoader", seconds=0.3)
        target = [server_of(server.url, set_of(SLOW))]
        with RunningChecker(target, journal) as one, RunningChecker(target, journal) as two:
            one.wait_state(State.LOADED)
            two.wait_state(State.LOADED)
        assert len(server.prompts) == 1
        assert len(events_in(journal, "submitted")) == 1
        assert len(events_in(journal, "verified")) == 1


def test_a_user_who_warms_the_same_key_is_waited_for(journal: Path) -> None:
    with FakeServer() as server:
        server.set_loader("SAM3ModelLoader", seconds=0.4)
        post(server, SLOW, "a user")
        with RunningChecker([server_of(server.url, set_of(SLOW))], journal) as running:
            running.wait_state(State.AUTO_EXECUTING)
            running.wait_state(State.LOADED)
        assert ours(server) == []


def test_a_reload_while_a_post_is_under_way_forgets_nothing(journal: Path) -> None:
    with FakeServer() as server:
        server.set_loader("SAM3ModelLoader", seconds=0.5)
        server.misbehave("POST /prompt", status=None, delay_seconds=0.2, times=1)
        target = server_of(server.url, set_of(SLOW))
        with RunningChecker([target], journal) as running:
            running.wait(lambda: any(request.path == "/prompt" for request in server.requests))
            running.replace_servers([target])
            running.wait_state(State.WARMING)
            assert running.decision().rule == "running", "followed as ours"
            running.wait_state(State.LOADED)
            running.wait_polls(1)
            assert running.call(lambda: running.journal.open_submissions()) == []
        assert len(server.prompts) == 1


def test_a_reload_with_other_keys_is_no_eviction(journal: Path) -> None:
    with FakeServer() as server, RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
        running.wait_state(State.LOADED)
        running.replace_servers([server_of(server.url, set_of(warmup_of("clip", "vae", "more")))])
        running.wait(lambda: "more" in kept(server))
        running.wait_state(State.LOADED)
        assert running.events("eviction", "restart") == []
        assert len(server.prompts) == 3


# -- politeness and places


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
        server.occupy(0.15)
        server.occupy(0.15)
        with RunningChecker([server_of(server.url, set_of(SLOW, patience_seconds=60))], journal) as running:
            running.wait(lambda: running.decision().rule == "users_first")
            running.wait_state(State.LOADED)


def test_a_set_with_priority_goes_to_the_front(journal: Path) -> None:
    with FakeServer() as server:
        for _ in range(3):
            server.occupy(0.3)
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
        most = 0
        with RunningChecker(servers, journal, limits=limits) as running:

            def all_loaded() -> bool:
                nonlocal most
                most = max(most, sum(1 for server in fleet if server.queue() != ([], [])))
                return all(running.state(number) is State.LOADED for number in range(6))

            running.wait(all_loaded)
        assert most == 2


def test_the_first_warm_ups_of_a_fleet_are_spread(journal: Path) -> None:
    limits = Limits(LIMITS.check_interval_seconds, max_concurrent_warmups=4, warmup_start_gap_seconds=0.2)
    with FakeFleet(4) as fleet:
        servers = [server_of(url, set_of(SLOW), name=f"s{index}") for index, url in enumerate(fleet.urls)]
        with RunningChecker(servers, journal, limits=limits) as running:
            for number in range(4):
                running.wait_state(State.LOADED, server=number)
        starts = sorted(server.prompts[0].at for server in fleet)
        assert all(later - earlier >= 0.15 for earlier, later in itertools.pairwise(starts)), starts


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
        server.set_loader("SAM3ModelLoader", seconds=0.15)
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
