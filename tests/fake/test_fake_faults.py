"""What only the fake does: deaths, hangs, restarts, logins, broken answers and the fork's route, on demand.

The traps at the top were seen on a real ComfyUI 0.3.64 in the same way; it does not survive them.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import requests

from examples.fake_comfyui import FakeFleet, FakeServer
from examples.fake_comfyui.demo import warmup
from tests.fake.contract import Graph, fresh, image, store

GRAPH: Graph = {"1": image(), "2": store("k")}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


def _post(server: FakeServer, graph: Graph, **extra: Any) -> requests.Response:
    body = {"prompt": graph, "client_id": "test", **extra}
    return requests.post(f"{server.url}/prompt", json=body, timeout=5)


def test_a_dead_link_in_an_undeclared_input_passes_and_kills_the_worker(server: FakeServer) -> None:
    reply = _post(server, {"1": image(), "2": store("k", _x=["99", 0])})
    assert reply.json()["node_errors"] == {}
    doomed = reply.json()["prompt_id"]
    later = _post(server, GRAPH).json()["prompt_id"]
    server.wait_until(lambda s: s.queue() == ([doomed], [later]))
    assert requests.get(f"{server.url}/system_stats", timeout=5).status_code == 200
    assert server.history() == {}


def test_equal_numbers_and_ids_kill_the_worker_and_lose_the_job_before_them(server: FakeServer) -> None:
    server.occupy(0.2)
    lost = _post(server, GRAPH).json()["prompt_id"]
    for nonce in ("a", "b"):
        _post(server, {"1": image(), "2": store("k", _nonce=nonce)}, number=9, prompt_id="same")
    server.wait_until(lambda s: s.queue()[0] == [])
    last = _post(server, GRAPH).json()["prompt_id"]
    pending = requests.get(f"{server.url}/queue", timeout=5).json()["queue_pending"]
    assert sorted(item[1] for item in pending) == sorted(["same", "same", last])
    assert lost not in server.history()


def test_equal_numbers_and_ids_can_be_a_500_that_is_queued_all_the_same(server: FakeServer) -> None:
    server.occupy(0.1)
    replies = [
        _post(server, {"1": image(), "2": store(key)}, number=9, prompt_id="same").status_code for key in ("a", "b")
    ]
    assert replies == [200, 500]
    server.wait_until(lambda s: s.keys() == ["a", "b"])


def test_a_zombie_answers_and_accepts_and_runs_nothing_until_it_restarts(server: FakeServer) -> None:
    server.kill_worker()
    prompt_id = _post(server, GRAPH).json()["prompt_id"]
    assert server.queue() == ([], [prompt_id])
    server.restart()
    server.wait_until(_answers)
    assert server.queue() == ([], [])
    _post(server, GRAPH)
    server.wait_until(lambda s: s.keys() == ["k"])


def _answers(server: FakeServer) -> bool:
    try:
        return requests.get(f"{server.url}/prompt", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def test_a_restart_refuses_for_a_while_and_forgets_everything_but_its_files(server: FakeServer) -> None:
    port = server.port
    prompt_id = _post(server, GRAPH).json()["prompt_id"]
    server.wait_until(lambda s: prompt_id in s.history())
    server.restart(down_seconds=0.2)
    with pytest.raises(requests.ConnectionError, match="refused"):
        requests.get(f"{server.url}/prompt", timeout=5)
    server.wait_until(_answers)
    assert server.port == port
    assert requests.get(f"{server.url}/history", timeout=5).json() == {}
    assert server.keys() == []
    assert _post(server, GRAPH).json()["number"] == 0


def test_a_restart_breaks_what_was_connected(server: FakeServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", "/queue")
    connection.getresponse().read()
    server.busy(30)
    connection.request("GET", "/queue")
    server.restart()
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        connection.getresponse()
    server.wait_until(_answers)


def test_a_stopped_server_stays_down_even_if_it_was_restarting(server: FakeServer) -> None:
    server.restart(down_seconds=0.1)
    server.stop()
    time.sleep(0.2)  # past the moment when the restart would have opened the port
    assert not _answers(server)
    server.start()
    assert _answers(server)


def test_a_busy_server_connects_at_once_and_answers_late(server: FakeServer) -> None:
    server.busy(0.4)
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5):
        assert time.monotonic() - started < 0.2
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{server.url}/queue", timeout=0.1)
    assert requests.get(f"{server.url}/queue", timeout=5).status_code == 200


def test_a_post_that_the_client_gave_up_on_is_executed_later(server: FakeServer) -> None:
    server.busy(0.3)
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{server.url}/prompt", json={"prompt": GRAPH, "prompt_id": "mine"}, timeout=0.1)
    assert server.prompts == []
    server.wait_until(lambda s: s.keys() == ["k"])
    assert [each.prompt_id for each in server.prompts] == ["mine"]


def test_a_loader_that_holds_the_lock_makes_the_server_busy(server: FakeServer) -> None:
    server.set_loader("PulidFluxEvaClipLoader", seconds=0.4, holds_lock=True)
    _post(server, {"1": {"class_type": "PulidFluxEvaClipLoader", "inputs": {}}, "2": store("k")})
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{server.url}/queue", timeout=0.1)
    server.wait_until(lambda s: s.keys() == ["k"])


def test_a_black_hole_neither_accepts_nor_refuses_until_it_is_started(server: FakeServer) -> None:
    server.black_hole()
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", server.port), timeout=0.2)
    server.start()
    assert _answers(server)


def test_a_failing_loader_aborts_its_prompt_and_names_itself(server: FakeServer) -> None:
    server.set_loader("SAM3ModelLoader", fail=1, message="CUDA out of memory. Tried to allocate 3.44 GiB")
    graph = {"1": {"class_type": "SAM3ModelLoader", "inputs": {"model": "sam3.pt"}}, "2": store("sam3")}
    prompt_id = _post(server, graph).json()["prompt_id"]
    server.wait_until(lambda s: prompt_id in s.history())
    event, error = server.history()[prompt_id]["status"]["messages"][-1]
    assert (event, error["node_type"]) == ("execution_error", "SAM3ModelLoader")
    assert error["exception_type"] == "torch.OutOfMemoryError"
    assert "out of memory" in error["exception_message"]
    _post(server, graph)
    server.wait_until(lambda s: s.keys() == ["sam3"])


def test_which_keys_survive_a_failing_loader_depends_on_the_process() -> None:
    graph, _ = warmup()
    stored = set()
    for seed in range(12):
        with FakeServer(seed=seed) as server:
            server.set_loader("BEN2ModelLoader", fail=True)
            _post(server, graph)
            server.wait_until(lambda s: len(s.history()) == 1)
            stored.add(len(server.keys()))
    assert len(stored) > 2


def test_a_success_can_carry_an_error(server: FakeServer) -> None:
    server.settings.error_inside_success = True
    prompt_id = _post(server, GRAPH).json()["prompt_id"]
    server.wait_until(lambda s: prompt_id in s.history())
    status = server.history()[prompt_id]["status"]
    assert status["status_str"] == "success"
    assert [event for event, _ in status["messages"]][-2:] == ["execution_error", "execution_success"]


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("starts", "未查询到缓存pulid_model,sam3，已经自动在后台执行缓存模型工作流。"),
        ("claims", "未查询到缓存pulid_model,sam3，已经自动在后台执行缓存模型工作流。"),
        ("silent", "未查询到缓存pulid_model,sam3。"),
    ],
)
def test_the_forks_route_names_what_is_missing_and_may_start_the_workflow(mode: str, text: str) -> None:
    graph, keys = warmup()
    with FakeServer(flavour="fork", determine_mode=mode, wanted_keys=keys, warmup_workflow=graph) as server:
        server.store("pulid_eva_clip", "pulid_face_analysis", "ben2_base")
        assert requests.get(f"{server.url}/inspire/cache/determine", timeout=5).text == text
        assert len(server.prompts) == (1 if mode == "starts" else 0)
        server.store(*keys)
        assert requests.get(f"{server.url}/inspire/cache/determine", timeout=5).text == "缓存已加载。"


def test_without_the_pack_its_routes_and_classes_are_unknown() -> None:
    with FakeServer(flavour="plain") as server:
        for path in ("list", "determine", "clear"):
            reply = requests.get(f"{server.url}/inspire/cache/{path}", timeout=5)
            assert (reply.status_code, reply.content) == (404, b"")
        assert _post(server, GRAPH).json()["error"]["type"] == "invalid_prompt"


def test_the_new_dialect_names_an_unknown_class_otherwise() -> None:
    graph: Graph = {"9": {"class_type": "X", "inputs": {}}}
    with FakeServer(dialect="new") as server:
        error = _post(server, graph).json()["error"]
        assert error["type"] == "missing_node_type"
        assert error["message"] == "Node 'X' not found. The custom node may not be installed."
        assert (error["extra_info"]["node_id"], error["extra_info"]["class_type"]) == ("9", "X")
        stats = requests.get(f"{server.url}/system_stats", timeout=5).json()
        assert stats["system"]["comfyui_version"] == "0.12.1"


@pytest.mark.parametrize(("dialect", "status"), [("old", 200), ("new", 400)])
def test_a_combo_in_the_newer_notation_is_checked_by_the_newer_server_only(dialect: str, status: int) -> None:
    graph: Graph = {"1": {"class_type": "SAM3ModelLoader", "inputs": {"model": "nope"}}, "2": store("sam3")}
    with FakeServer(dialect=dialect) as server:
        assert _post(server, graph).status_code == status
        info = requests.get(f"{server.url}/object_info/SAM3ModelLoader", timeout=5).json()
        assert info["SAM3ModelLoader"]["input"]["required"]["model"] == ["COMBO", {"options": ["sam3.pt"]}]


def test_behind_a_login_a_program_gets_401_and_a_browser_an_html_page_with_200() -> None:
    with FakeServer(token="secret") as server:
        url = f"{server.url}/inspire/cache/list"
        refused = requests.get(url, timeout=5)
        assert (refused.status_code, refused.headers["Content-Type"]) == (
            401,
            "application/json; charset=utf-8",
        )
        moved = requests.get(url, headers={"Accept": "text/html"}, timeout=5, allow_redirects=False)
        assert (moved.status_code, moved.headers["Location"]) == (302, "/login")
        page = requests.get(url, headers={"Accept": "text/html"}, timeout=5)
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        allowed = requests.get(url, headers={"Authorization": "Bearer secret"}, timeout=5)
        assert "String Key Caches" in allowed.text


def test_a_route_answers_whatever_a_test_wants(server: FakeServer) -> None:
    url = f"{server.url}/inspire/cache/list"
    server.misbehave("/inspire/cache/list", status=503, body=b"<script>alert(1)</script>", times=1)
    reply = requests.get(url, timeout=5)
    assert (reply.status_code, reply.text) == (503, "<script>alert(1)</script>")
    assert requests.get(url, timeout=5).status_code == 200

    server.misbehave("*", body="模型".encode("gb18030"), headers={"Content-Type": "text/plain; charset=utf-8"})
    assert requests.get(url, timeout=5).content == "模型".encode("gb18030")
    server.misbehave("GET /inspire/cache/list", body=b"x" * 10_000_000)
    assert len(requests.get(url, timeout=5).content) == 10_000_000
    server.behave()

    server.misbehave("/inspire/*", body=b"---- [String", declared_length=500)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(url, timeout=5)
    server.misbehave("/inspire/*", status=307, headers={"Location": "/inspire/cache/clear"})
    assert requests.get(url, timeout=5, allow_redirects=False).headers["Location"] == "/inspire/cache/clear"
    server.misbehave("/inspire/*", drop=True)
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)
    server.misbehave("/inspire/*", status=None, delay_seconds=0.2)
    with pytest.raises(requests.ReadTimeout):
        requests.get(url, timeout=0.05)
    assert "String Key Caches" in requests.get(url, timeout=5).text


def test_an_accepted_prompt_can_lose_its_answer(server: FakeServer) -> None:
    server.misbehave("POST /prompt", drop=True, executes=True, times=1)
    with pytest.raises(requests.ConnectionError):
        _post(server, GRAPH, prompt_id="mine")
    server.wait_until(lambda s: "mine" in s.history())
    assert server.keys() == ["k"]


def test_requests_and_prompts_are_recorded_for_assertions(server: FakeServer) -> None:
    requests.get(f"{server.url}/api/queue?x=1", timeout=5)
    _post(server, GRAPH, prompt_id="mine")
    assert [(each.method, each.path, each.client_id) for each in server.requests] == [
        ("GET", "/queue?x=1", None),
        ("POST", "/prompt", "test"),
    ]
    assert [(each.prompt_id, each.extra_data["client_id"]) for each in server.prompts] == [("mine", "test")]
    assert server.requests[0].at <= server.requests[1].at


async def _websocket_story(server: FakeServer) -> list[str]:
    """The events that a client sees of its own prompt; returns once a restart has closed its socket."""
    events: list[str] = []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.url}/ws?clientId=me") as websocket,
    ):
        await session.post(f"{server.url}/prompt", json={"prompt": GRAPH, "client_id": "me"})
        while "execution_success" not in events:
            message = await websocket.receive_json(timeout=5)
            events.append(message["type"])
        await asyncio.to_thread(server.restart)
        while True:
            closed = await websocket.receive(timeout=5)
            if closed.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                return events


def test_a_websocket_tells_its_clients_events_and_closes_at_a_restart(server: FakeServer) -> None:
    events = asyncio.run(_websocket_story(server))
    assert events[0] == "status"
    assert {"execution_start", "executing", "execution_cached", "execution_success"} <= set(events)


def test_many_servers_live_in_one_process_and_know_nothing_of_each_other() -> None:
    with FakeFleet(50) as fleet:
        assert len({server.port for server in fleet}) == 50
        replies: list[int] = []
        threads = [
            threading.Thread(target=lambda s=server: replies.append(_post(s, GRAPH).status_code))
            for server in fleet.servers[:10]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert replies == [200] * 10
        for server in fleet.servers[:10]:
            server.wait_until(lambda s: s.keys() == ["k"])
        assert fleet[11].keys() == []
        fleet[3].stop()
        assert not _answers(fleet[3])
        assert _answers(fleet[4])


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        fleet = FakeFleet(1, base_port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            fleet.start()


def test_a_user_job_of_a_chosen_length_occupies_the_worker(server: FakeServer) -> None:
    job = server.occupy(0.2)
    mine = _post(server, GRAPH).json()["prompt_id"]
    server.wait_until(lambda s: s.queue() == ([job], [mine]))
    server.wait_idle()
    assert list(server.history()) == [job, mine]


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(TypeError, match="flavor"):
        FakeServer(flavor="fork")


def test_a_recorded_body_is_what_was_sent(server: FakeServer) -> None:
    nonce = fresh()
    _post(server, {"1": image(), "2": store("k", _nonce=nonce)})
    assert json.loads(server.requests[0].body)["prompt"]["2"]["inputs"]["_nonce"] == nonce
