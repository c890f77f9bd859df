"""``/_fake/…``: what tests make a server do when it runs in another process. Only with ``--control``.

``GET /_fake/keys``, ``queue``, ``requests`` and ``prompts`` show. ``POST /_fake/<action>`` takes the keywords
of the ``FakeServer`` method of that name as a JSON object: restart, evict, clear_cache, store, busy, occupy,
kill_worker, set_loader, misbehave (``body`` as text), behave. The answer is ``{"ok": true, "result": …}``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from examples.fake_comfyui.server import FakeServer


async def control(server: FakeServer, path: str, body: bytes) -> web.StreamResponse:
    """400 with the reason for an unknown action or keyword."""
    action = path.removeprefix("/_fake/")
    try:
        keywords = json.loads(body) if body else {}
        if action == "restart":
            # Answered first: the restart breaks this connection too.
            down_seconds = float(keywords.get("down_seconds", 0))
            asyncio.get_running_loop().call_later(0.05, lambda: server.restart_from_loop(down_seconds))
            return web.json_response({"ok": True})
        if action not in _ACTIONS:
            raise ValueError(f"no such action: {action}; there are restart, {', '.join(_ACTIONS)}")
        return web.json_response({"ok": True, "result": _ACTIONS[action](server, **keywords)})
    except (TypeError, ValueError, KeyError) as bad:
        return web.json_response({"ok": False, "error": str(bad)}, status=400)


def _requests(server: FakeServer) -> list[dict[str, Any]]:
    return [{**asdict(each), "body": each.body.decode(errors="replace")} for each in server.requests]


def _misbehave(server: FakeServer, route: str, body: str = "", **fault: Any) -> None:
    server.misbehave(route, body=body.encode(), **fault)


_ACTIONS: dict[str, Callable[..., Any]] = {
    "keys": lambda server: server.keys(),
    "queue": lambda server: server.queue(),
    "requests": _requests,
    "prompts": lambda server: [asdict(each) for each in server.prompts],
    "evict": lambda server, key: server.evict(key),
    "clear_cache": lambda server: server.clear_cache(),
    "store": lambda server, keys, tag="": server.store(*keys, tag=tag),
    "busy": lambda server, seconds: server.busy(seconds),
    "occupy": lambda server, seconds, hold_lock=False: server.occupy(seconds, hold_lock=hold_lock),
    "kill_worker": lambda server: server.kill_worker(),
    "set_loader": lambda server, **keywords: server.set_loader(**keywords),
    "misbehave": _misbehave,
    "behave": lambda server, route=None: server.behave(route),
}
