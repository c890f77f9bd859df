"""What tests do to a fake server beside the checker, and what they read off it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from core.warmup import CLIENT_PREFIX
from core.workflow import Graph
from examples.fake_comfyui import AcceptedPrompt, FakeServer
from tests.checker.harness import warmup_of

EXAMPLE = json.loads((Path(__file__).resolve().parents[2] / "examples" / "warmup.json").read_text(encoding="utf-8"))
WARMUP = warmup_of("clip", "vae")
SLOW = warmup_of("slow", loader="SAM3ModelLoader", model="sam3.pt")


def keys_of(prompt: AcceptedPrompt) -> list[Any]:
    return [node["inputs"]["key"] for node in prompt.graph.values() if "key" in node["inputs"]]


def kept(server: FakeServer) -> list[Any]:
    return list(server.keys())


def ours(server: FakeServer) -> list[AcceptedPrompt]:
    return [each for each in server.prompts if each.extra_data.get("client_id", "").startswith(CLIENT_PREFIX)]


def post(server: FakeServer, graph: Graph, client_id: str) -> None:
    body = json.dumps({"prompt": graph, "client_id": client_id}).encode()
    with urllib.request.urlopen(f"{server.url}/prompt", body, timeout=5) as answer:
        assert answer.status == 200
