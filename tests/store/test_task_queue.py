"""The embedded queue's own matters: leases, claims among many, and what a locked file or a full disk leaves."""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import StoreError
from core.tasks import Task, TaskRequest, TaskState
from store.processes import Owner, is_gone, this_machine, this_process
from store.task_claims import CLAIM, TaskClaims
from store.task_queue import TaskQueue
from store.wake import Alarm, wake_all
from tests.small_disk import SmallDisk


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """A queue and its workers, all in this process and by one clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.queue = TaskQueue(path, patience_seconds=0.2, clock=self.clock)
        self._opened: list[TaskClaims] = []

    def worker(self, owner: Owner | None = None, *, per_user: int = 100) -> TaskClaims:
        claims = TaskClaims(
            self.path, ["default"], per_user=per_user, patience_seconds=0.2, clock=self.clock, owner=owner
        )
        self._opened.append(claims)
        return claims

    def submit(self, user: str = "ann", count: int = 1) -> list[Task]:
        return list(self.queue.submit_batch([TaskRequest("work", {}, user)] * count, "batch"))

    def state(self, task: Task) -> TaskState:
        found = self.queue.task(task.id)
        assert found is not None
        return found.state

    def close(self) -> None:
        for claims in self._opened:
            claims.close()
        self.queue.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(Desk(tmp_path / "tasks.sqlite3")) as desk:
        yield desk


def claimed(worker: TaskClaims) -> Task:
    task = worker.claim()
    assert task is not None
    return task


# -- leases ----------------------------------------------------------------------------------------------------


def test_a_dead_process_is_told_from_a_living_one_and_from_another_of_its_pid() -> None:
    ours = this_process()
    assert not is_gone(ours)
    assert is_gone(Owner(ours.machine, ours.pid, "1")), "the same PID, started at another time"
    assert not is_gone(Owner("another boot", ours.pid, "1")), "nothing is known of another machine's processes"
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(Owner(ours.machine, child.pid, "")), "a zombie runs nothing any more"


def test_a_task_of_a_pid_that_another_process_has_now_is_taken_over_at_once(desk: Desk) -> None:
    (task,) = desk.submit()
    claimed(desk.worker(Owner(this_machine(), os.getpid(), "1")))
    other = desk.worker()
    assert other.take_back() == [task.id]
    assert claimed(other).attempts == 2


def test_a_task_killed_with_its_machine_is_taken_over_when_the_lease_runs_out(desk: Desk) -> None:
    (task,) = desk.submit()
    before_the_boot = desk.worker(Owner("another boot", os.getpid(), "1"))
    claimed(before_the_boot)
    other = desk.worker()
    desk.clock.now += other.lease_seconds - 1
    other.heartbeat()
    assert (other.take_back(), other.claim()) == ([], None)
    assert len(desk.queue.workers()) == 2
    desk.clock.now += 1
    assert [worker.name for worker in desk.queue.workers()] == [other.name]
    assert other.take_back() == [task.id]
    assert claimed(other).id == task.id


def test_a_worker_that_comes_back_from_the_dead_changes_nothing_and_goes_on(desk: Desk) -> None:
    (task,) = desk.submit()
    late, other = desk.worker(), desk.worker()
    lost = claimed(late)
    desk.clock.now += late.lease_seconds
    other.heartbeat()
    assert other.take_back() == [task.id]
    taken = claimed(other)
    assert late.progress(lost, 50, "step", "", ["step"]) is None
    assert not late.finish(lost, "late")
    assert not late.fail(lost, "late")
    assert not late.release(lost)
    assert desk.state(task) is TaskState.RUNNING
    assert other.finish(taken, "right")
    assert (found := desk.queue.task(task.id)) is not None
    assert found.result == "right"
    desk.submit()
    claimed(late)
    assert other.take_back() == [], "it is entered again together with its next task"


def test_a_heartbeat_keeps_a_task_however_long_it_takes(desk: Desk) -> None:
    (task,) = desk.submit()
    busy, other = desk.worker(), desk.worker()
    claimed(busy)
    for _ in range(20):
        desk.clock.now += busy.lease_seconds / 2
        busy.heartbeat()
        other.heartbeat()
        assert other.take_back() == []
    assert desk.state(task) is TaskState.RUNNING


def test_a_task_whose_worker_was_entered_nowhere_is_taken_back_too(desk: Desk) -> None:
    (task,) = desk.submit()
    first, other = desk.worker(), desk.worker()
    claimed(first)
    with closing(sqlite3.connect(desk.path)) as connection, connection:
        connection.execute("DELETE FROM workers WHERE name=?", (first.name,))
    assert other.take_back() == [task.id]


# -- claims ----------------------------------------------------------------------------------------------------


def test_users_take_turns_and_the_limit_holds_each_back_alone(desk: Desk) -> None:
    ann, bob = desk.submit("ann", 4), desk.submit("bob", 4)
    workers = [desk.worker(per_user=2) for _ in range(5)]
    taken = [claimed(worker) for worker in workers[:4]]
    assert [task.id for task in taken] == [ann[0].id, bob[0].id, ann[1].id, bob[1].id]
    assert workers[4].claim() is None, "each has two already"
    assert workers[4].next_due() is None
    workers[1].finish(taken[1], None)
    assert claimed(workers[4]).id == bob[2].id


def test_the_next_due_is_when_the_first_of_the_waiting_is_due(desk: Desk) -> None:
    worker = desk.worker()
    assert worker.next_due() is None
    for seconds in (50, 20, 90):
        desk.queue.submit(TaskRequest("work", {}, f"user-{seconds}", run_at=desk.clock.now + seconds))
    assert worker.claim() is None
    assert worker.next_due() == desk.clock.now + 20
    desk.clock.now += 20
    assert claimed(worker).user == "user-20"


def median_seconds(times: int, action: Callable[[], object]) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def test_a_claim_is_as_quick_among_100000_tasks_as_among_100(desk: Desk) -> None:
    worker = desk.worker()
    desk.submit("ann", 50)
    desk.submit("bob", 50)
    among_few = median_seconds(25, lambda: worker.finish(claimed(worker), None))
    with closing(sqlite3.connect(desk.path)) as connection, connection:
        # As the queue writes them, and 20 times as fast.
        connection.execute(
            "WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 99999) "
            "INSERT INTO jobs (name, arguments, user, caller, queue, priority, state, batch, created_at, run_at, "
            "max_attempts) SELECT 'work', '{}', iif(n % 2, 'ann', 'bob'), '{}', 'default', 1, 'queued', '', ?, ?, 3 "
            "FROM number",
            (desk.clock.now, desk.clock.now),
        )
    among_many = median_seconds(25, lambda: worker.finish(claimed(worker), None))
    assert among_many < among_few * 5 + 0.001
    with closing(sqlite3.connect(desk.path)) as connection:
        wanted = {"now": 0, "queues": "[]", "per_user": 2}
        plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + CLAIM, wanted)]
    assert "SEARCH next USING INDEX jobs_queued ((queue,priority,user,run_at)>(?,?,?,?))" in plan
    assert "SEARCH other USING INDEX jobs_running (user=?)" in plan
    assert not [step for step in plan if step.startswith("SCAN jobs") and "jobs_queued" not in step]
    assert sum("TEMP B-TREE" in step for step in plan) == 1, "only the heads of the lines are sorted"


# -- faults ----------------------------------------------------------------------------------------------------


def test_a_locked_file_refuses_a_task_and_keeps_nothing_of_it(desk: Desk) -> None:
    worker = desk.worker()
    with closing(sqlite3.connect(desk.path, isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            desk.submit(count=3)
        with pytest.raises(StoreError, match="locked"):
            worker.heartbeat()
        assert desk.queue.tasks().tasks == (), "readers are not held up"
        locker.execute("ROLLBACK")
    assert desk.queue.tasks().tasks == ()
    desk.submit()
    claimed(worker)


@pytest.mark.needs_root
def test_a_full_disk_refuses_a_task_and_keeps_nothing_of_it(small_disk: SmallDisk) -> None:
    with closing(Desk(small_disk.path / "tasks.sqlite3")) as desk:
        accepted = [task.id for task in desk.submit(count=3)]
        small_disk.fill()
        refused = 0
        for _ in range(200):
            # Some pages are free still: go on until the disk is really in the way, and then once more.
            try:
                accepted += [task.id for task in desk.submit(count=5)]
            except StoreError:
                refused += 1
            if refused == 2:
                break
        assert refused == 2
        with pytest.raises(StoreError, match="full"):
            desk.submit(count=5)
        seen = [task.id for task in desk.queue.tasks(limit=1000).tasks]
        assert sorted(seen, key=int) == accepted, "whole batches, or nothing of them"
        small_disk.free()
        accepted += [task.id for task in desk.submit(count=5)]
        worker = desk.worker()
        assert sorted((claimed(worker).id for _ in accepted), key=int) == accepted
    with closing(sqlite3.connect(desk.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_is_no_database_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "tasks.sqlite3"
    path.write_text("not a database, and long enough to be looked at" * 100)
    with pytest.raises(StoreError, match=r"tasks\.sqlite3"):
        TaskQueue(path)


# -- waking ----------------------------------------------------------------------------------------------------


def test_an_alarm_rings_at_once_and_a_dead_workers_pipe_is_cleared_away(tmp_path: Path) -> None:
    database = tmp_path / "tasks.sqlite3"
    wake_all(database)
    alarm, dead = Alarm(database, "one"), tmp_path / "tasks.sqlite3-wake" / "dead"
    os.mkfifo(dead)
    began = time.monotonic()
    wake_all(database)
    wake_all(database)
    alarm.wait(30)
    assert time.monotonic() - began < 10
    assert not dead.exists()
    alarm.wait(0.01)
    assert time.monotonic() - began < 10, "both bytes were one alarm, and nobody wakes it again"
    alarm.close()
    wake_all(database)
    assert list(dead.parent.iterdir()) == []


def test_a_worker_that_nobody_can_wake_looks_often(tmp_path: Path) -> None:
    (tmp_path / "tasks.sqlite3-wake").write_text("a file where the pipes should be")
    alarm = Alarm(tmp_path / "tasks.sqlite3", "one")
    assert not alarm.is_prompt
    began = time.monotonic()
    alarm.wait(30)
    alarm.ring()
    alarm.close()
    assert time.monotonic() - began < 10
