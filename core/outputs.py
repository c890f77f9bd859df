"""The images that a finished prompt made, and what we noted about it, read from ``GET /history/{id}``.

An entry of the history is ``{"prompt": [number, id, graph, extra_data, outputs], "outputs": {node_id: {"images":
[{"filename", "subfolder", "type"}]}}, "status": …}``; other kinds of output (text, audio) stand beside "images".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core import reason_phrases as say
from core.answers import excerpt
from core.errors import BadAnswer

NOTE = "cache_keeper"
"""Our entry in a prompt's ``extra_data``: the server keeps it, so any process can store the images later."""


@dataclass(frozen=True)
class OutputImage:
    """One image as ``/view`` wants it named. ``kind`` is ``output`` (saved) or ``temp`` (a preview)."""

    node_id: str
    filename: str
    subfolder: str
    kind: str


def parse_images(document: object, prompt_id: str) -> tuple[OutputImage, ...]:
    """Given the JSON of ``GET /history/{id}``, return all its images; raises BadAnswer for another shape.

    An entry that cannot be understood is an error too: images are stored all or not at all.
    """
    outputs = _entry(document, prompt_id).get("outputs", {})
    if not isinstance(outputs, dict):
        raise BadAnswer(say.BAD_OUTPUTS(path="/history", words=excerpt(outputs)))
    found = []
    for node_id, output in outputs.items():
        images = output.get("images") if isinstance(output, dict) else None
        for image in images if isinstance(images, list) else ():
            names = image if isinstance(image, dict) else {}
            filename, subfolder, kind = (names.get(name) for name in ("filename", "subfolder", "type"))
            if not (isinstance(filename, str) and filename and isinstance(subfolder, str) and isinstance(kind, str)):
                raise BadAnswer(say.NAMELESS_IMAGE(path="/history", words=excerpt(image)))
            found.append(OutputImage(node_id, filename, subfolder, kind))
    return tuple(found)


def wanted_images(images: Sequence[OutputImage], image_nodes: Sequence[str]) -> tuple[OutputImage, ...]:
    """Given all images, return those of the named nodes; with none named the saved ones, else the previews."""
    if image_nodes:
        return tuple(image for node_id in image_nodes for image in images if image.node_id == node_id)
    return tuple(image for image in images if image.kind == "output") or tuple(images)


def parse_note(document: object, prompt_id: str) -> dict[str, Any]:
    """Given the JSON of ``GET /history/{id}``, return our note of its ``extra_data``; empty for others' prompts."""
    prompt = _entry(document, prompt_id).get("prompt")
    extra = prompt[3] if isinstance(prompt, list) and len(prompt) > 3 else None
    note = extra.get(NOTE) if isinstance(extra, dict) else None
    return note if isinstance(note, dict) else {}


def _entry(document: object, prompt_id: str) -> Mapping[str, Any]:
    entry = document.get(prompt_id) if isinstance(document, dict) else None
    if not isinstance(entry, dict):
        raise BadAnswer(say.NO_ENTRY(path="/history", prompt=prompt_id, words=excerpt(document)))
    return entry
