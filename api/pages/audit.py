"""/audit: who did what, filtered and page by page; the export goes by the API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse

from api.pages.site import Site, Visit
from api.pages.tasks import as_json
from api.texts import TEXTS
from core.audit import AuditLog, AuditOutcome, AuditQuery, Stage

_AT_ONCE = 30
Text = Annotated[str, Query(max_length=200)]
Day = Annotated[str, Query(max_length=10)]


def audit_pages(log: AuditLog, site: Site) -> APIRouter:
    """Given the audit log, return the route of its page."""
    router = APIRouter()
    here: Any = Depends(site.visit())

    @router.get("/audit")
    def audit(
        visit: Visit = here,
        actor: Text = "",
        action: Text = "",
        target: Text = "",
        stage: Annotated[Stage | str, Query(max_length=20)] = "",
        outcome: Annotated[AuditOutcome | str, Query(max_length=20)] = "",
        since: Day = "",
        until: Day = "",
        cursor: Annotated[str, Query(max_length=500)] = "",
    ) -> HTMLResponse:
        def values() -> Mapping[str, Any]:
            begin, end = _day(since), _day(until, after=True)
            query = AuditQuery(
                actor, action, target,
                stage=Stage(stage) if stage in set(Stage) else None,
                outcome=AuditOutcome(outcome) if outcome in set(AuditOutcome) else None,
                since=begin.timestamp() if begin else None, until=end.timestamp() if end else None,
            )  # fmt: skip
            page = log.page(query, cursor=cursor, limit=_AT_ONCE)
            # The same filter, as the API's export takes it.
            wanted = {
                "actor": actor, "action": action, "target": target, "stage": query.stage, "outcome": query.outcome,
                "since": begin.isoformat() if begin else "", "until": end.isoformat() if end else "",
            }  # fmt: skip
            return {
                "query": query,
                "since": since,
                "until": until,
                "records": page.records,
                "unfinished": page.unfinished,
                "next_cursor": page.next_cursor,
                "cursor": cursor,
                "stages": tuple(Stage),
                "outcomes": tuple(AuditOutcome),
                "export": urlencode({name: str(value) for name, value in wanted.items() if value}),
                "as_json": as_json,
            }

        return site.answer(visit, "audit.html", TEXTS[visit.language]["audit_title"], values, action="audit.list")

    return router


def _day(text: str, *, after: bool = False) -> datetime | None:
    """Return when a day (YYYY-MM-DD, UTC) begins, or the one ``after`` it; None for what is no day."""
    try:
        day = date.fromisoformat(text) + timedelta(days=1 if after else 0)
    except (ValueError, OverflowError):
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
