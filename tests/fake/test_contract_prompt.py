"""``POST /prompt``: what ComfyUI 0.3.64 answers, and the fake with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fake.contract import Comfy, Graph, fresh, image, save, store

TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble"


@pytest.mark.parametrize("path", ["/prompt", "/api/prompt"])
def test_an_accepted_prompt_is_answered_with_its_id_and_number(comfy: Comfy, path: str) -> None:
    reply = comfy.post(path, {"prompt": {"1": image(), "2": store("k")}, "client_id": "contract"})
    assert reply.status_code == 200
    assert sorted(reply.json()) == ["node_errors", "number", "prompt_id"]
    assert reply.json()["node_errors"] == {}
    assert isinstance(reply.json()["number"], int)


@pytest.mark.parametrize("path", ["/queue", "/api/queue"])
def test_a_prompt_sent_to_the_queue_route_is_200_and_empty_and_queues_nothing(comfy: Comfy, path: str) -> None:
    reply = comfy.post(path, {"prompt": {"1": image(), "2": store("lost")}, "client_id": "contract"})
    assert (reply.status_code, reply.content) == (200, b"")
    assert comfy.get("/prompt").json() == {"exec_info": {"queue_remaining": 0}}
    assert comfy.get("/history").json() == {}
    assert comfy.string_keys() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{bad",
        b'{"prompt": null}',
        b'{"prompt": {"last_node_id": 3, "nodes": [], "links": []}}',
        b'{"prompt": {}, "number": "x"}',
        json.dumps({"prompt": {"1": image(), "2": store("k")}, "extra_data": "text", "client_id": "c"}).encode(),
    ],
)
def test_what_the_server_cannot_read_is_a_500_in_plain_text(comfy: Comfy, body: bytes) -> None:
    reply = comfy.post("/prompt", body)
    assert (reply.status_code, reply.text) == (500, TROUBLE)
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


NO_OUTPUTS = ("prompt_no_outputs", "Prompt has no outputs", "")
NO_PROMPT = ("no_prompt", "No prompt provided", "No prompt provided")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, NO_PROMPT),
        ([], NO_PROMPT),
        ({"prompt": {}}, NO_OUTPUTS),
        ({"prompt": []}, NO_OUTPUTS),
        ({"prompt": {"1": image()}}, NO_OUTPUTS),
        ({"prompt": {"1": image(), "2": store("k")}, "partial_execution_targets": []}, NO_OUTPUTS),
        ({"prompt": {"1": image(), "2": store("k")}, "partial_execution_targets": ["1"]}, NO_OUTPUTS),
        (
            {"prompt": {"9": {"class_type": "X", "inputs": {}}}},
            ("invalid_prompt", "Cannot execute because node X does not exist.", "Node ID '#9'"),
        ),
        (
            {"prompt": {"9": {"inputs": {}}}},
            (
                "invalid_prompt",
                "Cannot execute because a node is missing the class_type property.",
                "Node ID '#9'",
            ),
        ),
        # A UI-format workflow of a newer web page begins with its id, a text.
        (
            {"prompt": {"id": "8f", "last_node_id": 3, "nodes": []}},
            (
                "invalid_prompt",
                "Cannot execute because a node is missing the class_type property.",
                "Node ID '#id'",
            ),
        ),
    ],
)
def test_a_prompt_that_cannot_be_started_is_refused_with_one_error(
    comfy: Comfy, body: Any, error: tuple[str, str, str]
) -> None:
    reply = comfy.post("/prompt", body)
    kind, message, details = error
    assert reply.status_code == 400
    assert reply.json() == {
        "error": {"type": kind, "message": message, "details": details, "extra_info": {}},
        "node_errors": {},
    }


def _reasons(node_errors: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    return {
        node_id: [(each["type"], each["details"]) for each in entry["errors"]] for node_id, entry in node_errors.items()
    }


def _linked_wrongly(source: object) -> Graph:
    graph = {"1": image(), "2": store("k")}
    graph["2"]["inputs"]["data"] = source
    return graph


@pytest.mark.parametrize(
    ("graph", "reasons"),
    [
        (
            {"2": {"class_type": "CacheBackendData //Inspire", "inputs": {"key": "k"}}},
            {"2": [("required_input_missing", "tag"), ("required_input_missing", "data")]},
        ),
        (
            {"1": {"class_type": "VAELoader", "inputs": {"vae_name": "nope"}}, "2": store("k")},
            {"1": [("value_not_in_list", "vae_name: 'nope' not in ")]},
        ),
        (
            {"1": image(size=0), "2": store("k")},
            {"1": [("value_smaller_than_min", "width"), ("value_smaller_than_min", "height")]},
        ),
        (
            {"1": image(colour=0x1000000), "2": store("k")},
            {"1": [("value_bigger_than_max", "color")]},
        ),
        (_linked_wrongly(["1"]), {"2": [("bad_linked_input", "data")]}),
        (_linked_wrongly(["99", 0]), {"2": [("exception_during_validation", "'99'")]}),
        (_linked_wrongly(["1", 7]), {"2": [("exception_during_validation", "tuple index out of range")]}),
        (
            {"2": {"class_type": "CacheBackendData //Inspire"}},
            {"2": [("exception_during_validation", "'inputs'")]},
        ),
        (
            {
                "1": {
                    "class_type": "EmptyLatentImage",
                    "inputs": {"width": 64, "height": 64, "batch_size": 1},
                },
                "2": save(),
            },
            {
                "2": [
                    (
                        "return_type_mismatch",
                        "images, received_type(LATENT) mismatch input_type(IMAGE)",
                    )
                ]
            },
        ),
    ],
)
def test_when_no_output_is_valid_each_broken_node_is_named_with_its_reasons(
    comfy: Comfy, graph: Graph, reasons: dict[str, list[tuple[str, str]]]
) -> None:
    reply = comfy.post("/prompt", {"prompt": graph})
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "prompt_outputs_failed_validation"
    found = _reasons(reply.json()["node_errors"])
    # Which files a server has is its own affair, and it checks the inputs of a node in the order of a set.
    for each in found.values():
        each[:] = sorted((kind, details.partition("[")[0]) for kind, details in each)
    assert found == {node_id: sorted(each) for node_id, each in reasons.items()}
    for node_id, entry in reply.json()["node_errors"].items():
        assert entry["dependent_outputs"] == ["2"]
        assert entry["class_type"] == graph[node_id]["class_type"]


def test_a_half_valid_prompt_is_accepted_and_only_its_valid_half_runs(comfy: Comfy) -> None:
    graph = {"1": image(1), "2": store("good"), "3": image(size=0), "4": store("bad", "3")}
    reply = comfy.post("/prompt", {"prompt": graph, "client_id": "contract"})
    assert reply.status_code == 200
    assert list(reply.json()["node_errors"]) == ["3"]
    entry = comfy.finished(reply.json()["prompt_id"])
    assert entry["status"]["status_str"] == "success"
    assert entry["prompt"][4] == ["2"]
    assert comfy.string_keys() == ["good"]


def test_a_caller_may_choose_id_number_client_and_outputs(comfy: Comfy) -> None:
    graph = {"1": image(2), "2": store("a"), "3": store("b")}
    prompt_id = fresh()
    body = {
        "prompt": graph,
        "prompt_id": prompt_id,
        "number": 7,
        "client_id": "me",
        "extra_data": {"note": 1},
        "partial_execution_targets": ["3"],
    }
    reply = comfy.post("/prompt", body)
    assert reply.json() == {"prompt_id": prompt_id, "number": 7.0, "node_errors": {}}
    entry = comfy.finished(prompt_id)
    assert entry["prompt"] == [7.0, prompt_id, graph, {"note": 1, "client_id": "me"}, ["3"]]
    assert comfy.string_keys() == ["b"]


def test_an_id_that_is_no_text_becomes_one(comfy: Comfy) -> None:
    reply = comfy.post("/prompt", {"prompt": {"1": image(), "2": store("k")}, "prompt_id": 77})
    assert reply.json()["prompt_id"] == "77"


def test_a_used_id_runs_again_and_keeps_one_history_entry(comfy: Comfy) -> None:
    prompt_id = fresh()
    comfy.run({"1": image(3), "2": store("first")}, prompt_id=prompt_id)
    comfy.submit({"1": image(3), "2": store("second")}, prompt_id=prompt_id)
    comfy.wait(lambda: comfy.string_keys() == ["first", "second"])
    comfy.wait(lambda: comfy.get("/prompt").json()["exec_info"]["queue_remaining"] == 0)
    assert list(comfy.get("/history").json()) == [prompt_id]


def test_refused_prompts_use_up_numbers_too(comfy: Comfy) -> None:
    first = comfy.post("/prompt", {"prompt": {"1": image(), "2": store("k")}}).json()["number"]
    comfy.post("/prompt", {"prompt": {}})
    after = comfy.post("/prompt", {"prompt": {"1": image(), "2": store("k")}}).json()["number"]
    assert after == first + 2


def test_fronts_overtake_the_pending_but_not_the_running_and_the_last_front_is_first(comfy: Comfy) -> None:
    running = comfy.occupy()
    graph = {"1": image(4), "2": store("k")}
    late = comfy.submit(graph)
    front, newer_front = comfy.submit(graph, front=True), comfy.submit(graph, front=True)
    queue = comfy.get("/queue").json()
    assert [item[1] for item in queue["queue_running"]] == [running]
    assert [item[1] for item in sorted(queue["queue_pending"])] == [newer_front, front, late]
    assert comfy.get("/prompt").json() == {"exec_info": {"queue_remaining": 4}}
    comfy.finished(late)
    assert list(comfy.get("/history").json()) == [running, newer_front, front, late]


def test_a_queue_item_holds_number_id_graph_extra_data_and_outputs(comfy: Comfy) -> None:
    comfy.occupy()
    graph = {"1": image(5), "2": store("k")}
    prompt_id = comfy.submit(graph, extra_data={"note": 1}, number=1e9)
    pending = comfy.get("/queue").json()["queue_pending"]
    assert pending == [[1e9, prompt_id, graph, {"note": 1, "client_id": "contract"}, ["2"]]]
    assert comfy.get(f"/history/{prompt_id}").json() == {}
    comfy.post("/queue", {"delete": [prompt_id, "unknown"]})
    assert comfy.get("/queue").json()["queue_pending"] == []


def test_a_cleared_queue_leaves_the_running_job(comfy: Comfy) -> None:
    running = comfy.occupy()
    comfy.submit({"1": image(6), "2": store("k")})
    reply = comfy.post("/queue", {"clear": True})
    assert (reply.status_code, reply.content) == (200, b"")
    queue = comfy.get("/queue").json()
    assert ([item[1] for item in queue["queue_running"]], queue["queue_pending"]) == ([running], [])
    assert comfy.finished(running)["status"]["status_str"] == "success"
