"""Warm-up workflows: which backend-cache keys a graph stores, and the smallest graph that stores one of them.

A graph is ComfyUI's API format: ``{node_id: {"class_type": str, "inputs": {name: value or [node_id, slot]}}}``.
Which classes store keys, and where each takes its key from, is the Inspire Pack's ``backend_support.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core import reason_phrases as say
from core import workflow_phrases as wrong
from core.errors import WorkflowError

Graph = Mapping[str, Mapping[str, Any]]
Key = str | int
"""A backend-cache key: text, or a number for the two NumberKey classes. ``7`` and ``"7"`` are two keys."""

_TEXT_KEY = {"CacheBackendData //Inspire", "CacheBackendDataList //Inspire"}
_NUMBER_KEY = {"CacheBackendDataNumberKey //Inspire", "CacheBackendDataNumberKeyList //Inspire"}
_CHECKPOINT = "CheckpointLoaderSimpleShared //Inspire"
_DIFFUSION = "LoadDiffusionModelShared //Inspire"
_TEXT_ENCODER = "LoadTextEncoderShared //Inspire"
KEY_STORING_CLASSES = frozenset(_TEXT_KEY | _NUMBER_KEY | {_CHECKPOINT, _DIFFUSION, _TEXT_ENCODER})

RESERVED_KEY = "*"
"""CacheBackendData drops this key silently and the run still succeeds, so it can never be verified."""

NONCE_INPUT = "_nonce"
"""An input that no class declares: it changes the node's identity in ComfyUI's node cache and nothing else."""


@dataclass(frozen=True)
class StoredKey:
    """One key that a graph's node stores, and the tag whose LRU it goes to."""

    key: Key
    tag: str
    node_id: str


@dataclass(frozen=True)
class Finding:
    """One remark about a workflow; an ``error`` would make every submission fail."""

    severity: str
    node_id: str
    message: str

    def __str__(self) -> str:
        where = f"node {self.node_id}: " if self.node_id else ""
        return f"{self.severity}: {where}{self.message}"


def read_graph(document: object) -> Graph:
    """Given parsed JSON, return the graph in it; raises WorkflowError saying what it is instead.

    Takes the graph itself or ``{"prompt": graph}``, the body of ``POST /prompt``.
    """
    if isinstance(document, dict) and isinstance(document.get("prompt"), dict):
        document = document["prompt"]
    if not isinstance(document, dict) or not document:
        raise WorkflowError(wrong.NO_WORKFLOW())
    if "nodes" in document and "links" in document:
        raise WorkflowError(wrong.EDITOR_FORMAT())
    for node_id, node in document.items():
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            raise WorkflowError(wrong.NO_CLASS(node=node_id))
        if not isinstance(node.get("inputs", {}), dict):
            raise WorkflowError(wrong.BAD_INPUTS(node=node_id))
    return {node_id: {"inputs": {}, **node} for node_id, node in document.items()}


def stored_keys(graph: Graph) -> list[StoredKey]:
    """Given a graph, return every key that it stores, in node order. Keys that only a run can know are left out."""
    found = (_stored_key(node_id, node) for node_id, node in graph.items())
    return [stored for stored in found if stored is not None and not _is_dropped(graph, stored)]


def _is_dropped(graph: Graph, stored: StoredKey) -> bool:
    # CacheBackendDataList compares its list of keys with "*", which is never equal: it does store it.
    return stored.key == RESERVED_KEY and graph[stored.node_id]["class_type"] == "CacheBackendData //Inspire"


def wanted_keys(graph: Graph) -> list[Key]:
    """Given a warm-up workflow, return the keys it is meant to leave in the backend cache, each once."""
    return list(dict.fromkeys(stored.key for stored in stored_keys(graph)))


def keys_stored_by(prompt: object) -> frozenset[Key]:
    """Given a prompt from somebody's queue (any shape), return the keys it would store; never raises."""
    if not isinstance(prompt, dict):
        return frozenset()
    nodes = {
        str(node_id): node
        for node_id, node in prompt.items()
        if isinstance(node, dict)
        and isinstance(node.get("class_type"), str)
        and node["class_type"] in KEY_STORING_CLASSES
        and isinstance(node.get("inputs"), dict)
    }
    return frozenset(stored.key for stored in stored_keys(nodes))


def _stored_key(node_id: str, node: Mapping[str, Any]) -> StoredKey | None:
    kind, inputs = node.get("class_type"), node.get("inputs", {})
    if kind in _TEXT_KEY:
        key, tag = inputs.get("key"), inputs.get("tag", "")
        return StoredKey(key, tag if isinstance(tag, str) else "", node_id) if isinstance(key, str) else None
    if kind in _NUMBER_KEY:
        key, tag = _integer(inputs.get("key")), inputs.get("tag", "")
        return StoredKey(key, tag if isinstance(tag, str) else "", node_id) if key is not None else None
    if kind not in KEY_STORING_CLASSES or inputs.get("mode") == "Read Only":
        return None
    optional_key = inputs.get("key_opt", "")
    if not isinstance(optional_key, str):
        return None
    if kind == _CHECKPOINT:
        name = optional_key.strip() or inputs.get("ckpt_name")
        return StoredKey(name, "ckpt", node_id) if isinstance(name, str) else None
    if kind == _DIFFUSION:
        parts: list[object] = [inputs.get("model_name"), inputs.get("weight_dtype")]
    else:
        # All five, the word "None" of an unused model included: "a_None_None_sd3_default".
        parts = [inputs.get(name) for name in ("model_name1", "model_name2", "model_name3", "type")]
        parts.append(inputs.get("device", "default"))
    if optional_key.strip():
        return StoredKey(optional_key.strip(), "diffusion", node_id)
    if not all(isinstance(part, str) for part in parts):
        return None
    return StoredKey("_".join(str(part) for part in parts), "diffusion", node_id)


def _integer(value: object) -> int | None:
    # ComfyUI converts an INT input with int(), so "7" and 7.0 store the number 7.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def links(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Given a node, yield (input name, id of the node that it is linked to)."""
    for name, value in node.get("inputs", {}).items():
        if is_link(value):
            yield name, value[0]


def is_link(value: object) -> bool:
    """Whether ComfyUI would take an input's value as a link: a pair of node id and slot number."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int | float)
        and not isinstance(value[1], bool)
    )


def broken_links(graph: Graph) -> list[Finding]:
    """Given a graph, return a finding for each link to a node that is not there and each circle.

    A dangling link in an input that the class does not declare passes ComfyUI's own validation and then
    kills its worker thread, so nothing is sent before this list is empty.
    """
    found = [
        Finding("error", node_id, say.DANGLING_LINK(input=name, node=target))
        for node_id, node in graph.items()
        for name, target in links(node)
        if target not in graph
    ]
    return found or _circles(graph)


def _circles(graph: Graph) -> list[Finding]:
    pending = {node_id: {target for _, target in links(node)} for node_id, node in graph.items()}
    ready = deque(node_id for node_id, targets in pending.items() if not targets)
    consumers: dict[str, list[str]] = {}
    for node_id, targets in pending.items():
        for target in targets:
            consumers.setdefault(target, []).append(node_id)
    while ready:
        done = ready.popleft()
        for consumer in consumers.get(done, ()):
            pending[consumer].discard(done)
            if not pending[consumer]:
                ready.append(consumer)
        del pending[done]
    if not pending:
        return []
    # What is left is circles and whatever depends on them: follow the links until a node comes again.
    node_id, seen = min(pending), set[str]()
    while node_id not in seen:
        seen.add(node_id)
        node_id = min(pending[node_id])
    return [Finding("error", node_id, say.CIRCLE())]


def subgraph_for(graph: Graph, key: Key) -> Graph:
    """Given a graph and one of its keys, return the smallest part of it that stores the key and can run.

    The three shared loaders are no output nodes: alone, ComfyUI refuses them (``prompt_no_outputs``). For
    those the shortest way down to a node that nothing consumes comes along. Raises WorkflowError when the
    graph does not store the key.
    """
    storing = next((stored.node_id for stored in stored_keys(graph) if stored.key == key), None)
    if storing is None:
        raise WorkflowError(wrong.NO_SUCH_KEY(key=key))
    last = storing if graph[storing]["class_type"] in _TEXT_KEY | _NUMBER_KEY else _nearest_end(graph, storing)
    wanted = _with_ancestors(graph, last) | _with_ancestors(graph, storing)
    return {node_id: graph[node_id] for node_id in graph if node_id in wanted}


def _with_ancestors(graph: Graph, node_id: str) -> set[str]:
    seen, waiting = {node_id}, [node_id]
    while waiting:
        for _, target in links(graph[waiting.pop()]):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen


def _nearest_end(graph: Graph, start: str) -> str:
    consumers: dict[str, list[str]] = {}
    for node_id, node in graph.items():
        for _, target in links(node):
            consumers.setdefault(target, []).append(node_id)
    seen, waiting = {start}, deque([start])
    while waiting:
        node_id = waiting.popleft()
        if node_id != start and graph[node_id]["class_type"] in _TEXT_KEY | _NUMBER_KEY:
            return node_id
        if not consumers.get(node_id):
            return node_id
        for consumer in consumers[node_id]:
            if consumer not in seen:
                seen.add(consumer)
                waiting.append(consumer)
    return start


def with_nonce(graph: Graph, nonce: str) -> Graph:
    """Given a graph, return it with ``nonce`` on the key-storing nodes, and only on those.

    Without it ComfyUI's node cache turns a repeated warm-up into a run that reports success, caches every
    node and stores nothing. The loaders keep their identity, so nothing is loaded twice.
    """
    return {
        node_id: {**node, "inputs": {**node["inputs"], NONCE_INPUT: nonce}}
        if node["class_type"] in KEY_STORING_CLASSES
        else node
        for node_id, node in graph.items()
    }


def lru_size(tag: str, sizes: Mapping[str, int]) -> int:
    """Given a tag and the sizes that a server lists, return how many keys the tag holds.

    The fallbacks are the Inspire Pack's own: 5 where the tag contains ``ckpt``, 100 for ``latent`` and
    ``image``, else 20.
    """
    if tag in sizes:
        return sizes[tag]
    if "ckpt" in tag:
        return 5
    return 100 if tag in ("latent", "image") else 20


def overfull_tags(stored: Iterable[StoredKey], sizes: Mapping[str, int]) -> list[str]:
    """Given the keys wanted together on one server, return a sentence for each tag that cannot hold its share."""
    by_tag: dict[str, set[Key]] = {}
    for each in stored:
        by_tag.setdefault(each.tag, set()).add(each.key)
    return [
        say.OVERFULL(count=len(keys), tag=tag, size=lru_size(tag, sizes))
        for tag, keys in sorted(by_tag.items())
        if len(keys) > lru_size(tag, sizes)
    ]


def lint(graph: Graph, sizes: Mapping[str, int] | None = None) -> list[Finding]:
    """Given a warm-up workflow, return everything that will or may go wrong with it, errors first."""
    found = broken_links(graph)
    if not found:
        found += [Finding("error", "", sentence) for sentence in overfull_tags(stored_keys(graph), sizes or {})]
    owner: dict[Key, str] = {}
    for stored in stored_keys(graph):
        if stored.key in owner:
            found.append(Finding("warning", stored.node_id, say.STORED_TWICE(key=stored.key, node=owner[stored.key])))
        owner.setdefault(stored.key, stored.node_id)
    storing = [(node_id, node) for node_id, node in graph.items() if node["class_type"] in KEY_STORING_CLASSES]
    consumed = {target for node in graph.values() for _, target in links(node)}
    for node_id, node in storing:
        stored_here = _stored_key(node_id, node)
        if stored_here is None:
            reason = say.READ_ONLY if node["inputs"].get("mode") == "Read Only" else say.NO_CONSTANT_KEY
            found.append(Finding("warning", node_id, reason()))
        elif _is_dropped(graph, stored_here):
            found.append(Finding("error", node_id, say.RESERVED_KEY()))
        if node["class_type"] in (_CHECKPOINT, _DIFFUSION, _TEXT_ENCODER) and node_id not in consumed:
            found.append(Finding("error", node_id, say.NO_OUTPUT_NODE()))
    if not storing:
        found.append(Finding("warning", "", say.NO_KEY()))
    return sorted(found, key=lambda finding: finding.severity != "error")
