"""Puts the routes, the pages and the guard together into one ASGI application."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from api.fleet import Fleet, routes
from api.gate import Gate
from api.guard import App, Guard
from api.pages import pages
from api.pages.me import me_route
from api.servers import server_routes


def create_app(
    fleet: Fleet, gate: Gate, host: str, *, allowed_hosts: Sequence[str] = (), trusted_proxies: Sequence[str] = ()
) -> App:
    """Given the running checker, who may use it, and the address that is listened on, return the application.

    ``allowed_hosts`` and ``trusted_proxies`` are as for ``api.guard.Guard``.
    """
    # No docs pages: FastAPI's load their scripts from a CDN. The schema itself is served.
    app = FastAPI(title="ComfyUI cache keeper", docs_url=None, redoc_url=None)
    app.include_router(routes(fleet, gate))
    app.include_router(server_routes(fleet, gate))
    app.include_router(me_route(gate))
    app.include_router(pages(fleet, gate))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    return Guard(app, host, allowed_hosts=allowed_hosts, trusted_proxies=trusted_proxies)
