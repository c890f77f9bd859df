"""The table of the supervised child's states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.restart import (
    Action,
    Child,
    Ended,
    Event,
    Limits,
    State,
    backoff_seconds,
    first_child,
    next_state,
)

LIMITS = Limits(
    start_timeout_seconds=30,
    heartbeat_timeout_seconds=120,
    stop_grace_seconds=10,
    backoff_initial_seconds=1,
    backoff_max_seconds=60,
    healthy_after_seconds=60,
)
NOW = 1000.0


def child(state: State, deadline: float | None = NOW + 5, *, stop_asked: bool = False) -> Child:
    return Child(LIMITS, state, deadline, failures=2, restarts=7, stop_asked=stop_asked)


LATE = NOW + 5

TABLE = [
    # state, event, stop asked before -> state, action, deadline from now
    (State.STARTING, Event.READY, False, State.RUNNING, Action.NONE, 120),
    (State.STARTING, Event.BEAT, False, State.STARTING, Action.NONE, 0),
    (State.STARTING, Event.TICK, False, State.STOPPING, Action.ABORT, 5),
    (State.STARTING, Event.STOP, False, State.STOPPING, Action.TERMINATE, 10),
    (State.STARTING, Ended(1), False, State.BACKOFF, Action.NONE, 4),
    (State.STARTING, Ended(78), False, State.FATAL, Action.NONE, None),
    (State.RUNNING, Event.READY, False, State.RUNNING, Action.NONE, 0),
    (State.RUNNING, Event.BEAT, False, State.RUNNING, Action.NONE, 120),
    (State.RUNNING, Event.TICK, False, State.STOPPING, Action.ABORT, 5),
    (State.RUNNING, Event.STOP, False, State.STOPPING, Action.TERMINATE, 10),
    (State.RUNNING, Ended(0), False, State.BACKOFF, Action.NONE, 4),
    (State.RUNNING, Ended(-9), False, State.BACKOFF, Action.NONE, 4),
    (State.RUNNING, Ended(78), False, State.FATAL, Action.NONE, None),
    (State.STOPPING, Event.READY, True, State.STOPPING, Action.NONE, 0),
    (State.STOPPING, Event.BEAT, False, State.STOPPING, Action.NONE, 0),
    (State.STOPPING, Event.STOP, False, State.STOPPING, Action.NONE, 0),
    (State.STOPPING, Event.TICK, True, State.STOPPING, Action.KILL, 10),
    (State.STOPPING, Ended(0), True, State.EXITED, Action.NONE, None),
    (State.STOPPING, Ended(78), True, State.EXITED, Action.NONE, None),
    (State.STOPPING, Ended(-6), False, State.BACKOFF, Action.NONE, 4),
    (State.BACKOFF, Event.TICK, False, State.STARTING, Action.SPAWN, 30),
    (State.BACKOFF, Event.STOP, False, State.EXITED, Action.NONE, None),
    (State.BACKOFF, Event.BEAT, False, State.BACKOFF, Action.NONE, 0),
    (State.BACKOFF, Ended(1), False, State.BACKOFF, Action.NONE, 0),
]


@pytest.mark.parametrize(("state", "event", "stop_asked", "then", "action", "deadline_in"), TABLE)
def test_every_arrow(
    state: State,
    event: Event | Ended,
    stop_asked: bool,
    then: State,
    action: Action,
    deadline_in: float | None,
) -> None:
    after, ordered = next_state(child(state, LATE, stop_asked=stop_asked), event, LATE)
    assert (after.state, ordered) == (then, action)
    assert after.deadline == (None if deadline_in is None else LATE + deadline_in)


@pytest.mark.parametrize("state", list(State))
def test_a_tick_before_the_deadline_changes_nothing(state: State) -> None:
    before = child(state, NOW + 5)
    assert next_state(before, Event.TICK, NOW + 4.9) == (before, Action.NONE)


@pytest.mark.parametrize("state", [State.EXITED, State.FATAL])
@pytest.mark.parametrize("event", [*Event, Ended(0), Ended(78), Ended(-9)])
def test_the_final_states_are_final(state: State, event: Event | Ended) -> None:
    before = child(state, None)
    assert next_state(before, event, NOW) == (before, Action.NONE)


def test_the_pause_doubles_up_to_the_most() -> None:
    assert [backoff_seconds(LIMITS, failures) for failures in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff_seconds(LIMITS, 10**6) == 60


def test_a_stop_that_arrives_during_a_hang_ends_in_exited_not_in_a_restart() -> None:
    hung, action = next_state(child(State.RUNNING), Event.TICK, LATE)
    assert action is Action.ABORT
    asked, _ = next_state(hung, Event.STOP, LATE + 1)
    ended, _ = next_state(asked, Ended(-6), LATE + 2)
    assert ended.state is State.EXITED


def run_and_crash(started: Child, seconds: float, now: float) -> Child:
    running, _ = next_state(started, Event.READY, now)
    crashed, _ = next_state(running, Ended(1), now + seconds)
    return crashed


def test_a_healthy_minute_resets_the_pause_and_a_shorter_run_does_not() -> None:
    started = child(State.STARTING)
    assert run_and_crash(started, 60, NOW).failures == 1
    assert run_and_crash(started, 59.9, NOW).failures == 3


def test_a_restart_is_counted_and_the_failures_are_kept() -> None:
    crashed = run_and_crash(child(State.STARTING), 1, NOW)
    assert crashed.deadline is not None
    again, action = next_state(crashed, Event.TICK, crashed.deadline)
    assert (again.state, action, again.restarts, again.failures) == (State.STARTING, Action.SPAWN, 8, 3)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Event.READY, Event.BEAT, Event.TICK, Ended(0), Ended(1), Ended(-9)]),
            st.floats(0, 200),
        ),
        max_size=60,
    )
)
def test_crashes_and_hangs_alone_never_end_supervision(steps: list[tuple[Event | Ended, float]]) -> None:
    now = NOW
    supervised, _ = first_child(LIMITS, now)
    for event, seconds in steps:
        now += seconds
        supervised, _ = next_state(supervised, event, now)
        assert supervised.state not in (State.EXITED, State.FATAL)
        assert supervised.deadline is not None
        assert supervised.deadline <= now + 120


@given(
    st.lists(st.tuples(st.sampled_from([*Event, Ended(0), Ended(1)]), st.floats(0, 200)), max_size=40),
    st.floats(0, 200),
)
def test_after_a_stop_nothing_is_spawned_and_the_end_comes(
    steps: list[tuple[Event | Ended, float]], wait: float
) -> None:
    now = NOW
    supervised, _ = first_child(LIMITS, now)
    supervised, _ = next_state(supervised, Event.STOP, now)
    for event, seconds in steps:
        now += seconds
        supervised, action = next_state(supervised, event, now)
        assert action is not Action.SPAWN
    supervised, _ = next_state(supervised, Ended(-9), now + wait)
    assert supervised.state is State.EXITED
