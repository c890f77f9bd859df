"""The essential walk against a real ComfyUI with Inspire Pack, where ``--real-comfyui URL`` names one.

It needs no weights and no GPU. ``--real-comfyui-restart COMMAND`` is a shell command that restarts that server and
returns; without it the walk over a restart is skipped.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.model import State
from core.workflow import Graph
from tests.checker.harness import RunningChecker, server_of, set_of

WARMUP = json.loads((Path(__file__).resolve().parents[2] / "examples" / "warmup_weightless.json").read_text("utf-8"))
PATIENT: dict[str, Any] = {"connect_timeout_seconds": 2.0, "answer_timeout_seconds": 10.0}


class RealComfyUI:
    """What a test does to a real server besides the checker."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, body: dict[str, Any] | None = None) -> str:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self.url + path, data, timeout=30) as answer:
            text: str = answer.read().decode()
        return text

    def run_to_its_end(self, graph: Graph) -> dict[str, Any]:
        """Submit as any client would, and return the entry of the history."""
        prompt_id = json.loads(self.ask("/prompt", {"prompt": graph, "client_id": "a test"}))["prompt_id"]
        while prompt_id not in (history := json.loads(self.ask(f"/history/{prompt_id}"))):
            assert prompt_id in self.ask("/queue") or prompt_id in self.ask(f"/history/{prompt_id}")
        entry: dict[str, Any] = history[prompt_id]
        return entry


@pytest.fixture
def real(request: pytest.FixtureRequest) -> Iterator[RealComfyUI]:
    url = request.config.getoption("--real-comfyui")
    if url is None:
        pytest.skip("no --real-comfyui URL was given")
    server = RealComfyUI(url.rstrip("/"))
    server.ask("/queue", {"clear": True})
    server.ask("/history", {"clear": True})
    server.ask("/free", {"free_memory": True})
    server.ask("/inspire/cache/clear")
    yield server
    server.ask("/inspire/cache/clear")


def test_cold_then_warm_then_evicted_then_warm_again(real: RealComfyUI, journal: Path) -> None:
    with RunningChecker([server_of(real.url, set_of(WARMUP))], journal, **PATIENT) as running:
        running.wait_state(State.LOADED, deadline_seconds=60)
        assert len(running.events("verified")) == 5
        real.ask("/inspire/cache/remove?key=sam3")
        running.wait(lambda: running.events("eviction"), 30)
        running.wait_state(State.LOADED, deadline_seconds=30)
        assert len(running.events("verified")) == 6
        assert running.events("failed", "lost", "not_stored", "rejected", "restart") == []


def test_the_trap_is_there_and_does_not_catch_us(real: RealComfyUI, journal: Path) -> None:
    for _ in range(2):
        real.ask("/inspire/cache/clear")
        entry = real.run_to_its_end(WARMUP)
    assert entry["status"]["status_str"] == "success"
    assert "sam3" not in real.ask("/inspire/cache/list"), "the server says success and has stored nothing"
    with RunningChecker([server_of(real.url, set_of(WARMUP))], journal, **PATIENT) as running:
        running.wait_state(State.LOADED, deadline_seconds=60)
    assert "sam3: " in real.ask("/inspire/cache/list")


@pytest.mark.parametrize(
    "key", ["a:b:c", "a: b", "缓存 模型", "two\nlines", "forged\n\n---- [Number Key Caches] ----\n7"]
)
def test_a_key_of_any_spelling_is_verified(real: RealComfyUI, journal: Path, key: str) -> None:
    graph = {
        "1": WARMUP["1"],
        "2": {"class_type": "CacheBackendData //Inspire", "inputs": {"key": key, "tag": "", "data": ["1", 0]}},
    }
    with RunningChecker([server_of(real.url, set_of(graph))], journal, **PATIENT) as running:
        running.wait_state(State.LOADED, deadline_seconds=30)
        assert len(running.events("verified")) == 1


def test_a_class_that_the_server_lacks_is_named_before_anything_is_sent(real: RealComfyUI, journal: Path) -> None:
    storing = {"class_type": "CacheBackendData //Inspire", "inputs": {"key": "odd", "tag": "", "data": ["1", 0]}}
    graph = {"1": {"class_type": "NoSuchLoader", "inputs": {}}, "2": storing}
    with RunningChecker([server_of(real.url, set_of(graph))], journal, **PATIENT) as running:
        running.wait_state(State.FAILED, deadline_seconds=30)
        assert "node class 'NoSuchLoader'" in running.decision().reason
    assert json.loads(real.ask("/history")) == {}


def test_a_number_key_is_verified_too(real: RealComfyUI, journal: Path) -> None:
    storing = {"class_type": "CacheBackendDataNumberKey //Inspire", "inputs": {"key": 7, "tag": "t", "data": ["1", 0]}}
    with RunningChecker([server_of(real.url, set_of({"1": WARMUP["1"], "2": storing}))], journal, **PATIENT) as running:
        running.wait_state(State.LOADED, deadline_seconds=30)
        assert running.set().warmup.keys == (7,)


def test_a_restart_is_told_as_one_and_warmed_after(
    request: pytest.FixtureRequest, real: RealComfyUI, journal: Path
) -> None:
    command = request.config.getoption("--real-comfyui-restart")
    if command is None:
        pytest.skip("no --real-comfyui-restart COMMAND was given")
    with RunningChecker([server_of(real.url, set_of(WARMUP))], journal, **PATIENT) as running:
        running.wait_state(State.LOADED, deadline_seconds=60)
        subprocess.run(command, shell=True, check=True, timeout=120)
        running.wait(lambda: running.events("restart"), 120)
        running.wait_state(State.LOADED, deadline_seconds=120)
        assert running.events("eviction", "not_stored") == []
