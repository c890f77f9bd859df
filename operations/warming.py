"""Warm-ups as tasks: a wish is left for the daemon, and what counts is what its polls then see in the caches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from core import reason_phrases as say
from core.errors import TaskError
from core.fleet import Server
from core.model import State, Wish
from core.operation_phrases import ALL_LEFT_ALONE
from core.tasks import TaskContext
from store.journal import Journal

TAKEN_WITHIN_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_TOLD = 5
_UNDER_WAY = frozenset({State.NEEDS_SUBMISSION, State.QUEUED, State.WARMING, State.AUTO_EXECUTING, State.BUSY})
_HOPELESS_RULES = frozenset({"no_workflow"})


def warm(
    journal: Journal, servers: Sequence[Server], set_name: str, *, force: bool, ctx: TaskContext
) -> dict[str, Any]:
    """Warm servers through the running daemon; return each set's final state.

    Raises TaskError when the daemon takes no wishes (it does not run), or when a set is not loaded at the end; the
    text says which and why.
    """
    wanted = {
        (server.name, each.name): each.timeout_seconds
        for server in servers
        for each in server.sets
        if set_name in ("", each.name)
    }
    if not wanted:
        raise TaskError(say.NO_SUCH_SET(wanted=set_name))
    numbers = journal.wish([Wish(name, set_name, force, time.time()) for name in dict.fromkeys(n for n, _ in wanted)])
    try:
        _until_carried_out(journal, set(numbers), ctx)
    finally:
        # Cancelled or given up: the daemon must not act on it hours later.
        for number in numbers:
            journal.end_wish(number)
    rows = _until_settled(journal, wanted, ctx)
    cold = [row for row in rows if row["state"] != State.LOADED]
    if cold:
        told = [
            say.SET_STANDS(server=row["server"], set=row["set"], state=row["state"], reason=row["reason"]) + ")"
            for row in cold[:_TOLD]
        ]
        if len(cold) > _TOLD:
            told.append(say.AND_MORE(more=len(cold) - _TOLD))
        raise TaskError(say.COLD_SETS(cold=len(cold), sets=len(rows), reason=say.also(*told)))
    return {"loaded": len(rows), "sets": rows}


def _until_carried_out(journal: Journal, numbers: set[int], ctx: TaskContext) -> None:
    """Wait until the daemon has polled for each wish; as long as it carries out some, it is given time."""
    deadline, left = time.monotonic() + TAKEN_WITHIN_SECONDS, len(numbers)
    while waiting := numbers & {wish.number for wish in journal.wishes()}:
        if len(waiting) < left:
            deadline, left = time.monotonic() + TAKEN_WITHIN_SECONDS, len(waiting)
        if time.monotonic() > deadline:
            raise TaskError(ALL_LEFT_ALONE(left=left, seconds=TAKEN_WITHIN_SECONDS))
        ctx.progress(0, "asking", f"{len(numbers) - left}/{len(numbers)}")
        time.sleep(_LOOK_SECONDS)


def _until_settled(journal: Journal, wanted: dict[tuple[str, str], float], ctx: TaskContext) -> list[dict[str, Any]]:
    """Follow the recorded states until none is under way; a set has its own timeout, once for each in the queue."""
    # Warm-ups of a fleet wait for each other's places, so patience counts from the last change, not from the start.
    patience = max(wanted.values()) + 60
    deadline, before = time.monotonic() + patience, -1
    while True:
        states = journal.states()
        rows = []
        for server, set_name in wanted:
            state, rule, reason, since = states.get((server, set_name), (State.UNKNOWN, "", say.NEVER_POLLED(), 0.0))
            rows.append({
                "server": server, "set": set_name, "state": state.value, "rule": rule, "reason": reason,
                "since": since,
            })  # fmt: skip
        under_way = [row for row in rows if row["state"] in _UNDER_WAY and row["rule"] not in _HOPELESS_RULES]
        if not under_way or time.monotonic() > deadline:
            return rows
        if len(under_way) != before:
            before, deadline = len(under_way), time.monotonic() + patience
        ctx.progress(100 * (1 - len(under_way) / len(rows)), "warming", str(under_way[0]["server"]))
        time.sleep(_LOOK_SECONDS)
