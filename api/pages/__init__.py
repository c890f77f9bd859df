"""The pages that people see, rendered here in 中文 or English; a little script keeps them fresh."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from api.fleet import Fleet
from api.pages.audit import audit_pages
from api.pages.caches import cache_pages
from api.pages.fleet import fleet_pages
from api.pages.models import model_pages
from api.pages.site import Site
from api.pages.tasks import task_pages
from api.ports import Operations
from core.audit import AuditLog


def pages(fleet: Fleet, operations: Operations, audit_log: AuditLog, site: Site) -> APIRouter:
    """Given what is shown and the way to show it, return the routes of the pages."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def root() -> RedirectResponse:
        return RedirectResponse("/status")

    router.include_router(fleet_pages(fleet, site))
    router.include_router(cache_pages(operations, site))
    router.include_router(task_pages(operations, site))
    router.include_router(audit_pages(audit_log, site))
    router.include_router(model_pages(operations, site))
    return router
