"""What the checker knows, as plain values for the API, the pages and the CLI: from memory, never probing."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from typing import Any

from checker.tracks import ServerTrack, SetTrack
from core.model import State, chinese_status
from core.recent import WORST_FIRST

_IN_PROGRESS = frozenset({State.QUEUED, State.WARMING, State.AUTO_EXECUTING})


def brief(track: ServerTrack) -> dict[str, Any]:
    """Return the users' four fields for a server, and ``state``, which no language changes."""
    state = track.state
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


def row(track: ServerTrack, now: float, wall: float) -> dict[str, Any]:
    """Return a server as the fleet's page and its JSON show it: ``detail``, its pause and its last 24 hours.

    Each stretch of ``last_24_hours`` is the worst state in so many half hours, oldest first; ``state`` is None
    where nothing is known. ``now`` is monotonic, ``wall`` UTC seconds.
    """
    pause = track.paused
    return {
        **detail(track, now),
        "paused": {"name": pause.name, "until": pause.until} if pause is not None else None,
        "last_24_hours": [
            {"state": each.state.value if each.state else None, "begins_at": each.begins_at, "cells": each.cells}
            for each in track.strip.stretches(wall)
        ],
    }


def full(track: ServerTrack, now: float, wall: float) -> dict[str, Any]:
    """Return a server as its own page shows it: ``row``, the last polls' latencies, and what was decided last.

    A latency is in seconds, None for a poll without an answer; oldest first.
    """
    shown = row(track, now, wall)
    for each, described in zip(track.sets, shown["sets"], strict=True):
        runs = each.memory.past_run_seconds
        described["action"] = each.decision.action.value
        described["usual_run_seconds"] = statistics.median(runs) if runs else None
        described["last_failure"] = each.memory.last_failure
        described["workflow"] = bool(each.warmup.graph)
    return {**shown, "latencies": track.latencies.values(), "polls_total": track.polls_total}


def counts(tracks: Iterable[ServerTrack]) -> dict[str, int]:
    """Return how many servers are in each state, states without a server left out."""
    found = Counter(track.state for track in tracks)
    return {state.value: found[state] for state in WORST_FIRST if found[state]}


def submission(track: ServerTrack, now: float) -> tuple[bool, float | None, float]:
    """Return whether a submission is open, when the last one was sent (UTC), and seconds until a retry is due."""
    last = max((each.last_submitted_at for each in track.sets if each.last_submitted_at), default=None)
    wait = max((each.memory.retry_at - now for each in track.sets if each.memory.failures), default=0.0)
    return track.open_set is not None, last, max(wait, 0.0)
