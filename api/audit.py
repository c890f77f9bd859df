"""The routes about the audit log: who did what, when, by which way, with what result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, BeforeValidator

from api.envelope import Envelope, Words, moment, reply
from api.errors import ERRORS
from api.gate import Gate, GatedRoute
from core.access import Caller, Role
from core.audit import AuditLog, AuditOutcome, AuditQuery, AuditRecord, Records, Stage
from core.audit_chain import CSV_FIELDS, csv_line, csv_row, json_line
from core.printable import printable
from core.request_phrases import NOT_ISO

ROWS_AT_ONCE = 500


class AuditData(BaseModel):
    """One record. A result names its intent's ``seq``; an intent without a result is ``unfinished``."""

    seq: int
    at: datetime | None
    request_id: str
    stage: Stage
    actor: str
    role: str
    token_id: str
    address: str
    channel: str
    action: str
    target: str
    parameters: dict[str, Any]
    outcome: AuditOutcome
    duration_seconds: float | None
    effect: dict[str, Any]
    error: str
    intent_seq: int
    previous_hash: str
    hash: str
    unfinished: bool

    @classmethod
    def of(cls, record: AuditRecord, *, unfinished: bool) -> AuditData:
        return cls(
            seq=record.seq, at=moment(record.at), request_id=record.request_id, stage=record.stage, actor=record.actor,
            role=record.role, token_id=record.token_id, address=record.address, channel=record.channel,
            action=record.action, target=printable(record.target), parameters=dict(record.parameters),
            outcome=record.outcome, duration_seconds=record.duration_seconds, effect=dict(record.effect),
            error=printable(record.error), intent_seq=record.intent_seq, previous_hash=record.previous_hash,
            hash=record.hash, unfinished=unfinished,
        )  # fmt: skip


class AuditPageData(BaseModel):
    """A page of records, newest first. ``next_cursor`` is empty at the end."""

    items: list[AuditData]
    next_cursor: str


class ExportFormat(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"


Text = Annotated[str, Query(max_length=200)]


def _iso(value: object) -> object:
    # Pydantic takes a number for seconds since 1970, and the description does not say so.
    if isinstance(value, str) and "T" not in value.upper():
        raise ValueError(NOT_ISO())
    return value


Time = Annotated[
    AwareDatetime | None,
    BeforeValidator(_iso),
    Query(description="ISO 8601 with an offset", examples=["2026-11-23T00:00:00Z"]),
]


def audit_query(
    actor: Text = "",
    action: Text = "",
    target: Text = "",
    request_id: Text = "",
    stage: Stage | None = None,
    outcome: AuditOutcome | None = None,
    since: Time = None,
    until: Time = None,
) -> AuditQuery:
    """Return which records the parameters of an address ask for: a dependency of the routes."""
    return AuditQuery(
        actor, action, target, request_id, stage, outcome, since=since.timestamp() if since else None,
        until=until.timestamp() if until else None,
    )  # fmt: skip


Wanted = Annotated[AuditQuery, Depends(audit_query)]


def audit_routes(log: AuditLog, auditor: Records, gate: Gate) -> APIRouter:
    """Given the audit log, what puts a look at it on record and who may look, return its routes."""
    router = APIRouter(route_class=GatedRoute, tags=["audit"], responses=ERRORS)
    viewer, admin = Depends(gate.needs(Role.VIEWER)), Depends(gate.needs(Role.ADMIN))

    @router.get("/api/audit", summary="审计日志 · Records, newest first")
    def audit_list(
        request: Request,
        wanted: Wanted,
        cursor: Annotated[str, Query(max_length=500, description="the last page's next_cursor")] = "",
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        caller: Caller = viewer,
    ) -> Envelope[AuditPageData]:
        """An empty filter matches everything; `since` ≤ time < `until`."""
        auditor.read(
            caller, "audit.list", wanted.target,
            {"actor": wanted.actor, "action": wanted.action, "outcome": wanted.outcome},
        )  # fmt: skip
        page = log.page(wanted, cursor=cursor, limit=limit)
        data = AuditPageData(
            items=[AuditData.of(each, unfinished=each.seq in page.unfinished) for each in page.records],
            next_cursor=page.next_cursor,
        )
        return reply(request, data, Words("获取审计日志成功", "audit records"))

    @router.get(
        "/api/audit/export",
        summary="导出审计日志 · All records that match, oldest first",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/x-ndjson": {}, "text/csv": {}}, "description": "one record a line"}},
    )
    def audit_export(
        wanted: Wanted,
        format: ExportFormat = ExportFormat.JSONL,
        caller: Caller = admin,
    ) -> StreamingResponse:
        """As JSON lines or CSV, however many: they are read while they are sent."""
        with auditor.operation(caller, "audit.export", "audit", {"format": format.value}):
            records = log.records(wanted)
        kind = "text/csv" if format is ExportFormat.CSV else "application/x-ndjson"
        name = f'attachment; filename="audit-{datetime.now(UTC):%Y%m%d-%H%M%S}.{format.value}"'
        return StreamingResponse(_lines(records, format), media_type=kind, headers={"Content-Disposition": name})

    return router


def _lines(records: Iterable[AuditRecord], form: ExportFormat) -> Iterator[str]:
    """Some hundred lines at once: each portion costs the web server a change of thread."""
    write, rows = json_line, iter(records)
    if form is ExportFormat.CSV:
        yield csv_line(CSV_FIELDS)
        write = csv_row
    while portion := list(islice(rows, ROWS_AT_ONCE)):
        yield "".join(map(write, portion))
