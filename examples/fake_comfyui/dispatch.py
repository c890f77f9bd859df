"""One HTTP request from arrival to answer: record, hold back while busy, misbehave, authenticate, dispatch.

Every route exists under ``/api`` too. GET routes answer HEAD as well, *with their effect*: that is how a HEAD
of ``/inspire/cache/clear`` empties the cache.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from examples.fake_comfyui.control import control
from examples.fake_comfyui.faults import Misbehaviour, RecordedRequest
from examples.fake_comfyui.routes import NAMED_ROUTES, ROUTES, Call, Trouble, json_response

if TYPE_CHECKING:
    from examples.fake_comfyui.server import FakeServer

_LOGIN_PAGE = "<!DOCTYPE html><html><title>Login</title><body><form method='post'></form></body></html>"


async def answer(server: FakeServer, request: web.BaseRequest) -> web.StreamResponse:
    """The answer to one request; an aborted connection where there is none to give."""
    engine = server.engine
    body = await request.content.read()
    path = request.rel_url.raw_path
    path = path[4:] if path.startswith("/api/") else path
    if server.control and path.startswith("/_fake/"):
        return await control(server, path, body)
    if server.settings.keep_requests:
        server.record(_recorded(request, path, body))

    # A client may give up here. Its request is executed all the same once the server is free again.
    while (wait := server.busy_seconds()) > 0:
        await asyncio.sleep(wait)
    fault = server.faults.take(request.method, path) if server.faults else None
    if fault is not None and not fault.executes:
        await asyncio.sleep(fault.delay_seconds)
        if fault.replaces_answer:
            return await _misbehave(request, fault)
    if engine.dead:  # the process that got this request is gone
        return _abort(request)
    token = server.settings.token
    if token is not None and (refusal := _refuse(token, path, request)) is not None:
        return refusal
    if path == "/ws":
        return await _websocket(server, request)
    response = _dispatch(Call(server, engine, request, body), path)
    if fault is not None and fault.executes:
        await asyncio.sleep(fault.delay_seconds)
        if fault.replaces_answer:
            return await _misbehave(request, fault)
    return response


def _dispatch(call: Call, path: str) -> web.StreamResponse:
    method = "GET" if call.request.method == "HEAD" else call.request.method
    if method == "OPTIONS":
        return web.Response()
    route = ROUTES.get((method, path))
    if route is None and method == "GET":
        head, _, tail = path.rpartition("/")
        route = NAMED_ROUTES.get(head) if tail else None
    if route is None or (path.startswith("/inspire/") and not _has_route(call.server, path)):
        return _missing(method, path)
    try:
        return route(call)
    except Trouble:
        text = "500 Internal Server Error\n\nServer got itself in trouble"
        response = web.Response(status=500, text=text)
        response.force_close()
        return response


def _has_route(server: FakeServer, path: str) -> bool:
    if server.settings.flavour == "plain":
        return False
    return path != "/inspire/cache/determine" or server.settings.flavour == "fork"


def _missing(method: str, path: str) -> web.StreamResponse:
    """An unknown path falls through to the static files of the web page, which know only GET and HEAD."""
    if method == "GET":
        response = web.Response(status=404, headers={"Content-Type": "application/octet-stream"})
        response.enable_chunked_encoding()
        return response
    allowed = "GET,HEAD,POST" if ("POST", path) in ROUTES else "GET,HEAD"
    return web.Response(status=405, text="405: Method Not Allowed", headers={"Allow": allowed})


async def _websocket(server: FakeServer, request: web.BaseRequest) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        text = 'No WebSocket UPGRADE hdr: None\n Can "Upgrade" only to "WebSocket".'
        return web.Response(status=400, text=text)
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    client_id = request.rel_url.query.get("clientId") or server.new_id()
    server.websockets[client_id] = socket
    try:
        remaining = len(server.engine.pending) + len(server.engine.running)
        status = {"status": {"exec_info": {"queue_remaining": remaining}}, "sid": client_id}
        await socket.send_json({"type": "status", "data": status})
        async for message in socket:
            if message.type == WSMsgType.ERROR:
                break
    finally:
        if server.websockets.get(client_id) is socket:
            del server.websockets[client_id]
    return socket


def _refuse(token: str, path: str, request: web.BaseRequest) -> web.StreamResponse | None:
    """What the ComfyUI-Login node answers without its token: a browser ends on an HTML page with 200."""
    if path == "/login":
        return web.Response(text=_LOGIN_PAGE, content_type="text/html")
    if request.headers.get("Authorization") == f"Bearer {token}":
        return None
    if "text/html" in request.headers.get("Accept", ""):
        return web.Response(status=302, headers={"Location": "/login"})
    return json_response({"error": "Authentication required."}, status=401)


async def _misbehave(request: web.BaseRequest, fault: Misbehaviour) -> web.StreamResponse:
    if fault.drop or fault.status is None:
        return _abort(request)
    headers = {"Content-Type": "text/plain; charset=utf-8", **fault.headers}
    if fault.declared_length is None:
        return web.Response(status=fault.status, body=fault.body, headers=headers)
    response = web.StreamResponse(status=fault.status, headers=headers)
    response.content_length = fault.declared_length
    await response.prepare(request)
    await response.write(fault.body)
    if request.transport is not None:
        request.transport.close()
    return response


def _abort(request: web.BaseRequest) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _recorded(request: web.BaseRequest, path: str, body: bytes) -> RecordedRequest:
    query = request.rel_url.raw_query_string
    client_id = None
    if b'"client_id"' in body:
        try:
            client_id = json.loads(body).get("client_id")
        except (ValueError, AttributeError):
            pass  # whatever was posted, it is no prompt with a client id
    return RecordedRequest(request.method, f"{path}?{query}" if query else path, time.monotonic(), client_id, body)
