"""/status and /status/{server}: the fleet at a glance, and one server with its past."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import HTMLResponse

from api.fleet import Fleet, find_server
from api.pages.charts import bands, latency_chart, shares
from api.pages.site import Site, Visit
from api.servers import Cursor, Page, Text, read_history
from api.texts import RULES, TEXTS
from core.fleet_query import ServerQuery, ServerSort
from core.model import State
from core.recent import WORST_FIRST

PAGE_SIZES = (50, 100, 200)
"""Servers on one page: a browser stays quick, and the rest is found by filters and pages."""


def fleet_pages(fleet: Fleet, site: Site) -> APIRouter:
    """Given the running checker, return the routes of its pages."""
    router = APIRouter()
    here: Any = Depends(site.visit(open_here=True))

    @router.get("/status")
    def status(
        visit: Visit = here,
        state: Annotated[State | str, Query(max_length=30)] = "",
        group: Text = "",
        q: Text = "",
        sort: ServerSort = ServerSort.STATE,
        page: Page = 1,
        page_size: Annotated[int, Query(ge=1, le=PAGE_SIZES[-1])] = PAGE_SIZES[0],
    ) -> HTMLResponse:
        def values() -> Mapping[str, Any]:
            query = ServerQuery(frozenset({str(state)} if state else ()), group, q, sort, page, page_size)
            found = fleet.select(query)
            return {
                "query": query,
                "found": found,
                "rows": [_drawn(server) for server in found.servers],
                "chosen": state,
                "states": WORST_FIRST,
                "sorts": tuple(ServerSort),
                "sizes": PAGE_SIZES,
                "polled_at": fleet.polled_at(),
                "now": time.time(),
            }

        return site.answer(visit, "status.html", TEXTS[visit.language]["fleet_title"], values, action="fleet.status")

    @router.get("/status/{which:path}")
    def server(which: str, visit: Visit = here, cursor: Cursor = "") -> HTMLResponse:
        known: Mapping[str, Any] | None = None
        if visit.caller is not None:
            # Whether there is such a server is for those who may see the fleet.
            with contextlib.suppress(HTTPException):
                known = fleet.full(find_server(fleet, which))
            if known is None:
                return site.answer(
                    visit,
                    "missing.html",
                    TEXTS[visit.language]["no_such_server"],
                    dict,
                    action="fleet.server",
                    target=which[:200],
                    status=404,
                )

        def values() -> Mapping[str, Any]:
            assert known is not None, "nothing is rendered for a caller who may not see it"
            drawn = _drawn(known)
            return {
                "server": drawn,
                "bands": drawn["bands"],
                "shares": drawn["shares"],
                "latency": latency_chart(known["latencies"]),
                "past": read_history(fleet, known["name"], cursor, 50),
                "rules": RULES[visit.language],
                "cursor": cursor,
                "now": time.time(),
            }

        title = str(known["name"]) if known else which
        return site.answer(visit, "server.html", title, values, action="fleet.server", target=title)

    return router


def _drawn(server: Mapping[str, Any]) -> dict[str, Any]:
    found = bands(server["last_24_hours"])
    return {**server, "bands": found, "shares": shares(found)}
