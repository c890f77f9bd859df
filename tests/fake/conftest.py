"""The contract suite's two sides: a fake server, and a real one where ``--real-comfyui URL`` names it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from examples.fake_comfyui import FakeServer
from tests.fake.contract import Comfy, Graph, image, save

SHIPPED_SETTINGS = b"ckpt: 5\nlatent: 100\nimage: 100"


def _slow_fake(number: int) -> Graph:
    sleep = {"class_type": "FakeSleep", "inputs": {"seconds": 0.4, "nonce": number}}
    return {"1": sleep, "2": {"class_type": "FakeSleep", "inputs": {"seconds": 0.4, "second": number}}}


def _slow_real(number: int) -> Graph:
    """Writing a big PNG is slow on any machine, and needs no weights."""
    colour = (int(time.time()) + number) % 0xFFFFFF
    return {"1": image(colour, 2500), "2": save("1", "slow"), "3": save("1", "slow-too")}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "comfy" in metafunc.fixturenames:
        real = metafunc.config.getoption("--real-comfyui", default=None)
        metafunc.parametrize("comfy", ["fake"] if real is None else ["fake", "real"], indirect=True)


@pytest.fixture
def comfy(request: pytest.FixtureRequest) -> Iterator[Comfy]:
    """Empty caches, queue and history; what else a real server remembers must not matter to a test."""
    if request.param == "fake":
        with FakeServer() as server:
            yield Comfy(server.url, _slow_fake)
        return
    real = Comfy(request.config.getoption("--real-comfyui").rstrip("/"), _slow_real)
    real.post("/queue", {"clear": True})
    real.post("/interrupt", {})
    real.wait(lambda: real.get("/prompt").json()["exec_info"]["queue_remaining"] == 0)
    real.post("/history", {"clear": True})
    real.post("/free", {"free_memory": True})
    real.get("/inspire/cache/clear")
    real.post("/inspire/cache/settings", SHIPPED_SETTINGS)
    yield real
    real.post("/inspire/cache/settings", SHIPPED_SETTINGS)
