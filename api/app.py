"""Puts the routes, the pages and the guard together into one ASGI application."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from api.audit import audit_routes
from api.cache import cache_routes
from api.docs import docs_routes, operation_id
from api.errors import ERRORS, install_errors
from api.fleet import Fleet, routes
from api.gate import Gate
from api.guard import App, Guard
from api.metrics import metrics_routes
from api.pages import pages
from api.pages.me import me_route
from api.pages.site import Site
from api.ports import Operations
from api.servers import server_routes
from api.tasks import task_routes
from core.audit import AuditLog


def create_app(
    fleet: Fleet,
    operations: Operations,
    audit_log: AuditLog,
    gate: Gate,
    host: str,
    *,
    allowed_hosts: Sequence[str] = (),
    trusted_proxies: Sequence[str] = (),
) -> App:
    """Given the running checker, the operations on caches and their log, who may use them, and the address that is
    listened on, return the application.

    ``allowed_hosts`` and ``trusted_proxies`` are as for ``api.guard.Guard``.
    """
    app = FastAPI(openapi_url=None, generate_unique_id_function=operation_id)
    site = Site(gate, operations.auditor)
    install_errors(app, site.nothing)
    app.include_router(routes(fleet, gate, operations.auditor), tags=["fleet"], responses=ERRORS)
    app.include_router(cache_routes(operations, gate))
    app.include_router(task_routes(operations, gate))
    app.include_router(audit_routes(audit_log, operations.auditor, gate))
    app.include_router(server_routes(fleet, gate, operations.auditor), tags=["fleet"], responses=ERRORS)
    app.include_router(metrics_routes(fleet, operations, gate), tags=["fleet"], responses=ERRORS)
    app.include_router(me_route(gate), tags=["fleet"], responses=ERRORS)
    app.include_router(pages(fleet, operations, audit_log, site))
    app.include_router(docs_routes(app, gate))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    return Guard(app, host, allowed_hosts=allowed_hosts, trusted_proxies=trusted_proxies)
