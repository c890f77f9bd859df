"""What a request must be before any route sees it. Plain ASGI, so that it costs nothing when all is well.

A browser on this machine can be made to send requests by any page it shows: such a page is stopped by the
Host list (DNS rebinding) and by ``Sec-Fetch-Site`` (a form or script of another site). Requests that change
something are taken from this machine only, under a name that is its own.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
                                 b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
)  # fmt: skip


class Guard:
    """Wraps the application; ``host`` is the address that it listens on."""

    def __init__(self, app: App, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal:
            status, words = refusal
            body = json.dumps({"detail": words}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *_HEADERS]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return

        if scope["method"] == "HEAD":
            # FastAPI knows no HEAD for its GET routes. The server sees its own scope, and leaves the body out.
            scope = {**scope, "method": "GET"}

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = dict(scope["headers"])
        host = _without_port(headers.get(b"host", b"").decode("latin-1").rsplit("@", 1)[-1])
        if is_loopback(self._host) and not is_loopback(host):
            return 421, f"this service listens on {self._host} and is not called {host[:200]!r}"
        if scope["method"] in _SAFE_METHODS:
            return None
        if headers.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none"):
            return 403, "a page of another site may not do this"
        client, own = scope.get("client"), scope.get("server")
        # A connection from an address to itself never left this machine.
        if client is None or not (is_loopback(client[0]) or (own is not None and client[0] == own[0])):
            return 403, "requests that change something are only taken from this machine (127.0.0.1)"
        # Every name may look where HOST is no loopback address, but a rebound one comes from this machine's browser.
        if not is_loopback(host) and (own is None or host != own[0]):
            return 403, f"use 127.0.0.1 for requests that change something, not {host[:200]!r}"
        return None


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].split("]", 1)[0]
    return host.rsplit(":", 1)[0] if host.count(":") == 1 else host


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    # A listener on :: sees IPv4 as ::ffff:127.0.0.1, which Python before 3.13 does not call loopback.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
