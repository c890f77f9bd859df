"""The decision for whatever a server may say and this program may remember."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.memory import advance
from core.model import (
    Action,
    Cache,
    DetectorUsed,
    Memory,
    Observation,
    Outcome,
    Policy,
    Queue,
    QueuedPrompt,
    Reach,
    Room,
    Run,
    State,
    Submission,
)
from core.warmup import CLIENT_PREFIX, decide
from tests.core.observed import NOW, TOO_MANY, is_told_in_chinese

keys = st.sampled_from(("clip", "vae", 7, "unheard"))
prompts = st.builds(
    QueuedPrompt,
    prompt_id=st.sampled_from(("ours", "a", "b")),
    number=st.integers(-3, 3).map(float),
    running=st.booleans(),
    keys=st.frozensets(keys, max_size=3),
    client_id=st.sampled_from(("", "somebody", CLIENT_PREFIX + "x")),
)
caches = st.builds(
    Cache,
    detector=st.sampled_from(DetectorUsed),
    missing=st.lists(keys, unique=True, max_size=3).map(tuple),
    claims_executing=st.booleans(),
    detail=st.sampled_from(("", "not as expected")),
)
observations = st.builds(
    Observation,
    reach=st.sampled_from(Reach),
    detail=st.just("?"),
    cache=st.none() | caches,
    queue=st.none() | st.builds(Queue, st.lists(prompts, max_size=4).map(tuple)),
    run=st.none() | st.builds(Run, st.just("ours"), st.booleans(), st.just("words")),
    earlier_run_gone=st.none() | st.booleans(),
    lacking=st.sampled_from(((), ("class 'X'",))),
)
times = st.sampled_from((NOW - 700, NOW - 5, NOW, NOW + 50))
memories = st.builds(
    Memory,
    state=st.sampled_from(State),
    since=times,
    forced=st.booleans(),
    loaded_once=st.booleans(),
    was_away=st.booleans(),
    submission=st.none()
    | st.builds(
        Submission,
        prompt_id=st.just("ours"),
        key=st.none() | keys,
        posted_at=times,
        confirmed=st.booleans(),
        running_since=st.none() | times,
        forced=st.booleans(),
    ),
    failures=st.integers(0, 6),
    failed_keys=st.lists(keys, unique=True, max_size=2).map(tuple),
    retry_at=times,
    claim_seen_at=st.none() | times,
    claim_disproved=st.booleans(),
    waiting_since=st.none() | times,
    past_run_seconds=st.lists(st.floats(0, 1000), max_size=4).map(tuple),
    idle_pending_polls=st.integers(0, 4),
)
policies = st.builds(
    Policy,
    has_workflow=st.booleans(),
    storable=st.frozensets(keys),
    overfull=st.sampled_from(((), (TOO_MANY,), (TOO_MANY, TOO_MANY))),
    priority=st.sampled_from(("wait", "queue", "front")),
)
rooms = st.builds(
    Room,
    server_open=st.booleans(),
    fleet_open=st.integers(0, 2),
    fleet_cap=st.integers(1, 2),
    group_open=st.integers(0, 2),
    group_cap=st.none() | st.integers(1, 2),
    next_start_at=times,
)


@given(observations, memories, policies, rooms, st.floats(0, 1))
def test_whatever_is_seen_and_remembered(
    observed: Observation, memory: Memory, policy: Policy, room: Room, jitter: float
) -> None:
    decision = decide(observed, memory, policy, room, NOW)
    after = advance(memory, observed, decision, policy, NOW, jitter)
    assert after.state is decision.state
    assert is_told_in_chinese(decision, observed)
    assert decision.closes is None or memory.submission is not None, "only an open submission can be closed"
    assert decision.look_again_seconds is None or decision.look_again_seconds >= 0
    queue = observed.queue or Queue(())
    if decision.action is Action.SUBMIT:
        assert observed.reach is Reach.OK
        assert policy.has_workflow
        assert not policy.overfull
        assert after.submission is None, "never while a submission is open"
        assert observed.cache is not None
        assert not any(each.keys & set(observed.cache.missing) for each in queue.prompts), "never what is queued"
        assert decision.key is None or decision.key in observed.cache.missing
    if decision.state is State.LOADED and observed.reach is Reach.OK:
        assert observed.cache is not None
        assert observed.cache.loaded, "never loaded while a wanted key is missing"
    if decision.closes is Outcome.VERIFIED and memory.submission is not None and memory.submission.key is not None:
        assert observed.cache is not None
        assert memory.submission.key not in observed.cache.missing
    if observed.reach is not Reach.OK:
        assert decision.closes is None, "a server that says nothing ends no submission"
        assert (after.submission is None) == (memory.submission is None)


@given(observations, memories, policies, rooms)
def test_a_submission_that_stays_open_is_never_joined_by_a_second(
    observed: Observation, memory: Memory, policy: Policy, room: Room
) -> None:
    decision = decide(observed, memory, policy, room, NOW)
    if memory.submission is not None and decision.action is Action.SUBMIT:
        assert decision.closes is Outcome.VERIFIED, "only one that was verified makes way for the next"
