"""The routes about tasks: any operation as one, how each stands, batches, workers and the queue's readable keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.cache_models import (
    BatchData,
    QueueValue,
    TaskData,
    TaskListData,
    WorkerData,
    batch_address,
)
from api.envelope import Envelope, Words, reply
from api.errors import ERRORS
from api.gate import Gate, GatedRoute
from api.ports import Operations
from api.wishes import BatchWish, Operation
from core import operation_phrases as say
from core.access import Caller, Role
from core.errors import AccessDenied, NotFound
from core.request_phrases import NO_BATCH, OPERATION_ROLE
from core.tasks import Priority, Task, TaskQuery, TaskState

PAGE_LIMIT = 500

TaskId = Annotated[str, Path(max_length=100)]
Cursor = Annotated[str, Query(max_length=500, description="the last page's next_cursor")]
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT)]


def task_routes(operations: Operations, gate: Gate) -> APIRouter:
    """Given the operations and who may use them, return the routes about tasks."""
    router = APIRouter(route_class=GatedRoute, tags=["tasks"], responses=ERRORS)
    viewer, operator = Depends(gate.needs(Role.VIEWER)), Depends(gate.needs(Role.OPERATOR))
    engine = operations.engine

    @router.post("/api/cache/operations", status_code=202, summary="提交任务 · Queue any operation")
    def operation_submit(
        request: Request,
        response: Response,
        wish: Operation,
        priority: Priority = Priority.NORMAL,
        batch: Annotated[str, Query(max_length=200, description="the batch that it belongs to")] = "",
        host: Annotated[str, Query(max_length=200, description="another machine of QUEUE_URL; empty: this one")] = "",
        caller: Caller = operator,
    ) -> Envelope[TaskData]:
        """By its name, with its arguments. `clear` and `remove_model` need the role admin."""
        _allow(caller, wish.name)
        arguments = wish.arguments.model_dump()
        task = operations.submit(caller, wish.name, arguments, priority=priority, batch=batch, host=host)
        data = TaskData.of(task)
        response.headers["Location"] = data.address
        return reply(request, data, Words("任务已接受", "queued"))

    @router.get("/api/cache/operations", summary="任务列表 · Tasks, newest first")
    def operation_list(
        request: Request,
        state: Annotated[list[TaskState] | None, Query(max_length=5)] = None,
        user: Annotated[str, Query(max_length=200)] = "",
        name: Annotated[str, Query(max_length=200)] = "",
        batch: Annotated[str, Query(max_length=200)] = "",
        cursor: Cursor = "",
        limit: Limit = 20,
        caller: Caller = viewer,
    ) -> Envelope[TaskListData]:
        """`state=failed` is the dead-letter list."""
        operations.auditor.read(caller, "task.list", "", {"user": user, "name": name, "batch": batch})
        page = engine.tasks(TaskQuery(state or (), user, name, batch), cursor=cursor, limit=limit)
        data = TaskListData(
            items=[TaskData.of(each) for each in page.tasks], counts=dict(page.counts), next_cursor=page.next_cursor
        )
        return reply(request, data, Words("获取任务列表成功", "tasks"))

    @router.get("/api/cache/operations/{task_id}", summary="任务进度 · One task: progress, result, error")
    def operation_get(request: Request, task_id: TaskId, caller: Caller = viewer) -> Envelope[TaskData]:
        """How far it is, and what came of it."""
        operations.auditor.read(caller, "task.read", task_id, {})
        return reply(request, TaskData.of(_task(task_id)), Words("获取任务成功", "the task"))

    @router.post("/api/cache/operations/{task_id}/cancel", summary="取消任务 · Cancel a task")
    def operation_cancel(request: Request, task_id: TaskId, caller: Caller = operator) -> Envelope[TaskData]:
        """A queued task at once; a running one is asked to stop, and ends after the entry in hand."""
        task = operations.cancel(caller, task_id)
        return reply(request, TaskData.of(task), Words("已请求取消任务", "asked to stop"))

    @router.post("/api/cache/operations/{task_id}/retry", summary="重试任务 · Queue a failed task again")
    def operation_retry(request: Request, task_id: TaskId, caller: Caller = operator) -> Envelope[TaskData]:
        """One that failed or was cancelled, with fresh attempts. Needs the role that the operation itself needs."""
        _allow(caller, _task(task_id).name)
        return reply(request, TaskData.of(operations.retry(caller, task_id)), Words("任务已重新排队", "queued again"))

    @router.post("/api/cache/batches", status_code=202, summary="批量任务 · Queue several operations, all or none")
    def batch_submit(
        request: Request, response: Response, wish: BatchWish, caller: Caller = operator
    ) -> Envelope[BatchData]:
        """With one progress at the address in `Location`."""
        for each in wish.operations:
            _allow(caller, each.name)
        wishes = [(each.name, each.arguments.model_dump()) for each in wish.operations]
        operations.submit_batch(caller, wishes, wish.batch)
        response.headers["Location"] = batch_address(wish.batch)
        return reply(request, _batch(wish.batch, "", PAGE_LIMIT), Words("批次已接受", "the batch is queued"))

    @router.get("/api/cache/batches/{batch:path}", summary="批次进度 · One progress for all tasks of a batch")
    def batch_get(
        request: Request,
        batch: Annotated[str, Path(max_length=200)],
        cursor: Cursor = "",
        limit: Limit = 20,
        caller: Caller = viewer,
    ) -> Envelope[BatchData]:
        """Over when `is_over`."""
        operations.auditor.read(caller, "batch.read", batch, {})
        return reply(request, _batch(batch, cursor, limit), Words("获取批次进度成功", "the batch"))

    @router.get("/api/cache/queue/{key:path}", summary="队列键 · What one of the guide's key names holds")
    def queue_get(
        request: Request, key: Annotated[str, Path(max_length=300)], caller: Caller = viewer
    ) -> Envelope[QueueValue]:
        """`user:{id}:pending`, `user:{id}:processing`, `global:pending`, `batch:{id}:tasks`, `task:{id}:progress`."""
        operations.auditor.read(caller, "queue.read", key, {})
        value = engine.queue_key(key)
        if value is None:
            raise NotFound(say.NO_QUEUE_VALUE(key=key[:200]))
        return reply(request, value, Words("获取队列成功", "the queue"))

    @router.get("/api/cache/workers", summary="工作进程 · Workers with a live heartbeat")
    def worker_list(request: Request, caller: Caller = viewer) -> Envelope[list[WorkerData]]:
        """On every machine that works on this queue."""
        operations.auditor.read(caller, "worker.list", "", {})
        return reply(request, [WorkerData.of(each) for each in engine.workers()], Words("获取工作进程成功", "workers"))

    def _task(task_id: str) -> Task:
        task = engine.task(task_id)
        if task is None:
            raise NotFound(say.NO_TASK(task=task_id))
        return task

    def _batch(batch: str, cursor: str, limit: int) -> BatchData:
        found = engine.batch(batch)
        if found is None:
            raise NotFound(NO_BATCH(batch=batch))
        return BatchData.of(found, engine.tasks(TaskQuery(batch=batch), cursor=cursor, limit=limit))

    def _allow(caller: Caller, name: str) -> None:
        needed = operations.role_for(name)
        if not caller.role.includes(needed):
            reason = OPERATION_ROLE(operation=name, role=needed, other_role=caller.role)
            operations.auditor.refused(caller, "access", name, reason)
            raise AccessDenied(reason, 403)

    return router
