"""Waits for a task without holding a thread, so that forty callers who wait a minute leave the API free."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.envelope import Envelope
from core.tasks import Task, TaskEngine

WaitSeconds = Annotated[float, Query(ge=0, le=60, description="seconds to wait for the task to be over")]

FIRST_LOOK_SECONDS = 0.02
SLOWEST_LOOK_SECONDS = 0.25


async def settled(engine: TaskEngine, task: Task, seconds: float, request: Request) -> Task:
    """Given a task, return it once it is over, or as it stands after so many seconds or when the caller has left."""
    deadline = time.monotonic() + seconds
    pause = FIRST_LOOK_SECONDS
    while not task.state.is_over:
        remaining = deadline - time.monotonic()
        if remaining <= 0 or await request.is_disconnected():
            break
        await asyncio.sleep(min(pause, remaining))
        pause = min(pause * 1.5, SLOWEST_LOOK_SECONDS)
        # The look itself takes a thread for its milliseconds only.
        found = await run_in_threadpool(engine.task, task.id)
        # One that was forgotten meanwhile stays as it was last seen.
        task = found if found is not None else task
    return task


def accept(data: type[BaseModel], *, other: int = 202) -> dict[int | str, dict[str, Any]]:
    """Given what a route answers with, return the OpenAPI entry of its other status: not over yet, or over already."""
    said = "accepted, not over yet: `Location` is where to ask" if other == 202 else "over already: the task"
    location = {"Location": {"description": "the task's address", "schema": {"type": "string"}}}
    return {other: {"model": Envelope[data], "description": said, "headers": location}}  # type: ignore[valid-type]
