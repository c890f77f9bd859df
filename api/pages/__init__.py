"""The pages that people see, rendered here in 中文 or English; a little script keeps them fresh."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from api.fleet import Fleet
from api.gate import Gate
from api.pages.fleet import fleet_pages
from api.pages.site import Site


def pages(fleet: Fleet, gate: Gate) -> APIRouter:
    """Given the running checker and who may look, return the routes of the pages."""
    router = APIRouter(include_in_schema=False)
    site = Site(gate)

    @router.get("/")
    def root() -> RedirectResponse:
        return RedirectResponse("/status")

    router.include_router(fleet_pages(fleet, site))
    return router
