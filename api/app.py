"""Puts the routes, the pages and the guard together into one ASGI application."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from api.fleet import Fleet, routes
from api.guard import App, Guard
from api.pages import pages


def create_app(fleet: Fleet, host: str) -> App:
    """Given the running checker and the address that is listened on, return the application."""
    # No docs pages: FastAPI's load their scripts from a CDN. The schema itself is served.
    app = FastAPI(title="ComfyUI cache keeper", docs_url=None, redoc_url=None)
    app.include_router(routes(fleet))
    app.include_router(pages(fleet))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    return Guard(app, host)
