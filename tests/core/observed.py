"""What probes see and memories hold, written as short as the tests of the decision need it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core import reason_phrases as say
from core.model import (
    Cache,
    Decision,
    DetectorUsed,
    Memory,
    Observation,
    Policy,
    Queue,
    QueuedPrompt,
    Reach,
    Room,
    State,
    Submission,
)
from core.reason_phrases import in_chinese
from core.warmup import CLIENT_PREFIX
from core.workflow import Key

NOW = 10_000.0
KEYS: tuple[Key, ...] = ("clip", "vae", 7)
POLICY = Policy(storable=frozenset(KEYS))
ROOM = Room(fleet_cap=4)
TOO_MANY = say.OVERFULL(count=25, tag="", size=20)


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


OPEN = Memory(submission=posted(), state=State.QUEUED, loaded_once=False)
OURS_PENDING = prompt("ours", "clip", number=5, client=CLIENT_PREFIX + "us")
OURS_RUNNING = replace(OURS_PENDING, running=True)
FAILED_ONCE = Memory(failures=1, last_failure="node 1 (Loader): no memory", retry_at=NOW + 20)
KEY_FAILED = replace(FAILED_ONCE, failed_keys=("clip",))


def is_told_in_chinese(decision: Decision, observed: Observation) -> bool:
    """Whether nothing of a reason is left in English but what somebody else has said; of that, these tests make up
    the words, and no semicolon is in them.
    """
    told = in_chinese(decision.reason)
    foreign = {observed.detail, observed.run.detail if observed.run is not None else ""}
    return decision.reason in foreign or (told[0] != decision.reason[0] and "; " not in told)
