"""History, messages, interrupts, the node-output cache and the small routes: a real server and the fake."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest
from requests import Response

from tests.fake.contract import Comfy, Graph, fresh, image, save, store


def _events(entry: dict[str, Any]) -> list[str]:
    return [event for event, _ in entry["status"]["messages"]]


def _cached(entry: dict[str, Any]) -> list[str]:
    nodes: list[str] = next(data["nodes"] for event, data in entry["status"]["messages"] if event == "execution_cached")
    return nodes


def test_a_success_is_told_in_three_messages(comfy: Comfy) -> None:
    prompt_id = comfy.submit({"1": image(), "2": store("k")})
    entry = comfy.finished(prompt_id)
    assert _events(entry) == ["execution_start", "execution_cached", "execution_success"]
    assert entry["status"]["completed"] is True
    assert entry["outputs"] == {}
    for _, data in entry["status"]["messages"]:
        assert data["prompt_id"] == prompt_id
        assert isinstance(data["timestamp"], int)


def test_a_missing_key_fails_the_node_that_uses_it_and_names_it(comfy: Comfy) -> None:
    missing = {"class_type": "RetrieveBackendData //Inspire", "inputs": {"key": fresh()}}
    entry = comfy.run({"1": missing, "2": save()})
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    event, error = entry["status"]["messages"][-1]
    assert event == "execution_error"
    assert (error["node_id"], error["node_type"]) == ("2", "SaveImage")
    assert error["exception_message"] == "'NoneType' object is not subscriptable\n"
    assert error["exception_type"] == "TypeError"
    assert error["executed"] == ["1"]


def test_an_interrupt_ends_the_running_prompt_before_its_next_node(comfy: Comfy) -> None:
    running = comfy.occupy()
    assert comfy.post("/interrupt", {"prompt_id": "another"}).status_code == 200
    assert comfy.post("/interrupt", b"").status_code == 200
    entry = comfy.finished(running)
    assert entry["status"]["status_str"] == "error"
    assert _events(entry) == ["execution_start", "execution_cached", "execution_interrupted"]


def test_a_cycle_through_undeclared_inputs_is_an_error_inside_a_success(comfy: Comfy) -> None:
    comfy.run({"1": image(), "2": store("before")})  # the cycle inherits the status of the prompt before it
    entry = comfy.run({"1": image(1), "2": store("a", _x=["3", 0]), "3": store("b", _x=["2", 0])})
    assert entry["status"]["status_str"] == "success"
    event, error = entry["status"]["messages"][-1]
    assert (event, error["exception_message"]) == ("execution_error", "Dependency cycle detected")
    assert comfy.string_keys() == ["before"]


def test_resubmitting_after_keys_were_lost_succeeds_and_stores_nothing(comfy: Comfy) -> None:
    """The no-op trap."""
    graph = {"1": image(7), "2": store("k")}
    comfy.run(graph)
    comfy.get("/inspire/cache/remove", params={"key": "k"})
    entry = comfy.run(graph)
    assert entry["status"]["status_str"] == "success"
    assert _cached(entry) == ["1", "2"]
    assert comfy.string_keys() == []


def _with_nonce(graph: Graph) -> Graph:
    changed: Graph = json.loads(json.dumps(graph))
    changed["2"]["inputs"]["_nonce"] = fresh()
    return changed


def _with_tag(graph: Graph) -> Graph:
    changed: Graph = json.loads(json.dumps(graph))
    changed["2"]["inputs"]["tag"] = "another"
    return changed


def _with_other_ids(graph: Graph) -> Graph:
    return {"10": graph["1"], "20": {**graph["2"], "inputs": {**graph["2"]["inputs"], "data": ["10", 0]}}}


def _with_meta(graph: Graph) -> Graph:
    return {node_id: {**node, "_meta": {"title": fresh()}} for node_id, node in graph.items()}


@pytest.mark.parametrize(
    ("change", "stored", "cached"),
    [
        (_with_nonce, True, ["1"]),
        (_with_tag, True, ["1"]),
        (_with_other_ids, False, ["10", "20"]),
        (_with_meta, False, ["1", "2"]),
    ],
)
def test_which_changes_of_the_graph_escape_the_trap(comfy: Comfy, change: Any, stored: bool, cached: list[str]) -> None:
    graph = {"1": image(8), "2": store("k")}
    comfy.run(graph)
    comfy.get("/inspire/cache/clear")
    entry = comfy.run(change(graph))
    assert comfy.string_keys() == (["k"] if stored else [])
    assert _cached(entry) == cached


def test_freeing_memory_escapes_the_trap_and_loads_again(comfy: Comfy) -> None:
    graph = {"1": image(9), "2": store("k")}
    comfy.run(graph)
    reply = comfy.post("/free", {"free_memory": True})
    assert (reply.status_code, reply.content) == (200, b"")
    assert comfy.string_keys() == ["k"]  # the backend cache is not touched
    comfy.get("/inspire/cache/clear")
    comfy.wait(lambda: _cached(comfy.run(graph)) == [])  # a real worker frees when it next wakes
    assert comfy.string_keys() == ["k"]


def test_every_prompt_evicts_the_cached_outputs_of_the_one_before(comfy: Comfy) -> None:
    graph = {"1": image(10), "2": store("k")}
    comfy.run(graph)
    comfy.run({"1": image(11), "2": store("other")})
    assert _cached(comfy.run(graph)) == []


def test_history_can_be_limited_deleted_and_cleared(comfy: Comfy) -> None:
    ids = [comfy.submit({"1": image(number), "2": store("k")}) for number in range(3)]
    comfy.finished(ids[-1])
    assert list(comfy.get("/history").json()) == ids
    assert list(comfy.get("/history?max_items=2").json()) == ids[1:]
    assert list(comfy.get("/history?max_items=1&offset=0").json()) == ids[:1]
    assert comfy.get("/history?max_items=x").status_code == 500
    assert comfy.post("/history", {"delete": [ids[0], "unknown"]}).content == b""
    assert list(comfy.get("/history").json()) == ids[1:]
    comfy.post("/history", {"clear": True})
    assert comfy.get("/history").json() == {}


def test_saved_images_are_numbered_listed_and_served_as_png(comfy: Comfy) -> None:
    prefix = f"album-{fresh()}/picture"
    entry = comfy.run({"1": image(0x336699, 32), "2": save("1", prefix)})
    folder = prefix.partition("/")[0]
    expected = {"filename": "picture_00001_.png", "subfolder": folder, "type": "output"}
    assert entry["outputs"] == {"2": {"images": [expected]}}
    ids = {"node_id": "2", "display_node": "2", "parent_node": None, "real_node_id": "2"}
    assert entry["meta"] == {"2": ids}
    reply = comfy.get("/view", params=expected)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "image/png")
    assert _png_size_and_colour(reply.content) == (32, 32, 0x336699)
    again = comfy.run({"1": image(0x336698, 32), "2": save("1", prefix)})
    assert again["outputs"]["2"]["images"][0]["filename"] == "picture_00002_.png"


def _png_size_and_colour(data: bytes) -> tuple[int, int, int]:
    """Of the first pixel; decodes only what both servers write: 8 bit RGB without interlace."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, colour_type = struct.unpack(">IIBB", data[16:26])
    assert (depth, colour_type) == (8, 2)
    position, pixels = 8, b""
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        assert struct.unpack(">I", data[position + 8 + length : position + 12 + length])[0] == zlib.crc32(kind + body)
        pixels += body if kind == b"IDAT" else b""
        position += 12 + length
    return width, height, int.from_bytes(zlib.decompress(pixels)[1:4], "big")


def _seen(reply: Response) -> tuple[int, str | None, bytes]:
    return reply.status_code, reply.headers.get("Content-Type"), reply.content


NOT_FOUND = (404, "application/octet-stream", b"")
NOT_ALLOWED = (405, "text/plain; charset=utf-8", b"405: Method Not Allowed")
JSON = "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nothing/here", NOT_FOUND),
        ("GET", "/api/nothing", NOT_FOUND),
        ("GET", "/inspire/cache/determine", NOT_FOUND),
        ("GET", "/interrupt", NOT_FOUND),
        ("GET", "/object_info/CacheBackendData%20//Inspire", NOT_FOUND),
        ("GET", "/object_info/Unknown", (200, JSON, b"{}")),
        ("GET", "/history/unknown", (200, JSON, b"{}")),
        ("GET", "/queue", (200, JSON, b'{"queue_running": [], "queue_pending": []}')),
        ("GET", "/api/prompt", (200, JSON, b'{"exec_info": {"queue_remaining": 0}}')),
        ("GET", "/view", (404, None, b"")),
        ("GET", "/view?filename=none.png", (404, None, b"")),
        ("GET", "/view?filename=..%2Fx", (400, None, b"")),
        ("GET", "/view?filename=x&type=unknown", (400, None, b"")),
        ("GET", "/view?filename=x&subfolder=../..", (403, None, b"")),
        ("POST", "/nothing", NOT_ALLOWED),
        ("POST", "/inspire/cache/list", NOT_ALLOWED),
        ("PUT", "/prompt", NOT_ALLOWED),
        ("OPTIONS", "/queue", (200, None, b"")),
    ],
)
def test_the_small_answers(comfy: Comfy, method: str, path: str, expected: tuple[int, str | None, bytes]) -> None:
    reply = comfy.session.request(method, comfy.url + path, timeout=20)
    status, content_type, body = _seen(reply)
    # An empty body has whatever type the server's library gives it; the fact is that it is empty.
    assert (status, content_type if expected[1] else None, body) == expected


def test_object_info_tells_the_inputs_of_a_class(comfy: Comfy) -> None:
    info = comfy.get("/object_info/CacheBackendData%20%2F%2FInspire").json()["CacheBackendData //Inspire"]
    assert {name: kind[0] for name, kind in info["input"]["required"].items()} == {
        "key": "STRING",
        "tag": "STRING",
        "data": "*",
    }
    assert (info["output"], info["output_node"], info["output_is_list"]) == (["*"], True, [False])
    combos = comfy.get("/object_info/LoadTextEncoderShared%20%2F%2FInspire").json()
    required = combos["LoadTextEncoderShared //Inspire"]["input"]["required"]
    assert required["model_name2"][0][0] == "None"
    assert required["mode"] == [["Auto", "Override Cache", "Read Only"]]
    assert "stable_diffusion" in required["type"][0]


def test_object_info_lists_all_seven_key_storing_classes_and_the_samples(comfy: Comfy) -> None:
    known = comfy.get("/object_info").json()
    wanted = {
        "CacheBackendData //Inspire",
        "CacheBackendDataList //Inspire",
        "CacheBackendDataNumberKey //Inspire",
        "CacheBackendDataNumberKeyList //Inspire",
        "CheckpointLoaderSimpleShared //Inspire",
        "LoadDiffusionModelShared //Inspire",
        "LoadTextEncoderShared //Inspire",
        "EmptyImage",
        "EmptyLatentImage",
        "PrimitiveString",
        "SaveImage",
        "KSampler",
        "VAEDecode",
    }
    assert wanted <= set(known)
    for name in wanted:
        assert known[name] == comfy.get("/object_info/" + name.replace("/", "%2F")).json()[name]


def test_system_stats_tell_memory_and_version_but_no_uptime(comfy: Comfy) -> None:
    stats = comfy.get("/system_stats").json()
    assert {"os", "ram_total", "ram_free", "comfyui_version", "python_version", "argv"} <= set(stats["system"])
    assert stats["system"]["comfyui_version"] == "0.3.64"
    names = {"name", "type", "index", "vram_total", "vram_free", "torch_vram_total", "torch_vram_free"}
    assert set(stats["devices"][0]) == names
