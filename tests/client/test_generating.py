"""From the call to the server's queue: what is sent, what is refused before, what is said when it goes wrong."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from client.comfyui_client import ROOT, ComfyUIClient
from core.errors import BadAnswer, Busy, ConfigError, PromptRejected, Unreachable, WorkflowError
from core.outputs import NOTE
from core.template import DEFAULTS
from examples.fake_comfyui import FakeServer
from tests.client.conftest import WEIGHTLESS

SAMPLER = "95"


def test_the_parameters_arrive_in_the_mapped_inputs(server: FakeServer, client: ComfyUIClient) -> None:
    prompt_id = client.generate_image("一幅美丽的风景", "模糊", 640, 384, 2, 5, 3.5, 42)

    (accepted,) = server.prompts
    assert accepted.prompt_id == prompt_id
    inputs = {node_id: node["inputs"] for node_id, node in accepted.graph.items()}
    assert inputs["6"]["text"] == "一幅美丽的风景"
    assert inputs["7"]["text"] == "模糊"
    assert inputs["5"] == {"width": 640, "height": 384, "batch_size": 2}
    assert (inputs[SAMPLER]["steps"], inputs[SAMPLER]["cfg"], inputs[SAMPLER]["seed"]) == (5, 3.5, 42)


def test_every_prompt_carries_a_client_id_and_its_own_record(server: FakeServer, client: ComfyUIClient) -> None:
    client.generate_image("a beautiful landscape", seed=7)

    extra = server.prompts[0].extra_data
    assert extra["client_id"]
    assert extra[NOTE]["prompt"] == "a beautiful landscape"
    assert extra[NOTE]["seed"] == 7


def test_without_a_seed_each_generation_gets_another_one_and_records_it(
    server: FakeServer, client: ComfyUIClient
) -> None:
    client.generate_image("a")
    client.generate_image("a")

    seeds = [prompt.graph[SAMPLER]["inputs"]["seed"] for prompt in server.prompts]
    assert seeds[0] != seeds[1]
    assert seeds == [prompt.extra_data[NOTE]["seed"] for prompt in server.prompts]


def test_an_override_wins_over_the_parameter_and_is_what_is_recorded(server: FakeServer, client: ComfyUIClient) -> None:
    overrides: dict[str, Any] = {f"{SAMPLER}.sampler_name": "dpmpp_2m", f"{SAMPLER}.seed": 99}
    client.generate_image("a", seed=1, **overrides)

    (accepted,) = server.prompts
    assert accepted.graph[SAMPLER]["inputs"]["sampler_name"] == "dpmpp_2m"
    assert accepted.graph[SAMPLER]["inputs"]["seed"] == accepted.extra_data[NOTE]["seed"] == 99


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"77.steps": 1}, "node 77, which the workflow does not have"),
        ({f"{SAMPLER}.sampler": "euler"}, "has no input 'sampler'"),
        ({"widht": 640}, "did you mean width?"),
        ({f"{SAMPLER}.model": "a.safetensors"}, "linked to node 4"),
        ({f"{SAMPLER}.model": ["77", 0]}, "node '77', which does not exist"),
        ({"cfg": float("nan")}, "JSON"),
        ({"prompt": "\ud800"}, "JSON"),
        ({"prompt": 5}, "prompt must be a text"),
        ({"steps": "20"}, "steps must be a number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 2**64}, "seed must be a whole number"),
    ],
)
def test_what_the_template_does_not_have_is_refused_before_anything_is_sent(
    server: FakeServer, client: ComfyUIClient, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(WorkflowError) as refused:
        client.generate_image(**{"prompt": "a", **arguments})

    assert said in str(refused.value)
    assert server.requests == []


def test_a_parameter_without_a_place_in_the_mapping_is_refused(server: FakeServer) -> None:
    with (
        ComfyUIClient(server.url, template=WEIGHTLESS) as client,
        pytest.raises(WorkflowError, match="no place for steps"),
    ):
        client.generate_image("a", steps=30)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ('{"inputs": {}}', "names its workflow"),
        ('{"workflow": "graph.json", "inputs": {"prompt": "1.txt"}}', "node 1 (EmptyImage) has no input 'txt'"),
        ('{"workflow": "graph.json", "inputs": {"prompt": "2.images"}}', "linked to node 1"),
        ('{"workflow": "graph.json", "inputs": {"promt": "1.color"}}', "did you mean prompt?"),
        ('{"workflow": "graph.json", "inputs": {}, "images": ["3"]}', "node 3"),
        ('{"workflow": "none.json", "inputs": {}}', "cannot be read"),
        ("{", "is not JSON"),
    ],
)
def test_a_template_that_cannot_be_used_says_which_file_and_why(tmp_path: Path, mapping: str, said: str) -> None:
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
    }
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    path = tmp_path / "mine.mapping.json"
    path.write_text(mapping)

    with pytest.raises(WorkflowError) as refused:
        ComfyUIClient("127.0.0.1:9", template=path).generate_image("a")

    assert said in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_a_refusal_carries_the_servers_own_words(server: FakeServer, client: ComfyUIClient) -> None:
    overrides: dict[str, Any] = {"4.ckpt_name": "nope.safetensors"}
    with pytest.raises(PromptRejected) as refused:
        client.generate_image("a", **overrides)

    assert "ckpt_name: 'nope.safetensors' not in ['sd_xl_base_1.0.safetensors']" in refused.value.detail
    assert server.url in str(refused.value)


def test_a_prompt_that_is_taken_only_in_part_is_withdrawn(server: FakeServer, tmp_path: Path) -> None:
    graph = json.loads((ROOT / "examples" / "weightless_image.json").read_text())
    graph["3"] = {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    (tmp_path / "mapping.json").write_text('{"workflow": "graph.json", "inputs": {"prompt": "1._prompt"}}')
    running = server.occupy(20)

    with (
        ComfyUIClient(server.url, template=tmp_path / "mapping.json") as client,
        pytest.raises(PromptRejected, match="took only a part"),
    ):
        client.generate_image("a")

    assert len(server.prompts) == 2
    assert server.queue() == ([running], [])


def test_an_empty_200_is_a_refusal(server: FakeServer, client: ComfyUIClient) -> None:
    server.misbehave("POST /prompt", body=b"")
    with pytest.raises(PromptRejected, match="nothing was queued"):
        client.generate_image("a")


def test_a_prompt_whose_answer_got_lost_is_found_by_its_id(server: FakeServer, client: ComfyUIClient) -> None:
    server.misbehave("POST /prompt", executes=True, drop=True)

    prompt_id = client.generate_image("a")

    assert [prompt.prompt_id for prompt in server.prompts] == [prompt_id]


def test_a_prompt_that_may_have_been_lost_is_never_sent_twice(server: FakeServer, client: ComfyUIClient) -> None:
    server.misbehave("POST /prompt", drop=True)

    with pytest.raises(Busy, match="before sending again"):
        client.generate_image("a")

    assert [request.method for request in server.requests].count("POST") == 1


def test_a_server_that_is_not_there_is_unreachable_and_one_that_is_late_is_busy(server: FakeServer) -> None:
    server.busy(20)
    with ComfyUIClient(server.url, answer_timeout_seconds=0.1) as client, pytest.raises(Busy, match="not answered"):
        client.generate_image("a")
    server.stop()
    with ComfyUIClient(server.url) as client, pytest.raises(Unreachable, match="Connection refused"):
        client.generate_image("a")


def test_no_redirect_is_followed_and_no_endless_answer_is_read(server: FakeServer, client: ComfyUIClient) -> None:
    server.misbehave("POST /prompt", status=302, headers={"Location": f"{server.url}/login"})
    with pytest.raises(BadAnswer, match="perhaps a login"):
        client.generate_image("a")
    assert not any(request.path == "/login" for request in server.requests)

    server.misbehave("POST /prompt", body=b"x" * (2 << 20))
    with pytest.raises(BadAnswer, match="more than"):
        client.generate_image("a")


def test_headers_of_the_caller_open_a_server_with_a_login(server: FakeServer) -> None:
    server.settings.token = "secret-1"
    with ComfyUIClient(server.url) as client, pytest.raises(PromptRejected, match="Authentication required"):
        client.generate_image("a")
    with ComfyUIClient(server.url, headers={"Authorization": "Bearer secret-1"}) as client:
        assert client.generate_image("a") == server.prompts[0].prompt_id

        server.misbehave("POST /prompt", status=403, body=b"no entry with Bearer secret-1")
        with pytest.raises(PromptRejected, match="no entry") as refused:
            client.generate_image("a")
    assert "secret-1" not in str(refused.value) + refused.value.detail


def test_without_an_address_it_is_the_first_configured_server_with_its_headers(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.settings.token = "secret-2"
    (tmp_path / "fleet.toml").write_text(
        f'[[group]]\nname = "g"\nservers = ["{server.url}"]\n[group.headers_from_env]\nAuthorization = "FLEET_TOKEN"\n'
    )
    monkeypatch.setenv("FLEET_FILE", str(tmp_path / "fleet.toml"))
    monkeypatch.setenv("FLEET_TOKEN", "Bearer secret-2")

    with ComfyUIClient() as client:
        assert client.server_address == server.url
        assert client.generate_image("a") == server.prompts[0].prompt_id


def test_an_address_that_is_none_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match="server_address"):
        ComfyUIClient("http://user:password@127.0.0.1:8188")


def test_the_defaults_of_the_call_are_those_that_a_template_may_leave_out() -> None:
    signature = inspect.signature(ComfyUIClient.generate_image).parameters
    defaults = {name: signature[name].default for name in DEFAULTS if name != "prompt"}
    assert defaults == {name: value for name, value in DEFAULTS.items() if name != "prompt"}
