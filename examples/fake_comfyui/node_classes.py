"""What a node class is: its inputs as ``/object_info`` shows them, and what a running node may use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from examples.fake_comfyui.backend_cache import BackendCache

ModelFiles = Mapping[str, Sequence[str]]
"""Folder below ``models/`` -> the file names that its combos list."""

ANY = "*"


@dataclass(frozen=True)
class InputSpec:
    """One declared input. A combo has ``choices``, or lists the files of a ``folder``."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] | None = None
    folder: str | None = None
    #: Packs written for ComfyUI's newer API say ``["COMBO", {"options": […]}]`` instead of ``[[…], {}]``.
    named_combo: bool = False

    def choices_among(self, files: ModelFiles) -> list[str] | None:
        if self.folder is None:
            return None if self.choices is None else list(self.choices)
        return [*(self.choices or ()), *files.get(self.folder, ())]

    def type_name(self, files: ModelFiles) -> Any:
        choices = self.choices_among(files)
        return self.kind if choices is None or self.named_combo else choices

    def config(self, files: ModelFiles) -> list[Any]:
        """``[type, options]``, as validation errors quote it."""
        options = dict(self.options)
        if self.named_combo:
            options["options"] = self.choices_among(files)
        return [self.type_name(files), options]

    def as_object_info(self, files: ModelFiles) -> list[Any]:
        kind, options = self.config(files)
        return [kind, options] if options else [kind]

    def accepts(self, received: str) -> bool:
        if ANY in (self.kind, received):
            return True
        return received == self.kind or (self.kind == "COMBO" and received == "STRING")


@dataclass(frozen=True)
class Image:
    """A batch of one-coloured pictures; ``colour`` is 0xRRGGBB."""

    width: int
    height: int
    batch_size: int
    colour: int


@dataclass(frozen=True)
class Latent:
    """``width`` and ``height`` in pixels, as the user gave them."""

    width: int
    height: int
    batch_size: int
    seed: int = 0


@dataclass
class NodeOutput:
    """``values``: one per output slot; ``ui``: what ``/history`` shows for the node, if anything."""

    values: list[Any]
    ui: dict[str, Any] | None = None


class Host(Protocol):
    """What a running node sees of its server."""

    backend_cache: BackendCache

    async def load(self, class_type: str) -> None:
        """Take the time that this server's loader takes. Raises what it is set to raise."""

    async def pause(self, seconds: float, *, holds_lock: bool = False) -> None:
        """``holds_lock``: HTTP is not answered meanwhile, as under a long call that keeps Python's lock."""

    async def sample_step(self) -> None:
        """One step of a sampler. Raises when the prompt was interrupted."""

    def save_image(self, image: Image, prefix: str, kind: str) -> list[dict[str, str]]:
        """Write PNG files of ``kind`` output or temp; the entries for ``/history``."""
        ...


@dataclass
class NodeJob:
    """One execution of one node; ``inputs`` are resolved to values."""

    host: Host
    class_type: str
    inputs: dict[str, Any]


Run = Callable[[NodeJob], Awaitable[NodeOutput]]


@dataclass(frozen=True)
class NodeClass:
    """``reads_key``: the backend key that makes the node count as changed when it was stored again."""

    name: str
    returns: tuple[str, ...]
    run: Run
    required: Mapping[str, InputSpec] = field(default_factory=dict)
    optional: Mapping[str, InputSpec] = field(default_factory=dict)
    output_node: bool = False
    inspire: bool = False
    list_output: bool = False
    reads_key: Callable[[Mapping[str, Any]], str | int] | None = None

    def declared(self) -> Iterator[tuple[str, InputSpec, bool]]:
        """``(name, spec, required)`` in the declared order."""
        for name, spec in self.required.items():
            yield name, spec, True
        for name, spec in self.optional.items():
            yield name, spec, False

    def object_info(self, files: ModelFiles) -> dict[str, Any]:
        declared: dict[str, dict[str, Any]] = {"required": {}}
        for name, spec, required in self.declared():
            section = declared.setdefault("required" if required else "optional", {})
            section[name] = spec.as_object_info(files)
        return {
            "input": declared,
            "input_order": {section: list(inputs) for section, inputs in declared.items()},
            "output": list(self.returns),
            "output_is_list": [self.list_output] * len(self.returns),
            "output_name": list(self.returns),
            "name": self.name,
            "display_name": self.name,
            "description": "",
            "python_module": "custom_nodes.ComfyUI-Inspire-Pack" if self.inspire else "nodes",
            "category": "InspirePack/Backend" if self.inspire else "fake",
            "output_node": self.output_node,
        }
