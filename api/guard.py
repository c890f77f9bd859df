"""What a request must be before any route sees it. Plain ASGI, so that it costs nothing when all is well.

A browser can be made to send requests by any page that it shows: such a page is stopped by the Host list (DNS
rebinding), by ``Sec-Fetch-Site`` (a form or script of another site), and by there being no cookies, so that a request
without a token's header is nobody's. Who may do what is the gate's business (api/gate.py).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fastapi import Request

from api.errors import error_answer
from api.gate import SAFE_METHODS, Origin
from core import request_phrases as say
from core.addresses import FORWARDING_HEADERS, TrustedProxies, is_loopback, name_in

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BODY_BYTES = 1 << 20

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
                                 b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
)  # fmt: skip
_FORWARDING = frozenset(name.encode() for name in FORWARDING_HEADERS)
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")


class Guard:
    """Wraps the application; ``host`` is the address that it listens on.

    ``allowed_hosts`` are the names besides it by which it may be called, ``*`` for any. ``trusted_proxies`` are
    addresses or networks.
    """

    def __init__(
        self, app: App, host: str, *, allowed_hosts: Sequence[str] = (), trusted_proxies: Sequence[str] = ()
    ) -> None:
        self._app = app
        self._host = host
        self._names = {name_in(name) for name in (host, *allowed_hosts)}
        self._proxies = TrustedProxies.of(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = self._origin(scope)
        headers = (*_HEADERS, (b"x-request-id", origin.request_id.encode()))
        # What Starlette shows as request.state.
        scope = {**scope, "state": {**scope.get("state", {}), "origin": origin}}
        app, refusal = self._app, self._refusal(scope)
        if refusal:
            status, words = refusal
            # With 413 the body is still coming, and nobody reads it.
            app = error_answer(Request(scope), status, words, headers={"Connection": "close"} if status == 413 else {})
        elif scope["method"] == "HEAD":
            # FastAPI knows no HEAD for its GET routes. The server sees its own scope, and leaves the body out.
            scope["method"] = "GET"

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        await app(scope, receive, send_with_headers)

    def _origin(self, scope: Scope) -> Origin:
        peer = (scope.get("client") or ("",))[0]
        headers = dict(scope["headers"])
        forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        request_id = headers.get(b"x-request-id", b"").decode("latin-1")
        # A proxy's id ties our records to its log. Anybody else could hide a record behind the id of another.
        if not (self._proxies.trusts(peer) and _REQUEST_ID.fullmatch(request_id)):
            request_id = secrets.token_hex(8)
        # A proxy on this machine is a loopback peer as well, and may name us 127.0.0.1: what it brings is not local.
        is_local = is_loopback(peer) and is_loopback(_host(headers)) and not _FORWARDING.intersection(headers)
        return Origin(request_id, self._proxies.client(peer, forwarded), is_local)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = dict(scope["headers"])
        host = _host(headers)
        if not self._is_called(host, scope):
            return 421, say.NOT_OUR_NAME(host=host[:200])
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers and scope["method"] not in SAFE_METHODS:
            return 411, say.LENGTH_NEEDED()
        if not length.isdigit() or int(length) > LARGEST_BODY_BYTES:
            return 413, say.BODY_TOO_LONG(bytes=LARGEST_BODY_BYTES)
        if scope["method"] in SAFE_METHODS:
            return None
        if headers.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none"):
            return 403, say.OTHER_SITE()
        return None

    def _is_called(self, host: str, scope: Scope) -> bool:
        """Whether ``host`` is one of our names: a page that was rebound to our address comes under its own name."""
        if is_loopback(host) or host in self._names or "*" in self._names:
            return True
        # The address that was connected to, where HOST is all of them: an address cannot be rebound.
        own = scope.get("server")
        return own is not None and host == str(own[0]).removeprefix("::ffff:")


def _host(headers: dict[bytes, bytes]) -> str:
    return name_in(headers.get(b"host", b"").decode("latin-1"))
