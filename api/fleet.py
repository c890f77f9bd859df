"""The routes about servers: what is known of them, check now, warm now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, HTTPException, Query, Response

from api.gate import Gate, GatedRoute
from api.models import (
    Accepted,
    DetailedStatus,
    Health,
    Paused,
    ServerStatus,
    ServerSubmission,
    Status,
    SubmissionStatus,
)
from api.records import on_record
from core import request_phrases as say
from core.access import Caller, Role
from core.audit import Records
from core.fleet_query import ServerPage, ServerQuery
from core.history import ServerHistory

OPEN_HERE: dict[str, Any] = {"security": [{}]}
"""In the OpenAPI document: a token is possible, and on this machine not needed."""

LONGEST_PAUSE_SECONDS = 3650 * 86400.0


class Fleet(Protocol):
    """What the routes need of the running checker. Reads are from memory; wishes are carried out by its loop.

    A reload may take a server away at any moment: what is asked of a server that is gone is None.
    """

    check_interval_seconds: float

    def names(self) -> Sequence[str]: ...
    def groups(self) -> Sequence[str]: ...
    def brief(self, name: str) -> dict[str, Any] | None: ...
    def detail(self, name: str) -> dict[str, Any] | None: ...
    def row(self, name: str) -> dict[str, Any] | None: ...
    def full(self, name: str) -> dict[str, Any] | None: ...
    def select(self, query: ServerQuery) -> ServerPage: ...
    def history(self, name: str, *, cursor: str, events: int) -> ServerHistory: ...
    def polled_since(self, at: float) -> int: ...
    def counts(self) -> dict[str, int]: ...
    def polled_at(self) -> float | None: ...
    def submission(self, name: str) -> tuple[bool, float | None, float] | None: ...
    def next_submission_in(self) -> float: ...
    def check(self, names: Sequence[str]) -> Future[object]: ...
    def warm(self, name: str, set_name: str | None, *, force: bool) -> Future[object]: ...
    def pause(self, name: str, until: float | None) -> Future[object]: ...
    def resume(self, name: str) -> Future[bool]: ...


def routes(fleet: Fleet, gate: Gate, records: Records) -> APIRouter:
    """Given the running checker, who may use it and where that is put on record, return its routes."""
    router = APIRouter(route_class=GatedRoute)
    looks = Depends(gate.needs(Role.VIEWER, open_here=True))
    acts = Depends(gate.needs(Role.OPERATOR))

    @router.get("/api/status", openapi_extra=OPEN_HERE, summary="缓存状态 · The servers, from memory")
    def status(caller: Caller = looks) -> Status:
        """缓存状态 · Each server's state, from memory."""
        records.read(caller, "fleet.status")
        return Status(servers=_briefs(fleet, fleet.names()), counts=fleet.counts(), **_age(fleet))

    @router.get("/api/detailed_status", openapi_extra=OPEN_HERE, summary="详细状态 · Each server and warm-up set")
    def detailed_status(caller: Caller = looks) -> DetailedStatus:
        """详细状态 · Each server and warm-up set with reason, age, wanted and missing keys."""
        records.read(caller, "fleet.status")
        return DetailedStatus(
            servers=details(fleet, fleet.names()),
            counts=fleet.counts(),
            check_interval_seconds=fleet.check_interval_seconds,
            **_age(fleet),
        )

    @router.get("/healthz", summary="存活检查 · Whether the fleet is being polled", responses={503: {"model": Health}})
    def healthz(response: Response) -> Health:
        """存活检查 · 200 while the fleet is being polled, 503 when the last poll is three intervals old."""
        age = _age(fleet)
        stale = age["age_seconds"] is None or age["age_seconds"] > 3 * fleet.check_interval_seconds + 30
        if stale:
            response.status_code = 503
        return Health(status="stale" if stale else "ok", **age)

    @router.get(
        "/api/submission_status", openapi_extra=OPEN_HERE, summary="提交状态 · Whether a warm-up is being submitted"
    )
    def submission_status(caller: Caller = looks) -> SubmissionStatus:
        """提交状态 · Whether a warm-up is being submitted, when the last was, when the next may be."""
        records.read(caller, "fleet.status")
        gap = fleet.next_submission_in()
        servers = {}
        for name in fleet.names():
            brief, submission = fleet.brief(name), fleet.submission(name)
            if brief is not None and submission is not None:
                submitting, last, wait = submission
                servers[brief["server"]] = _submission(submitting, last, max(wait, gap))
        times = [each.last_submission_time for each in servers.values() if each.last_submission_time]
        return SubmissionStatus(
            is_submitting=any(each.is_submitting for each in servers.values()),
            last_submission_time=max(times, default=None),
            can_submit=gap <= 0,
            next_submission_allowed_in=gap,
            servers=servers,
        )

    # Before /check/{which}: "all" once was taken for an index and answered 422.
    @router.post("/check/all", summary="立即检测 · Poll every server now")
    async def check_all(wait: Annotated[float, Query(ge=0, le=60)] = 0, caller: Caller = acts) -> Accepted:
        """立即开始缓存检测 · Poll every server now; with ``wait`` answer when done or after that many seconds."""
        async with on_record(records, caller, "fleet.check", "all", {}):
            return await _carried_out(fleet, fleet.check(fleet.names()), fleet.names(), wait, "已开始缓存检测")

    @router.post("/check/{which:path}", summary="检测一台 · Poll one server now")
    async def check_one(which: str, wait: Annotated[float, Query(ge=0, le=60)] = 10, caller: Caller = acts) -> Accepted:
        """检测一台服务器 · Poll one server now, by its index, name or address."""
        name = find_server(fleet, which)
        async with on_record(records, caller, "fleet.check", name, {}):
            return await _carried_out(fleet, fleet.check([name]), [name], wait, "已开始缓存检测")

    @router.post("/execute/{which:path}", summary="执行缓存工作流 · Warm one server now")
    async def execute(
        which: str,
        set: Annotated[str | None, Query(max_length=200)] = None,
        force: bool = False,
        wait: Annotated[float, Query(ge=0, le=60)] = 0,
        caller: Caller = acts,
    ) -> Accepted:
        """执行缓存工作流 · Warm one server now, passing over back-off; with ``force`` even when it is loaded."""
        name = find_server(fleet, which)
        detail = fleet.detail(name)
        if detail is None:
            raise _no_such_server(which)
        sets = [each["set"] for each in detail["sets"]]
        if set is not None and set not in sets:
            raise HTTPException(404, say.NO_SET(word=name, set=set, known=", ".join(sets)))
        async with on_record(records, caller, "fleet.warm", name, {"set": set, "force": force}):
            return await _carried_out(fleet, fleet.warm(name, set, force=force), [name], wait, "已开始执行缓存工作流")

    @router.post("/api/pause/{which:path}", summary="暂停 · Leave a server or a group alone")
    async def pause(
        which: str,
        seconds: Annotated[float | None, Query(gt=0, le=LONGEST_PAUSE_SECONDS)] = None,
        caller: Caller = acts,
    ) -> Paused:
        """暂停检测 · Leave a server or a group alone for some seconds, or until resumed."""
        name = _server_or_group(fleet, which)
        until = time.time() + seconds if seconds is not None else None
        async with on_record(records, caller, "fleet.pause", name, {"seconds": seconds}):
            await asyncio.wrap_future(fleet.pause(name, until))
        return Paused(success=True, message="已暂停", name=name, paused=True, until=iso(until))

    @router.post("/api/resume/{which:path}", summary="恢复 · End a pause")
    async def resume(which: str, caller: Caller = acts) -> Paused:
        """恢复检测 · End the pause of a server or a group; one that was not paused is fine too."""
        name = _server_or_group(fleet, which)
        async with on_record(records, caller, "fleet.resume", name, {}):
            ended = await asyncio.wrap_future(fleet.resume(name))
        message = "已恢复" if ended else "没有暂停"
        return Paused(success=True, message=message, name=name, paused=False, until=None)

    return router


async def _carried_out(fleet: Fleet, done: Future[object], names: Sequence[str], wait: float, message: str) -> Accepted:
    """Wait without a thread: forty callers with ``wait=60`` would otherwise be all that the API can serve."""
    outcome = asyncio.wrap_future(done)
    # Whatever becomes of it after the answer is in the daemon's log, not here.
    outcome.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    finished, _ = await asyncio.wait({outcome}, timeout=wait)
    if finished:
        outcome.result()
    return Accepted(success=True, message=message, servers=_briefs(fleet, names), finished=bool(finished))


def details(fleet: Fleet, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return everything that is known of the named servers."""
    return [detail for name in names if (detail := fleet.detail(name)) is not None]


def _briefs(fleet: Fleet, names: Sequence[str]) -> list[ServerStatus]:
    return [ServerStatus(**brief) for name in names if (brief := fleet.brief(name)) is not None]


def find_server(fleet: Fleet, which: str) -> str:
    """Given an index, a name or an address in any spelling, return the server's name; 404 where there is none."""
    names = fleet.names()
    if which.isdecimal() and len(which) < 10:
        if int(which) < len(names):
            return names[int(which)]
        raise HTTPException(404, say.NO_SERVER_INDEX(number=int(which), last=len(names) - 1))
    # A client may fold the two slashes of an address into one, and may end it with another.
    address = which.rstrip("/").replace(":/", "://").replace(":///", "://")
    for name in names:
        if address == name or ((brief := fleet.brief(name)) is not None and address == brief["server"]):
            return name
    raise _no_such_server(which)


def _server_or_group(fleet: Fleet, which: str) -> str:
    return which if which in fleet.groups() else find_server(fleet, which)


def _no_such_server(which: str) -> HTTPException:
    return HTTPException(404, say.NO_SERVER_LISTED(server=which[:200]))


def _submission(submitting: bool, last: float | None, wait: float) -> ServerSubmission:
    return ServerSubmission(
        is_submitting=submitting,
        last_submission_time=iso(last),
        can_submit=not submitting and wait <= 0,
        next_submission_allowed_in=wait,
    )


def _age(fleet: Fleet) -> dict[str, Any]:
    at = fleet.polled_at()
    return {"last_poll": iso(at), "age_seconds": max(time.time() - at, 0.0) if at is not None else None}


def iso(at: float | None) -> str | None:
    """Given UTC seconds, return ISO 8601 to the second."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") if at is not None else None
