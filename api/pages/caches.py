"""/cache: how large the caches are, by target and age and over time; what is in them; cleaning and clearing them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse

from api.pages.charts import line_chart
from api.pages.site import Site, Visit
from api.pages.tasks import as_json, may_retry
from api.ports import Operations
from api.texts import TEXTS
from core.listing import AGE_LIMITS_DAYS, LAST_PAGE, AgeBand, EntryQuery, EntryType, Family, Sort

_PAGE_SIZE = 25
_GROWTH_DAYS = 90
_ORDERS = {
    Sort.NEWEST: "newest_first", Sort.OLDEST: "oldest_first", Sort.LARGEST: "largest_first",
    Sort.SMALLEST: "smallest_first", Sort.NAME: "by_name",
}  # fmt: skip
TaskId = Annotated[str, Query(max_length=100)]


def cache_pages(operations: Operations, site: Site) -> APIRouter:
    """Given the operations, return the route of the caches' page."""
    router = APIRouter()
    here: Any = Depends(site.visit())

    @router.get("/cache")
    def cache(
        visit: Visit = here,
        task: TaskId = "",
        type: Annotated[EntryType | str, Query(max_length=30)] = "",
        target: Annotated[str, Query(max_length=200)] = "",
        sort: Sort = Sort.NEWEST,
        page: Annotated[int, Query(ge=1, le=LAST_PAGE)] = 1,
    ) -> HTMLResponse:
        def values() -> Mapping[str, Any]:
            stats = operations.stats()
            known = {each.target for each in stats.targets}
            kind = EntryType(type) if type in set(EntryType) else None
            # An address may name a target that is no longer configured: it finds nothing, and the rest is shown.
            wanted = target if target in known else ""
            query = EntryQuery((kind,) if kind else (), wanted, sort)
            found = operations.details(query, cursor="", page=page, page_size=_PAGE_SIZE)
            today = int(time.time() // 86400)
            return {
                **followed(operations, visit, task),
                "stats": stats,
                "backends": operations.availability(),
                "ages": ages_of(operations.ages(), known),
                "growth": _growth(operations, known, today - _GROWTH_DAYS),
                "families": [family for family in Family if family is not Family.MODEL] + [Family.MODEL],
                "found": found,
                "pages": max(-(-found.total // _PAGE_SIZE), 1),
                "page": page,
                "kinds": sorted({each.type for each in stats.targets}),
                "chosen_kind": kind,
                "chosen_target": wanted,
                "sort": sort,
                "orders": _ORDERS,
            }

        return site.answer(visit, "cache.html", TEXTS[visit.language]["caches_title"], values, action="cache.stats")

    return router


def followed(operations: Operations, visit: Visit, task_id: str) -> dict[str, Any]:
    """Return what a page needs to show the task that its address names, if any."""
    return {
        "task": operations.engine.task(task_id) if task_id else None,
        "task_id": task_id,
        "now": time.time(),
        "as_json": as_json,
        "may_retry": may_retry(operations, visit),
    }


def ages_of(bands: tuple[AgeBand, ...], targets: set[str]) -> list[tuple[int, int]]:
    """Return (entries, bytes) of each age band over these targets, youngest first; nothing where nothing is known."""
    found = [(0, 0)] * (len(AGE_LIMITS_DAYS) + 1)
    for each in bands:
        if each.target in targets:
            entries, size = found[each.band]
            found[each.band] = (entries + each.entries, size + each.size_bytes)
    return found if any(entries for entries, _ in found) else []


def _growth(operations: Operations, targets: set[str], since_day: int) -> Any:
    sizes: dict[int, int] = {}
    last: dict[str, int] = {}
    for sample in operations.samples(since_day):
        if sample.target in targets:
            # A target that was not walked that day is as large as it was known to be.
            last[sample.target] = sample.size_bytes
            sizes[sample.day] = sum(last.values())
    return line_chart(sorted(sizes.items())) if len(sizes) > 1 else None
