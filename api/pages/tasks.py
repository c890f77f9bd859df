"""/tasks: what is queued, what runs and how far it is, what failed; and one task as other pages show it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse

from api.pages.site import Site, Visit
from api.ports import Operations
from api.texts import TEXTS
from core.access import Role
from core.errors import NotFound
from core.tasks import Task, TaskQuery, TaskState

_AT_ONCE = 30


def task_pages(operations: Operations, site: Site) -> APIRouter:
    """Given the operations, return the route of their page."""
    router = APIRouter()
    here: Any = Depends(site.visit())
    engine = operations.engine

    @router.get("/tasks")
    def tasks(
        visit: Visit = here,
        state: Annotated[TaskState | str, Query(max_length=20)] = "",
        cursor: Annotated[str, Query(max_length=500)] = "",
    ) -> HTMLResponse:
        def values() -> Mapping[str, Any]:
            chosen = TaskState(state) if state in set(TaskState) else None
            page = engine.tasks(TaskQuery((chosen,) if chosen else ()), cursor=cursor, limit=_AT_ONCE)
            return {
                "tasks": page.tasks,
                "next_cursor": page.next_cursor,
                "counts": page.counts,
                "chosen": chosen,
                "states": tuple(TaskState),
                "workers": engine.workers(),
                "cursor": cursor,
                "now": time.time(),
                "as_json": as_json,
                "may_retry": may_retry(operations, visit),
            }

        return site.answer(visit, "tasks.html", TEXTS[visit.language]["tasks_title"], values, action="task.list")

    return router


def may_retry(operations: Operations, visit: Visit) -> Callable[[Task], bool]:
    """Return whether the reader's role is enough for a task: a retry needs the role that the operation needs."""

    def judge(task: Task) -> bool:
        try:
            needed = operations.role_for(task.name)
        except NotFound:
            needed = Role.ADMIN
        return visit.may(needed)

    return judge


def as_json(value: object) -> str:
    """Return plain values as a person reads them."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)
