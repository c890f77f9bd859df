"""The API's description: ``/openapi.json``, and ``/docs`` to read and try it, with nothing loaded from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, JSONResponse
from fastapi.routing import APIRoute

from api.gate import Gate, GatedRoute
from core.access import Role
from core.request_phrases import NO_FILE

TITLE = "ComfyUI cache keeper"
DESCRIPTION = """\
缓存管理接口 · Manages the caches of a ComfyUI fleet.

Make a token with `python -m api token create --user me --role operator --ttl 8h` and send it as
`Authorization: Bearer …`. Answers are `{success, data, message, timestamp}`; errors have the same keys beside `detail`,
`fields` and `request_id`. Messages are in Chinese unless `Accept-Language` prefers English;
`detail` and `fields` are in English unless it prefers Chinese.
"""
TAGS = [
    {"name": "cache", "description": "缓存：统计、详情、清理、清空、预热、刷新 · What is cached, and acts on it"},
    {"name": "tasks", "description": "任务：进度、取消、重试、批次、工作进程 · Tasks and their progress"},
    {"name": "models", "description": "磁盘上的模型 · Models on disk"},
    {"name": "audit", "description": "操作审计日志 · Who did what, when, with what result"},
    {"name": "access", "description": "令牌与角色 · Whose token it is"},
    {"name": "fleet", "description": "ComfyUI 服务器：状态、检测、预热 · The servers"},
]
_PAGE = Path(__file__).parent / "static" / "docs.html"
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


def operation_id(route: APIRoute) -> str:
    """Return the name of a route's function: what a generated client calls its method."""
    return route.name


def docs_routes(app: FastAPI, gate: Gate) -> APIRouter:
    """Given the application with all its routes, return those that describe it; reading them is open on this machine.

    The parts of Swagger UI come with a package, not from a CDN.
    """
    router = APIRouter(include_in_schema=False, route_class=GatedRoute)
    looks = [Depends(gate.needs(Role.VIEWER, open_here=True))]
    described: list[dict[str, Any]] = []

    @router.get("/openapi.json", dependencies=looks)
    def document() -> JSONResponse:
        if not described:
            described.append(_described(app))
        return JSONResponse(described[0])

    @router.get("/docs", dependencies=looks)
    def docs() -> FileResponse:
        return FileResponse(_PAGE, media_type="text/html")

    @router.get("/docs/{name}")
    def asset(name: str) -> FileResponse:
        if name not in _ASSETS:
            raise HTTPException(404, NO_FILE())
        return FileResponse(str(files("fastapi_swagger") / "resources" / name), media_type=_ASSETS[name])

    return router


def _described(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(title=TITLE, version=app.version, description=DESCRIPTION, tags=TAGS, routes=app.routes)
    # Every 422 has the shape of every other error.
    for name in ("HTTPValidationError", "ValidationError"):
        found["components"]["schemas"].pop(name, None)
    return found
