"""A disk without room stops no warm-up, and what happened meanwhile is written down later."""

from __future__ import annotations

import itertools

import pytest

from core.model import State
from examples.fake_comfyui import FakeServer
from tests.checker.harness import RunningChecker, server_of, set_of, warmup_of
from tests.small_disk import SmallDisk

WARMUP = warmup_of("clip", "vae")


@pytest.mark.needs_root
def test_a_full_disk_stops_no_warm_up_and_its_events_arrive_later(small_disk: SmallDisk) -> None:
    path = small_disk.path / "journal.sqlite3"
    with FakeServer() as server, RunningChecker([server_of(server.url, set_of(WARMUP))], path) as running:
        running.wait_state(State.LOADED)
        small_disk.fill()
        rounds = 0
        while not running.journal.unwritten_reason:
            # Some pages of the database are free still: go on until the disk is really in the way.
            server.clear_cache()
            rounds += 1
            running.wait(lambda n=rounds: len(server.prompts) >= 2 * n + 2)  # type: ignore[misc]
            running.wait_state(State.LOADED)
            assert rounds < 200
        server.restart()
        running.wait(lambda n=rounds: len(server.prompts) >= 2 * n + 4, what="not warmed on a full disk")  # type: ignore[misc]
        running.wait_state(State.LOADED)
        assert "full" in running.journal.unwritten_reason
        small_disk.free()
        running.wait(lambda: not running.journal.unwritten_reason)
        running.wait_polls(2)
        events = running.events()
        assert running.call(lambda: running.journal.open_submissions()) == []
    submitted = [event.prompt_id for event in events if event.kind == "submitted"]
    assert sorted(submitted) == sorted(prompt.prompt_id for prompt in server.prompts)
    ended = [event.prompt_id for event in events if event.kind in ("verified", "lost")]
    assert sorted(ended) == sorted(submitted), "no submission without its end"
    states = [event for event in events if event.kind == "state"]
    assert all(before.to_state == after.from_state for before, after in itertools.pairwise(states))
