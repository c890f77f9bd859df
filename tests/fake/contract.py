"""What the contract tests say to a server, fake or real, and the graphs that they submit."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

Graph = dict[str, dict[str, Any]]


@dataclass
class Comfy:
    """One side of the contract: a URL, and how to keep its worker occupied for a second or so."""

    url: str
    slow: Callable[[int], Graph]
    session: requests.Session = field(default_factory=requests.Session)
    counter: Iterator[int] = field(default_factory=itertools.count)

    def get(self, path: str, **keywords: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=20, **keywords)

    def post(self, path: str, body: Any) -> requests.Response:
        keywords = {"data": body} if isinstance(body, bytes) else {"json": body}
        return self.session.post(self.url + path, timeout=20, **keywords)

    def submit(self, graph: Graph, **extra: Any) -> str:
        """The prompt id of an accepted graph."""
        reply = self.post("/prompt", {"prompt": graph, "client_id": "contract", **extra})
        assert reply.status_code == 200, reply.text
        return str(reply.json()["prompt_id"])

    def occupy(self) -> str:
        """Submit a job that keeps the worker busy; returns once it runs."""
        prompt_id = self.submit(self.slow(next(self.counter)))
        self.wait(lambda: prompt_id in [item[1] for item in self.get("/queue").json()["queue_running"]])
        return prompt_id

    def finished(self, prompt_id: str) -> dict[str, Any]:
        """The history entry, once there is one."""
        self.wait(lambda: prompt_id in self.get(f"/history/{prompt_id}").json())
        entry: dict[str, Any] = self.get(f"/history/{prompt_id}").json()[prompt_id]
        return entry

    def run(self, graph: Graph, **extra: Any) -> dict[str, Any]:
        return self.finished(self.submit(graph, **extra))

    def listing(self) -> str:
        reply = self.get("/inspire/cache/list")
        assert reply.status_code == 200
        return reply.text

    def string_keys(self) -> list[str]:
        section = self.listing().partition("---- [Number Key Caches]")[0]
        return [line.partition(": ")[0] for line in section.splitlines()[1:] if line]

    def wait(self, condition: Callable[[], bool], deadline_seconds: float = 20.0) -> None:
        end = time.monotonic() + deadline_seconds
        while not condition():
            assert time.monotonic() < end, "not so within the deadline"
            time.sleep(0.01)


def image(colour: int = 0, size: int = 16) -> dict[str, Any]:
    return {
        "class_type": "EmptyImage",
        "inputs": {"width": size, "height": size, "batch_size": 1, "color": colour},
    }


def store(key: object, source: str = "1", tag: str = "", **undeclared: object) -> dict[str, Any]:
    inputs = {"key": key, "tag": tag, "data": [source, 0], **undeclared}
    number = isinstance(key, int)
    return {"class_type": f"CacheBackendData{'NumberKey' if number else ''} //Inspire", "inputs": inputs}


def save(source: str = "1", prefix: str = "contract") -> dict[str, Any]:
    return {"class_type": "SaveImage", "inputs": {"images": [source, 0], "filename_prefix": prefix}}


def fresh() -> str:
    return uuid.uuid4().hex
