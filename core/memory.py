"""What is remembered of a warm-up set from poll to poll, and when it is tried and polled again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.model import Decision, Memory, Observation, Outcome, Policy, Reach, State
from core.warmup import users_jobs
from core.workflow import Key

LONGEST_AWAY_SECONDS = 300.0
"""The longest that a server which does not answer is left alone."""

PATIENT_POLLS = 10
"""So many polls in a row may go unanswered, as while a server loads, before they count as those of one that is away."""

_REMEMBERED_RUNS = 10


def retry_delay(failures: int, policy: Policy, jitter: float) -> float:
    """Return seconds until the next try after ``failures`` in a row; ``jitter`` from 0 to 1 takes up to half off."""
    if failures >= policy.breaker_failures:
        longest = policy.breaker_seconds
    else:
        longest = min(policy.backoff_max_seconds, policy.backoff_seconds * 2.0 ** min(failures - 1, 30))
    return longest * (1 - jitter / 2)


def next_poll_seconds(
    interval_seconds: float, away: int, hung: int, look_again: Sequence[float | None], jitter: float
) -> float | None:
    """Return seconds until a server's own next poll, None where the fleet's next cycle is soon enough.

    ``away`` counts polls in a row without a connection, ``hung`` those with one and without an answer: such a server
    is polled less and less often, so that it costs the others little. ``look_again`` are the wishes of its sets.
    """
    away = max(away, hung - PATIENT_POLLS)
    if away > 1:
        longest = max(LONGEST_AWAY_SECONDS, interval_seconds)
        return min(longest, interval_seconds * 2.0 ** min(away - 1, 30)) * (1 - jitter / 4)
    soonest = min((seconds for seconds in look_again if seconds is not None), default=None)
    return soonest if soonest is not None and soonest < interval_seconds else None


def advance(
    memory: Memory, observed: Observation, decision: Decision, policy: Policy, now: float, jitter: float
) -> Memory:
    """Return what to remember after a decision was made and, where it says so, the submission was closed.

    A new submission is put into the memory by whoever records and posts it. ``jitter`` is a random number
    from 0 to 1.
    """
    after = replace(
        memory,
        state=decision.state,
        rule=decision.rule,
        since=now if memory.state is not decision.state else memory.since,
    )
    after = _remember_submission(after, observed, decision, now)
    key = memory.submission.key if memory.submission is not None else None
    if decision.closes in (Outcome.FAILED, Outcome.NOT_STORED):
        after = failed(after, decision.reason, policy, now, jitter, key)
    elif decision.closes in (Outcome.TIMED_OUT, Outcome.LOST):
        # The server's fault, or everybody's: no reason to try another key at once.
        after = failed(after, decision.reason, policy, now, jitter)
    elif decision.closes is Outcome.VERIFIED:
        after = _recovered(after, key)
    elif decision.rule == "preflight":
        after = failed(after, decision.reason, policy, now, jitter)
    if observed.reach is Reach.UNREACHABLE:
        return replace(after, was_away=True, idle_pending_polls=0)
    if observed.reach is not Reach.OK:
        return after
    if decision.state is State.LOADED:
        return replace(
            after, hurried=False, forced=False, loaded_once=True, was_away=False,
            failures=0, failed_keys=(), last_failure="", retry_at=0.0,
            claim_seen_at=None, claim_disproved=False, waiting_since=None, idle_pending_polls=0, head=None,
        )  # fmt: skip
    running = observed.queue.running if observed.queue is not None else ()
    head = (running[0].prompt_id, now) if running else None
    if head is not None and memory.head is not None and head[0] == memory.head[0]:
        head = memory.head
    idle = observed.queue is not None and bool(observed.queue.pending) and not observed.queue.running
    # Patience that is spent stays spent until the users' queue was empty, whatever else keeps the set waiting.
    waiting_since = memory.waiting_since if observed.queue is not None and users_jobs(observed.queue) else None
    if decision.rule == "users_first" and waiting_since is None:
        waiting_since = now
    after = replace(
        after,
        loaded_once=False,
        was_away=False,
        head=head,
        idle_pending_polls=memory.idle_pending_polls + 1 if idle else 0,
        waiting_since=waiting_since,
    )
    return _remember_claim(after, memory, decision, policy, now)


def failed(memory: Memory, reason: str, policy: Policy, now: float, jitter: float, key: Key | None = None) -> Memory:
    """Return the memory after a failure: when to try again, and in whose words it failed.

    ``key`` is the one to blame, None when the whole set is. Several keys that fail in one round of tries are
    one failure in a row.
    """
    same_round = key is not None and bool(memory.failed_keys) and key not in memory.failed_keys
    failures = max(memory.failures, 1) if same_round else memory.failures + 1
    blamed = (*(memory.failed_keys if same_round else ()), *(() if key is None else (key,)))
    retry_at = now + retry_delay(failures, policy, jitter)
    return replace(
        memory,
        hurried=False,
        forced=False,
        failures=failures,
        failed_keys=blamed,
        last_failure=reason,
        retry_at=retry_at,
    )


def _recovered(memory: Memory, key: Key | None) -> Memory:
    left = tuple(each for each in memory.failed_keys if each != key)
    if left:
        return replace(memory, failed_keys=left)
    return replace(memory, failures=0, failed_keys=(), last_failure="", retry_at=0.0)


def _remember_submission(memory: Memory, observed: Observation, decision: Decision, now: float) -> Memory:
    submission = memory.submission
    if submission is None:
        return memory
    if decision.closes is not None:
        past = memory.past_run_seconds
        if decision.closes is Outcome.VERIFIED and submission.running_since is not None:
            past = (*past, now - submission.running_since)[-_REMEMBERED_RUNS:]
        return replace(memory, submission=None, past_run_seconds=past)
    queued = observed.queue.find(submission.prompt_id) if observed.queue else None
    if queued is None:
        return memory
    running_since = submission.running_since
    if queued.running and running_since is None:
        running_since = now
    return replace(memory, submission=replace(submission, confirmed=True, running_since=running_since))


def _remember_claim(after: Memory, before: Memory, decision: Decision, policy: Policy, now: float) -> Memory:
    if decision.rule != "claims_executing":
        # A real run in the queue bears the claim out; anything else leaves the count where it is.
        return replace(after, claim_seen_at=None, claim_disproved=False) if decision.rule == "other_in_queue" else after
    if before.claim_seen_at is None:
        return replace(after, claim_seen_at=now)
    # Looked at again, and the queue still shows no such run: one more cycle, then we submit ourselves.
    return replace(after, claim_disproved=now - before.claim_seen_at >= policy.recheck_seconds)
