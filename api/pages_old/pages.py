"""The pages that people see, rendered here in 中文 or English; a little script keeps them fresh."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api.fleet import Fleet, details
from api.texts import TEXTS, language_of

_LIMIT = 500
"""Rows that one page shows: a browser stays quick, and the rest is found by state."""

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    # Server names, reasons and keys come from outside: everything is escaped unless a template says otherwise.
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def pages(fleet: Fleet) -> APIRouter:
    """Given the running checker, return the routes of the pages."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def root() -> RedirectResponse:
        return RedirectResponse("/status")

    @router.get("/status", response_class=HTMLResponse)
    def status(
        lang: Annotated[str, Query(max_length=10)] = "",
        state: Annotated[str, Query(max_length=30)] = "",
        fragment: bool = False,
        accept_language: Annotated[str, Header()] = "",
    ) -> str:
        language = language_of(lang, accept_language)
        names = fleet.names()
        shown = [name for name in names if not state or (fleet.brief(name) or {}).get("state") == state]
        at = fleet.polled_at()
        values: dict[str, Any] = {
            "text": TEXTS[language],
            "language": language,
            "lang": lang,
            "state": state,
            # Details only of what is shown: a page must not take longer because the fleet is larger.
            "rows": details(fleet, shown[:_LIMIT]),
            "hidden": max(len(shown) - _LIMIT, 0),
            "total": len(names),
            "counts": fleet.counts(),
            "age": max(time.time() - at, 0.0) if at is not None else None,
        }
        return _templates.get_template("fleet.html" if fragment else "status.html").render(values)

    return router


def duration(seconds: float | None) -> str:
    """Return seconds as people say them: 8 s, 3 min, 2 h 5 min, 4 d."""
    if seconds is None:
        return "–"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


_templates.filters["duration"] = duration
