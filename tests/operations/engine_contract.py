"""What every task engine must do, with real worker processes. An engine's test module subclasses ``EngineContract``:

class TestMyEngine(EngineContract):
    @pytest.fixture
    def kit(self, tmp_path):
        with kit_in(tmp_path, MyKit, QUEUE_URL=…) as kit:
            yield kit
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from core.errors import BadCursor, TaskError, TaskStateError
from core.tasks import Priority, Task, TaskEngine, TaskQuery, TaskRequest, TaskState, host_queue
from tests.operations.engine_kit import EngineKit
from tests.workspace import wait_for


def request(name: str = "nothing", user: str = "ann", **wishes: object) -> TaskRequest:
    """A request for a sample task; what is no field of a request is an argument."""
    fields = {key: wishes.pop(key) for key in list(wishes) if key in TaskRequest.__dataclass_fields__}
    return TaskRequest(f"sample.{name}", wishes, user, **fields)  # type: ignore[arg-type]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


class EngineContract:
    """The tests. Those without a worker come first."""

    @pytest.fixture
    def engine(self, kit: EngineKit) -> TaskEngine:
        return kit.open()

    # -- asking ----------------------------------------------------------------------------------------------

    def test_a_task_is_as_it_was_asked_for_whoever_looks(self, kit: EngineKit, engine: TaskEngine) -> None:
        caller = {"user": "ann", "role": "operator", "request_id": "r-1"}
        before = time.time()
        task = engine.submit(
            request("echo", value={"任务": [1, None, "\ud83d"]}, priority=Priority.HIGH, max_attempts=5, caller=caller)
        )
        assert before - 1 <= task.created_at <= time.time() + 1
        seen = kit.open().task(task.id)
        assert seen is not None
        assert (seen.name, seen.user, seen.queue, seen.priority) == ("sample.echo", "ann", "default", Priority.HIGH)
        assert (seen.state, seen.attempts, seen.max_attempts) == (TaskState.QUEUED, 0, 5)
        assert seen.arguments == {"value": {"任务": [1, None, "\ud83d"]}}
        assert dict(seen.caller) == caller
        assert (seen.started_at, seen.ended_at, seen.result, seen.error) == (None, None, None, "")

    @pytest.mark.parametrize("task_id", ["", "0", "no such", "99999999999999999999", "-1", "１", "../x", "a:b"])
    def test_an_unknown_task_is_none(self, engine: TaskEngine, task_id: str) -> None:
        assert engine.task(task_id) is None
        assert engine.cancel(task_id) is None
        assert engine.retry(task_id) is None

    def test_arguments_that_are_not_json_are_refused_and_nothing_is_accepted(self, engine: TaskEngine) -> None:
        for value in ({1, 2}, b"bytes", float("nan"), object()):
            with pytest.raises(TaskError):
                engine.submit(request("echo", value=value))
            with pytest.raises(TaskError):
                engine.submit_batch([request("echo", value=1), request("echo", value=value)], "b")
        assert engine.tasks().tasks == ()
        assert engine.queue_key("global:pending") == []

    def test_pages_are_newest_first_and_miss_none(self, engine: TaskEngine) -> None:
        ids = [engine.submit(request(user="ann" if number % 2 else "bob")).id for number in range(7)]
        first = engine.tasks(limit=3)
        assert [task.id for task in first.tasks] == ids[:3:-1]
        engine.submit(request())
        second = engine.tasks(limit=3, cursor=first.next_cursor)
        third = engine.tasks(limit=3, cursor=second.next_cursor)
        assert [task.id for task in second.tasks + third.tasks] == ids[3::-1]
        assert third.next_cursor == ""
        assert [task.id for task in engine.tasks(TaskQuery(user="bob")).tasks] == ids[::-2]
        assert engine.tasks(TaskQuery(name="sample.echo")).tasks == ()
        assert engine.tasks(TaskQuery(states=[TaskState.DONE])).tasks == ()
        assert len(engine.tasks(TaskQuery(states=[TaskState.QUEUED, TaskState.RUNNING])).tasks) == 8
        counts = engine.tasks(TaskQuery(states=[TaskState.DONE], user="bob")).counts
        assert counts == {"queued": 4, "running": 0, "done": 0, "failed": 0, "cancelled": 0}

    @pytest.mark.parametrize("cursor", ["nonsense", "-1", "1.5", "99999999999999999999999", "１"])
    def test_a_cursor_that_we_did_not_give_out_is_refused(self, engine: TaskEngine, cursor: str) -> None:
        engine.submit(request())
        with pytest.raises(BadCursor):
            engine.tasks(cursor=cursor)

    def test_a_schedule_key_gives_one_task_however_often_it_is_asked_for(
        self, kit: EngineKit, engine: TaskEngine
    ) -> None:
        first = engine.submit(request(schedule_key="refresh@02:00"))
        assert kit.open().submit(request("echo", schedule_key="refresh@02:00", value=1)).id == first.id
        assert engine.submit(request(schedule_key="refresh@03:00")).id != first.id
        engine.cancel(first.id)
        assert engine.submit(request(schedule_key="refresh@02:00")).id == first.id, "for ever, not while it waits"
        assert len(engine.tasks().tasks) == 2

    def test_a_queued_task_is_cancelled_at_once_and_can_be_retried(self, engine: TaskEngine) -> None:
        task = engine.submit(request())
        cancelled = engine.cancel(task.id)
        assert cancelled is not None
        assert cancelled.state is TaskState.CANCELLED
        assert cancelled.ended_at is not None
        assert engine.queue_key("global:pending") == []
        again = engine.retry(task.id)
        assert again is not None
        assert (again.state, again.attempts, again.cancel_asked, again.ended_at) == (TaskState.QUEUED, 0, False, None)
        assert engine.queue_key("global:pending") == [task.id]
        with pytest.raises(TaskStateError):
            engine.retry(task.id)

    def test_a_batch_has_all_of_its_tasks_and_one_progress(self, engine: TaskEngine) -> None:
        tasks = engine.submit_batch([request(user=user) for user in ("ann", "bob", "ann", "cid")], "b-1")
        engine.submit(request())
        ids = [task.id for task in tasks]
        assert engine.queue_key("batch:b-1:tasks") == sorted(ids)
        batch = engine.batch("b-1")
        assert batch is not None
        assert (set(batch.task_ids), batch.percent, batch.is_over) == (set(ids), 0, False)
        for task_id in ids[:3]:
            engine.cancel(task_id)
        batch = engine.batch("b-1")
        assert batch is not None
        assert (batch.percent, batch.counts["cancelled"], batch.is_over) == (75, 3, False)
        assert {task.id for task in engine.tasks(TaskQuery(batch="b-1")).tasks} == set(ids)
        assert engine.tasks(TaskQuery(batch="b-1")).counts["queued"] == 1
        assert engine.batch("b-2") is None
        assert engine.batch("") is None
        assert engine.submit_batch([], "b-3") == ()

    def test_the_guides_key_names_show_who_waits(self, engine: TaskEngine) -> None:
        low = engine.submit(request(priority=Priority.LOW))
        normal = engine.submit(request(user="user:with:colons"))
        high = engine.submit(request(priority=Priority.HIGH))
        assert engine.queue_key("global:pending") == [high.id, normal.id, low.id]
        assert engine.queue_key("user:ann:pending") == [high.id, low.id]
        assert engine.queue_key("user:user:with:colons:pending") == [normal.id]
        assert engine.queue_key("user:nobody:pending") == []
        assert engine.queue_key("user:ann:processing") == []
        assert engine.queue_key("batch:none:tasks") == []
        progress = engine.queue_key(f"task:{low.id}:progress")
        assert progress["task_id"] == low.id
        assert progress["status"] == "queued"
        for key in ("", "global", "pending", "user:ann", "task:x:progress", "global:processing", "jobs"):
            assert engine.queue_key(key) is None

    def test_what_ended_long_ago_is_forgotten_and_nothing_else(self, engine: TaskEngine) -> None:
        waiting, old, new = (engine.submit(request()) for _ in range(3))
        engine.cancel(old.id)
        wait_for(lambda: time.time() > (engine.task(old.id) or old).created_at + 0.05)
        between = time.time()
        time.sleep(0.05)
        engine.cancel(new.id)
        assert engine.forget_before(between) == 1
        assert [task.id for task in engine.tasks().tasks] == [new.id, waiting.id]
        assert engine.forget_before(between) == 0

    # -- running ---------------------------------------------------------------------------------------------

    def test_a_task_is_run_and_its_result_kept(self, kit: EngineKit, engine: TaskEngine) -> None:
        kit.start_worker()
        task = kit.wait_for_end(engine, engine.submit(request("echo", value={"深": [1.5, "x"]})).id)
        assert task.state is TaskState.DONE
        assert task.result == {"value": {"深": [1.5, "x"]}, "task": task.id}
        assert (task.attempts, task.error, task.progress.percent) == (1, "", 100)
        assert task.started_at is not None
        assert task.ended_at is not None
        assert task.created_at <= task.started_at <= task.ended_at
        with pytest.raises(TaskStateError):
            engine.retry(task.id)
        ended = engine.cancel(task.id)
        assert ended is not None
        assert ended.state is TaskState.DONE, "too late"
        wait_for(lambda: [worker.done for worker in engine.workers()] == [1])

    def test_how_far_a_task_is_can_be_seen_while_it_runs(
        self, kit: EngineKit, engine: TaskEngine, tmp_path: Path
    ) -> None:
        worker = kit.start_worker()
        task = engine.submit(request("work", path=str(tmp_path / "notes"), seconds=1.6))
        wait_for(lambda: (kit_task(engine, task.id).progress.percent or 0) > 52)
        seen = kit_task(engine, task.id)
        assert (seen.state, seen.progress.step) == (TaskState.RUNNING, "second half")
        assert seen.progress.message.startswith("after ")
        assert 0.8 < seen.progress.elapsed_seconds < 20
        assert seen.progress.remaining_seconds is not None
        assert seen.progress.remaining_seconds < seen.progress.elapsed_seconds
        assert engine.queue_key("user:ann:processing") == [task.id]
        assert engine.queue_key("global:pending") == []
        document = engine.queue_key(f"task:{task.id}:progress")
        assert set(document) == {
            "task_id", "status", "progress", "current_step", "message", "elapsed_time", "remaining_time", "steps",
            "updated_at",
        }  # fmt: skip
        assert [step["name"] for step in document["steps"]] == ["first half", "second half"]
        (info,) = engine.workers()
        assert (info.pid, info.task) == (worker.pid, task.id)
        assert set(info.queues) == {"default", "host:here"}
        assert seen.worker == info.name
        assert kit.wait_for_end(engine, task.id).result == "worked"
        wait_for(lambda: engine.queue_key("user:ann:processing") == [])

    def test_a_running_task_that_is_cancelled_stops(self, kit: EngineKit, engine: TaskEngine, tmp_path: Path) -> None:
        kit.start_worker()
        task = engine.submit(request("work", path=str(tmp_path / "notes"), seconds=60))
        wait_for(lambda: lines(tmp_path / "notes"))
        asked = engine.cancel(task.id)
        assert asked is not None
        assert asked.cancel_asked
        ended = kit.wait_for_end(engine, task.id, 10)
        assert (ended.state, ended.result) == (TaskState.CANCELLED, None)
        assert len(lines(tmp_path / "notes")) == 1, "it neither went on nor was run again"
        assert kit.wait_for_end(engine, engine.submit(request()).id).state is TaskState.DONE

    def test_a_poisoned_task_is_put_aside_and_the_others_go_on(
        self, kit: EngineKit, engine: TaskEngine, tmp_path: Path
    ) -> None:
        kit.start_worker()
        poisoned = engine.submit(request("fail", path=str(tmp_path / "notes"), max_attempts=3))
        others = [engine.submit(request(user="bob")) for _ in range(5)]
        failed = kit.wait_for_end(engine, poisoned.id)
        assert (failed.state, failed.attempts) == (TaskState.FAILED, 3)
        assert "poisoned" in failed.error
        assert lines(tmp_path / "notes") == ["attempt 1", "attempt 2", "attempt 3"]
        assert all(kit.wait_for_end(engine, other.id).state is TaskState.DONE for other in others)
        assert [task.id for task in engine.tasks(TaskQuery(states=[TaskState.FAILED])).tasks] == [poisoned.id]
        engine.retry(poisoned.id)
        assert kit.wait_for_end(engine, poisoned.id).attempts == 3
        assert len(lines(tmp_path / "notes")) == 6, "a retry gives it fresh attempts"

    def test_a_task_without_any_progress_is_ended_with_its_worker_and_one_that_says_how_far_it_is_goes_on(
        self, kit: EngineKit, engine: TaskEngine, tmp_path: Path
    ) -> None:
        kit.settings["TASK_STALL_SECONDS"] = "0.4"
        kit.start_worker()
        stalled = engine.submit(request("deaf", path=str(tmp_path / "notes"), seconds=600, max_attempts=2))
        ended = kit.wait_for_end(engine, stalled.id, keep_a_worker=True)
        assert (ended.state, ended.attempts) == (TaskState.FAILED, 2)
        assert "died" in ended.error
        assert "no sign of life for 0.4 s (TASK_STALL_SECONDS)" in ended.progress.message
        kit.keep_a_worker()
        slow = engine.submit(request("work", path=str(tmp_path / "work"), seconds=1))
        assert kit.wait_for_end(engine, slow.id).state is TaskState.DONE

    def test_what_no_attempt_can_help_is_put_aside_at_once(
        self, kit: EngineKit, engine: TaskEngine, tmp_path: Path
    ) -> None:
        kit.start_worker()
        refused = engine.submit(request("refuse", path=str(tmp_path / "notes")))
        unknown = engine.submit(request("no-such-task"))
        lacking = engine.submit(request("echo"))
        too_many = engine.submit(request("nothing", extra=1))
        for task, said in ((refused, "cannot be done"), (unknown, "no-such"), (lacking, "value"), (too_many, "extra")):
            ended = kit.wait_for_end(engine, task.id)
            assert (ended.state, ended.attempts) == (TaskState.FAILED, 1)
            assert said in ended.error
        assert lines(tmp_path / "notes") == ["attempt 1"]

    def test_a_result_that_is_not_json_fails_the_task(self, kit: EngineKit, engine: TaskEngine) -> None:
        kit.start_worker()
        assert kit.wait_for_end(engine, engine.submit(request("strange")).id).state is TaskState.FAILED
        assert kit.wait_for_end(engine, engine.submit(request()).id).state is TaskState.DONE

    def test_a_task_may_name_a_file_whose_name_is_no_text(self, kit: EngineKit, engine: TaskEngine) -> None:
        kit.start_worker()
        task = kit.wait_for_end(engine, engine.submit(request("odd")).id)
        assert (task.state, task.result) == (TaskState.DONE, {"name": "\udcff.png"})
        assert task.progress.step == "step 2", "the last word is kept, however soon it came after the first"
        document = engine.queue_key(f"task:{task.id}:progress")
        assert [step["name"] for step in document["steps"]] == ["step 0", "step 1", "step 2"]

    # -- whose turn ------------------------------------------------------------------------------------------

    def test_one_user_runs_no_more_tasks_at_once_than_allowed(
        self, kit: EngineKit, engine: TaskEngine, tmp_path: Path
    ) -> None:
        kit.settings["TASKS_PER_USER"] = "1"
        engine = kit.open()
        begun, go = tmp_path / "begun", tmp_path / "go"
        greedy = [engine.submit(request("wait", begun=str(begun), go=str(go))) for _ in range(3)]
        other = engine.submit(request("wait", "bob", begun=str(begun), go=str(go)))
        for _ in range(3):
            kit.start_worker()
        wait_for(lambda: len(lines(begun)) == 2)
        assert kit_task(engine, other.id).state is TaskState.RUNNING
        assert engine.queue_key("user:ann:processing") == [greedy[0].id]
        wait_for(lambda: sum(1 for worker in engine.workers() if not worker.task) == 1)
        assert len(lines(begun)) == 2, "the third worker leaves the greedy one's tasks alone"
        go.touch()
        assert all(kit.wait_for_end(engine, task.id).state is TaskState.DONE for task in greedy)

    def test_a_user_who_comes_late_does_not_wait_for_all_of_anothers_tasks(
        self, kit: EngineKit, engine: TaskEngine, tmp_path: Path
    ) -> None:
        notes = tmp_path / "notes"
        for number in range(20):
            engine.submit(request("note", "ann", path=str(notes), line=f"ann {number}"))
        last = [engine.submit(request("note", "bob", path=str(notes), line=f"bob {number}")) for number in range(3)]
        kit.start_worker()
        for task in last:
            kit.wait_for_end(engine, task.id)
        wait_for(lambda: len(lines(notes)) == 23)
        assert max(lines(notes).index(f"bob {number}") for number in range(3)) < 10
        assert [line for line in lines(notes) if line.startswith("ann")] == [f"ann {number}" for number in range(20)]

    def test_who_waits_goes_before_upkeep(self, kit: EngineKit, engine: TaskEngine, tmp_path: Path) -> None:
        notes = tmp_path / "notes"
        for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
            for _ in range(2):
                engine.submit(request("note", path=str(notes), line=priority.value, priority=priority))
        kit.start_worker()
        wait_for(lambda: len(lines(notes)) == 6)
        assert lines(notes) == ["high", "high", "normal", "normal", "low", "low"]

    def test_a_task_waits_for_its_time(self, kit: EngineKit, engine: TaskEngine) -> None:
        kit.start_worker()
        due = time.time() + 1
        late = engine.submit(request(run_at=due))
        soon = engine.submit(request())
        assert kit.wait_for_end(engine, soon.id).state is TaskState.DONE
        assert kit_task(engine, late.id).state is TaskState.QUEUED
        started = kit.wait_for_end(engine, late.id).started_at
        assert started is not None
        assert started >= due

    def test_a_task_for_one_machine_waits_for_that_machines_worker(self, kit: EngineKit, engine: TaskEngine) -> None:
        kit.start_worker()
        there = engine.submit(request("echo", value=1, queue=host_queue("there")))
        here = engine.submit(request("echo", value=1, queue=host_queue("here")))
        assert kit.wait_for_end(engine, here.id).state is TaskState.DONE
        assert kit_task(engine, there.id).state is TaskState.QUEUED
        kit.start_worker("--host-queue", "there")
        assert kit.wait_for_end(engine, there.id).state is TaskState.DONE

    # -- faults ----------------------------------------------------------------------------------------------

    def test_a_killed_workers_task_is_taken_over(self, kit: EngineKit, engine: TaskEngine, tmp_path: Path) -> None:
        begun, go = tmp_path / "begun", tmp_path / "go"
        first = kit.start_worker()
        task = engine.submit(request("wait", begun=str(begun), go=str(go)))
        wait_for(lambda: lines(begun))
        kit.start_worker()
        kit.kill(first)
        wait_for(lambda: len(lines(begun)) == 2, kit.takeover_seconds)
        go.touch()
        ended = kit.wait_for_end(engine, task.id)
        assert (ended.state, ended.attempts, ended.result) == (TaskState.DONE, 2, "went")
        assert len(lines(begun)) == 2
        wait_for(lambda: len(engine.workers()) == 1, kit.takeover_seconds)

    def test_a_task_that_kills_its_workers_is_put_aside_in_the_end(
        self, kit: EngineKit, engine: TaskEngine, tmp_path: Path
    ) -> None:
        notes = tmp_path / "notes"
        task = engine.submit(request("deadly", path=str(notes), times=99, max_attempts=2))
        for _ in range(3):
            kit.start_worker()
        ended = kit.wait_for_end(engine, task.id, 10 + 3 * kit.takeover_seconds)
        assert (ended.state, len(lines(notes))) == (TaskState.FAILED, 2)
        assert ended.error
        assert kit.wait_for_end(engine, engine.submit(request()).id).state is TaskState.DONE, "the third worker lives"

    def test_four_workers_share_many_tasks_none_twice_none_lost(
        self, kit: EngineKit, engine: TaskEngine, tmp_path: Path
    ) -> None:
        kit.settings["TASKS_PER_USER"] = "4"
        engine = kit.open()
        notes = tmp_path / "notes"
        wanted = [f"line {number}" for number in range(kit.many)]
        engine.submit_batch(
            [request("note", f"user-{number % 7}", path=str(notes), line=line) for number, line in enumerate(wanted)],
            "many",
        )
        workers = [kit.start_worker() for _ in range(4)]
        wait_for(lambda: len(lines(notes)) >= len(wanted), 60)
        wait_for(lambda: engine.tasks(TaskQuery(batch="many")).counts["done"] == len(wanted), 10)
        assert Counter(lines(notes)) == Counter(wanted)
        assert all(worker.process.poll() is None for worker in workers)

    def test_a_worker_that_is_told_to_end_puts_its_task_back(
        self, kit: EngineKit, engine: TaskEngine, tmp_path: Path
    ) -> None:
        begun, go = tmp_path / "begun", tmp_path / "go"
        first = kit.start_worker()
        task = engine.submit(request("wait", begun=str(begun), go=str(go), max_attempts=1))
        wait_for(lambda: lines(begun))
        first.signal(signal.SIGTERM)
        assert first.wait(10) == 0, first.output()
        seen = kit_task(engine, task.id)
        assert (seen.state, seen.attempts) == (TaskState.QUEUED, 0), "being told to end costs no attempt"
        wait_for(lambda: not engine.workers())
        go.touch()
        kit.start_worker()
        assert kit.wait_for_end(engine, task.id).state is TaskState.DONE
        assert len(lines(begun)) == 2

    def test_an_idle_worker_ends_at_once_when_its_leash_is_dropped(self, kit: EngineKit, engine: TaskEngine) -> None:
        worker = kit.start_worker(leash=True)
        assert kit.wait_for_end(engine, engine.submit(request()).id).state is TaskState.DONE
        worker.drop_leash()
        assert worker.wait(10) == 0, worker.output()
        assert engine.workers() == ()


def kit_task(engine: TaskEngine, task_id: str) -> Task:
    """The task, which must be there."""
    task = engine.task(task_id)
    assert task is not None
    return task
