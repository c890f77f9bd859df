"""The specification of decide(): which rule applies when, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from core.model import (
    Action,
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
)
from core.warmup import decide
from tests.core.observed import (
    COLD,
    FAILED_ONCE,
    KEY_FAILED,
    KEYS,
    LOADED,
    NOW,
    OPEN,
    OURS_PENDING,
    OURS_RUNNING,
    POLICY,
    ROOM,
    TOO_MANY,
    is_told_in_chinese,
    keeper,
    posted,
    prompt,
    sees,
)


@dataclass(frozen=True)
class Row:
    """One line of the table: what is seen and remembered, and what must be decided."""

    title: str
    observed: Observation
    memory: Memory
    action: Action
    state: State
    rule: str
    policy: Policy = POLICY
    room: Room = ROOM
    also: dict[str, Any] = field(default_factory=dict)


def waits(title: str, observed: Observation, memory: Memory, state: State, rule: str, **more: Any) -> Row:
    return Row(title, observed, memory, Action.WAIT, state, rule, **more)


TABLE = [
    # -- the server says nothing, or nothing that can be used
    waits("no connection", Observation(Reach.UNREACHABLE, "refused"), Memory(), State.UNREACHABLE, "unreachable"),
    waits("connects and answers late", Observation(Reach.BUSY, "late"), Memory(), State.BUSY, "busy"),
    waits("a login page", Observation(Reach.BAD_ANSWER, "HTML"), Memory(), State.UNKNOWN, "bad_answer"),
    waits("no detector looked", Observation(Reach.OK, "nothing looked"), Memory(), State.UNKNOWN, "bad_answer"),
    waits(
        "answers late while our loader holds the lock", Observation(Reach.BUSY, "late"),
        replace(OPEN, state=State.WARMING), State.WARMING, "busy_while_warming", also={"look_again_seconds": 1.0},
    ),
    waits(
        "answers late while ours waits", Observation(Reach.BUSY, "late"), OPEN, State.QUEUED, "busy_while_warming",
    ),
    waits(
        "answers late after the server was away: our run is no explanation any more", Observation(Reach.BUSY, "late"),
        replace(OPEN, state=State.UNREACHABLE), State.BUSY, "busy",
    ),
    waits(
        "unreachable in the middle of our run keeps the submission", Observation(Reach.UNREACHABLE, "refused"),
        replace(OPEN, state=State.WARMING), State.UNREACHABLE, "unreachable", also={"closes": None},
    ),
    waits(
        "answers late for longer than a run may take: a server that hangs is not warming for ever",
        Observation(Reach.BUSY, "late"),
        replace(OPEN, state=State.WARMING, submission=posted(ago=700, running_since=NOW - 601)), State.BUSY, "busy",
        also={"closes": None},
    ),
    # -- loaded
    Row("every key is there", LOADED, Memory(), Action.NONE, State.LOADED, "loaded", also={"closes": None}),
    Row(
        "every key is there, and ours is open: verified by the cache, not by the server's word",
        LOADED, OPEN, Action.NONE, State.LOADED, "loaded", also={"closes": Outcome.VERIFIED},
    ),
    Row("nothing missing by name, but not as expected", sees(detail="no run of ours"), Memory(), Action.SUBMIT,
        State.NEEDS_SUBMISSION, "submit", also={"key": None}),
    # -- watch only
    Row("no workflow to submit", COLD, Memory(), Action.NONE, State.NEEDS_SUBMISSION, "no_workflow",
        policy=Policy(has_workflow=False)),
    Row("no workflow, and the server says that it executes by itself", sees("clip", claims=True), Memory(),
        Action.RECHECK, State.AUTO_EXECUTING, "claims_executing", policy=Policy(has_workflow=False)),
    waits("no workflow, and somebody's prompt is warming it", sees("clip", queue=(prompt("p", "clip", running=True),)),
          Memory(), State.AUTO_EXECUTING, "other_in_queue", policy=Policy(has_workflow=False)),
    Row("no workflow any more, and our last submission has just ended", sees("vae", run=Run("ours", True)), OPEN,
        Action.NONE, State.NEEDS_SUBMISSION, "no_workflow", policy=Policy(has_workflow=False),
        also={"closes": Outcome.VERIFIED}),
    # -- a dead worker thread
    Row("pending and nothing running, the third time", sees(*KEYS, queue=(prompt("a"),)), Memory(idle_pending_polls=2),
        Action.NONE, State.FAILED, "zombie_worker"),
    waits("pending and nothing running, the second time", sees(*KEYS, queue=(prompt("a"),)),
          Memory(idle_pending_polls=1), State.NEEDS_SUBMISSION, "users_first"),
    waits("pending, and something runs", sees(*KEYS, queue=(prompt("r", running=True), prompt("a"))),
          Memory(idle_pending_polls=9), State.NEEDS_SUBMISSION, "users_first"),
    Row("our own submission hangs in a dead server's queue", sees(*KEYS, queue=(OURS_PENDING,)),
        replace(OPEN, idle_pending_polls=2), Action.NONE, State.FAILED, "zombie_worker", also={"closes": None}),
    Row("one prompt has been running for over an hour", sees(*KEYS, queue=(prompt("r", running=True),)),
        Memory(head=("r", NOW - 3601)), Action.NONE, State.FAILED, "stuck_worker"),
    Row("one prompt has been running for an hour", sees(*KEYS, queue=(prompt("r", running=True),)),
        Memory(head=("r", NOW - 3600)), Action.SUBMIT, State.NEEDS_SUBMISSION, "submit"),
    Row("another prompt is running than an hour ago", sees(*KEYS, queue=(prompt("r", running=True),)),
        Memory(head=("before", NOW - 9999)), Action.SUBMIT, State.NEEDS_SUBMISSION, "submit"),
    Row("a set may run for longer than that", sees(*KEYS, queue=(prompt("r", running=True),)),
        Memory(head=("r", NOW - 3601)), Action.SUBMIT, State.NEEDS_SUBMISSION, "submit",
        policy=replace(POLICY, timeout_seconds=7200)),
    # -- our submission, followed: the queue first, then the history, then the cache
    waits("ours is running", sees(*KEYS, queue=(OURS_RUNNING,)), OPEN, State.WARMING, "running",
          also={"look_again_seconds": 1.0}),
    waits("ours is pending", sees(*KEYS, queue=(prompt("u", running=True), OURS_PENDING)), OPEN, State.QUEUED,
          "queued"),
    waits("ours runs up to the limit", sees(*KEYS, queue=(OURS_RUNNING,)),
          replace(OPEN, submission=posted(running_since=NOW - 600)), State.WARMING, "running"),
    waits("ours runs too long", sees(*KEYS, queue=(OURS_RUNNING,)),
          replace(OPEN, submission=posted(running_since=NOW - 601)), State.FAILED, "timed_out",
          also={"closes": Outcome.TIMED_OUT}),
    waits("ours runs longer than four times the slowest known run",
          sees(*KEYS, queue=(OURS_RUNNING,)),
          replace(OPEN, submission=posted(running_since=NOW - 81), past_run_seconds=(10.0, 20.0, 15.0)),
          State.FAILED, "timed_out", also={"closes": Outcome.TIMED_OUT}),
    waits("the server reports a failure in its own words", sees(*KEYS, run=Run("ours", False, "node 3 (X): broke")),
          OPEN, State.FAILED, "failed", also={"closes": Outcome.FAILED, "reason": "node 3 (X): broke"}),
    waits("the server reports success and the key is not there: the no-op trap",
          sees(*KEYS, run=Run("ours", True, cached_nodes=2)), OPEN, State.FAILED, "not_stored",
          also={"closes": Outcome.NOT_STORED}),
    Row("ours stored its key, others are missing: the next one", sees("vae", 7, run=Run("ours", True)), OPEN,
        Action.SUBMIT, State.QUEUED, "next_key", also={"key": "vae", "closes": Outcome.VERIFIED}),
    Row("ours stored its key although the history knows nothing of it", sees("vae"), OPEN, Action.SUBMIT, State.QUEUED,
        "next_key", also={"key": "vae", "closes": Outcome.VERIFIED}),
    Row("ours reports an error, and has stored its key", sees("vae", 7, run=Run("ours", False, "node 9 (X): broke")),
        OPEN, Action.SUBMIT, State.QUEUED, "next_key", also={"key": "vae", "closes": Outcome.VERIFIED}),
    waits("ours is in neither", COLD, OPEN, State.FAILED, "lost", also={"closes": Outcome.LOST}),
    waits("ours is in neither, and the history was emptied", replace(COLD, earlier_run_gone=True), OPEN, State.FAILED,
          "lost", also={"closes": Outcome.LOST}),
    waits("sent without an answer: it may still arrive", COLD,
          replace(OPEN, submission=posted(ago=29, confirmed=False)), State.QUEUED, "post_unconfirmed",
          also={"closes": None, "look_again_seconds": 1.0}),
    waits("sent without an answer, and the grace is over", COLD,
          replace(OPEN, submission=posted(ago=30, confirmed=False)), State.FAILED, "lost",
          also={"closes": Outcome.LOST}),
    waits("the whole workflow ended, and one key is still missing", sees("vae", run=Run("ours", True)),
          replace(OPEN, submission=posted(None)), State.FAILED, "not_stored", also={"closes": Outcome.NOT_STORED}),
    # -- two cache keepers at one server
    Row("another keeper's is ahead of ours: ours is withdrawn",
        sees(*KEYS, queue=(keeper("theirs", "clip", number=4), OURS_PENDING)), OPEN, Action.WITHDRAW, State.QUEUED,
        "withdrawn", also={"closes": Outcome.WITHDRAWN, "prompt_id": "ours"}),
    Row("another keeper's is running already",
        sees(*KEYS, queue=(keeper("theirs", "clip", number=9, running=True), OURS_PENDING)), OPEN, Action.WITHDRAW,
        State.QUEUED, "withdrawn"),
    waits("another keeper's is behind ours: it will be withdrawn, not ours",
          sees(*KEYS, queue=(OURS_PENDING, keeper("theirs", "clip", number=6))), OPEN, State.QUEUED, "queued"),
    waits("another keeper's stores other keys", sees(*KEYS, queue=(keeper("theirs", 7, number=4), OURS_PENDING)), OPEN,
          State.QUEUED, "queued"),
    waits("a user's with the same key is ahead: users are never withdrawn for",
          sees(*KEYS, queue=(prompt("user", "clip", number=4), OURS_PENDING)), OPEN, State.QUEUED, "queued"),
    waits("ours runs, another keeper's waits behind it",
          sees(*KEYS, queue=(OURS_RUNNING, keeper("theirs", "clip", number=6))), OPEN, State.WARMING, "running"),
    # -- somebody else is at it
    waits("another keeper's is queued", sees(*KEYS, queue=(prompt("r", running=True), keeper("k", "vae"))), Memory(),
          State.QUEUED, "keeper_in_queue", also={"look_again_seconds": 5.0}),
    waits("another keeper's runs", sees(*KEYS, queue=(keeper("k", "vae", running=True),)), Memory(), State.WARMING,
          "keeper_in_queue"),
    waits("a user's prompt stores a missing key", sees(*KEYS, queue=(prompt("u", "vae", running=True),)), Memory(),
          State.AUTO_EXECUTING, "other_in_queue"),
    Row("a user's prompt stores keys that are there", sees("vae", queue=(prompt("u", "clip", running=True),)), Memory(),
        Action.SUBMIT, State.NEEDS_SUBMISSION, "submit", also={"key": "vae"}),
    waits("without a list of what is missing, any key of the set counts",
          sees(detail="no run of ours", detector=DetectorUsed.HISTORY, queue=(keeper("k", "vae", running=True),)),
          Memory(), State.WARMING, "keeper_in_queue"),
    # -- the claim of executing
    Row("the claim is new", sees("clip", claims=True), Memory(), Action.RECHECK, State.AUTO_EXECUTING,
        "claims_executing", also={"look_again_seconds": 5.0}),
    Row("the claim is two seconds old", sees("clip", claims=True), Memory(claim_seen_at=NOW - 2), Action.RECHECK,
        State.AUTO_EXECUTING, "claims_executing", also={"look_again_seconds": 3.0}),
    Row("the claim was looked at again: one more cycle", sees("clip", claims=True), Memory(claim_seen_at=NOW - 5),
        Action.RECHECK, State.AUTO_EXECUTING, "claims_executing", also={"look_again_seconds": None}),
    Row("the claim is disproved", sees("clip", claims=True), Memory(claim_seen_at=NOW - 35, claim_disproved=True),
        Action.SUBMIT, State.NEEDS_SUBMISSION, "submit"),
    waits("the claim is true: the queue shows it",
          sees("clip", claims=True, queue=(prompt("it", "clip", running=True),)),
          Memory(claim_seen_at=NOW - 35, claim_disproved=True), State.AUTO_EXECUTING, "other_in_queue"),
    # -- what makes a submission pointless
    Row("more keys than the tag holds", COLD, Memory(), Action.NONE, State.FAILED, "lru_overfull",
        policy=replace(POLICY, overfull=(TOO_MANY,))),
    Row("more keys than the tag holds, but all are there", LOADED, Memory(), Action.NONE, State.LOADED, "loaded",
        policy=replace(POLICY, overfull=(TOO_MANY,))),
    waits("backing off", COLD, FAILED_ONCE, State.FAILED, "backing_off", also={"look_again_seconds": 20.0}),
    waits("backing off at the breaker", COLD, replace(FAILED_ONCE, failures=5), State.FAILED, "breaker_open"),
    Row("the time to try again has come", COLD, replace(FAILED_ONCE, retry_at=NOW), Action.SUBMIT,
        State.NEEDS_SUBMISSION, "submit"),
    Row("an operator's wish passes over the back-off", COLD, replace(FAILED_ONCE, hurried=True), Action.SUBMIT,
        State.NEEDS_SUBMISSION, "submit"),
    Row("one key has failed: the others are warmed all the same", COLD, KEY_FAILED, Action.SUBMIT,
        State.NEEDS_SUBMISSION, "submit", also={"key": "vae"}),
    Row("one key has failed often: the others are warmed all the same", COLD, replace(KEY_FAILED, failures=9),
        Action.SUBMIT, State.NEEDS_SUBMISSION, "submit", also={"key": "vae"}),
    waits("every missing key has failed", sees("clip"), KEY_FAILED, State.FAILED, "backing_off"),
    waits("the other key is stored now, the one that failed waits", sees("clip", run=Run("ours", True)),
          replace(KEY_FAILED, submission=posted("vae")), State.FAILED, "backing_off",
          also={"closes": Outcome.VERIFIED}),
    Row("the time to try the failed key again has come, after the others", sees("clip", 7),
        replace(KEY_FAILED, retry_at=NOW), Action.SUBMIT, State.NEEDS_SUBMISSION, "submit", also={"key": 7}),
    Row("the server lacks what one key needs: the others are warmed",
        replace(COLD, lacking=("class 'X'",), unmet=frozenset(KEYS[:1])), Memory(),
        Action.SUBMIT, State.NEEDS_SUBMISSION, "submit", also={"key": KEYS[1]}),
    Row("the server lacks a model file that every missing key needs",
        replace(COLD, lacking=("ckpt_name 'a.safetensors' for L",), unmet=frozenset(KEYS)), Memory(),
        Action.NONE, State.FAILED, "preflight", also={"reason": "the server lacks ckpt_name 'a.safetensors' for L"}),
    # -- politeness
    waits("users' jobs are queued", sees(*KEYS, queue=(prompt("r", running=True), prompt("u"))), Memory(),
          State.NEEDS_SUBMISSION, "users_first", also={"look_again_seconds": 5.0}),
    waits("users' jobs are queued, and have been for long",
          sees(*KEYS, queue=(prompt("r", running=True), prompt("u"))), Memory(waiting_since=NOW - 599),
          State.NEEDS_SUBMISSION, "users_first"),
    Row("patience is over", sees(*KEYS, queue=(prompt("r", running=True), prompt("u"))),
        Memory(waiting_since=NOW - 600), Action.SUBMIT, State.NEEDS_SUBMISSION, "submit", also={"front": False}),
    Row("the set goes to the end of the queue", sees(*KEYS, queue=(prompt("r", running=True), prompt("u"))), Memory(),
        Action.SUBMIT, State.NEEDS_SUBMISSION, "submit", policy=replace(POLICY, priority="queue"),
        also={"front": False}),
    Row("the set goes to the front", sees(*KEYS, queue=(prompt("r", running=True), prompt("u"))), Memory(),
        Action.SUBMIT, State.NEEDS_SUBMISSION, "submit", policy=replace(POLICY, priority="front"),
        also={"front": True}),
    Row("an operator's wish passes over politeness", sees(*KEYS, queue=(prompt("r", running=True), prompt("u"))),
        Memory(hurried=True), Action.SUBMIT, State.NEEDS_SUBMISSION, "submit"),
    Row("a running job alone is not waited for", sees(*KEYS, queue=(prompt("r", running=True),)), Memory(),
        Action.SUBMIT, State.NEEDS_SUBMISSION, "submit"),
    Row("another keeper's job for other keys is nobody to be polite to",
        sees("clip", queue=(prompt("r", running=True), keeper("k", "vae"))), Memory(), Action.SUBMIT,
        State.NEEDS_SUBMISSION, "submit"),
    # -- capacity
    waits("another set of this server is being warmed", COLD, Memory(), State.NEEDS_SUBMISSION, "one_at_a_time",
          room=Room(server_open=True)),
    waits("the fleet has no place", COLD, Memory(), State.NEEDS_SUBMISSION, "fleet_cap",
          room=Room(fleet_open=4, fleet_cap=4)),
    waits("the group has no place", COLD, Memory(), State.NEEDS_SUBMISSION, "group_cap",
          room=Room(fleet_open=1, fleet_cap=4, group_open=1, group_cap=1)),
    Row("a group without a cap", COLD, Memory(), Action.SUBMIT, State.NEEDS_SUBMISSION, "submit",
        room=Room(fleet_open=3, fleet_cap=4, group_open=3)),
    waits("another warm-up has just started", COLD, Memory(), State.NEEDS_SUBMISSION, "start_gap",
          room=Room(fleet_cap=4, next_start_at=NOW + 0.5)),
    Row("the gap is over", COLD, Memory(), Action.SUBMIT, State.NEEDS_SUBMISSION, "submit",
        room=Room(fleet_cap=4, next_start_at=NOW)),
    waits("an operator's wish does not pass over the caps", COLD, Memory(hurried=True), State.NEEDS_SUBMISSION,
          "fleet_cap", room=Room(fleet_open=4, fleet_cap=4)),
    # -- what is submitted
    Row("the first missing key", COLD, Memory(), Action.SUBMIT, State.NEEDS_SUBMISSION, "submit",
        also={"key": "clip", "look_again_seconds": 0.0, "closes": None}),
    Row("a key that no node of the workflow stores by name needs the whole workflow", sees("unheard"), Memory(),
        Action.SUBMIT, State.NEEDS_SUBMISSION, "submit", also={"key": None}),
    Row("of those missing, one that a node stores", sees("unheard", 7), Memory(), Action.SUBMIT,
        State.NEEDS_SUBMISSION, "submit", also={"key": 7}),
    # -- how keys were lost
    Row("keys are gone and the server stayed up", COLD, Memory(loaded_once=True), Action.SUBMIT,
        State.NEEDS_SUBMISSION, "submit", also={"loss": "eviction"}),
    Row("keys and the history are gone", replace(COLD, earlier_run_gone=True), Memory(loaded_once=True), Action.SUBMIT,
        State.NEEDS_SUBMISSION, "submit", also={"loss": "restart"}),
    Row("keys are gone after the server was away", COLD, Memory(loaded_once=True, was_away=True), Action.SUBMIT,
        State.NEEDS_SUBMISSION, "submit", also={"loss": "restart"}),
    Row("keys are gone after the network was away: our run is still in the history",
        replace(COLD, earlier_run_gone=False), Memory(loaded_once=True, was_away=True), Action.SUBMIT,
        State.NEEDS_SUBMISSION, "submit", also={"loss": "eviction"}),
    Row("keys were never all there", replace(COLD, earlier_run_gone=True), Memory(), Action.SUBMIT,
        State.NEEDS_SUBMISSION, "submit", also={"loss": ""}),
    # -- asked for although loaded
    Row("an operator wants it warmed again", LOADED, Memory(forced=True), Action.SUBMIT, State.NEEDS_SUBMISSION,
        "submit", also={"key": None}),
    waits("the run that was asked for is followed although all keys are there", sees(queue=(OURS_RUNNING,)),
          replace(OPEN, submission=posted(None, forced=True)), State.WARMING, "running"),
    Row("the run that was asked for has ended well", sees(run=Run("ours", True)),
        replace(OPEN, submission=posted(None, forced=True)), Action.NONE, State.LOADED, "loaded",
        also={"closes": Outcome.VERIFIED}),
    waits("the run that was asked for has failed, whatever the cache shows", sees(run=Run("ours", False, "broke")),
          replace(OPEN, submission=posted(None, forced=True)), State.FAILED, "failed"),
    waits("the run that was asked for is lost: keys that were there before prove nothing", LOADED,
          replace(OPEN, submission=posted(None, forced=True)), State.FAILED, "lost", also={"closes": Outcome.LOST}),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.title)
def test_the_rule_for(row: Row) -> None:
    decision = decide(row.observed, row.memory, row.policy, row.room, NOW)
    assert (decision.action, decision.state, decision.rule) == (row.action, row.state, row.rule), decision.reason
    assert {name: getattr(decision, name) for name in row.also} == row.also
    assert decision.reason
    assert is_told_in_chinese(decision, row.observed)


Situation = dict[str, Any]
Change = Callable[[Situation], None]


def _situation() -> Situation:
    return {"observed": COLD, "memory": Memory(), "policy": POLICY, "room": ROOM}


def _look(situation: Situation, *, queue: QueuedPrompt | None = None, **more: Any) -> None:
    observed: Observation = situation["observed"]
    prompts = (observed.queue or Queue(())).prompts + ((queue,) if queue else ())
    situation["observed"] = replace(observed, queue=Queue(prompts), **more)


def _cache(situation: Situation, **more: Any) -> None:
    assert situation["observed"].cache is not None
    _look(situation, cache=replace(situation["observed"].cache, **more))


def _set(what: str, **more: Any) -> Change:
    def change(situation: Situation) -> None:
        situation[what] = replace(situation[what], **more)

    return change


def _both(one: Change, two: Change) -> Change:
    def change(situation: Situation) -> None:
        one(situation)
        two(situation)

    return change


def _nothing(_: Situation) -> None:
    """No further obstacle."""


USER = prompt("user", number=1)
ORDER: list[tuple[str, Change]] = [
    ("unreachable", _set("observed", reach=Reach.UNREACHABLE, detail="refused")),
    ("loaded", lambda situation: _cache(situation, missing=())),
    ("zombie_worker", _both(lambda situation: _look(situation, queue=USER), _set("memory", idle_pending_polls=2))),
    ("queued", _both(lambda situation: _look(situation, queue=OURS_PENDING), _set("memory", submission=posted()))),
    ("other_in_queue", lambda situation: _look(situation, queue=prompt("other", "vae", number=3))),
    ("claims_executing", lambda situation: _cache(situation, claims_executing=True)),
    ("no_workflow", _set("policy", has_workflow=False)),
    ("lru_overfull", _set("policy", overfull=(TOO_MANY,))),
    ("backing_off", _set("memory", failures=1, last_failure="broke", retry_at=NOW + 20)),
    ("preflight", lambda situation: _look(situation, lacking=("class 'X'",), unmet=frozenset(KEYS))),
    ("users_first", lambda situation: _look(situation, queue=USER)),
    ("one_at_a_time", _set("room", server_open=True)),
    ("fleet_cap", _set("room", fleet_open=9)),
    ("group_cap", _set("room", group_open=1, group_cap=1)),
    ("start_gap", _set("room", next_start_at=NOW + 1)),
]  # fmt: skip


@pytest.mark.parametrize("first", range(len(ORDER)), ids=[rule for rule, _ in ORDER])
def test_where_several_rules_apply_the_first_of_this_order_wins(first: int) -> None:
    rule, apply = ORDER[first]
    for _, also in [("", _nothing), *ORDER[first + 1 :]]:
        situation = _situation()
        also(situation)
        apply(situation)
        assert decide(now=NOW, **situation).rule == rule


def test_without_any_obstacle_the_first_missing_key_is_submitted() -> None:
    assert decide(now=NOW, **_situation()).rule == "submit"
