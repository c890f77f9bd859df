"""Warming for real: from cold to verified, after losses, beside users and other keepers, and when it fails."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from core.model import State
from examples.fake_comfyui import FakeFleet, FakeServer
from tests.checker.acts import EXAMPLE, SLOW, WARMUP, kept, keys_of, ours, post
from tests.checker.harness import POLICY, RunningChecker, server_of, set_of, warmup_of

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
        server.stop()
        running.wait_state(State.UNREACHABLE)
        server.start()
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


def test_a_key_whose_loader_the_server_lacks_leaves_the_other_keys_warm(journal: Path) -> None:
    graph = {
        **WARMUP,
        "90": {"class_type": "NoSuchLoader", "inputs": {}},
        "91": {"class_type": "CacheBackendData //Inspire", "inputs": {"key": "odd", "tag": "", "data": ["90", 0]}},
    }
    with FakeServer() as server, RunningChecker([server_of(server.url, set_of(graph))], journal) as running:
        running.wait(lambda: set(server.keys()) == {"clip", "vae"})
        running.wait(lambda: running.decision().rule in ("preflight", "backing_off"))
        assert "node class 'NoSuchLoader'" in running.decision().reason
        assert all("odd" not in keys_of(prompt) for prompt in ours(server))


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


def test_where_success_carries_an_error_the_cache_decides(journal: Path) -> None:
    with FakeServer(error_inside_success=True) as server:
        with RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
            running.wait_state(State.LOADED)
            assert kept(server) == ["clip", "vae"]
            assert running.events("failed") == []
        server.restart()
        server.set_loader(fail=True, message="no memory")
        server.wait_until(lambda fake: fake.keys() == [])
        with RunningChecker([server_of(server.url, set_of(WARMUP))], journal) as running:
            running.wait(lambda: running.events("failed"))
            assert "no memory" in running.events("failed")[0].reason


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
