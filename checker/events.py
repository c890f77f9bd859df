"""Turns what happened to a set into events for the log: one line each, naming the rule that decided."""

from __future__ import annotations

import logging

from core import reason_phrases as say
from core.model import Decision, Event, Memory, Outcome, State, Submission

_QUIET_RULES = frozenset(
    {"backing_off", "breaker_open", "busy_while_warming", "next_key", "submitted", "queued", "running"}
)
"""Rules that only repeat, within a state, what another event tells."""

_STEPS = frozenset({"queued", "running", "next_key", "keeper_in_queue"})
"""Rules of a warm-up's ordinary course, of which the log need only tell the beginning and the end."""

_LOSSES = {"restart": say.RESTART, "eviction": say.EVICTION}


def events_of(
    server: str, set_name: str, before: Memory, after: Memory, decision: Decision, now: float, wall: float
) -> list[Event]:
    """Given a set's memory before and after one poll, return what is worth remembering, in the order it happened.

    ``now`` is monotonic, ``wall`` UTC seconds.
    """
    events: list[Event] = []
    if decision.loss:
        events.append(Event(wall, server, set_name, decision.loss, rule=decision.rule, reason=_LOSSES[decision.loss]()))
    changed = before.state is not after.state
    if changed or (before.rule != after.rule and after.rule not in _QUIET_RULES):
        about = after.submission or before.submission
        events.append(
            Event(
                wall, server, set_name, "state", before.state.value, after.state.value, decision.rule, decision.reason,
                prompt_id=about.prompt_id if about is not None else "",
                seconds=max(now - before.since, 0.0) if changed and before.since else None,
            )
        )  # fmt: skip
    return events


def closing_event(
    server: str, set_name: str, submission: Submission, outcome: Outcome, reason: str, now: float, wall: float
) -> Event:
    """Return the event that tells how a submission ended, and after how many seconds since it was sent."""
    if outcome is Outcome.VERIFIED:
        reason = say.KEY_SEEN(key=submission.key) if submission.key is not None else say.ALL_SEEN()
    return Event(
        wall, server, set_name, outcome.value, rule=outcome.value, reason=reason,
        prompt_id=submission.prompt_id, seconds=now - submission.posted_at,
    )  # fmt: skip


def is_step(event: Event) -> bool:
    """Whether an event only tells that a warm-up takes its ordinary course, between its beginning and its end."""
    return event.kind == "state" and (event.rule in _STEPS or event.rule == "submitted")


def level_of(event: Event) -> int:
    """Return the logging level at which an event is worth a line in daemon.log."""
    if event.to_state == State.FAILED or event.kind in ("failed", "rejected", "not_stored", "timed_out", "lost"):
        return logging.WARNING
    if event.kind == "state" and (event.from_state == event.to_state or event.rule in _STEPS):
        return logging.DEBUG
    return logging.INFO


def describe(event: Event) -> str:
    """Return an event as a log line: verb, subject, key=value."""
    words = f"{event.from_state} -> {event.to_state}" if event.kind == "state" else event.kind
    parts = [words, f"server={event.server}", f"set={event.set_name}", f"rule={event.rule}"]
    if event.prompt_id:
        parts.append(f"prompt_id={event.prompt_id}")
    if event.seconds is not None:
        parts.append(f"seconds={event.seconds:.1f}")
    return " ".join(parts) + f": {event.reason}"
