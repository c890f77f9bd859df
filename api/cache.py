"""The routes about caches: what the index knows of them, and the acts on them, each of which becomes a task."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.cache_models import (
    BackendData,
    BackendInfoData,
    CleaningData,
    DetailsData,
    EntryData,
    ModelsData,
    StatsData,
    TargetData,
    TaskData,
)
from api.envelope import Envelope, Words, moment, prefers_chinese, reply
from api.errors import ERRORS
from api.gate import Gate, GatedRoute
from api.ports import Operations
from api.waiting import WaitSeconds, accept, settled
from api.wishes import RefreshWish, WarmupWish
from core.access import Caller, Role
from core.effects import shortfall
from core.error_words import error_text
from core.listing import LAST_PAGE, MAX_PAGE_SIZE, EntryQuery, EntryType, Sort
from core.reason_phrases import also
from core.request_phrases import SOMEBODY_CANCELLED, THE_TASK_IS
from core.tasks import Task, TaskState

SYSTEM = "comfyui-cache-keeper"

ALL_SERVERS, ALL_TARGETS = WarmupWish(), RefreshWish()
"""What a call without a body means."""


class CleanupType(StrEnum):
    """What a cleanup covers; ``all`` leaves models out, which only go when they are named."""

    ALL = "all"
    FILE = "file"
    DATABASE = "database"
    PYTHON = "python"
    MODEL = "model"


TargetName = Annotated[str, Query(max_length=200, description="a target's name, as stats lists them")]
DryRun = Annotated[bool, Query(description="say what would be done, and do nothing")]


def cache_routes(operations: Operations, gate: Gate) -> APIRouter:
    """Given the operations and who may use them, return the routes under ``/api/cache`` but those about tasks."""
    router = APIRouter(route_class=GatedRoute, tags=["cache"], responses=ERRORS)
    viewer, operator, admin = (Depends(gate.needs(role)) for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN))

    @router.get("/api/cache/stats", summary="缓存统计 · Totals, by type and target")
    def cache_stats(request: Request, caller: Caller = viewer) -> Envelope[StatsData]:
        """From the index, whatever the size of the caches: `indexed_at` says how old it is."""
        operations.auditor.read(caller, "cache.stats", "", {})
        stats = operations.stats()
        data = StatsData(
            totalFiles=stats.files, totalSize=stats.size_bytes, maxSize=stats.max_size_bytes,
            counts={kind.value: totals.entries for kind, totals in stats.by_type.items()},
            backends=[TargetData.of(each) for each in stats.targets], indexed_at=moment(stats.indexed_at),
        )  # fmt: skip
        return reply(request, data, Words("获取缓存统计成功", "cache statistics"))

    @router.get("/api/cache/details", summary="缓存详情 · A page of entries")
    def cache_details(
        request: Request,
        page: Annotated[int, Query(ge=1, le=LAST_PAGE)] = 1,
        page_size: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)] = 20,
        cursor: Annotated[
            str, Query(max_length=500, description="the last page's next_cursor: quicker than a number")
        ] = "",
        type: EntryType | None = None,
        target: TargetName = "",
        sort: Sort = Sort.NEWEST,
        caller: Caller = viewer,
    ) -> Envelope[DetailsData]:
        """By `page` or, at any depth as quick as the first, by `cursor`."""
        operations.auditor.read(caller, "cache.details", target, {"type": type, "sort": sort.value})
        query = EntryQuery((type,) if type else (), target, sort)
        found = operations.details(query, cursor=cursor, page=page, page_size=page_size)
        data = DetailsData(
            items=[EntryData.of(each) for each in found.items], total=found.total, page=None if cursor else page,
            page_size=page_size, next_cursor=found.next_cursor, indexed_at=moment(operations.stats().indexed_at),
        )  # fmt: skip
        return reply(request, data, Words("获取缓存详情成功", "cache details"))

    @router.get("/api/cache/backend-info", summary="缓存后端信息 · What keeps the caches, and whether it can be used")
    def cache_backend_info(request: Request, caller: Caller = viewer) -> Envelope[BackendInfoData]:
        """Each target's backend with its error, asked every ten seconds at most; what fails leaves the rest usable."""
        operations.auditor.read(caller, "cache.backend-info", "", {})
        return reply(request, _backend_info(operations), Words("获取缓存后端信息成功", "cache backends"))

    @router.get("/api/models", tags=["models"], summary="模型列表 · The models on disk")
    def models(request: Request, caller: Caller = viewer) -> Envelope[ModelsData]:
        """As the last `list_models` task found them, at `looked_at`; `POST /api/cache/operations` looks again."""
        operations.auditor.read(caller, "models.list", "", {})
        found, looked_at = operations.models()
        data = ModelsData(**(found or {}), looked_at=moment(looked_at))
        return reply(request, data, Words("获取模型列表成功", "models"))

    @router.delete(
        "/api/cache/cleanup", summary="清理过期缓存 · Delete what has expired", responses=accept(CleaningData)
    )
    async def cache_cleanup(
        request: Request,
        response: Response,
        days: Annotated[float, Query(ge=1, le=365)] = 7,
        type: CleanupType = CleanupType.ALL,
        target: TargetName = "",
        dry_run: DryRun = False,
        wait: WaitSeconds = 10,
        caller: Caller = operator,
    ) -> Envelope[CleaningData]:
        """Entries older than `days`. 200 with what was done, or 202 with the task's address after `wait` seconds."""
        task = await run_in_threadpool(
            partial(operations.cleanup, caller, days=days, family=type.value, target=target, dry_run=dry_run)
        )
        task = await settled(operations.engine, task, wait, request)
        words = Words(f"已清理 {days:g} 天前的缓存", f"what was older than {days:g} days is deleted")
        if dry_run:
            words = Words(
                f"试运行：将清理 {days:g} 天前的缓存", f"dry run: what is older than {days:g} days would be deleted"
            )
        return _cleaning(request, response, task, words, dry_run=dry_run)

    @router.delete(
        "/api/cache/clear", summary="清空缓存 · Delete everything in a target", responses=accept(CleaningData)
    )
    async def cache_clear(
        request: Request,
        response: Response,
        target: Annotated[str, Query(min_length=1, max_length=200, description="a target's name, or all")] = "all",
        confirm: Annotated[str, Query(max_length=200, description="the target's name again; not for a dry run")] = "",
        dry_run: DryRun = False,
        wait: WaitSeconds = 10,
        caller: Caller = admin,
    ) -> Envelope[CleaningData]:
        """Only what is inside this program's own targets and prefixes; `all` leaves models out."""
        task = await run_in_threadpool(
            partial(operations.clear, caller, target=target, confirm=confirm, dry_run=dry_run)
        )
        task = await settled(operations.engine, task, wait, request)
        words = Words("所有缓存已清空", "all caches are cleared")
        if target != "all":
            words = Words(f"缓存 {target} 已清空", f"{target} is cleared")
        if dry_run:
            words = Words("试运行：没有删除任何内容", "dry run: nothing was deleted")
        return _cleaning(request, response, task, words, dry_run=dry_run)

    @router.post(
        "/api/cache/warmup", status_code=202, summary="预热 · Warm servers now", responses=accept(TaskData, other=200)
    )
    async def cache_warmup(
        request: Request,
        response: Response,
        wish: WarmupWish = ALL_SERVERS,
        wait: WaitSeconds = 0,
        caller: Caller = operator,
    ) -> Envelope[TaskData]:
        """Done when the servers' caches show the keys. Without `servers`: all of them."""
        task = await run_in_threadpool(
            partial(operations.warmup, caller, servers=wish.servers, set_name=wish.set_name, force=wish.force)
        )
        return await _taken(request, response, task, wait, Words("预热任务已接受", "the warm-up is queued"))

    @router.post(
        "/api/cache/refresh", status_code=202, summary="刷新 · Bring the index up to date",
        responses=accept(TaskData, other=200),
    )  # fmt: skip
    async def cache_refresh(
        request: Request,
        response: Response,
        wish: RefreshWish = ALL_TARGETS,
        wait: WaitSeconds = 0,
        caller: Caller = operator,
    ) -> Envelope[TaskData]:
        """Walks one target, or all of them, and counts what is there."""
        task = await run_in_threadpool(partial(operations.refresh, caller, target=wish.target))
        return await _taken(request, response, task, wait, Words("刷新任务已接受", "the refresh is queued"))

    async def _taken(request: Request, response: Response, task: Task, wait: float, words: Words) -> Envelope[TaskData]:
        task = await settled(operations.engine, task, wait, request)
        data = TaskData.of(task)
        response.status_code = 200 if task.state.is_over else 202
        response.headers["Location"] = data.address
        whole = task.state not in (TaskState.FAILED, TaskState.CANCELLED) and shortfall(task.result) is None
        if task.state is TaskState.DONE:
            words = Words("任务已完成", "done")
            if not whole:
                words = Words("部分目标未完成，原因见 result", "not all of it could be done; result says why")
        return reply(request, data, words, success=whole)

    return router


def _cleaning(
    request: Request, response: Response, task: Task, words: Words, *, dry_run: bool
) -> Envelope[CleaningData]:
    data = CleaningData.of(task, dry_run=dry_run)
    response.headers["Location"] = data.address
    if task.state is TaskState.FAILED:
        # The task's own words may be of any book, so each of the two sentences is read by itself.
        error = error_text(task.error, chinese=prefers_chinese(request))
        raise HTTPException(500, also(error, THE_TASK_IS(place=data.address)))
    if task.state is TaskState.CANCELLED:
        raise HTTPException(409, also(SOMEBODY_CANCELLED(), THE_TASK_IS(place=data.address)))
    if not task.state.is_over:
        response.status_code = 202
        return reply(request, data, Words("任务已接受，正在执行", "accepted; its address tells how far it is"))
    whole = shortfall(task.result) is None
    if not whole:
        words = Words("部分目标未完成，原因见 effects", "not all of it could be done; effects says why")
        if dry_run:
            words = Words(
                "试运行：部分目标会被拒绝，原因见 effects", "dry run: not all would be done; effects says why"
            )
    return reply(request, data, words, success=whole)


def _backend_info(operations: Operations) -> BackendInfoData:
    backends = [
        BackendData(
            name=name, type=backend.type, family=backend.family.value, available=health.available, error=health.error,
            detail=dict(health.detail),
        )
        for name, (backend, health) in operations.availability().items()
    ]  # fmt: skip

    def usable(kind: EntryType) -> bool:
        return any(each.available for each in backends if each.type is kind)

    return BackendInfoData(
        # Files need no server: whatever else is configured comes beside them and never replaces them.
        system=SYSTEM, primary_backend="file", fallback_enabled=True, mongodb_available=usable(EntryType.MONGODB),
        redis_available=usable(EntryType.REDIS), backends=backends,
    )  # fmt: skip
