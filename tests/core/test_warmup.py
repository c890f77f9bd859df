"""The specification of decide() and advance(): which rule applies when, in which order, and what is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model import (
    Action,
    Cache,
    Decision,
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
from core.warmup import CLIENT_PREFIX, advance, decide, next_poll_seconds, retry_delay, timeout_seconds
from core.workflow import Key

NOW = 10_000.0
KEYS: tuple[Key, ...] = ("clip", "vae", 7)
POLICY = Policy(storable=frozenset(KEYS))
ROOM = Room(fleet_cap=4)


def prompt(
    prompt_id: str, *keys: Key, running: bool = False, number: float = 0, client: str = "somebody"
) -> QueuedPrompt:
    return QueuedPrompt(prompt_id, number, running, frozenset(keys), client)


def keeper(prompt_id: str, *keys: Key, running: bool = False, number: float = 0) -> QueuedPrompt:
    return prompt(prompt_id, *keys, running=running, number=number, client=CLIENT_PREFIX + "elsewhere")


def sees(
    *missing: Key, queue: tuple[QueuedPrompt, ...] = (), detector: DetectorUsed = DetectorUsed.LIST,
    claims: bool = False, detail: str = "", **more: Any,
) -> Observation:  # fmt: skip
    cache = Cache(detector, missing, claims_executing=claims, detail=detail)
    return Observation(Reach.OK, cache=cache, queue=Queue(queue), **more)


def posted(key: Key | None = "clip", *, ago: float = 2.0, **more: Any) -> Submission:
    return Submission("ours", key, NOW - ago, **{"confirmed": True, **more})


NOTHING_KNOWN = Memory()
LOADED = sees()
COLD = sees(*KEYS)


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


OPEN = Memory(submission=posted(), state=State.QUEUED, loaded_once=False)
OURS_PENDING = prompt("ours", "clip", number=5, client=CLIENT_PREFIX + "us")
OURS_RUNNING = replace(OURS_PENDING, running=True)
FAILED_ONCE = Memory(failures=1, last_failure="node 1 (Loader): no memory", retry_at=NOW + 20)
KEY_FAILED = replace(FAILED_ONCE, failed_keys=("clip",))

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
        policy=replace(POLICY, overfull=("25 keys wanted with tag '', whose LRU holds 20",))),
    Row("more keys than the tag holds, but all are there", LOADED, Memory(), Action.NONE, State.LOADED, "loaded",
        policy=replace(POLICY, overfull=("25 keys",))),
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
    Row("the server lacks a model file", replace(COLD, lacking=("ckpt_name 'a.safetensors' for L",)), Memory(),
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
    ("lru_overfull", _set("policy", overfull=("too many",))),
    ("backing_off", _set("memory", failures=1, last_failure="broke", retry_at=NOW + 20)),
    ("preflight", lambda situation: _look(situation, lacking=("class 'X'",))),
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


class Walk:
    """One set over several polls: what the poll cycle does with decide() and advance(), without a server."""

    def __init__(self, policy: Policy = POLICY, memory: Memory = NOTHING_KNOWN, jitter: float = 0.0) -> None:
        self.policy, self.memory, self.jitter, self.now = policy, memory, jitter, NOW
        self.submitted = 0

    def see(self, observed: Observation, after: float = 0.0, room: Room = ROOM) -> Decision:
        self.now += after
        decision = decide(observed, self.memory, self.policy, room, self.now)
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
        decision = walk.see(sees(*cold, run=Run(prompt_id, works, "" if works else "broke")), after=1)
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
        walk.see(sees(*KEYS, run=Run(prompt_id, False, "broke")), after=0.1)
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
    lacking = replace(COLD, lacking=("class 'X'",))
    assert walk.see(lacking).rule == "preflight"
    assert walk.see(COLD, after=1).rule == "backing_off"


def test_back_off_is_jittered_by_up_to_half_and_bounded() -> None:
    assert retry_delay(1, POLICY, 0.0) == 5.0
    assert retry_delay(1, POLICY, 1.0) == 2.5
    assert retry_delay(4, replace(POLICY, backoff_max_seconds=12, breaker_failures=99), 0.0) == 12
    assert retry_delay(10**6, replace(POLICY, breaker_failures=10**9), 0.0) == 300


def test_a_dead_server_is_polled_less_and_less_often_up_to_a_cap() -> None:
    assert [next_poll_seconds(30, away, [1.0], 0.0) for away in (2, 3, 4, 5, 60, 10**6)] == [
        60,
        120,
        240,
        300,
        300,
        300,
    ]
    assert next_poll_seconds(600, 9, [], 0.0) == 600, "never more often than its interval"
    assert next_poll_seconds(30, 5, [], 1.0) == 225, "spread, so that a fleet that died together is not polled together"


# -- for whatever a server may say and this program may remember -----------------------------------------

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
    overfull=st.sampled_from(((), ("too many",))),
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
