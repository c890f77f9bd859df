"""The decision over several polls: what is remembered from one to the next, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.memory import advance, next_poll_seconds, retry_delay
from core.model import (
    Action,
    Decision,
    Memory,
    Observation,
    Outcome,
    Policy,
    QueuedPrompt,
    Reach,
    Room,
    Run,
    State,
    Submission,
)
from core.warmup import CLIENT_PREFIX, decide, timeout_seconds
from core.workflow import Key
from tests.core.observed import (
    COLD,
    KEY_FAILED,
    KEYS,
    LOADED,
    NOTHING_KNOWN,
    NOW,
    POLICY,
    ROOM,
    is_told_in_chinese,
    prompt,
    sees,
)


class Walk:
    """One set over several polls: what the poll cycle does with decide() and advance(), without a server."""

    def __init__(self, policy: Policy = POLICY, memory: Memory = NOTHING_KNOWN, jitter: float = 0.0) -> None:
        self.policy, self.memory, self.jitter, self.now = policy, memory, jitter, NOW
        self.submitted = 0

    def see(self, observed: Observation, after: float = 0.0, room: Room = ROOM) -> Decision:
        self.now += after
        decision = decide(observed, self.memory, self.policy, room, self.now)
        assert is_told_in_chinese(decision, observed)
        self.memory = advance(self.memory, observed, decision, self.policy, self.now, self.jitter)
        return decision

    def post(self, decision: Decision, *, confirmed: bool = True) -> str:
        assert decision.action is Action.SUBMIT
        self.submitted += 1
        prompt_id = f"ours-{self.submitted}"
        submission = Submission(prompt_id, decision.key, self.now, confirmed=confirmed, forced=self.memory.forced)
        self.memory = replace(self.memory, submission=submission, forced=False)
        return prompt_id

    def mine(self, prompt_id: str, *keys: Key, running: bool = False, number: float = 0) -> QueuedPrompt:
        return prompt(prompt_id, *keys, running=running, number=number, client=CLIENT_PREFIX + "us")


def test_a_claim_is_looked_at_after_five_seconds_then_once_more_and_then_not_believed() -> None:
    walk, claim = Walk(), sees("clip", claims=True)
    first = walk.see(claim)
    assert (first.action, first.look_again_seconds) == (Action.RECHECK, 5.0)
    assert (walk.see(claim, after=5.0).action, walk.memory.claim_disproved) == (Action.RECHECK, True)
    assert walk.see(claim, after=30.0).action is Action.SUBMIT


def test_a_recheck_that_comes_too_early_does_not_use_the_recheck_up() -> None:
    walk, claim = Walk(), sees("clip", claims=True)
    walk.see(claim)
    assert walk.see(claim, after=1.0).look_again_seconds == 4.0
    assert not walk.memory.claim_disproved


def test_a_claim_that_the_queue_bears_out_is_waited_for_as_long_as_it_runs() -> None:
    walk = Walk()
    busy = sees("clip", claims=True, queue=(prompt("its", "clip", running=True),))
    walk.see(sees("clip", claims=True))
    for _ in range(10):
        assert walk.see(busy, after=5.0).state is State.AUTO_EXECUTING
    # It ended without storing the key: the claim starts anew, and is bounded again.
    assert walk.see(sees("clip", claims=True), after=5.0).action is Action.RECHECK
    walk.see(sees("clip", claims=True), after=5.0)
    assert walk.see(sees("clip", claims=True), after=30.0).action is Action.SUBMIT


def test_a_cold_server_is_warmed_key_by_key_and_each_is_verified() -> None:
    walk = Walk()
    first = walk.post(walk.see(COLD))
    walk.see(sees(*KEYS, queue=(walk.mine(first, "clip", running=True),)), after=1)
    assert walk.memory.state is State.WARMING
    decision = walk.see(sees("vae", 7, run=Run(first, True)), after=8)
    assert (decision.closes, decision.action, decision.key) == (Outcome.VERIFIED, Action.SUBMIT, "vae")
    second = walk.post(decision)
    third = walk.post(walk.see(sees(7, run=Run(second, True)), after=1))
    assert walk.see(sees(run=Run(third, True)), after=1).closes is Outcome.VERIFIED
    assert (walk.memory.state, walk.memory.submission, walk.memory.loaded_once) == (State.LOADED, None, True)
    assert walk.memory.past_run_seconds == (8.0,), "a run that was never seen running teaches no duration"


def test_failing_backs_off_ever_longer_then_the_breaker_opens_and_one_success_forgets_it_all() -> None:
    walk, delays = Walk(), []
    for _ in range(6):
        walk.now = max(walk.now, walk.memory.retry_at)
        prompt_id = walk.post(walk.see(sees("clip")))
        walk.see(sees("clip", run=Run(prompt_id, False, "node 1 (L): broke")), after=1)
        delays.append(walk.memory.retry_at - walk.now)
    assert delays == [5, 10, 20, 40, 1800, 1800]
    assert walk.see(sees("clip"), after=1).rule == "breaker_open"
    assert "node 1 (L): broke" in walk.see(sees("clip")).reason
    walk.see(LOADED, after=1)
    assert (walk.memory.failures, walk.memory.retry_at, walk.memory.last_failure) == (0, 0.0, "")


def test_one_key_that_always_fails_does_not_keep_the_others_cold() -> None:
    walk, cold = Walk(), list(KEYS)
    for _ in range(40):
        decision = walk.see(sees(*cold), after=1)
        if decision.action is not Action.SUBMIT:
            continue
        prompt_id, key = walk.post(decision), decision.key
        works = key != "clip"
        if works and key is not None:
            cold.remove(key)
        decision = walk.see(sees(*cold, run=Run(prompt_id, works, "" if works else "node 1 (L): broke")), after=1)
        if decision.action is Action.SUBMIT:
            prompt_id = walk.post(decision)
            assert decision.key is not None
            cold.remove(decision.key)
            walk.see(sees(*cold, run=Run(prompt_id, True)), after=1)
    assert cold == ["clip"]
    assert walk.memory.state is State.FAILED
    assert walk.memory.failures > 1, "the good keys' success does not reset the bad key's back-off"


def test_several_bad_keys_count_as_one_failure_a_round() -> None:
    walk = Walk()
    for _ in KEYS:
        prompt_id = walk.post(walk.see(COLD, after=1))
        walk.see(sees(*KEYS, run=Run(prompt_id, False, "node 1 (L): broke")), after=0.1)
    assert (walk.memory.failures, set(walk.memory.failed_keys)) == (1, set(KEYS))
    assert walk.see(COLD, after=1).rule == "backing_off"


def test_a_key_that_recovers_is_no_longer_held_against_the_set() -> None:
    walk = Walk(memory=replace(KEY_FAILED, failed_keys=("clip", "vae"), retry_at=NOW))
    retried = walk.post(walk.see(sees("clip", "vae")))
    after = walk.see(sees("vae", run=Run(retried, True)), after=1)
    assert (walk.memory.failed_keys, after.closes) == (("vae",), Outcome.VERIFIED)


def test_a_lost_submission_is_decided_anew_after_a_back_off() -> None:
    walk = Walk()
    walk.post(walk.see(COLD))
    assert walk.see(COLD, after=1).closes is Outcome.LOST
    assert walk.memory.submission is None
    assert walk.see(COLD, after=1).rule == "backing_off"
    assert walk.see(COLD, after=5).action is Action.SUBMIT


def test_an_unanswered_post_is_looked_up_and_never_repeated_within_its_grace() -> None:
    walk = Walk()
    prompt_id = walk.post(walk.see(COLD), confirmed=False)
    for _ in range(9):
        assert walk.see(COLD, after=3).rule == "post_unconfirmed"
    late = walk.see(sees(*KEYS, queue=(walk.mine(prompt_id, "clip"),)), after=1)
    assert late.rule == "queued"
    assert walk.memory.submission is not None
    assert walk.memory.submission.confirmed, "once seen in the queue it needs no grace any more"
    assert walk.see(COLD, after=1).rule == "lost"


def test_two_keepers_that_decide_at_once_end_with_one_prompt() -> None:
    one, two = Walk(), Walk()
    first, second = one.post(one.see(COLD)), two.post(two.see(COLD))
    ahead = one.mine(first, "clip", number=1)
    behind = replace(two.mine("other-" + second, "clip", number=2))
    two.memory = replace(two.memory, submission=replace(two.memory.submission, prompt_id=behind.prompt_id))  # type: ignore[type-var]
    both = sees(*KEYS, queue=(ahead, behind))
    assert (one.see(both, after=1).rule, two.see(both, after=1).rule) == ("queued", "withdrawn")
    assert two.memory.submission is None
    assert two.memory.failures == 0, "to withdraw is no failure"
    alone = sees(*KEYS, queue=(replace(ahead, running=True),))
    assert (one.see(alone, after=1).rule, two.see(alone, after=1).rule) == ("running", "keeper_in_queue")


def test_the_time_that_a_run_may_take_follows_the_slowest_of_the_last_ones() -> None:
    assert timeout_seconds(POLICY, ()) == 600
    assert timeout_seconds(POLICY, (100.0, 100.0)) == 600, "two runs prove little"
    assert timeout_seconds(POLICY, (1.0, 2.0, 3.0)) == 60, "never less than a minute"
    assert timeout_seconds(POLICY, (20.0, 40.0, 30.0)) == 160
    assert timeout_seconds(POLICY, (500.0, 1.0, 1.0)) == 600, "never above what is configured"
    assert timeout_seconds(replace(POLICY, timeout_seconds=30), (1.0, 1.0, 1.0)) == 30


def test_the_running_time_counts_from_when_it_ran_and_not_from_when_it_was_sent() -> None:
    walk = Walk()
    prompt_id = walk.post(walk.see(COLD))
    users = prompt("u", running=True)
    walk.see(sees(*KEYS, queue=(users, walk.mine(prompt_id, "clip"))), after=5000)
    assert walk.memory.state is State.QUEUED
    running = sees(*KEYS, queue=(walk.mine(prompt_id, "clip", running=True),))
    assert walk.see(running, after=10).rule == "running"
    assert walk.see(running, after=600).rule == "running"
    assert walk.see(running, after=1).rule == "timed_out"
    # It still runs: it is waited for as anybody's, and not sent a second time.
    assert walk.see(running, after=400).action is Action.WAIT


def test_users_are_waited_for_only_as_long_as_patience_lasts() -> None:
    walk, queue = Walk(), (prompt("r", running=True), prompt("u"))
    while (decision := walk.see(sees(*KEYS, queue=queue), after=5)).rule == "users_first":
        assert walk.now < NOW + 700
    assert decision.action is Action.SUBMIT
    assert walk.now - NOW == pytest.approx(605)


def test_patience_that_is_spent_stays_spent_while_there_is_no_place() -> None:
    walk, queue = Walk(), (prompt("r", running=True), prompt("u"))
    walk.see(sees(*KEYS, queue=queue))
    full = Room(fleet_open=4, fleet_cap=4)
    assert walk.see(sees(*KEYS, queue=queue), after=600, room=full).rule == "fleet_cap"
    assert walk.see(sees(*KEYS, queue=queue), after=5).action is Action.SUBMIT


def test_patience_that_is_spent_holds_for_every_key_of_the_warm_up() -> None:
    walk, queue = Walk(), (prompt("r", running=True), prompt("u"))
    walk.see(sees(*KEYS, queue=queue))
    prompt_id = walk.post(walk.see(sees(*KEYS, queue=queue), after=600))
    assert walk.see(sees("vae", queue=queue, run=Run(prompt_id, True)), after=60).action is Action.SUBMIT


def test_patience_starts_anew_once_the_users_queue_was_empty() -> None:
    walk, queue = Walk(), (prompt("r", running=True), prompt("u"))
    walk.see(sees(*KEYS, queue=queue))
    walk.see(COLD, after=600, room=Room(fleet_open=4, fleet_cap=4))
    assert walk.see(sees(*KEYS, queue=queue), after=5).rule == "users_first"


def test_a_zombie_worker_is_called_so_at_the_third_poll_and_forgiven_when_something_runs() -> None:
    walk, stuck = Walk(), sees(*KEYS, queue=(prompt("u"),))
    assert [walk.see(stuck, after=30).rule for _ in range(3)] == ["users_first", "users_first", "zombie_worker"]
    moving = sees(*KEYS, queue=(prompt("u", running=True), prompt("v")))
    assert walk.see(moving, after=30).rule == "users_first"
    assert walk.see(stuck, after=30).rule == "users_first"


def test_a_prompt_that_never_ends_is_told_after_an_hour_and_a_new_one_is_not() -> None:
    walk, stuck = (
        Walk(policy=replace(POLICY, priority="wait")),
        sees(*KEYS, queue=(prompt("r", running=True), prompt("u"))),
    )
    room = Room(server_open=True)
    assert walk.see(stuck, room=room).rule == "users_first"
    assert walk.see(stuck, after=3000, room=room).rule == "one_at_a_time"
    assert walk.see(stuck, after=601, room=room).rule == "stuck_worker"
    moved = sees(*KEYS, queue=(prompt("u", running=True),))
    assert walk.see(moved, after=30, room=room).rule == "one_at_a_time"


def test_a_restart_is_told_once() -> None:
    walk = Walk()
    walk.see(LOADED)
    walk.see(Observation(Reach.UNREACHABLE, "refused"), after=30)
    assert walk.see(COLD, after=30, room=Room(server_open=True)).loss == "restart"
    assert walk.see(COLD, after=30, room=Room(server_open=True)).loss == ""


def test_a_server_that_answers_nonsense_for_a_while_loses_nothing() -> None:
    walk = Walk()
    walk.see(LOADED)
    for reach in (Reach.BAD_ANSWER, Reach.BUSY, Reach.UNREACHABLE):
        walk.see(Observation(reach, "?"), after=30)
        assert walk.memory.loaded_once
    assert walk.see(LOADED, after=30).loss == ""


def test_a_wish_is_spent_by_one_submission() -> None:
    walk = Walk(memory=Memory(forced=True))
    prompt_id = walk.post(walk.see(LOADED))
    assert walk.see(sees(queue=(walk.mine(prompt_id, running=True),)), after=1).rule == "running"
    assert walk.see(sees(run=Run(prompt_id, True)), after=1).closes is Outcome.VERIFIED
    assert walk.see(LOADED, after=1).action is Action.NONE


def test_a_wish_that_failed_is_not_repeated_past_the_back_off() -> None:
    walk = Walk(memory=Memory(hurried=True))
    lacking = replace(COLD, lacking=("class 'X'",), unmet=frozenset(KEYS))
    assert walk.see(lacking).rule == "preflight"
    assert walk.see(COLD, after=1).rule == "backing_off"


def test_back_off_is_jittered_by_up_to_half_and_bounded() -> None:
    assert retry_delay(1, POLICY, 0.0) == 5.0
    assert retry_delay(1, POLICY, 1.0) == 2.5
    assert retry_delay(4, replace(POLICY, backoff_max_seconds=12, breaker_failures=99), 0.0) == 12
    assert retry_delay(10**6, replace(POLICY, breaker_failures=10**9), 0.0) == 300


def test_a_dead_server_is_polled_less_and_less_often_up_to_a_cap() -> None:
    assert [next_poll_seconds(30, away, 0, [1.0], 0.0) for away in (2, 3, 4, 5, 60, 10**6)] == [
        60,
        120,
        240,
        300,
        300,
        300,
    ]
    assert next_poll_seconds(600, 9, 0, [], 0.0) == 600, "never more often than its interval"
    assert next_poll_seconds(30, 5, 0, [], 1.0) == 225, (
        "spread, so that a fleet that died together is not polled together"
    )


def test_a_server_that_hangs_may_be_loading_for_ten_polls_before_it_is_polled_less_often() -> None:
    assert [next_poll_seconds(30, 0, hung, [], 0.0) for hung in (1, 10, 11, 12, 13, 10**6)] == [
        None,
        None,
        None,
        60,
        120,
        300,
    ]
    assert next_poll_seconds(30, 0, 10, [1.0], 0.0) == 1.0
