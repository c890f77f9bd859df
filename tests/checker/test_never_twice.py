"""One prompt for one need: lost answers, rival keepers, other processes, users, reloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.model import Outcome, State
from examples.fake_comfyui import FakeServer
from tests.checker.acts import EXAMPLE, SLOW, WARMUP, kept, keys_of, ours, post
from tests.checker.harness import POLICY, RunningChecker, events_in, server_of, set_of, warmup_of


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
        # Longer than a busy machine takes from the look to the POST: what runs is seen in the queue.
        server.set_loader(seconds=0.3)
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
        server.occupy(0.5)
        server.set_loader("SAM3ModelLoader", seconds=0.8)
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
