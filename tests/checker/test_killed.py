"""kill -9 anywhere in the cycle, then a start: nothing is submitted twice and no event is lost."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections import Counter
from pathlib import Path

import pytest

from core.model import Outcome, State
from examples.fake_comfyui import FakeServer
from tests.checker.dying import KEYS, Death, warm
from tests.checker.harness import POLICY, RunningChecker, quick, server_of, set_of, warmup_of

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.checker.dying"])
ENDS = {outcome.value for outcome in Outcome}

DEATHS = [
    Death(when, method, number)
    for method, numbers in (("open_submission", 2), ("confirm_submission", 1), ("close_submission", 2), ("record", 3))
    for number in range(1, numbers + 1)
    for when in ("before", "during", "after")
    if not (when == "during" and method == "confirm_submission")
]


def start(server: FakeServer, journal: Path, death: Death | None) -> multiprocessing.process.BaseProcess:
    process = PROCESSES.Process(target=warm, args=(server.url, str(journal), death), daemon=True)
    process.start()
    return process


def start_again_and_check(server: FakeServer, journal: Path) -> None:
    """A new process finds what the old one left; the journal must tell one story without a gap."""
    target = [server_of(server.url, set_of(warmup_of(*KEYS)), name="s")]
    with RunningChecker(target, journal, policy=quick(POLICY, post_grace_seconds=0.3)) as running:
        running.wait(lambda: running.state() is State.LOADED and running.track().polls_total > 0)
        running.wait_polls(1)
        assert running.state() is State.LOADED
        assert running.call(lambda: running.journal.open_submissions()) == []
        events = running.events()
    sent = Counter(
        node["inputs"]["key"] for prompt in server.prompts for node in prompt.graph.values() if "key" in node["inputs"]
    )
    assert sent == dict.fromkeys(KEYS, 1), "each key once"
    submitted = [event.prompt_id for event in events if event.kind == "submitted"]
    assert {prompt.prompt_id for prompt in server.prompts} <= set(submitted), "written down before it was sent"
    ended = Counter(event.prompt_id for event in events if event.kind in ENDS)
    assert ended == dict.fromkeys(submitted, 1), "each submission has one end"
    states = [event for event in events if event.kind == "state"]
    assert states[0].from_state == "unknown"
    assert all(before.to_state == after.from_state for before, after in itertools.pairwise(states)), states
    assert states[-1].to_state == "loaded"


@pytest.mark.parametrize("death", DEATHS, ids=str)
def test_killed_at_a_point_of_writing(journal: Path, death: Death) -> None:
    with FakeServer() as server:
        process = start(server, journal, death)
        process.join(15)
        assert process.exitcode == -signal.SIGKILL, f"it never came {death}"
        start_again_and_check(server, journal)


@pytest.mark.parametrize("number", range(1, 17))
def test_killed_while_a_request_is_under_way(journal: Path, number: int) -> None:
    with FakeServer() as server:
        server.misbehave("*", status=None, delay_seconds=0.05)
        process = start(server, journal, None)
        server.wait_until(lambda fake: len(fake.requests) >= number, 15)
        process.kill()
        process.join(15)
        server.behave()
        start_again_and_check(server, journal)
