"""The words of the program as types: the states of a server's warm-up set, what was observed, what was decided.

The states and their arrows (any state may also go to PAUSED, UNREACHABLE, BUSY or UNKNOWN and come back):

    UNKNOWN ──► LOADED ◄─────────────────────────────┐ every wanted key is seen in the cache
       │          │ a key is gone (evicted, restart)  │
       ▼          ▼                                   │
    NEEDS_SUBMISSION ──► QUEUED ──► WARMING ──────────┤ our submission: waiting, running
       │   ▲   ▲                       │              │
       │   │   └───── FAILED ◄─────────┘              │ backing off, in the server's own words
       ▼   │ claim not borne out by the queue         │
    AUTO_EXECUTING ───────────────────────────────────┘ somebody else's run, or the server's claim of one
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.workflow import Key


class State(StrEnum):
    """What is known of one warm-up set on one server."""

    LOADED = "loaded"
    QUEUED = "queued"
    WARMING = "warming"
    AUTO_EXECUTING = "auto_executing"
    NEEDS_SUBMISSION = "needs_submission"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    FAILED = "failed"
    PAUSED = "paused"
    UNKNOWN = "unknown"


CHINESE_STATUS = {State.LOADED: "缓存已加载", State.AUTO_EXECUTING: "后台执行中"}
"""The users' three status texts; every other state is 缓存未加载, and ``state`` says which."""


def chinese_status(state: State) -> str:
    """Return the users' status text: one of 缓存已加载, 后台执行中 (any run in progress), 缓存未加载."""
    if state in (State.QUEUED, State.WARMING):
        return CHINESE_STATUS[State.AUTO_EXECUTING]
    return CHINESE_STATUS.get(state, "缓存未加载")


class Reach(StrEnum):
    """How a probe ended, apart from what the cache holds."""

    OK = "ok"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    BAD_ANSWER = "bad_answer"


class DetectorUsed(StrEnum):
    """Which detector told what is loaded."""

    LIST = "list"
    DETERMINE = "determine"
    HISTORY = "history"
    CUSTOM = "custom"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class QueuedPrompt:
    """One entry of ``GET /queue``: who it is, and the backend-cache keys it will store."""

    prompt_id: str
    number: float
    running: bool
    keys: frozenset[Key]
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class Queue:
    """A server's queue, running prompts first, pending ones in the order they will run."""

    prompts: tuple[QueuedPrompt, ...]

    @property
    def running(self) -> tuple[QueuedPrompt, ...]:
        return tuple(prompt for prompt in self.prompts if prompt.running)

    @property
    def pending(self) -> tuple[QueuedPrompt, ...]:
        return tuple(prompt for prompt in self.prompts if not prompt.running)

    def find(self, prompt_id: str) -> QueuedPrompt | None:
        return next((prompt for prompt in self.prompts if prompt.prompt_id == prompt_id), None)


@dataclass(frozen=True, slots=True)
class Run:
    """One finished prompt of ``GET /history/{id}``.

    ``succeeded`` is the server's word after scanning the messages; only the cache shows whether keys were
    stored. ``detail`` is the server's own words about a failure: node, class, message.
    """

    prompt_id: str
    succeeded: bool
    detail: str = ""
    cached_nodes: int = 0


@dataclass(frozen=True, slots=True)
class Cache:
    """What a detector saw: the keys that are there, or a claim about the whole set.

    ``missing`` are the wanted keys that are not in the cache. ``claims_executing`` is the server's sentence
    已经自动在后台执行, a claim to be checked against the queue. ``lru_sizes`` are the listed sizes by tag.
    """

    detector: DetectorUsed
    missing: tuple[Key, ...]
    claims_executing: bool = False
    lru_sizes: tuple[tuple[str, int], ...] = ()
    detail: str = ""

    @property
    def loaded(self) -> bool:
        return not self.missing and not self.detail


@dataclass(frozen=True, slots=True)
class Observation:
    """All that one probe of one server found out, for one warm-up set.

    ``queue`` is None when it was not read (nothing was missing) and ``run`` is None while our open
    submission has no entry in the history. ``earlier_run_gone`` is True when a run that the server must once
    have had in its history is no longer there, so that it restarted; None when nobody looked. ``lacking``
    names the node classes and files that the workflow needs and the server does not have, ``unmet`` the keys
    that cannot be stored without them.
    """

    reach: Reach
    detail: str = ""
    cache: Cache | None = None
    queue: Queue | None = None
    run: Run | None = None
    earlier_run_gone: bool | None = None
    lacking: tuple[str, ...] = ()
    unmet: frozenset[Key] = frozenset()
    latency_seconds: float = 0.0


class Outcome(StrEnum):
    """How a submission ended."""

    VERIFIED = "verified"
    NOT_STORED = "not_stored"
    FAILED = "failed"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Submission:
    """Our record of one ``POST /prompt``, written before the request is sent.

    Times are seconds on the caller's monotonic clock. ``confirmed`` is True once the server has answered
    with our prompt id or shown it in its queue or history; until then the POST may still arrive. ``forced``
    is one that somebody asked for although the cache was loaded: it is followed to its end all the same.
    """

    prompt_id: str
    key: Key | None
    posted_at: float
    confirmed: bool = False
    running_since: float | None = None
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one set on one server between two polls; all times monotonic seconds.

    ``hurried`` is an operator's wish to warm now: it passes over back-off and politeness, once. ``forced`` is
    the wish to warm even what is loaded.
    ``loaded_once`` is True from the first time all keys were seen until they are lost; ``was_away`` when the
    server could not be reached since then. ``claim_disproved`` when the claim of executing was
    looked at again and the queue showed no such run. ``idle_pending_polls`` are the polls in a row with jobs
    pending and none running, ``head`` the prompt that runs now and since when it has been seen running.
    ``failed_keys`` have failed in this round of tries: until ``retry_at`` only other keys are tried, so that one
    bad loader leaves the good ones alone.
    """

    state: State = State.UNKNOWN
    rule: str = ""
    since: float = 0.0
    hurried: bool = False
    forced: bool = False
    loaded_once: bool = False
    was_away: bool = False
    submission: Submission | None = None
    failures: int = 0
    failed_keys: tuple[Key, ...] = ()
    last_failure: str = ""
    retry_at: float = 0.0
    claim_seen_at: float | None = None
    claim_disproved: bool = False
    waiting_since: float | None = None
    past_run_seconds: tuple[float, ...] = ()
    idle_pending_polls: int = 0
    head: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """How much of the warm-up capacity is taken: of the fleet, of the group, and of the server itself.

    ``next_start_at`` is monotonic seconds.
    """

    server_open: bool = False
    fleet_open: int = 0
    fleet_cap: int = 1
    group_open: int = 0
    group_cap: int | None = None
    next_start_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the event log: a change of state, or something that happened to a server.

    ``at`` is seconds since 1970 UTC. ``kind`` is "state", "restart", "eviction", "submitted" or an Outcome.
    ``rule`` is the decision's. ``seconds`` is how long the former state or the submission lasted.
    """

    at: float
    server: str
    set_name: str
    kind: str
    from_state: str = ""
    to_state: str = ""
    rule: str = ""
    reason: str = ""
    prompt_id: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class OpenSubmission:
    """A submission as it is kept on disk, so that a restarted daemon finds it again; ``posted_at`` is UTC."""

    server: str
    set_name: str
    prompt_id: str
    key: Key | None
    posted_at: float
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """A server or group that is left alone until ``until`` (seconds since 1970 UTC; None: until resumed)."""

    name: str
    until: float | None


@dataclass(frozen=True, slots=True)
class Wish:
    """Somebody's wish that a server be warmed now, left in the journal for the daemon; ``at`` is UTC seconds.

    ``set_name`` is empty for all of its sets. ``number`` is the journal's, 0 before it has one.
    """

    server: str
    set_name: str
    force: bool
    at: float
    number: int = 0


class Action(StrEnum):
    """What to do next for one set on one server."""

    NONE = "none"
    SUBMIT = "submit"
    WAIT = "wait"
    RECHECK = "recheck"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for one set on one server, and why.

    ``rule`` is a stable name for programs and the event log, ``reason`` a sentence for people. ``key`` is
    what to submit (None: the whole workflow), ``prompt_id`` what to withdraw. ``closes`` ends the open
    submission. ``loss`` is "restart" or "eviction" when keys that were there are gone. ``look_again_seconds``
    asks for a poll before the interval.
    """

    action: Action
    state: State
    rule: str
    reason: str
    key: Key | None = None
    front: bool = False
    prompt_id: str = ""
    closes: Outcome | None = None
    loss: str = ""
    look_again_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers that decide() goes by, for one set on one server; durations in seconds.

    ``storable`` are the keys that the set's workflow stores; a missing key outside of it needs the whole
    workflow. ``overfull`` says which tags cannot hold the keys wanted on this server.
    """

    has_workflow: bool = True
    storable: frozenset[Key] = frozenset()
    overfull: tuple[str, ...] = ()
    priority: str = "wait"
    patience_seconds: float = 600.0
    timeout_seconds: float = 600.0
    recheck_seconds: float = 5.0
    follow_seconds: float = 1.0
    post_grace_seconds: float = 30.0
    backoff_seconds: float = 5.0
    backoff_max_seconds: float = 300.0
    breaker_failures: int = 5
    breaker_seconds: float = 1800.0
    zombie_polls: int = 3
    stuck_seconds: float = 3600.0
