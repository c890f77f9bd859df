"""A small fleet that shows every state within a minute: what each server is, and what happens to it when."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.fake_comfyui.server import FakeServer
from examples.fake_comfyui.settings import Flavour, Loader, Settings

WARMUP_WORKFLOW = Path(__file__).parent.parent / "warmup.json"


def warmup() -> tuple[dict[str, Any], list[str]]:
    """The sample warm-up workflow and the keys that it stores."""
    graph: dict[str, Any] = json.loads(WARMUP_WORKFLOW.read_text(encoding="utf-8"))
    keys = [node["inputs"]["key"] for node in graph.values() if node["class_type"].startswith("CacheBackendData")]
    return graph, keys


@dataclass(frozen=True)
class Role:
    """``missing``: keys that are not loaded at the start. ``event`` happens once, ``at_seconds`` after it."""

    story: str
    flavour: Flavour
    missing: tuple[str, ...] | None = None  # None: all
    new_dialect: bool = False
    failing_loader: str | None = None
    at_seconds: float = 0.0
    event: Callable[[FakeServer], None] | None = None

    def settings(self, load_seconds: float) -> Settings:
        settings = sample_settings(self.flavour, load_seconds)
        settings.dialect = "new" if self.new_dialect else "old"
        if self.failing_loader is not None:
            message = "CUDA out of memory. Tried to allocate 3.44 GiB"
            settings.loaders[self.failing_loader] = Loader(load_seconds, -1, message)
        return settings

    def prepare(self, server: FakeServer) -> None:
        """Once it runs."""
        _, keys = warmup()
        missing = keys if self.missing is None else self.missing
        server.store(*[key for key in keys if key not in missing])


def sample_settings(flavour: Flavour, load_seconds: float) -> Settings:
    graph, keys = warmup()
    loader = Loader(seconds=load_seconds)
    return Settings(flavour=flavour, default_loader=loader, wanted_keys=keys, warmup_workflow=graph)


ROLES = (
    Role("loaded and stays so / 已加载", "stock", missing=()),
    Role("empty, slow loaders / 全部未加载，加载较慢", "stock", new_dialect=True),
    Role("fork that warms itself when asked / 被查询时自动执行的分支", "fork"),
    Role(
        "one loader runs out of memory / 一个加载器显存不足",
        "stock",
        missing=("ben2_base", "sam3"),
        failing_loader="SAM3ModelLoader",
    ),
    Role(
        "restarts after 15 s / 15 秒后重启",
        "stock",
        missing=(),
        at_seconds=15.0,
        event=lambda server: server.restart(down_seconds=10.0),
    ),
    Role(
        "loses a key after 20 s / 20 秒后丢失一个键",
        "stock",
        missing=(),
        at_seconds=20.0,
        event=lambda server: server.evict("pulid_model"),
    ),
    Role("ComfyUI without Inspire Pack / 没有 Inspire Pack", "plain", missing=()),
)


def role_of(index: int) -> Role:
    """Six servers are the usual demo; the seventh role, without the pack, cannot run the sample workflow."""
    return ROLES[index % len(ROLES)]


FLAVOURS: Mapping[str, tuple[Flavour, ...]] = {
    "stock": ("stock",),
    "fork": ("fork",),
    "plain": ("plain",),
    "mixed": ("stock", "fork", "plain"),
}
