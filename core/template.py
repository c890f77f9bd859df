"""Image templates: an API-format graph, and which of its inputs take the prompt, the size, the seed and so on.

A mapping file stands beside the workflow. A place is written ``node.input``, as in an override:

    {
      "workflow": "text_to_image.json",
      "inputs": {"prompt": "6.text", "width": "5.width", "seed": ["95.seed", "96.seed"]},
      "images": ["9"],
      "largest_seed": 4294967295
    }

``images`` names the nodes whose images are wanted (without it: all that are saved), ``largest_seed`` is for
samplers that take less than 64 bits. A parameter that has no place cannot be set, only left at its default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from core.errors import WorkflowError
from core.workflow import Graph, broken_links, is_link

DEFAULTS: Mapping[str, Any] = {
    "prompt": "",
    "negative_prompt": "",
    "width": 512,
    "height": 512,
    "batch_size": 1,
    "steps": 20,
    "cfg": 7.0,
    "seed": None,
}
"""Every parameter of a generation with its default."""

LARGEST_SEED = 2**64 - 1
"""ComfyUI's own bound for a KSampler's seed."""


class Place(NamedTuple):
    """One input of one node."""

    node_id: str
    input_name: str

    def __str__(self) -> str:
        return f"{self.node_id}.{self.input_name}"


@dataclass(frozen=True)
class Template:
    """A graph with the places of its parameters; ``image_nodes`` empty means every node that saves images."""

    graph: Graph
    places: Mapping[str, tuple[Place, ...]]
    image_nodes: tuple[str, ...] = ()
    largest_seed: int = LARGEST_SEED


def read_template(mapping: object, graph: Graph) -> Template:
    """Given a parsed mapping file and its workflow, return the template; raises WorkflowError naming what is wrong."""
    if not isinstance(mapping, dict) or not isinstance(mapping.get("inputs"), dict):
        raise WorkflowError('is not a mapping: expected {"workflow": "file.json", "inputs": {"prompt": "6.text", …}}')
    unknown = set(mapping) - {"workflow", "inputs", "images", "largest_seed"}
    if unknown:
        raise WorkflowError(f"has unknown entries: {', '.join(sorted(unknown))}")
    places: dict[str, tuple[Place, ...]] = {}
    for name, written in mapping["inputs"].items():
        if name not in DEFAULTS:
            raise WorkflowError(f"maps {name!r}, which is no parameter{_did_you_mean(name, DEFAULTS)}")
        texts = written if isinstance(written, list) and written else [written]
        places[name] = tuple(_place(graph, text, f"{name} is mapped to") for text in texts)
        for place in places[name]:
            if is_link(_value(graph, place)):
                source = _value(graph, place)[0]
                raise WorkflowError(f"{name} is mapped to {place}, which is linked to node {source}: map it there")
    images = mapping.get("images", [])
    if not isinstance(images, list) or not all(isinstance(node_id, str) for node_id in images):
        raise WorkflowError('"images" must be a list of node ids such as ["9"]')
    for node_id in images:
        _node(graph, node_id, "images are taken from")
    largest = mapping.get("largest_seed", LARGEST_SEED)
    if isinstance(largest, bool) or not isinstance(largest, int) or not 0 <= largest <= LARGEST_SEED:
        raise WorkflowError(f'"largest_seed" must be a whole number from 0 to {LARGEST_SEED}')
    for finding in broken_links(graph):
        raise WorkflowError(str(finding))
    return Template(graph, places, tuple(images), largest)


def fill(template: Template, parameters: Mapping[str, Any], overrides: Mapping[str, Any]) -> Graph:
    """Given a template, the parameters of ``DEFAULTS`` and overrides by ``node.input``, return the graph to send.

    A None leaves the template's own value. An override wins over a parameter. Raises WorkflowError for
    everything that the template does not have, and for values that are no JSON.
    """
    changes: dict[Place, Any] = {}
    for name, value in parameters.items():
        if name not in template.places:
            if value != DEFAULTS[name]:
                raise WorkflowError(f"the template has no place for {name}: add it to the mapping, or leave {name} out")
        elif value is not None:
            _check(name, value, template)
            changes.update(dict.fromkeys(template.places[name], value))
    for text, value in overrides.items():
        if "." not in text:
            hint = _did_you_mean(text, DEFAULTS)
            raise WorkflowError(f"{text!r} is no parameter{hint}; an override is written node.input: 95.sampler_name")
        place = _place(template.graph, text, "override")
        if is_link(_value(template.graph, place)) and not is_link(value):
            source = _value(template.graph, place)[0]
            raise WorkflowError(f"override {place}: the input is linked to node {source}; change that node's input")
        changes[place] = value
    inputs = {node_id: dict(node["inputs"]) for node_id, node in template.graph.items()}
    for place, value in changes.items():
        inputs[place.node_id][place.input_name] = value
    graph = {node_id: {**node, "inputs": inputs[node_id]} for node_id, node in template.graph.items()}
    for finding in broken_links(graph):
        raise WorkflowError(str(finding))
    try:
        # A server answers NaN and lone surrogates with a bare 500, which names neither the node nor the value.
        json.dumps(graph, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise WorkflowError(f"a value cannot be sent as JSON: {error}") from None
    return graph


def recorded(template: Template, graph: Graph) -> dict[str, Any]:
    """Given a filled graph, return the value that each mapped parameter really has in it, overrides included."""
    return {name: _value(graph, template.places[name][0]) for name in DEFAULTS if template.places.get(name)}


def _check(name: str, value: Any, template: Template) -> None:
    if name in ("prompt", "negative_prompt"):
        if not isinstance(value, str):
            raise WorkflowError(f"{name} must be a text, not {type(value).__name__}")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise WorkflowError(f"{name} must be a number, not {value!r}")
    elif name == "seed" and not (isinstance(value, int) and 0 <= value <= template.largest_seed):
        raise WorkflowError(f"seed must be a whole number from 0 to {template.largest_seed}, not {value!r}")


def _place(graph: Graph, text: object, what: str) -> Place:
    # A node id never has a dot in it, an input's name may.
    node_id, dot, name = text.partition(".") if isinstance(text, str) else ("", "", "")
    if not (node_id and dot and name):
        raise WorkflowError(f"{what} {text!r}: a place is written node.input, as in 6.text")
    inputs = _node(graph, node_id, f"{what} {text}:")["inputs"]
    if name not in inputs:
        known = ", ".join(sorted(inputs)) or "none"
        kind = graph[node_id]["class_type"]
        raise WorkflowError(f"{what} {text}: node {node_id} ({kind}) has no input {name!r}; it has {known}")
    return Place(node_id, name)


def _node(graph: Graph, node_id: str, what: str) -> Mapping[str, Any]:
    if node_id not in graph:
        known = ", ".join(f"{known_id} ({node['class_type']})" for known_id, node in list(graph.items())[:20])
        raise WorkflowError(f"{what} node {node_id}, which the workflow does not have; it has {known}")
    return graph[node_id]


def _value(graph: Graph, place: Place) -> Any:
    return graph[place.node_id]["inputs"][place.input_name]


def _did_you_mean(name: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(name, known, n=1)
    return f": did you mean {close[0]}?" if close else ""
