"""What the checker knows, as plain values for the API, the pages and the CLI: from memory, never probing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from checker.tracks import ServerTrack, SetTrack
from core.model import State, chinese_status

_WORST_FIRST = (
    State.FAILED,
    State.UNREACHABLE,
    State.UNKNOWN,
    State.BUSY,
    State.NEEDS_SUBMISSION,
    State.QUEUED,
    State.WARMING,
    State.AUTO_EXECUTING,
    State.PAUSED,
    State.LOADED,
)
_RANKS = {state: rank for rank, state in enumerate(_WORST_FIRST)}
_IN_PROGRESS = frozenset({State.QUEUED, State.WARMING, State.AUTO_EXECUTING})


def worst(states: Iterable[State]) -> State:
    """Return the state that most needs a person's eye; UNKNOWN of none."""
    return min(states, key=_RANKS.__getitem__, default=State.UNKNOWN)


def server_state(track: ServerTrack) -> State:
    return worst(each.memory.state for each in track.sets)


def brief(track: ServerTrack) -> dict[str, Any]:
    """Return the users' four fields for a server, and ``state``, which no language changes."""
    state = server_state(track)
    return {
        "server": track.server.url,
        "name": track.server.name,
        "cache_loaded": state is State.LOADED,
        "auto_executing": state in _IN_PROGRESS,
        "status": chinese_status(state),
        "state": state.value,
    }


def detail(track: ServerTrack, now: float) -> dict[str, Any]:
    """Return everything that is known of a server; ``now`` is monotonic, ``polled_at`` UTC seconds.

    ``next_poll_in_seconds`` is None where the fleet's next cycle is its next poll.
    """
    return {
        **brief(track),
        "group": track.server.group.name,
        "labels": dict(track.server.group.labels),
        "polled_at": track.polled_at,
        "next_poll_in_seconds": max(track.next_poll_at - now, 0.0) if math.isfinite(track.next_poll_at) else None,
        "latency_seconds": track.latency_seconds,
        "queue_length": track.queue_length,
        "sets": [_set_detail(each, now) for each in track.sets],
    }


def _set_detail(each: SetTrack, now: float) -> dict[str, Any]:
    cache = each.observation.cache
    submission = each.memory.submission
    return {
        "set": each.warmup.name,
        "state": each.memory.state.value,
        "rule": each.memory.rule,
        "reason": each.decision.reason,
        "age_seconds": max(now - each.memory.since, 0.0) if each.memory.since else None,
        "detector": cache.detector.value if cache else None,
        "wanted_keys": list(each.warmup.keys),
        "missing_keys": list(cache.missing) if cache else None,
        "prompt_id": submission.prompt_id if submission else None,
        "failures": each.memory.failures,
        "next_try_in_seconds": max(each.memory.retry_at - now, 0.0) if each.memory.failures else None,
        "last_submitted_at": each.last_submitted_at,
        "last_warm_seconds": each.last_warm_seconds,
    }


def counts(tracks: Iterable[ServerTrack]) -> dict[str, int]:
    """Return how many servers are in each state, states without a server left out."""
    found = Counter(server_state(track) for track in tracks)
    return {state.value: found[state] for state in _WORST_FIRST if found[state]}


def submission(track: ServerTrack, now: float) -> tuple[bool, float | None, float]:
    """Return whether a submission is open, when the last one was sent (UTC), and seconds until a retry is due."""
    last = max((each.last_submitted_at for each in track.sets if each.last_submitted_at), default=None)
    wait = max((each.memory.retry_at - now for each in track.sets if each.memory.failures), default=0.0)
    return track.open_set is not None, last, max(wait, 0.0)
