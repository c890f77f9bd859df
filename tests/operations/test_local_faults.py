"""What befalls the embedded engine's workers: a file that is locked, a full disk, a process that is stopped."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.tasks import Task, TaskContext, TaskState
from operations.ending import Ending
from operations.local_worker import LocalWorker
from store.task_claims import TaskClaims
from store.task_queue import TaskQueue
from store.wake import Alarm
from tests.operations.engine_contract import kit_task, lines, request
from tests.operations.engine_kit import EngineKit, kit_in
from tests.small_disk import SmallDisk
from tests.workspace import wait_for


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[EngineKit]:
    with kit_in(tmp_path) as kit:
        yield kit


def test_an_idle_worker_is_woken_and_does_not_wait_for_its_next_look(kit: EngineKit) -> None:
    engine = kit.open()
    kit.start_worker()
    waits = []
    for _ in range(10):
        task = kit.wait_for_end(engine, engine.submit(request()).id)
        assert task.started_at is not None
        waits.append(task.started_at - task.created_at)
    # It looks by itself once a second: without being woken half of them would wait longer than half of that.
    assert sorted(waits)[5] < 0.3, waits


def test_a_worker_that_is_stopped_loses_its_task_and_lives_on_when_it_goes_on(kit: EngineKit, tmp_path: Path) -> None:
    engine, begun, go = kit.open(), tmp_path / "begun", tmp_path / "go"
    kit.worker_options = ("--lease", "0.5")
    stopped = kit.start_worker()
    task = engine.submit(request("wait", begun=str(begun), go=str(go)))
    wait_for(lambda: lines(begun))
    stopped.signal(signal.SIGSTOP)
    other = kit.start_worker()
    wait_for(lambda: kit_task(engine, task.id).attempts >= 2)
    stopped.signal(signal.SIGCONT)
    # It hears that the task is no longer its own when it says how far it is.
    stopped.wait_for_output("Put back")
    assert kit_task(engine, task.id).state is TaskState.RUNNING
    go.touch()
    ended = kit.wait_for_end(engine, task.id)
    assert (ended.state, ended.result) == (TaskState.DONE, "went")
    wait_for(lambda: {worker.pid for worker in engine.workers()} == {stopped.pid, other.pid})
    kit.kill(other)
    assert kit.wait_for_end(engine, engine.submit(request()).id).state is TaskState.DONE


def test_a_task_that_never_says_how_far_it_is_keeps_its_lease(tmp_path: Path) -> None:
    path, ending, go = tmp_path / "tasks.sqlite3", Ending(), threading.Event()
    claims = TaskClaims(path, ["default"], per_user=1, lease_seconds=1)
    worker = threading.Thread(target=LocalWorker(claims, Alarm(path, "here"), lambda *_: go.wait(30), ending).run)
    with closing(TaskQueue(path)) as engine, closing(claims):
        task = engine.submit(request())
        worker.start()
        wait_for(lambda: kit_task(engine, task.id).state is TaskState.RUNNING)
        for _ in range(3):
            before = [each.seen_at for each in engine.workers()]
            wait_for(lambda before=before: [each.seen_at for each in engine.workers()] > before)  # type: ignore[misc]
        go.set()
        wait_for(lambda: kit_task(engine, task.id).state is TaskState.DONE)
        ending.ask()
        worker.join()


def test_a_locked_file_delays_a_workers_note_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, ending = tmp_path / "tasks.sqlite3", Ending()
    engine = TaskQueue(path)
    locker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    # In this process, for the sake of its little patience with one statement.
    claims = TaskClaims(path, ["default"], per_user=1, patience_seconds=0.05)

    def run(_: Task, ctx: TaskContext) -> str:
        locker.execute("BEGIN IMMEDIATE")
        ctx.progress(50)
        return "worked"

    worker = threading.Thread(target=LocalWorker(claims, Alarm(path, "here"), run, ending).run)
    with closing(engine), closing(locker), closing(claims):
        task = engine.submit(request())
        worker.start()
        wait_for(lambda: "cannot note the end of a task" in caplog.text)
        assert "progress is not written down" in caplog.text
        assert kit_task(engine, task.id).state is TaskState.RUNNING
        locker.execute("ROLLBACK")
        wait_for(lambda: kit_task(engine, task.id).state.is_over)
        ended = kit_task(engine, task.id)
        assert (ended.state, ended.attempts, ended.result) == (TaskState.DONE, 1, "worked")
        ending.ask()
        worker.join()


@pytest.mark.needs_root
def test_a_full_disk_delays_a_workers_note_and_loses_nothing(
    kit: EngineKit, small_disk: SmallDisk, tmp_path: Path
) -> None:
    kit.settings["CACHE_DIR"] = str(small_disk.path)
    engine, begun, go = kit.open(), tmp_path / "begun", tmp_path / "go"
    worker = kit.start_worker()
    task = engine.submit(request("wait", begun=str(begun), go=str(go)))
    wait_for(lambda: lines(begun))
    small_disk.fill()
    # Progress is written until the last free page of the log is used up.
    worker.wait_for_output("progress is not written down", 60)
    go.touch()
    worker.wait_for_output("cannot note the end", 15)
    small_disk.free()
    ended = kit.wait_for_end(engine, task.id)
    assert (ended.state, ended.attempts, len(lines(begun))) == (TaskState.DONE, 1, 1)


def test_a_worker_whose_leash_is_dropped_ends_though_its_task_does_not_listen(kit: EngineKit, tmp_path: Path) -> None:
    kit.settings["STOP_GRACE_SECONDS"] = "0.3"
    engine, notes = kit.open(), tmp_path / "notes"
    worker = kit.start_worker(leash=True)
    task = engine.submit(request("deaf", path=str(notes), seconds=60))
    wait_for(lambda: lines(notes))
    began = time.monotonic()
    worker.drop_leash()
    worker.wait(15)
    assert time.monotonic() - began < 15
    kit.start_worker()
    wait_for(lambda: len(lines(notes)) == 2, kit.takeover_seconds)
    assert kit_task(engine, task.id).attempts == 2


def test_a_worker_that_is_to_retire_finishes_the_task_in_hand(kit: EngineKit, tmp_path: Path) -> None:
    engine, begun, go = kit.open(), tmp_path / "begun", tmp_path / "go"
    worker = kit.start_worker()
    task, next_one = (engine.submit(request("wait", begun=str(begun), go=str(go))) for _ in range(2))
    wait_for(lambda: lines(begun))
    worker.signal(signal.SIGHUP)
    go.touch()
    assert worker.wait(15) == 0
    assert kit_task(engine, task.id).state is TaskState.DONE
    assert kit_task(engine, next_one.id).state is TaskState.QUEUED
