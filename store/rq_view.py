"""The guide's key names in Redis, for a person with ``redis-cli``: written for reading, never read by the engine.

    global:pending, user:{id}:pending    lists of the ids of queued tasks, next first
    user:{id}:processing                 set of the ids of the running ones
    batch:{id}:tasks                     set of the ids of a batch
    task:{id}:progress                   JSON text, expires after an hour

Whatever becomes of these keys, the next round of ``View.show`` writes them anew from RQ's own records.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import redis

from core.tasks import Json, Priority, TaskState, progress_document
from store.rq_client import texts_of
from store.rq_records import RANKS, Keys, job_key, state_of, steps_of, task_of

PROGRESS_SECONDS = 3600
"""How long a task's progress stays after its end, and at most without being renewed."""

MAX_PENDING_SHOWN = 1000
"""Most task ids in a ``…:pending`` list: a longer one is for a person to count, not to read."""

_FIELDS = (
    "status", "ck_ending", "ck_user", "ck_priority", "ck_run_at", "ck_batch", "ck_ended", "ck_progress", "origin",
)  # fmt: skip
_AT_ONCE = 500


@dataclass(frozen=True)
class Glance:
    """As much of a task as the view needs. ``order`` is its place in line, ``sign`` changes with its progress."""

    id: str
    state: TaskState
    user: str
    order: tuple[int, float, str]
    batch: str
    origin: str
    status: str
    ended_at: float | None
    sign: tuple[str, bytes | None]


def glances(client: redis.Redis, keys: Keys) -> list[Glance]:
    """Read every task that is open or ended lately."""
    found: list[Glance] = []
    ids = texts_of(client.zrange(keys.recent, 0, -1))
    for start in range(0, len(ids), _AT_ONCE):
        chunk = ids[start : start + _AT_ONCE]
        with client.pipeline(transaction=False) as pipe:
            for task_id in chunk:
                pipe.hmget(job_key(task_id), _FIELDS)
            rows = pipe.execute()
        found += [_glance(task_id, row) for task_id, row in zip(chunk, rows, strict=True) if row[3] is not None]
    return found


def _glance(task_id: str, row: list[bytes | None]) -> Glance:
    status, ending, user, priority, run_at, batch, ended, progress, origin = row
    state = state_of((status or b"").decode(), (ending or b"").decode())
    order = (RANKS[Priority((priority or b"").decode())], float(run_at or 0), task_id)
    return Glance(
        task_id, state, (user or b"").decode(), order, (batch or b"").decode(), (origin or b"").decode(),
        (status or b"").decode(), float(ended) if ended else None, (state.value, progress),
    )  # fmt: skip


def pending(found: Iterable[Glance]) -> list[str]:
    """Return the ids of the queued tasks, next first."""
    queued = sorted((each for each in found if each.state is TaskState.QUEUED), key=lambda each: each.order)
    return [each.id for each in queued[:MAX_PENDING_SHOWN]]


def key_of(key: str, found: list[Glance]) -> Json:
    """Return what one of the guide's keys of users or of all holds, None for a name that is none of them."""
    if key == "global:pending":
        return pending(found)
    if match := re.fullmatch(r"user:(.*):pending", key):
        return pending(each for each in found if each.user == match[1])
    if match := re.fullmatch(r"user:(.*):processing", key):
        return sorted(each.id for each in found if each.state is TaskState.RUNNING and each.user == match[1])
    return None


def wanted_lists(found: list[Glance]) -> dict[str, list[str]]:
    """Return the lists of the view by name; what would be empty is left out, as Redis does it."""
    queued: dict[str, list[Glance]] = defaultdict(list)
    for each in found:
        if each.state is TaskState.QUEUED:
            queued[each.user].append(each)
    lists = {f"user:{user}:pending": pending(own) for user, own in queued.items()}
    every = pending(found)
    return {**lists, "global:pending": every} if every else lists


def wanted_sets(found: list[Glance], batches: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the sets of the view by name."""
    sets: dict[str, set[str]] = defaultdict(set)
    for each in found:
        if each.state is TaskState.RUNNING:
            sets[f"user:{each.user}:processing"].add(each.id)
    return {**sets, **{f"batch:{batch}:tasks": members for batch, members in batches.items() if members}}


class View:
    """Writes the view: only what differs from what is there, for Redis's log must not grow while nothing moves."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._told: dict[str, tuple[tuple[str, bytes | None], int]] = {}

    def show(self, found: list[Glance], now: float) -> int:
        """Bring the view up to date; return how many keys had to be written or removed."""
        prefix, keys = self._keys.prefix, self._keys
        batch_ids = sorted({each.batch for each in found if each.batch})
        with self._client.pipeline(transaction=False) as pipe:
            for batch in batch_ids:
                pipe.smembers(keys.batches + batch)
            members = [set(texts_of(row)) for row in pipe.execute()]
        lists = wanted_lists(found)
        sets = wanted_sets(found, dict(zip(batch_ids, members, strict=True)))
        with self._client.pipeline(transaction=False) as pipe:
            pipe.smembers(keys.shown)
            for name in lists:
                pipe.lrange(prefix + name, 0, -1)
            for name in sets:
                pipe.smembers(prefix + name)
            raw_shown, *rows = pipe.execute(raise_on_error=False)
        # A key that somebody made something else of answers with an error, which equals nothing either.
        present = [None if isinstance(row, Exception) else texts_of(row) for row in rows]
        shown = set(texts_of(raw_shown))
        gone = shown - set(lists) - set(sets)
        wrong_lists = [name for name, row in zip(lists, present, strict=False) if row != lists[name]]
        wrong_sets = [
            name for name, row in zip(sets, present[len(lists) :], strict=True) if row is None or set(row) != sets[name]
        ]
        unlisted = (set(lists) | set(sets)) - shown
        if gone or wrong_lists or wrong_sets or unlisted:
            with self._client.pipeline(transaction=True) as pipe:
                for name in [*gone, *wrong_lists, *wrong_sets]:
                    pipe.delete(prefix + name)
                for name in wrong_lists:
                    pipe.rpush(prefix + name, *lists[name])
                for name in wrong_sets:
                    pipe.sadd(prefix + name, *sets[name])
                if gone:
                    pipe.srem(keys.shown, *gone)
                if unlisted:
                    pipe.sadd(keys.shown, *unlisted)
                pipe.execute()
        return len(gone) + len(wrong_lists) + len(wrong_sets) + self._show_progress(found, now)

    def _show_progress(self, found: list[Glance], now: float) -> int:
        names = {each.id: f"{self._keys.prefix}task:{each.id}:progress" for each in found}
        with self._client.pipeline(transaction=False) as pipe:
            for each in found:
                pipe.strlen(names[each.id])
            lengths = pipe.execute(raise_on_error=False)
        changed = [
            each
            for each, length in zip(found, lengths, strict=True)
            if self._told.get(each.id) != (each.sign, length) and _left_seconds(each, now) >= 1
        ]
        self._told = {each.id: self._told[each.id] for each in found if each.id in self._told}
        for start in range(0, len(changed), _AT_ONCE):
            chunk = changed[start : start + _AT_ONCE]
            with self._client.pipeline(transaction=False) as pipe:
                for each in chunk:
                    pipe.hgetall(job_key(each.id))
                rows = pipe.execute()
                for each, row in zip(chunk, rows, strict=True):
                    task = task_of(each.id, row, now)
                    if task is not None:
                        text = json.dumps(progress_document(task, steps_of(row)))
                        # Whatever the key was before: a text goes over anything.
                        pipe.set(names[each.id], text, ex=int(_left_seconds(each, now)))
                        self._told[each.id] = (each.sign, len(text))
                pipe.execute()
        return len(changed)


def _left_seconds(each: Glance, now: float) -> float:
    """Return how long a task's progress is to be kept from now on."""
    return PROGRESS_SECONDS - (max(now - each.ended_at, 0.0) if each.ended_at else 0.0)
