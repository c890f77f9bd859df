"""API-format graphs: what ``POST /prompt`` validates, and the signature under which outputs are cached.

Pure functions. The order of checks, the error types and their texts are those that ComfyUI answers; a quirk
is kept where a client can see it, and named at its line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from examples.fake_comfyui.node_classes import InputSpec, ModelFiles, NodeClass

Graph = Any  # whatever the client sent: a dict of nodes if all is well
Classes = Mapping[str, NodeClass]


def is_link(value: object) -> bool:
    """``["node id", slot]``."""
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)
    )


@dataclass
class Validation:
    """``error`` is None when at least one output can run; ``outputs`` are those that can."""

    error: dict[str, Any] | None = None
    outputs: list[str] = field(default_factory=list)
    node_errors: dict[str, Any] = field(default_factory=dict)


def validate_prompt(
    graph: Graph,
    classes: Classes,
    files: ModelFiles,
    *,
    modern: bool,
    targets: Iterable[str] | None,
    shuffle: Callable[[list[str]], None],
) -> Validation:
    """Given a graph, say which of its outputs can run.

    ``modern`` chooses the dialect of ComfyUI 0.12 for an unknown class. ``shuffle`` orders the outputs: the
    original keeps them in a set of strings, whose order differs from process to process.
    Raises TypeError for a graph that is no dict of nodes (most UI-format workflows): the server answers 500.
    """
    outputs: list[str] = []
    for node_id in graph:
        node = graph[node_id]
        if "class_type" not in node:
            return Validation(_class_missing(node_id, node, modern))
        node_class = classes.get(node["class_type"])
        if node_class is None:
            return Validation(_class_unknown(node_id, node, modern))
        if node_class.output_node and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return Validation(_error("prompt_no_outputs", "Prompt has no outputs"))
    shuffle(outputs)

    checked: dict[str, tuple[bool, list[dict[str, Any]]]] = {}
    result = Validation()
    texts: list[str] = []
    for output in outputs:
        try:
            valid, reasons = _check_node(graph, output, classes, files, checked, modern)
        except (KeyError, IndexError, TypeError, ValueError, RecursionError) as problem:
            valid, reasons = False, [_exception("exception_during_validation", "node", problem)]
            checked[output] = (valid, reasons)
        if valid:
            result.outputs.append(output)
            continue
        texts += [f"{reason['message']}: {reason['details']}" for reason in reasons]
        # Quirk: every broken node seen so far is booked on this output too, related or not.
        for node_id, (node_valid, node_reasons) in checked.items():
            if node_valid or not node_reasons:
                continue
            entry = result.node_errors.setdefault(
                node_id,
                {"errors": node_reasons, "dependent_outputs": [], "class_type": graph[node_id]["class_type"]},
            )
            entry["dependent_outputs"].append(output)
    if not result.outputs:
        result.error = _error("prompt_outputs_failed_validation", "Prompt outputs failed validation")
        result.error["details"] = "\n".join(texts)
    return result


def _check_node(
    graph: Graph,
    node_id: str,
    classes: Classes,
    files: ModelFiles,
    checked: dict[str, tuple[bool, list[dict[str, Any]]]],
    modern: bool,
) -> tuple[bool, list[dict[str, Any]]]:
    """Only declared inputs are looked at: a dead link in an undeclared one passes."""
    if node_id in checked:
        return checked[node_id]
    inputs = graph[node_id]["inputs"]
    node_class = classes[graph[node_id]["class_type"]]
    errors: list[dict[str, Any]] = []
    upstream_valid = True
    for name, spec, required in node_class.declared():
        if name not in inputs:
            if required:
                errors.append(_input_error("required_input_missing", "Required input is missing", name, name))
            continue
        config = spec.config(files)
        value = inputs[name]
        if not isinstance(value, list):
            problem = _check_value(inputs, name, value, spec, files, modern)
            if problem is not None:
                errors.append(problem)
            continue
        if len(value) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            errors.append(
                _input_error("bad_linked_input", message, name, name, input_config=config, received_value=value)
            )
            continue
        source = classes[graph[value[0]]["class_type"]]
        received = source.returns[value[1]]
        if not spec.accepts(received):
            details = f"{name}, received_type({received}) mismatch input_type({spec.type_name(files)})"
            message = "Return type mismatch between linked nodes"
            extra = {"input_config": config, "received_type": received, "linked_node": value}
            errors.append(_input_error("return_type_mismatch", message, details, name, **extra))
            continue
        try:
            upstream_valid = _check_node(graph, value[0], classes, files, checked, modern)[0] and upstream_valid
        except (KeyError, IndexError, TypeError, ValueError, RecursionError) as problem_inside:
            upstream_valid = False
            reason = _exception("exception_during_inner_validation", "inner node", problem_inside)
            checked[value[0]] = (False, [reason])
    checked[node_id] = (not errors and upstream_valid, errors)
    return checked[node_id]


def _check_value(
    inputs: dict[str, Any], name: str, value: Any, spec: InputSpec, files: ModelFiles, modern: bool
) -> dict[str, Any] | None:
    """Converts the value in place, as the original does (so history shows ``"512"`` as 512)."""
    config: list[Any] | None = spec.config(files)
    convert = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}.get(spec.kind)
    if convert is not None:
        try:
            value = inputs[name] = convert(value)
        except (TypeError, ValueError) as problem:
            return _input_error(
                "invalid_input_type",
                f"Failed to convert an input value to a {spec.kind} value",
                f"{name}, {value}, {problem}",
                name,
                input_config=config,
                received_value=value,
                exception_message=str(problem),
            )
    smallest, biggest = spec.options.get("min"), spec.options.get("max")
    if smallest is not None and value < smallest:
        message = f"Value {value} smaller than min of {smallest}"
        return _input_error("value_smaller_than_min", message, name, name, input_config=config, received_value=value)
    if biggest is not None and value > biggest:
        message = f"Value {value} bigger than max of {biggest}"
        return _input_error("value_bigger_than_max", message, name, name, input_config=config, received_value=value)
    choices = spec.choices_among(files)
    # Quirk: before 0.12 a combo in the newer notation is not checked at all.
    if choices is None or value in choices or (spec.named_combo and not modern):
        return None
    shown: Any = choices
    if len(choices) > 20:
        shown, config = f"(list of length {len(choices)})", None
    details = f"{name}: '{value}' not in {shown}"
    return _input_error(
        "value_not_in_list", "Value not in list", details, name, input_config=config, received_value=value
    )


def signatures(graph: Graph, changed: Callable[[str], object]) -> dict[str, tuple[object, ...]]:
    """For each node what its output depends on: its class, its inputs (declared or not) and its ancestors.

    Node ids and ``_meta`` are not part of it. ``changed(node_id)`` is the node's own idea of having changed.
    Raises KeyError for a node without inputs.
    """
    result: dict[str, tuple[object, ...]] = {}
    for node_id in graph:
        ancestors: dict[str, int] = {}
        _collect_ancestors(graph, node_id, ancestors)
        result[node_id] = tuple(_own_signature(graph, each, ancestors, changed) for each in [node_id, *ancestors])
    return result


def _collect_ancestors(graph: Graph, node_id: str, found: dict[str, int]) -> None:
    if node_id not in graph:
        return
    inputs = graph[node_id]["inputs"]
    for name in sorted(inputs):
        if is_link(inputs[name]) and inputs[name][0] not in found:
            found[inputs[name][0]] = len(found)
            _collect_ancestors(graph, inputs[name][0], found)


def _own_signature(
    graph: Graph, node_id: str, ancestors: Mapping[str, int], changed: Callable[[str], object]
) -> object:
    if node_id not in graph:
        return object()  # equal to nothing: a node that depends on it is never cached
    inputs = graph[node_id]["inputs"]
    parts: list[object] = [graph[node_id]["class_type"], changed(node_id)]
    for name in sorted(inputs):
        value = inputs[name]
        parts.append((name, ancestors[value[0]], value[1]) if is_link(value) else (name, repr(value)))
    return tuple(parts)


def _error(kind: str, message: str, details: str = "", **extra: Any) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def _input_error(kind: str, message: str, details: str, name: str, **extra: Any) -> dict[str, Any]:
    return _error(kind, message, details, input_name=name, **extra)


def _exception(kind: str, what: str, problem: Exception) -> dict[str, Any]:
    message = f"Exception when validating {what}"
    return _error(kind, message, str(problem), exception_type=type(problem).__name__, traceback=[])


def _class_missing(node_id: str, node: Any, modern: bool) -> dict[str, Any]:
    details = f"Node ID '#{node_id}'"
    if not modern:
        message = "Cannot execute because a node is missing the class_type property."
        return _error("invalid_prompt", message, details)
    message = f"Node '{_title(node, node_id)}' has no class_type."
    message += " The workflow may be corrupted or a custom node is missing."
    return _error("missing_node_type", message, details, node_id=node_id, class_type=None)


def _class_unknown(node_id: str, node: Any, modern: bool) -> dict[str, Any]:
    class_type, details = node["class_type"], f"Node ID '#{node_id}'"
    if not modern:
        return _error("invalid_prompt", f"Cannot execute because node {class_type} does not exist.", details)
    title = _title(node, class_type)
    message = f"Node '{title}' not found. The custom node may not be installed."
    extra = {"node_id": node_id, "class_type": class_type, "node_title": title}
    return _error("missing_node_type", message, details, **extra)


def _title(node: Any, fallback: str) -> str:
    meta = node.get("_meta") if isinstance(node, dict) else None
    return str(meta.get("title") or fallback) if isinstance(meta, dict) else fallback
