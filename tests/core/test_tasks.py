"""Pauses between attempts, a batch's one progress, and what the guide's progress key holds."""

from __future__ import annotations

import pytest

from core.tasks import (
    MAX_RETRY_SECONDS,
    Priority,
    Progress,
    Task,
    TaskState,
    batch_of,
    progress_document,
    remaining_seconds,
    retry_delay_seconds,
)


def task(state: TaskState, **fields: object) -> Task:
    return Task("7", "cleanup", {}, "ann", "default", Priority.NORMAL, state, 1.0, 1.0, **fields)  # type: ignore[arg-type]


def test_the_pause_doubles_with_each_failed_attempt_up_to_the_most() -> None:
    assert [retry_delay_seconds(attempts) for attempts in (0, 1, 2, 3, 4)] == [1, 1, 2, 4, 8]
    assert retry_delay_seconds(3, 0.05) == pytest.approx(0.2)
    assert retry_delay_seconds(10_000) == MAX_RETRY_SECONDS


def test_the_rest_is_reckoned_by_the_pace_so_far() -> None:
    assert remaining_seconds(25, 10) == 30
    assert remaining_seconds(100, 10) == 0
    assert remaining_seconds(0, 10) is None
    assert remaining_seconds(None, 10) is None


def test_a_batch_counts_what_is_over_as_whole_and_what_runs_as_far_as_it_is() -> None:
    batch = batch_of(
        "b",
        [
            ("1", TaskState.DONE, 100.0),
            ("2", TaskState.FAILED, 3.0),
            ("3", TaskState.RUNNING, 50.0),
            ("4", TaskState.RUNNING, None),
            ("5", TaskState.QUEUED, None),
        ],
    )
    assert batch is not None
    assert (batch.percent, batch.is_over, batch.task_ids) == (50, False, ("1", "2", "3", "4", "5"))
    assert batch.counts == {"queued": 1, "running": 2, "done": 1, "failed": 1, "cancelled": 0}
    over = batch_of("b", [("1", TaskState.DONE, 100.0), ("2", TaskState.CANCELLED, None)])
    assert over is not None
    assert (over.percent, over.is_over) == (100, True)
    assert batch_of("b", []) is None


def test_the_progress_document_names_every_step_and_the_present_one_last() -> None:
    running = task(TaskState.RUNNING, progress=Progress(40.0, "delete", "x", 2.0, 3.0, 9.0))
    assert progress_document(running, ["scan", "delete"]) == {
        "task_id": "7",
        "status": "running",
        "progress": 40.0,
        "current_step": "delete",
        "message": "x",
        "elapsed_time": 2.0,
        "remaining_time": 3.0,
        "steps": [{"name": "scan", "status": "completed"}, {"name": "delete", "status": "running"}],
        "updated_at": 9.0,
    }
    failed = progress_document(task(TaskState.FAILED, error="no room"), ["scan"])
    assert failed["message"] == "no room"
    assert failed["steps"] == [{"name": "scan", "status": "failed"}]
    done = progress_document(task(TaskState.DONE), ["scan"])
    assert done["steps"] == [{"name": "scan", "status": "completed"}]
