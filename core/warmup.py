"""Decides what to do for one warm-up set on one server. Pure: what was observed, what is remembered, the time.

``decide`` is a list of guard clauses; the first that applies wins, and its ``rule`` is what the event log
names. ``core.memory.advance`` is the only place where the memory changes. Their test table is the specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core import reason_phrases as say
from core.model import (
    Action,
    Cache,
    Decision,
    Memory,
    Observation,
    Outcome,
    Policy,
    Queue,
    QueuedPrompt,
    Reach,
    Room,
    State,
    Submission,
)

CLIENT_PREFIX = "cache-keeper-"
"""How the client_id of every submission of this program begins, whichever machine it runs on."""

_REACH_STATES = {
    Reach.UNREACHABLE: State.UNREACHABLE,
    Reach.BUSY: State.BUSY,
    Reach.BAD_ANSWER: State.UNKNOWN,
}
_FEWEST_RUNS_TO_ADAPT = 3
_SHORTEST_TIMEOUT_SECONDS = 60.0


def decide(observed: Observation, memory: Memory, policy: Policy, room: Room, now: float) -> Decision:
    """Given one probe's observation and what is remembered, return what to do next, by the first rule that applies."""
    cache, queue = observed.cache, observed.queue or Queue(())
    if observed.reach is not Reach.OK or cache is None:
        return _without_answer(observed, memory, policy, now)
    closes: Outcome | None = None
    forced_run = memory.submission is not None and memory.submission.forced
    if cache.loaded and not forced_run and not memory.forced:
        closes = Outcome.VERIFIED if memory.submission else None
        return Decision(Action.NONE, State.LOADED, "loaded", say.LOADED(detector=cache.detector), closes=closes)
    loss = _loss(observed, memory)
    lacks = ", ".join(map(str, cache.missing)) or cache.detail or say.also(say.NOTHING(), say.ASKED_FOR())
    missing = say.MISSING(missing=lacks)
    if queue.pending and not queue.running and memory.idle_pending_polls + 1 >= policy.zombie_polls:
        reason = say.DEAD_WORKER(pending=len(queue.pending), polls=memory.idle_pending_polls + 1)
        return Decision(Action.NONE, State.FAILED, "zombie_worker", reason, loss=loss)
    if queue.running and memory.head is not None and memory.head[0] == queue.running[0].prompt_id:
        running_for = now - memory.head[1]
        if running_for > max(policy.stuck_seconds, policy.timeout_seconds):
            # A worker thread that died over a prompt leaves it in queue_running for ever.
            reason = say.STUCK_WORKER(prompt=memory.head[0], seconds=running_for)
            return Decision(Action.NONE, State.FAILED, "stuck_worker", reason, loss=loss)

    if memory.submission is not None:
        closes, following = _follow(memory.submission, observed, cache, queue, memory, policy, now)
        if following is not None:
            return replace(following, loss=loss)

    # A detector without a list does not say which keys are missing: any key of the set counts then.
    wanted = frozenset(cache.missing) or policy.storable
    other = None if cache.loaded else next((prompt for prompt in queue.prompts if prompt.keys & wanted), None)
    if other is not None:
        mine = other.client_id.startswith(CLIENT_PREFIX)
        state = (State.WARMING if other.running else State.QUEUED) if mine else State.AUTO_EXECUTING
        runs, waits = (say.KEEPER_RUNS, say.KEEPER_WAITS) if mine else (say.OTHER_RUNS, say.OTHER_WAITS)
        reason = (runs if other.running else waits)(prompt=other.prompt_id)
        rule = "keeper_in_queue" if mine else "other_in_queue"
        return Decision(
            Action.WAIT, state, rule, reason, closes=closes, loss=loss, look_again_seconds=policy.recheck_seconds
        )
    if cache.claims_executing and not memory.claim_disproved:
        elapsed = now - memory.claim_seen_at if memory.claim_seen_at is not None else 0.0
        left = policy.recheck_seconds - elapsed
        reason = say.also(missing, say.CLAIMS_EXECUTING())
        return Decision(
            Action.RECHECK, State.AUTO_EXECUTING, "claims_executing", reason, closes=closes, loss=loss,
            look_again_seconds=left if left > 0 else None,
        )  # fmt: skip
    if forced_run and cache.loaded:
        return Decision(Action.NONE, State.LOADED, "loaded", say.LOADED(detector=cache.detector), closes=closes)
    if not policy.has_workflow:
        reason = say.also(missing, say.NO_WORKFLOW())
        return Decision(Action.NONE, State.NEEDS_SUBMISSION, "no_workflow", reason, closes=closes, loss=loss)
    if policy.overfull:
        reason = say.also(*policy.overfull)
        return Decision(Action.NONE, State.FAILED, "lru_overfull", reason, closes=closes, loss=loss)
    storable = [key for key in cache.missing if key in policy.storable]
    untried = [key for key in storable if key not in memory.failed_keys]
    others_may_work = bool(memory.failed_keys and untried)
    if now < memory.retry_at and not memory.hurried and not others_may_work:
        broken = memory.failures >= policy.breaker_failures
        rule = "breaker_open" if broken else "backing_off"
        wait = memory.retry_at - now
        reason = say.also(memory.last_failure, say.FAILED_BEFORE(failures=memory.failures, seconds=wait))
        return Decision(Action.WAIT, State.FAILED, rule, reason, closes=closes, loss=loss, look_again_seconds=wait)
    able = [key for key in untried or storable if key not in observed.unmet]
    able = able or [key for key in storable if key not in observed.unmet]
    if observed.lacking and not able:
        reason = say.LACKS(lacking=", ".join(observed.lacking))
        return Decision(Action.NONE, State.FAILED, "preflight", reason, closes=closes, loss=loss)

    waiting = _politeness(queue, memory, policy, now)
    if waiting is not None:
        return Decision(
            Action.WAIT, State.NEEDS_SUBMISSION, "users_first", say.also(missing, waiting),
            closes=closes, loss=loss, look_again_seconds=policy.recheck_seconds,
        )  # fmt: skip
    full = _capacity(room, now)
    if full is not None:
        rule, reason = full
        return Decision(Action.WAIT, State.NEEDS_SUBMISSION, rule, say.also(missing, reason), closes=closes, loss=loss)
    key = next(iter(able), None)
    # The next key of a warm-up that is under way is no new need: the set stays queued.
    state, rule = (State.QUEUED, "next_key") if closes is Outcome.VERIFIED else (State.NEEDS_SUBMISSION, "submit")
    return Decision(
        Action.SUBMIT, state, rule, missing, key=key, front=policy.priority == "front",
        closes=closes, loss=loss, look_again_seconds=0.0,
    )  # fmt: skip


def _without_answer(observed: Observation, memory: Memory, policy: Policy, now: float) -> Decision:
    reach = observed.reach if observed.reach is not Reach.OK else Reach.BAD_ANSWER
    ours = memory.submission if memory.state in (State.QUEUED, State.WARMING) else None
    since = now if ours is None else ours.posted_at if ours.running_since is None else ours.running_since
    may_be_ours = now - since <= timeout_seconds(policy, memory.past_run_seconds)
    if reach is Reach.BUSY and ours is not None and may_be_ours:
        # A loader that holds the interpreter lock makes the server answer late: that is our own warm-up at work.
        reason = say.BUSY_WHILE_WARMING(reason=observed.detail)
        return _look_again(Action.WAIT, memory.state, "busy_while_warming", reason, policy)
    return Decision(Action.WAIT, _REACH_STATES[reach], reach.value, observed.detail)


def _follow(
    submission: Submission,
    observed: Observation,
    cache: Cache,
    queue: Queue,
    memory: Memory,
    policy: Policy,
    now: float,
) -> tuple[Outcome | None, Decision | None]:
    """Return (how the submission ended, None), or (None, what to say while it goes on), or both for a failure."""
    stored = submission.key not in cache.missing if submission.key is not None else cache.loaded
    what = say.submission(submission.prompt_id, submission.key)
    queued = queue.find(submission.prompt_id)
    if queued is not None and queued.running:
        since = submission.running_since if submission.running_since is not None else now
        limit = timeout_seconds(policy, memory.past_run_seconds)
        if now - since <= limit:
            reason = say.RUNNING(submission=what)
            return None, _look_again(Action.WAIT, State.WARMING, "running", reason, policy)
        return _failed(Outcome.TIMED_OUT, say.TIMED_OUT(submission=what, seconds=limit))
    if queued is not None:
        rival = rival_ahead(queue, submission.prompt_id)
        if rival is not None:
            reason = say.IS_WITHDRAWN(submission=what, prompt=rival.prompt_id)
            withdrawn = Outcome.WITHDRAWN
            return withdrawn, Decision(
                Action.WITHDRAW, State.QUEUED, withdrawn.value, reason, prompt_id=submission.prompt_id,
                closes=withdrawn, look_again_seconds=policy.follow_seconds,
            )  # fmt: skip
        ahead = sum(1 for prompt in queue.prompts if prompt.prompt_id != submission.prompt_id)
        reason = say.QUEUED(submission=what, ahead=ahead)
        return None, _look_again(Action.WAIT, State.QUEUED, "queued", reason, policy)
    # Success is what the cache shows, even of a run that reports an error: one behind the loader, say. But what was
    # there before a forced run proves nothing about it.
    if stored and not submission.forced:
        return Outcome.VERIFIED, None
    if observed.run is not None:
        if not observed.run.succeeded:
            return _failed(Outcome.FAILED, observed.run.detail)
        if stored:
            return Outcome.VERIFIED, None
        left = submission.key if submission.key is not None else ", ".join(map(str, cache.missing)) or cache.detail
        cached = observed.run.cached_nodes
        reason = say.NOT_STORED_CACHED(nodes=cached, missing=left) if cached else say.NOT_STORED(missing=left)
        return _failed(Outcome.NOT_STORED, reason)
    if not submission.confirmed and now - submission.posted_at < policy.post_grace_seconds:
        reason = say.UNCONFIRMED(submission=what)
        return None, _look_again(Action.WAIT, State.QUEUED, "post_unconfirmed", reason, policy)
    return _failed(Outcome.LOST, (say.RESTARTED if observed.earlier_run_gone else say.LOST)(submission=what))


def rival_ahead(queue: Queue, prompt_id: str) -> QueuedPrompt | None:
    """Given a queue, return another keeper's prompt that stores a key of ours and comes before ours, if ours waits.

    Two keepers that post in the same moment both see this, and only the later one finds somebody ahead.
    """
    ours = queue.find(prompt_id)
    if ours is None or ours.running:
        return None
    return next(
        (
            prompt
            for prompt in queue.prompts
            if prompt.client_id.startswith(CLIENT_PREFIX)
            and prompt.prompt_id != prompt_id
            and prompt.keys & ours.keys
            and (prompt.running or prompt.number < ours.number)
        ),
        None,
    )


def _failed(outcome: Outcome, reason: str) -> tuple[Outcome, Decision]:
    return outcome, Decision(Action.WAIT, State.FAILED, outcome.value, reason, closes=outcome)


def _look_again(action: Action, state: State, rule: str, reason: str, policy: Policy) -> Decision:
    return Decision(action, state, rule, reason, look_again_seconds=policy.follow_seconds)


def _loss(observed: Observation, memory: Memory) -> str:
    """How keys that were all there came to be missing; empty when they were not, or it has been told."""
    if not memory.loaded_once or (observed.cache is not None and observed.cache.loaded):
        return ""
    # A history that still has our run was never emptied, whatever kept the server from answering meanwhile.
    restarted = memory.was_away if observed.earlier_run_gone is None else observed.earlier_run_gone
    return "restart" if restarted else "eviction"


def _politeness(queue: Queue, memory: Memory, policy: Policy, now: float) -> str | None:
    users = users_jobs(queue)
    if policy.priority != "wait" or memory.hurried or not users:
        return None
    waited = now - memory.waiting_since if memory.waiting_since is not None else 0.0
    if waited >= policy.patience_seconds:
        return None
    left = policy.patience_seconds - waited
    return say.USERS_FIRST(jobs=len(users), seconds=left)


def users_jobs(queue: Queue) -> list[QueuedPrompt]:
    """Return the prompts that wait in a queue and are no cache keeper's."""
    return [prompt for prompt in queue.pending if not prompt.client_id.startswith(CLIENT_PREFIX)]


def _capacity(room: Room, now: float) -> tuple[str, str] | None:
    if room.server_open:
        return "one_at_a_time", say.ONE_AT_A_TIME()
    if room.fleet_open >= room.fleet_cap:
        return "fleet_cap", say.FLEET_FULL(warming=room.fleet_open)
    if room.group_cap is not None and room.group_open >= room.group_cap:
        return "group_cap", say.GROUP_FULL(warming=room.group_open)
    if now < room.next_start_at:
        return "start_gap", say.START_GAP()
    return None


def timeout_seconds(policy: Policy, past_run_seconds: Sequence[float]) -> float:
    """Return how long a run may take: four times the slowest known one, never above what is configured."""
    if len(past_run_seconds) < _FEWEST_RUNS_TO_ADAPT:
        return policy.timeout_seconds
    return min(policy.timeout_seconds, max(_SHORTEST_TIMEOUT_SECONDS, 4 * max(past_run_seconds)))
