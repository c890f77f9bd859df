"""What the supervisor does with main next: one pure function over the states of the child.

    STARTING --READY--> RUNNING           main said that it works
    STARTING --TICK, late--> STOPPING     no READY within start_timeout_seconds: ABORT
    RUNNING  --TICK, late--> STOPPING     no BEAT within heartbeat_timeout_seconds: ABORT
    STARTING, RUNNING --STOP--> STOPPING  somebody asked: TERMINATE
    STOPPING --TICK, late--> STOPPING     still there after the grace: KILL
    STARTING, RUNNING --Ended--> BACKOFF  a crash, or an exit that nobody asked for, 0 included
    STOPPING --Ended--> BACKOFF, EXITED   BACKOFF after a hang, EXITED after a STOP
    BACKOFF  --TICK, due--> STARTING      SPAWN
    BACKOFF  --STOP--> EXITED             nothing runs, nothing to wait for
    any of a living main --Ended(78)--> FATAL  (EXITED after a STOP)

EXITED and FATAL are final. ``now`` and every deadline are monotonic seconds.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

EXIT_CONFIG = 78
"""main's way to say that no restart will help (EX_CONFIG of sysexits.h)."""

ABORT_GRACE_SECONDS = 5.0
"""Time for faulthandler to write the stacks after SIGABRT; a core dump may follow."""


class State(Enum):
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    FATAL = "FATAL"


class Event(Enum):
    READY = "READY"
    BEAT = "BEAT"
    STOP = "STOP"
    TICK = "TICK"


class Ended(NamedTuple):
    """The child is dead (waitpid says so, not the end of a pipe). ``code`` is negative for a signal."""

    code: int


class Action(Enum):
    """What the caller must do for the new state to be true."""

    NONE = "NONE"
    SPAWN = "SPAWN"
    TERMINATE = "TERMINATE"
    ABORT = "ABORT"
    KILL = "KILL"


class Limits(NamedTuple):
    """The supervisor's patience, all in seconds."""

    start_timeout_seconds: float
    heartbeat_timeout_seconds: float
    stop_grace_seconds: float
    backoff_initial_seconds: float
    backoff_max_seconds: float
    healthy_after_seconds: float


class Child(NamedTuple):
    """The supervised main. A TICK acts at ``deadline``; ``failures`` counts since the last healthy run."""

    limits: Limits
    state: State
    deadline: float | None
    running_since: float | None = None
    failures: int = 0
    restarts: int = 0
    stop_asked: bool = False


def first_child(limits: Limits, now: float) -> tuple[Child, Action]:
    """Return the child of a supervisor that begins, and the order to spawn it."""
    return Child(limits, State.STARTING, now + limits.start_timeout_seconds), Action.SPAWN


def next_state(child: Child, event: Event | Ended, now: float) -> tuple[Child, Action]:
    """Return the child after ``event`` at ``now``, and what must be done. No arrow, no change."""
    if isinstance(event, Ended):
        return _after_end(child, event.code, now), Action.NONE
    if event is Event.STOP:
        return _after_stop(child, now)
    if event is Event.TICK:
        if child.deadline is None or now < child.deadline:
            return child, Action.NONE
        return _after_deadline(child, now)
    if event is Event.READY and child.state is State.STARTING:
        return (
            child._replace(
                state=State.RUNNING,
                deadline=now + child.limits.heartbeat_timeout_seconds,
                running_since=now,
            ),
            Action.NONE,
        )
    if event is Event.BEAT and child.state is State.RUNNING:
        return child._replace(deadline=now + child.limits.heartbeat_timeout_seconds), Action.NONE
    return child, Action.NONE


def backoff_seconds(limits: Limits, failures: int) -> float:
    """Return the pause before the restart after ``failures`` failures in a row: 1, 2, 4 … up to the most."""
    doublings = min(max(failures - 1, 0), 30)  # 2**30 s is beyond any limit; more would only overflow
    return min(limits.backoff_initial_seconds * 2.0**doublings, limits.backoff_max_seconds)


def _after_end(child: Child, code: int, now: float) -> Child:
    if child.state not in (State.STARTING, State.RUNNING, State.STOPPING):
        return child
    if child.stop_asked:
        return child._replace(state=State.EXITED, deadline=None, running_since=None)
    if code == EXIT_CONFIG:
        return child._replace(state=State.FATAL, deadline=None, running_since=None)
    healthy = child.running_since is not None and now - child.running_since >= child.limits.healthy_after_seconds
    failures = 1 if healthy else child.failures + 1
    return child._replace(
        state=State.BACKOFF,
        deadline=now + backoff_seconds(child.limits, failures),
        running_since=None,
        failures=failures,
    )


def _after_stop(child: Child, now: float) -> tuple[Child, Action]:
    asked = child._replace(stop_asked=True)
    if child.state in (State.STARTING, State.RUNNING):
        deadline = now + child.limits.stop_grace_seconds
        return asked._replace(state=State.STOPPING, deadline=deadline), Action.TERMINATE
    if child.state is State.BACKOFF:
        return asked._replace(state=State.EXITED, deadline=None), Action.NONE
    if child.state is State.STOPPING:
        # Already dying, of a hang or of an earlier STOP: its deadline stands, only what follows may change.
        return asked, Action.NONE
    return child, Action.NONE


def _after_deadline(child: Child, now: float) -> tuple[Child, Action]:
    if child.state in (State.STARTING, State.RUNNING):
        grace = min(ABORT_GRACE_SECONDS, child.limits.stop_grace_seconds)
        return child._replace(state=State.STOPPING, deadline=now + grace), Action.ABORT
    if child.state is State.STOPPING:
        # Nothing survives SIGKILL but a process in uninterruptible sleep: knock again at leisure.
        return child._replace(deadline=now + child.limits.stop_grace_seconds), Action.KILL
    if child.state is State.BACKOFF:
        started, action = first_child(child.limits, now)
        return started._replace(failures=child.failures, restarts=child.restarts + 1), action
    return child, Action.NONE
