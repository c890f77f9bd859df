"""Turns whatever goes wrong into one shape of answer: a status, the guide's words, the field, a request id.

Deliberate errors carry a text for people and are shown with it. Anything else is told to the log only, and the caller
gets the request id to look for there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.envelope import ErrorBody, FieldProblem, Words, prefers_chinese, request_id_of
from core import request_phrases as say
from core.error_words import error_text
from core.errors import (
    AccessDenied,
    BadCursor,
    BadRequest,
    CacheKeeperError,
    NotConfirmed,
    NotFound,
    RefusedTarget,
    StoreError,
    StoreUnavailable,
    TargetBusy,
    TaskError,
    TaskStateError,
)
from core.operation_phrases import PARAMETER
from core.printable import printable
from core.reason_phrases import also

log = logging.getLogger("api")

# Starlette's own words, which help nobody.
_NOT_FOUND, _NOT_ALLOWED = "Not Found", "Method Not Allowed"

RETRY_SECONDS = 5
"""How long a client should wait after a 503: a lock is gone by then, a full disk is looked at by somebody."""

_KINDS = {
    400: Words("请求无效", "bad request"),
    401: Words("未授权", "not authorized"),
    403: Words("权限不足", "forbidden"),
    404: Words("未找到", "not found"),
    405: Words("不支持的请求方法", "method not allowed"),
    409: Words("与当前状态冲突", "conflict"),
    411: Words("缺少 Content-Length", "length required"),
    413: Words("请求体过大", "request too large"),
    421: Words("主机名不受支持", "misdirected request"),
    422: Words("请求参数错误", "a parameter is wrong"),
    429: Words("请求过于频繁", "too many requests"),
    503: Words("服务暂时不可用", "temporarily unavailable"),
}
_BROKEN = Words("服务器内部错误", "internal error")
_BROKEN_AT = {
    "/api/cache/stats": Words("获取缓存统计失败", "the statistics could not be read"),
    "/api/cache/cleanup": Words("清理缓存失败", "the cleanup failed"),
    "/api/cache/clear": Words("清空缓存失败", "the clearing failed"),
    "/api/cache/details": Words("获取缓存详情失败", "the details could not be read"),
    "/api/cache/backend-info": Words("获取缓存后端信息失败", "the backends could not be read"),
}


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": f"{words.chinese} · {words.english}"}
    for status, words in [*_KINDS.items(), (500, _BROKEN)]
    if status not in (405, 411, 421)
}
"""What every route under the gate may answer, for the OpenAPI document."""


def error_answer(
    request: Request,
    status: int,
    detail: str,
    *,
    fields: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Given a status and what to say to a person, in English, return the answer in the caller's language."""
    chinese = prefers_chinese(request)
    words = _BROKEN_AT.get(request.url.path, _BROKEN) if status == 500 else _KINDS.get(status, _BROKEN)
    body = ErrorBody(
        message=words.to(request),
        detail=printable(error_text(detail, chinese=chinese)),
        fields=[each.model_copy(update={"problem": error_text(each.problem, chinese=chinese)}) for each in fields],
        request_id=request_id_of(request),
        timestamp=datetime.now(UTC),
    )
    return Response(body.model_dump_json(), status, headers, media_type="application/json")


def install_errors(app: FastAPI, nothing_here: Callable[[Request], Response] | None = None) -> None:
    """Let every error of the application answer in this shape; unknown routes and methods too.

    ``nothing_here`` returns the page for a browser whose address leads nowhere.
    """

    async def refused(request: Request, error: HTTPException) -> Response:
        if nothing_here is not None and error.detail == _NOT_FOUND and _shows_pages(request):
            return nothing_here(request)
        return _refused(request, error)

    app.exception_handler(HTTPException)(refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(CacheKeeperError)(_deliberate)
    app.exception_handler(Exception)(_unexpected)


def _shows_pages(request: Request) -> bool:
    """Whether it is somebody's browser: programs take anything, and what is below /api is for them."""
    path = request.url.path
    asks = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    return asks and path != "/api" and not path.startswith("/api/")


def _refused(request: Request, error: HTTPException) -> Response:
    detail = str(error.detail)
    if detail == _NOT_FOUND:
        detail = say.NOTHING_THERE(path=request.url.path[:200])
    elif detail == _NOT_ALLOWED:
        detail = say.NOT_BY_METHOD(operation=request.method[:20])
        return error_answer(request, 405, detail, headers={"Allow": ", ".join(_methods(request))})
    return error_answer(request, error.status_code, detail, headers=error.headers)


def _methods(request: Request) -> list[str]:
    """All that the path takes: Starlette names only those of the first route with this path."""
    routes = request.app.router.routes
    return [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    fields = [_field(each) for each in error.errors()]
    return error_answer(
        request,
        422,
        also(*(PARAMETER(parameter=each.field, reason=each.problem) for each in fields))[:2000],
        fields=fields,
    )


def _field(problem: Mapping[str, Any]) -> FieldProblem:
    place, *names = problem["loc"]
    # What was sent is not repeated: it may be long, no text, or a secret.
    name = "" if problem["type"] == "json_invalid" else ".".join(str(each) for each in names)[:200]
    return FieldProblem(field=printable(name or str(place)), place=str(place), problem=printable(str(problem["msg"])))


async def _deliberate(request: Request, error: CacheKeeperError) -> Response:
    text = str(error)
    match error:
        case AccessDenied(status=401):
            return error_answer(request, 401, text, headers={"WWW-Authenticate": "Bearer"})
        case AccessDenied():
            return error_answer(request, error.status, text)
        case NotFound():
            return error_answer(request, 404, text)
        case BadRequest():
            field = FieldProblem(field=error.field, place=_place(request), problem=text)
            # A confirmation has the right form and does not fit its target.
            return error_answer(request, 409 if isinstance(error, NotConfirmed) else 422, text, fields=[field])
        case BadCursor():
            return error_answer(request, 422, text, fields=[FieldProblem(field="cursor", place="query", problem=text)])
        case TaskStateError() | RefusedTarget() | TargetBusy():
            return error_answer(request, 409, text)
        case TaskError():
            # The registry refuses a task whose name or arguments it does not know.
            field = FieldProblem(field="arguments", place=_place(request), problem=text)
            return error_answer(request, 422, text, fields=[field])
        case StoreUnavailable():
            log.warning("not answered request=%s path=%s: %s", request_id_of(request), request.url.path, text)
            return error_answer(request, 503, text, headers={"Retry-After": str(RETRY_SECONDS)})
        case StoreError() if request.method != "GET":
            # Nothing was accepted, so the same request may be sent again.
            log.warning("not accepted request=%s path=%s: %s", request_id_of(request), request.url.path, text)
            return error_answer(request, 503, text, headers={"Retry-After": str(RETRY_SECONDS)})
    log.error("failed request=%s path=%s: %s", request_id_of(request), request.url.path, text)
    return error_answer(request, 500, text)


def _place(request: Request) -> str:
    return "body" if request.method == "POST" else "query"


async def _unexpected(request: Request, error: Exception) -> Response:
    identity = request_id_of(request)
    # Starlette raises it again after the answer, and uvicorn writes the stack below this line.
    log.error("failed request=%s path=%s: %s", identity, request.url.path, type(error).__name__)
    return error_answer(request, 500, say.BROKE(id=identity))
