"""A faithful fake of ComfyUI with Inspire Pack, on loopback, for tests, benchmarks and ``make demo``.

It is a real HTTP server with a real queue and worker; only the models are missing. What it must reproduce:

- ``POST /prompt`` in the answers of ComfyUI 0.3.64 and 0.12.1; ``POST /queue`` that answers 200 and queues nothing.
- Two caches that know nothing of each other. Node outputs are cached under the signature of a node, so that a
  warm-up which is submitted again after its keys were evicted succeeds and stores nothing (the no-op trap).
- The backend cache: one LRU per tag, and a list that reorders it when read.
- Restarts, busy periods that accept connections and answer late, worker threads that die while HTTP lives,
  login pages, and any broken answer that a test wants.

::

    with FakeServer(flavour="fork", wanted_keys=["sam3"]) as server:
        server.set_loader("SAM3ModelLoader", seconds=0.2)
        ...
        server.wait_until(lambda s: "sam3" in s.keys())

Rooms: backend_cache, node_classes, graphs and images are pure or nearly so; engine is one process's memory; routes
is HTTP; server and fleet are lives; faults and control are for tests; demo and __main__ are the command.
"""

from __future__ import annotations

from examples.fake_comfyui.engine import Engine
from examples.fake_comfyui.faults import Misbehaviour, RecordedRequest
from examples.fake_comfyui.fleet import FakeFleet
from examples.fake_comfyui.server import AcceptedPrompt, FakeServer
from examples.fake_comfyui.settings import Loader, Settings

__all__ = [
    "AcceptedPrompt",
    "Engine",
    "FakeFleet",
    "FakeServer",
    "Loader",
    "Misbehaviour",
    "RecordedRequest",
    "Settings",
]
