"""The fleet's JSON for programs that want a part of it: filtered, sorted, paged; and one server with its past."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel

from api.fleet import OPEN_HERE, Fleet, find_server, iso
from api.gate import Gate, GatedRoute
from core import request_phrases as say
from core.access import Caller, Role
from core.audit import Records
from core.errors import StoreError
from core.fleet_query import MAX_PAGE_SIZE, ServerQuery, ServerSort
from core.history import ServerHistory
from core.model import State


class Servers(BaseModel):
    """One page of the fleet. ``counts`` are of what group and text let through, whatever ``state`` asked for.

    ``polled_since`` is how many servers of the whole fleet have been polled after the moment given as ``since``, in
    seconds by the daemon's clock, which ``now`` tells.
    """

    servers: list[dict[str, Any]]
    total: int
    fleet: int
    page: int
    pages: int
    counts: dict[str, int]
    groups: list[str]
    last_poll: str | None
    polled_since: int | None
    now: float


class Past(BaseModel):
    """One server: what is known now, its events and submissions (newest first), and the events' next cursor."""

    server: dict[str, Any]
    events: list[dict[str, Any]]
    submissions: list[dict[str, Any]]
    next_cursor: str


Text = Annotated[str, Query(max_length=200)]
Page = Annotated[int, Query(ge=1, le=1_000_000)]
PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)]
Cursor = Annotated[str, Query(max_length=60, pattern=r"^(\d+(\.\d+)?(e[+-]?\d+)?-\d+)?$")]


def server_routes(fleet: Fleet, gate: Gate, records: Records) -> APIRouter:
    """Given the running checker and who may look, return the routes.

    All answers come from memory, events from the journal.
    """
    router = APIRouter(route_class=GatedRoute)
    looks: Any = Depends(gate.needs(Role.VIEWER, open_here=True))

    @router.get("/api/servers", openapi_extra=OPEN_HERE, summary="服务器列表 · A page of the fleet, sorted")
    def servers(
        state: Annotated[list[State] | None, Query(max_length=20)] = None,
        group: Text = "",
        q: Text = "",
        sort: ServerSort = ServerSort.STATE,
        page: Page = 1,
        page_size: PageSize = 50,
        since: Annotated[float | None, Query(ge=0, le=1e12, description="UTC seconds")] = None,
        caller: Caller = looks,
    ) -> Servers:
        """服务器列表 · A page of the fleet: by state (several allowed), group and words; sorted; from memory."""
        records.read(caller, "fleet.status")
        found = fleet.select(ServerQuery(frozenset(state or ()), group, q, sort, page, page_size))
        return Servers(
            servers=[dict(server) for server in found.servers],
            total=found.total,
            fleet=found.fleet,
            page=found.page,
            pages=found.pages,
            counts=dict(found.counts),
            groups=list(found.groups),
            last_poll=iso(fleet.polled_at()),
            polled_since=fleet.polled_since(since) if since is not None else None,
            now=time.time(),
        )

    @router.get("/api/servers/{which:path}", openapi_extra=OPEN_HERE, summary="一台服务器 · One server and its past")
    def server(
        which: str,
        cursor: Cursor = "",
        events: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)] = 50,
        caller: Caller = looks,
    ) -> Past:
        """一台服务器 · All that is known of one server, by index, name or address, with its events and submissions."""
        name = find_server(fleet, which)
        records.read(caller, "fleet.server", name)
        known = fleet.full(name)
        if known is None:
            raise HTTPException(404, say.NO_SERVER_NOW(server=which[:200]))
        past = read_history(fleet, name, cursor, events)
        return Past(
            server=known,
            events=[asdict(event) for event in past.events],
            submissions=[asdict(each) for each in past.submissions],
            next_cursor=past.next_cursor,
        )

    return router


def read_history(fleet: Fleet, name: str, cursor: str, events: int) -> ServerHistory:
    """Return a server's past; a journal that cannot be read is a 503 in words."""
    try:
        return fleet.history(name, cursor=cursor, events=events)
    except StoreError as error:
        raise HTTPException(503, str(error)) from None
