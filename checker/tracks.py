"""What the checker holds in memory about each server and each of its warm-up sets."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from client.server_client import ServerClient
from core import reason_phrases as say
from core.errors import StoreError
from core.fleet import Server, WarmupSet
from core.model import (
    Action,
    Decision,
    DetectorUsed,
    Event,
    Memory,
    Observation,
    OpenSubmission,
    Outcome,
    Pause,
    Policy,
    Reach,
    State,
    Submission,
)
from core.recent import CELL_SECONDS, RANKS, STRIP_CELLS, Latencies, Strip
from core.workflow import Key

log = logging.getLogger("checker")


class Journal(Protocol):
    """What the checker needs of the journal on disk; ``store.journal.Journal`` is one."""

    unwritten_reason: str

    def record(self, events: list[Event]) -> None: ...
    def open_submission(self, submission: OpenSubmission, event: Event) -> bool: ...
    def confirm_submission(self, prompt_id: str) -> None: ...
    def close_submission(
        self, prompt_id: str, outcome: Outcome, reason: str, at: float, run_seconds: float | None, event: Event
    ) -> None: ...
    def open_submissions(self) -> list[OpenSubmission]: ...
    def open_submission_of(self, server: str) -> OpenSubmission | None: ...
    def last_verified(self) -> dict[tuple[str, str], tuple[str, float]]: ...
    def run_seconds(self) -> dict[tuple[str, str], tuple[float, ...]]: ...
    def states(self) -> dict[tuple[str, str], tuple[State, str, str, float]]: ...
    def pauses(self, now: float) -> dict[str, Pause]: ...
    def state_changes(self, since: float) -> list[tuple[float, str, str, State, State]]: ...
    def forget_before(self, at: float) -> int: ...


_NOT_DECIDED = Decision(Action.NONE, State.UNKNOWN, "not_polled", say.NOT_POLLED())
_NOT_OBSERVED = Observation(Reach.BAD_ANSWER, say.NOT_POLLED())


@dataclass(slots=True, eq=False)
class SetTrack:
    """One warm-up set on one server: its policy, what is remembered of it, and what was last seen and decided.

    ``good_run`` is the last verified run: its prompt id and when it ended (UTC seconds). ``preflight`` is
    when the server was last asked what it has (monotonic), and what it lacked, by node id.
    """

    warmup: WarmupSet
    policy: Policy
    memory: Memory = field(default_factory=Memory)
    decision: Decision = _NOT_DECIDED
    observation: Observation = _NOT_OBSERVED
    good_run: tuple[str, float] | None = None
    preflight: tuple[float, dict[str, list[str]]] | None = None
    last_submitted_at: float | None = None
    warming_from: float | None = None
    last_warm_seconds: float | None = None

    @property
    def missing(self) -> tuple[Key, ...]:
        cache = self.observation.cache
        return cache.missing if cache else ()

    def tag_of(self, key: Key) -> str | None:
        return next((stored.tag for stored in self.warmup.stored if stored.key == key), None)


@dataclass(slots=True, eq=False)
class ServerTrack:
    """One server: how it is reached, which detector it offers, when it is to be polled next.

    ``offers`` remembers which routes exist, None while unknown. ``polled_at`` is UTC seconds, ``next_poll_at``
    monotonic. ``away`` counts polls in a row without a connection, ``hung`` those in a row with one and without an
    answer while no submission was open.
    """

    server: Server
    client: ServerClient
    sets: list[SetTrack]
    offers: dict[DetectorUsed, bool] = field(default_factory=dict)
    next_poll_at: float = 0.0
    polled_at: float | None = None
    polls_total: int = 0
    latency_seconds: float | None = None
    queue_length: int | None = None
    away: int = 0
    hung: int = 0
    in_flight: bool = False
    paused: Pause | None = None
    strip: Strip = field(default_factory=Strip)
    latencies: Latencies = field(default_factory=Latencies)

    @property
    def state(self) -> State:
        """The state that most needs a person's eye, of all its sets."""
        return worst(each.memory.state for each in self.sets)

    @property
    def open_set(self) -> SetTrack | None:
        """The set whose submission is open; a server has one at a time."""
        return next((track for track in self.sets if track.memory.submission is not None), None)


def new_track(server: Server, client: ServerClient, policy: Policy) -> ServerTrack:
    """Given a server and the fleet-wide numbers, return its track with one policy a set."""
    return ServerTrack(server, client, [SetTrack(warmup, policy_for(warmup, policy)) for warmup in server.sets])


def worst(states: Iterable[State]) -> State:
    """Return the state that most needs a person's eye; UNKNOWN of none."""
    return min(states, key=RANKS.__getitem__, default=State.UNKNOWN)


def policy_for(warmup: WarmupSet, policy: Policy) -> Policy:
    """Given fleet-wide numbers and a set, return the numbers that hold for the set."""
    return replace(
        policy,
        has_workflow=warmup.graph is not None,
        storable=warmup.storable,
        priority=warmup.priority,
        patience_seconds=warmup.patience_seconds,
        timeout_seconds=warmup.timeout_seconds,
    )


def carry_over(before: ServerTrack, after: ServerTrack) -> None:
    """Keep what is known of a server and of those of its sets that a new configuration still has."""
    after.offers, after.next_poll_at, after.away, after.hung = before.offers, 0.0, before.away, before.hung
    after.polled_at, after.polls_total, after.queue_length = before.polled_at, before.polls_total, before.queue_length
    after.strip, after.latencies, after.latency_seconds = before.strip, before.latencies, before.latency_seconds
    known = {each.warmup.name: each for each in before.sets}
    for each in after.sets:
        earlier = known.get(each.warmup.name)
        if earlier is None:
            continue
        # An open submission must be followed to its end even when the set has changed under it.
        each.memory, each.good_run = earlier.memory, earlier.good_run
        if (each.warmup.keys, each.warmup.graph) != (earlier.warmup.keys, earlier.warmup.graph):
            # Keys that are new were never lost, and what failed before need not fail again.
            each.memory = replace(each.memory, loaded_once=False, failures=0, failed_keys=(), retry_at=0.0)
        each.decision, each.observation = earlier.decision, earlier.observation
        each.last_submitted_at, each.last_warm_seconds = earlier.last_submitted_at, earlier.last_warm_seconds
        each.warming_from = earlier.warming_from


def restore(tracks: Iterable[ServerTrack], journal: Journal, now: float, wall: float) -> None:
    """Find the open submissions, last states and verified runs of an earlier process again."""
    try:
        states, good, runs = journal.states(), journal.last_verified(), journal.run_seconds()
        opened = {each.server: each for each in journal.open_submissions()}
        day = journal.state_changes(wall - STRIP_CELLS * CELL_SECONDS)
    except StoreError as error:
        log.warning("starting without memory: %s", error)
        return
    tracks = list(tracks)
    for track in tracks:
        for each in track.sets:
            mark = (track.server.name, each.warmup.name)
            each.good_run = good.get(mark)
            memory = replace(each.memory, past_run_seconds=runs.get(mark, ()))
            if mark in states:
                state, rule, reason, since = states[mark]
                memory = replace(
                    memory, state=state, rule=rule, since=now - max(wall - since, 0.0),
                    # Away since then, and warm before: what it lacks when it is back went with a restart.
                    loaded_once=state is State.LOADED or (state is State.UNREACHABLE and mark in good),
                    was_away=state is State.UNREACHABLE,
                )  # fmt: skip
                each.decision = Decision(Action.NONE, state, rule, reason)
            found = opened.get(track.server.name)
            if found is not None and found.set_name == each.warmup.name:
                posted_at = now - max(wall - found.posted_at, 0.0)
                memory = replace(memory, submission=Submission(found.prompt_id, found.key, posted_at, found.confirmed))
            each.memory = memory
    _restore_strips(tracks, day, wall)


def _restore_strips(
    tracks: Iterable[ServerTrack], day: Iterable[tuple[float, str, str, State, State]], wall: float
) -> None:
    """Draw the strips of the last day anew. While the daemon was down they show what was known before."""
    changes: dict[str, list[tuple[float, str, State, State]]] = {}
    for at, server, set_name, before, after in day:
        changes.setdefault(server, []).append((at, set_name, before, after))
    for track in tracks:
        # A set without a change in all that time is what it was before; the others were what they changed from.
        states = {each.warmup.name: each.memory.state for each in track.sets}
        own = [change for change in changes.get(track.server.name, ()) if change[1] in states]
        for _, set_name, before, _ in reversed(own):
            states[set_name] = before
        # Before its first poll nothing is known of a set, which is not the state that a bad answer leads to.
        polled: dict[str, State] = {name: state for name, state in states.items() if state is not State.UNKNOWN}
        track.strip.mark(worst(polled.values()) if polled else None, wall - STRIP_CELLS * CELL_SECONDS)
        for at, set_name, _, after in own:
            polled[set_name] = after
            track.strip.mark(worst(polled.values()), at)
