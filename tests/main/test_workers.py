"""The daemon's worker processes: begun and ended with it, begun again when they die, renewed by a reload."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import psutil
import pytest

import config
from core.tasks import Task, TaskEngine, TaskRequest, TaskState
from operations.engines import open_engine
from runtime.workers import TaskWorkers
from tests.workspace import Workspace, wait_for

WORK = """
import time
from operations.registry import task

@task("work")
def work(ctx, seconds):
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        ctx.progress(None, "working")
        time.sleep(0.01)
    return "worked"
"""


@pytest.fixture
def project(workspace: Workspace) -> Workspace:
    workspace.settings["TASK_WORKERS"] = "2"
    workspace.write("operations/work.py", WORK)
    return workspace


def engine_of(project: Workspace) -> TaskEngine:
    return open_engine(config.load(project.root, project.environment))


def pids(engine: TaskEngine) -> set[int]:
    return {worker.pid for worker in engine.workers()}


def state(engine: TaskEngine, task_id: str) -> TaskState:
    task = engine.task(task_id)
    assert task is not None
    return task.state


def gone(*found: int) -> Callable[[], bool]:
    return lambda: not any(psutil.pid_exists(pid) for pid in found)


def busy(engine: TaskEngine, seconds: float) -> Task:
    """A task that runs."""
    task = engine.submit(TaskRequest("work", {"seconds": seconds}, "ann"))
    wait_for(lambda: state(engine, task.id) is TaskState.RUNNING)
    return task


def test_workers_begin_and_end_with_main_and_one_that_is_killed_is_replaced(project: Workspace) -> None:
    program, engine = project.running(), engine_of(project)
    first = wait_for(lambda: len(found := pids(engine)) == 2 and found)
    assert isinstance(first, set)
    victim = min(first)
    os.kill(victim, signal.SIGKILL)
    after = wait_for(lambda: len(found := pids(engine)) == 2 and victim not in found and found)
    assert isinstance(after, set)
    program.wait_for_output("the next starts in")
    task = busy(engine, 60)
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    assert gone(*after)()
    found = engine.task(task.id)
    assert found is not None
    assert (found.state, found.attempts) == (TaskState.QUEUED, 0), "put back, for the next start"
    engine.close()


def test_workers_do_not_outlive_a_main_that_was_killed(project: Workspace) -> None:
    program, engine = project.running(), engine_of(project)
    found = wait_for(lambda: len(found := pids(engine)) == 2 and found)
    assert isinstance(found, set)
    task = busy(engine, 60)
    program.process.kill()
    wait_for(gone(*found))
    wait_for(lambda: state(engine, task.id) is TaskState.QUEUED)
    engine.close()


def test_a_reload_renews_the_workers_after_the_task_in_hand(project: Workspace) -> None:
    program, engine = project.running(), engine_of(project)
    before = wait_for(lambda: len(found := pids(engine)) == 2 and found)
    assert isinstance(before, set)
    task = busy(engine, 1.5)
    program.signal(signal.SIGHUP)
    wait_for(lambda: len(found := pids(engine)) == 2 and not found & before)
    found = engine.task(task.id)
    assert found is not None
    assert (found.state, found.attempts) == (TaskState.DONE, 1)
    assert "the next starts in" not in program.output(), "an end that was asked for is no failure"
    engine.close()


def test_a_worker_that_hangs_as_a_whole_is_killed_and_replaced(project: Workspace) -> None:
    settings = config.load(project.root, {**project.environment, "TASK_WORKERS": "1", "CACHE_DIR": str(project.root)})
    engine, workers = open_engine(settings), TaskWorkers(settings)
    workers.tick(0)
    try:
        (hanging,) = wait_for(lambda: pids(engine))
        workers.look()
        # As its heartbeat would have it after a minute of silence.
        os.kill(hanging, signal.SIGSTOP)
        _expire(settings)
        workers.look()
        workers.tick(1)
        assert psutil.pid_exists(hanging), "one silence may be the store's"
        workers.look()

        def replaced() -> set[int]:
            workers.tick(time.monotonic())
            return pids(engine) - {hanging}

        wait_for(replaced)
    finally:
        workers.stop(5)
        engine.close()


def _expire(settings: config.Settings) -> None:
    with closing(sqlite3.connect(settings.tasks_database)) as connection, connection:
        connection.execute("UPDATE workers SET leased_until=0")


def test_a_dry_run_runs_no_queued_task(project: Workspace) -> None:
    engine = engine_of(project)
    task = engine.submit(TaskRequest("work", {"seconds": 0}, "ann"))
    program = project.running("--dry-run")
    wait_for(lambda: any(row["polled_at"] for row in project.details()) or not project.details())
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    assert state(engine, task.id) is TaskState.QUEUED
    assert not engine.workers()
    engine.close()
