"""What the routes of a fake server answer: one function per route, chosen by a dict.

No aiohttp Application: its router costs more than most answers here, and a fleet of thousands needs none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from examples.fake_comfyui.engine import Engine

if TYPE_CHECKING:
    from examples.fake_comfyui.server import FakeServer


class Trouble(Exception):
    """The original raised: it answers 500 and closes the connection."""


class Call:
    """One request with what its route needs."""

    def __init__(self, server: FakeServer, engine: Engine, request: web.BaseRequest, body: bytes) -> None:
        self.server, self.engine, self.request, self.body = server, engine, request, body
        self.query = request.rel_url.query

    def json(self) -> Any:
        """Raises Trouble for an empty body or bad JSON, whatever the Content-Type says."""
        try:
            return json.loads(self.body)
        except ValueError as bad:
            raise Trouble from bad


Route = Callable[[Call], web.StreamResponse]


def _post_prompt(call: Call) -> web.StreamResponse:
    data, engine = call.json(), call.engine
    if isinstance(data, list | str):
        data = {}  # the original asks only whether "prompt" is in it
    try:
        if "number" in data:
            number = float(data["number"])
        else:
            number = -engine.number if data.get("front") else engine.number
            engine.number += 1  # also for a prompt that turns out to be invalid
        if "prompt" not in data:
            error = {"type": "no_prompt", "message": "No prompt provided", "details": "No prompt provided"}
            return json_response({"error": {**error, "extra_info": {}}, "node_errors": {}}, status=400)
        graph, prompt_id = data["prompt"], str(data.get("prompt_id", call.server.new_id()))
        validation = engine.validate(graph, data.get("partial_execution_targets"))
        if validation.error is not None:
            return json_response({"error": validation.error, "node_errors": validation.node_errors}, status=400)
        extra = data.get("extra_data", {})
        if "client_id" in data:
            extra["client_id"] = data["client_id"]
        engine.enqueue((number, prompt_id, graph, extra, validation.outputs))
    except (TypeError, ValueError, AttributeError) as problem:
        raise Trouble from problem
    call.server.prompt_accepted(prompt_id, number, graph, extra)
    return json_response({"prompt_id": prompt_id, "number": number, "node_errors": validation.node_errors})


def _get_prompt(call: Call) -> web.StreamResponse:
    remaining = len(call.engine.pending) + len(call.engine.running)
    return json_response({"exec_info": {"queue_remaining": remaining}})


def _get_queue(call: Call) -> web.StreamResponse:
    running = [list(item) for item in call.engine.running.values()]
    return json_response({"queue_running": running, "queue_pending": [list(item) for item in call.engine.pending]})


def _post_queue(call: Call) -> web.StreamResponse:
    """Knows ``clear`` and ``delete`` only. Anything else, a ``prompt`` too, is an empty 200."""
    data = call.json()
    if data.get("clear"):
        call.engine.clear_pending()
    for prompt_id in data.get("delete", ()):
        call.engine.delete_pending(prompt_id)
    return web.Response()


def _get_history(call: Call) -> web.StreamResponse:
    history = call.engine.history
    try:
        newest = int(call.query.get("max_items", len(history)))
        start = int(call.query.get("offset", max(len(history) - newest, 0)))
    except ValueError as bad:
        raise Trouble from bad
    return json_response(dict(list(history.items())[start : start + newest]))


def _get_history_of(call: Call) -> web.StreamResponse:
    prompt_id = _last_segment(call)
    entry = call.engine.history.get(prompt_id)
    return json_response({} if entry is None else {prompt_id: entry})


def _post_history(call: Call) -> web.StreamResponse:
    data = call.json()
    if data.get("clear"):
        call.engine.history.clear()
    for prompt_id in data.get("delete", ()):
        call.engine.history.pop(prompt_id, None)
    return web.Response()


def _post_interrupt(call: Call) -> web.StreamResponse:
    try:
        data = call.json()
    except Trouble:
        data = {}
    call.engine.interrupt(data.get("prompt_id"))
    return web.Response()


def _post_free(call: Call) -> web.StreamResponse:
    call.engine.free(free_memory=bool(call.json().get("free_memory", False)))
    return web.Response()


def _system_stats(call: Call) -> web.StreamResponse:
    memory, modern = 24 << 30, call.server.settings.dialect == "new"
    system = {
        "os": "posix",
        "ram_total": memory,
        "ram_free": memory // 2,
        "comfyui_version": "0.12.1" if modern else "0.3.64",
        "required_frontend_version": "1.27.10",
        "python_version": "3.11.7 (fake)",
        "pytorch_version": "2.13.0+cpu",
        "embedded_python": False,
        "argv": ["main.py", "--port", str(call.server.port)],
    }
    vram = {"vram_total": memory, "vram_free": memory // 2, "torch_vram_total": 0, "torch_vram_free": 0}
    return json_response({"system": system, "devices": [{"name": "cuda:0 fake", "type": "cuda", "index": 0, **vram}]})


def _object_info(call: Call) -> web.StreamResponse:
    files = call.server.settings.files
    return json_response({name: each.object_info(files) for name, each in call.engine.classes.items()})


def _object_info_of(call: Call) -> web.StreamResponse:
    name = _last_segment(call)
    node_class = call.engine.classes.get(name)
    return json_response({} if node_class is None else {name: node_class.object_info(call.server.settings.files)})


def _view(call: Call) -> web.StreamResponse:
    filename, kind = call.query.get("filename", ""), call.query.get("type", "output")
    if not filename:
        return web.Response(status=404)
    if filename.startswith("/") or ".." in filename or kind not in ("output", "temp", "input"):
        return web.Response(status=400)
    root = call.server.output_root(kind).resolve()
    folder = (root / call.query.get("subfolder", "")).resolve()
    if not folder.is_relative_to(root):
        return web.Response(status=403)
    file = folder / filename
    if not file.is_file():
        return web.Response(status=404)
    disposition = {"Content-Disposition": f'filename="{filename}"', "Content-Type": "image/png"}
    return web.Response(body=file.read_bytes(), headers=disposition)


def _cache_list(call: Call) -> web.StreamResponse:
    return web.Response(text=call.engine.backend_cache.listing())


def _cache_clear(call: Call) -> web.StreamResponse:
    call.engine.backend_cache.clear()
    return web.Response()


def _cache_remove(call: Call) -> web.StreamResponse:
    if "key" in call.query:
        try:
            call.engine.backend_cache.remove(call.query["key"])
        except KeyError as absent:
            raise Trouble from absent
    return web.Response()


def _cache_settings(call: Call) -> web.StreamResponse:
    try:
        call.engine.backend_cache.apply_settings(call.body.decode())
    except ValueError as bad:
        return web.Response(status=500, text=str(bad))
    return web.Response(text="OK")


def _cache_determine(call: Call) -> web.StreamResponse:
    """The fork's route. Its claim to have started the workflow need not be true: see ``DetermineMode``."""
    settings, engine = call.server.settings, call.engine
    missing = [key for key in settings.wanted_keys if key not in engine.backend_cache]
    if not missing:
        return web.Response(text="缓存已加载。")
    text = f"未查询到缓存{','.join(missing)}"
    if settings.determine_mode == "silent":
        return web.Response(text=f"{text}。")
    if settings.determine_mode == "starts" and settings.warmup_workflow is not None:
        call.server.submit(dict(settings.warmup_workflow))
    return web.Response(text=f"{text}，已经自动在后台执行缓存模型工作流。")


ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/prompt"): _post_prompt,
    ("GET", "/prompt"): _get_prompt,
    ("GET", "/queue"): _get_queue,
    ("POST", "/queue"): _post_queue,
    ("GET", "/history"): _get_history,
    ("POST", "/history"): _post_history,
    ("POST", "/interrupt"): _post_interrupt,
    ("POST", "/free"): _post_free,
    ("GET", "/system_stats"): _system_stats,
    ("GET", "/object_info"): _object_info,
    ("GET", "/view"): _view,
    ("GET", "/inspire/cache/list"): _cache_list,
    ("GET", "/inspire/cache/clear"): _cache_clear,
    ("GET", "/inspire/cache/remove"): _cache_remove,
    ("POST", "/inspire/cache/settings"): _cache_settings,
    ("GET", "/inspire/cache/determine"): _cache_determine,
}
# A name with a slash must come percent-encoded: as a raw path it has one segment too many, and is a 404.
NAMED_ROUTES: dict[str, Route] = {"/history": _get_history_of, "/object_info": _object_info_of}


def json_response(data: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, text=json.dumps(data), content_type="application/json")


def _last_segment(call: Call) -> str:
    return unquote(call.request.rel_url.raw_path.rpartition("/")[2])
