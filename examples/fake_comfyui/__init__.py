"""A faithful fake of ComfyUI with Inspire Pack, on loopback, for tests, benchmarks and ``make demo``.

It is a real HTTP server with a real queue and worker; only the models are missing. What it reproduces:

- ``POST /prompt`` with the answers of ComfyUI 0.3.64 or 0.12.1; ``POST /queue``, which says 200 and queues
  nothing.
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

A request's way: ``door`` (the port), ``dispatch`` (record, hold back, misbehave, authenticate), ``routes``
(answers), ``engine`` (queue and worker), ``execution`` (one prompt) with ``graphs``, ``node_library`` and
``backend_cache``. ``server`` and ``fleet`` are what tests hold; ``control``, ``demo`` and ``__main__`` serve
other processes.
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
