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

from core import workflow_phrases as say
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
        raise WorkflowError(say.NO_MAPPING())
    unknown = set(mapping) - {"workflow", "inputs", "images", "largest_seed"}
    if unknown:
        raise WorkflowError(say.UNKNOWN_ENTRIES(names=", ".join(sorted(unknown))))
    places: dict[str, tuple[Place, ...]] = {}
    for name, written in mapping["inputs"].items():
        if name not in DEFAULTS:
            meant = _meant(name)
            raise WorkflowError(say.MAPS_OTHER(typed=name, parameter=meant) if meant else say.MAPS_NONE(typed=name))
        texts = written if isinstance(written, list) and written else [written]
        places[name] = tuple(_place(graph, text, say.MAPPED(parameter=name)) for text in texts)
        for place in places[name]:
            if is_link(_value(graph, place)):
                source = _value(graph, place)[0]
                raise WorkflowError(say.MAPPED_TO_LINK(parameter=name, place=place, node=source))
    images = mapping.get("images", [])
    if not isinstance(images, list) or not all(isinstance(node_id, str) for node_id in images):
        raise WorkflowError(say.NO_LIST_OF_NODES())
    for node_id in images:
        if node_id not in graph:
            raise WorkflowError(say.NO_IMAGE_NODE(node=node_id, known=_nodes(graph)))
    largest = mapping.get("largest_seed", LARGEST_SEED)
    if isinstance(largest, bool) or not isinstance(largest, int) or not 0 <= largest <= LARGEST_SEED:
        raise WorkflowError(say.BAD_LARGEST_SEED(largest=LARGEST_SEED))
    _refuse_broken(graph)
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
                raise WorkflowError(say.NO_PLACE_FOR(parameter=name, again=name))
        elif value is not None:
            _check(name, value, template)
            changes.update(dict.fromkeys(template.places[name], value))
    for text, value in overrides.items():
        if "." not in text:
            meant = _meant(text)
            raise WorkflowError(
                say.OTHER_PARAMETER(typed=text, parameter=meant) if meant else say.NO_PARAMETER(typed=text)
            )
        place = _place(template.graph, text, say.OVERRIDE())
        if is_link(_value(template.graph, place)) and not is_link(value):
            source = _value(template.graph, place)[0]
            raise WorkflowError(say.OVERRIDE_OF_LINK(place=place, node=source))
        changes[place] = value
    inputs = {node_id: dict(node["inputs"]) for node_id, node in template.graph.items()}
    for place, value in changes.items():
        inputs[place.node_id][place.input_name] = value
    graph = {node_id: {**node, "inputs": inputs[node_id]} for node_id, node in template.graph.items()}
    _refuse_broken(graph)
    try:
        # A server answers NaN and lone surrogates with a bare 500, which names neither the node nor the value.
        json.dumps(graph, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise WorkflowError(say.NOT_SENDABLE(words=error)) from None
    return graph


def recorded(template: Template, graph: Graph) -> dict[str, Any]:
    """Given a filled graph, return the value that each mapped parameter really has in it, overrides included."""
    return {name: _value(graph, template.places[name][0]) for name in DEFAULTS if template.places.get(name)}


def _check(name: str, value: Any, template: Template) -> None:
    if name in ("prompt", "negative_prompt"):
        if not isinstance(value, str):
            raise WorkflowError(say.NO_TEXT(parameter=name, type=type(value).__name__))
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise WorkflowError(say.NO_NUMBER(parameter=name, value=value))
    elif name == "seed" and not (isinstance(value, int) and 0 <= value <= template.largest_seed):
        raise WorkflowError(say.BAD_SEED(largest=template.largest_seed, value=value))


def _place(graph: Graph, text: object, giver: str) -> Place:
    # A node id never has a dot in it, an input's name may.
    node_id, dot, name = text.partition(".") if isinstance(text, str) else ("", "", "")
    if not (node_id and dot and name):
        raise WorkflowError(say.NO_PLACE(giver=giver, value=text))
    if node_id not in graph:
        raise WorkflowError(say.NO_NODE(giver=giver, place=text, node=node_id, known=_nodes(graph)))
    inputs, kind = graph[node_id]["inputs"], graph[node_id]["class_type"]
    if name not in inputs:
        known = ", ".join(sorted(inputs)) or say.NO_INPUTS()
        raise WorkflowError(
            say.NO_INPUT(giver=giver, place=text, node=node_id, node_class=kind, input=name, known=known)
        )
    return Place(node_id, name)


def _nodes(graph: Graph) -> str:
    return ", ".join(f"{node_id} ({node['class_type']})" for node_id, node in list(graph.items())[:20])


def _refuse_broken(graph: Graph) -> None:
    for finding in broken_links(graph):
        raise WorkflowError(say.BROKEN(node=finding.node_id, broken=finding.message))


def _value(graph: Graph, place: Place) -> Any:
    return graph[place.node_id]["inputs"][place.input_name]


def _meant(name: str) -> str:
    """Return the parameter that is written nearly so, empty where there is none."""
    return next(iter(get_close_matches(name, DEFAULTS, n=1)), "")
