"""Wanted keys, links, subgraphs, nonces and LRU sizes, read from API-format graphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import WorkflowError
from core.workflow import (
    KEY_STORING_CLASSES,
    NONCE_INPUT,
    Graph,
    StoredKey,
    broken_links,
    keys_stored_by,
    lint,
    lru_size,
    overfull_tags,
    read_graph,
    stored_keys,
    subgraph_for,
    wanted_keys,
    with_nonce,
)

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "warmup.json"


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def stores(key: object, source: str = "1", tag: str = "", kind: str = "CacheBackendData //Inspire") -> dict[str, Any]:
    return node(kind, key=key, tag=tag, data=[source, 0])


CHECKPOINT = "CheckpointLoaderSimpleShared //Inspire"
DIFFUSION = "LoadDiffusionModelShared //Inspire"
ENCODER = "LoadTextEncoderShared //Inspire"
ENCODER_INPUTS = {"model_name1": "a.sft", "model_name2": "b.sft", "model_name3": "None", "type": "flux", "key_opt": ""}


@pytest.mark.parametrize(
    ("one", "stored"),
    [
        (stores("vae", tag="t"), ("vae", "t")),
        (stores("vae", kind="CacheBackendDataList //Inspire"), ("vae", "")),
        (stores(7, kind="CacheBackendDataNumberKey //Inspire"), (7, "")),
        (stores("7", kind="CacheBackendDataNumberKey //Inspire"), (7, "")),
        (stores(7.0, kind="CacheBackendDataNumberKeyList //Inspire"), (7, "")),
        (node(CHECKPOINT, ckpt_name="sd.safetensors", key_opt=""), ("sd.safetensors", "ckpt")),
        (node(CHECKPOINT, ckpt_name="sd.safetensors"), ("sd.safetensors", "ckpt")),
        (node(CHECKPOINT, ckpt_name="sd.safetensors", key_opt=" mine "), ("mine", "ckpt")),
        (
            node(DIFFUSION, model_name="flux.sft", weight_dtype="default", key_opt="  "),
            ("flux.sft_default", "diffusion"),
        ),
        (node(DIFFUSION, model_name="flux.sft", weight_dtype="default", key_opt="mine"), ("mine", "diffusion")),
        (node(ENCODER, **ENCODER_INPUTS), ("a.sft_b.sft_None_flux_default", "diffusion")),
        (node(ENCODER, **ENCODER_INPUTS, device="cpu"), ("a.sft_b.sft_None_flux_cpu", "diffusion")),
        (node(ENCODER, **{**ENCODER_INPUTS, "key_opt": "mine"}), ("mine", "diffusion")),
        (stores("缓存: 一\n二"), ("缓存: 一\n二", "")),
        (stores(""), ("", "")),
    ],
)
def test_each_of_the_seven_classes_tells_its_key_and_tag(one: dict[str, Any], stored: tuple[Any, str]) -> None:
    assert stored_keys({"9": one}) == [StoredKey(*stored, "9")]
    assert type(stored_keys({"9": one})[0].key) is type(stored[0])


@pytest.mark.parametrize(
    "one",
    [
        stores("*"),
        stores(["5", 0]),
        stores(7),
        stores(True, kind="CacheBackendDataNumberKey //Inspire"),
        stores("seven", kind="CacheBackendDataNumberKey //Inspire"),
        stores(float("inf"), kind="CacheBackendDataNumberKey //Inspire"),
        node(CHECKPOINT, ckpt_name="sd.safetensors", key_opt="mine", mode="Read Only"),
        node(CHECKPOINT, ckpt_name=["5", 0], key_opt=""),
        node(CHECKPOINT, ckpt_name="sd.safetensors", key_opt=["5", 0]),
        node(DIFFUSION, model_name=["5", 0], weight_dtype="default"),
        node(ENCODER, **{**ENCODER_INPUTS, "type": ["5", 0]}),
        node("KSampler", key="vae"),
    ],
)
def test_a_node_that_stores_nothing_that_can_be_watched_tells_no_key(one: dict[str, Any]) -> None:
    assert stored_keys({"9": one}) == []


def test_the_seven_classes_are_all_there_are() -> None:
    assert len(KEY_STORING_CLASSES) == 7


def test_wanted_keys_are_listed_once_in_node_order() -> None:
    graph = {"1": node("L"), "2": stores("b"), "3": stores("a"), "4": stores("b")}
    assert wanted_keys(graph) == ["b", "a"]
    assert wanted_keys(read_graph(json.loads(EXAMPLE.read_text(encoding="utf-8")))) == [
        "pulid_eva_clip",
        "pulid_face_analysis",
        "pulid_model",
        "ben2_base",
        "sam3",
    ]


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(sorted(KEY_STORING_CLASSES)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("class_type", "inputs", "key", "tag", "key_opt", "mode", "1")), inner, max_size=4
        )
    ),
    max_leaves=12,
)


nodes = st.fixed_dictionaries({"class_type": anything, "inputs": anything})


@given(anything | st.dictionaries(st.text(max_size=2), nodes, max_size=3))
def test_a_prompt_of_any_shape_in_somebodys_queue_is_read_without_an_exception(prompt: object) -> None:
    assert isinstance(keys_stored_by(prompt), frozenset)


def test_a_class_that_is_no_text_is_no_class() -> None:
    assert keys_stored_by({"1": {"class_type": ["x"], "inputs": {}}, "2": stores("a")}) == {"a"}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "is not a workflow"),
        ({}, "is not a workflow"),
        ("x", "is not a workflow"),
        ({"prompt": {}}, "is not a workflow"),
        ({"nodes": [], "links": [], "version": 0.4}, "Export (API)"),
        ({"1": {"inputs": {}}}, "node '1' has no class_type"),
        ({"1": []}, "node '1' has no class_type"),
        ({"1": {"class_type": "L", "inputs": []}}, "node '1' has inputs that are not an object"),
    ],
)
def test_what_is_no_workflow_says_what_it_is_instead(document: object, says: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        read_graph(document)
    assert says in str(caught.value)


def test_a_graph_may_come_as_the_body_of_a_post_and_without_inputs() -> None:
    assert read_graph({"prompt": {"1": {"class_type": "L"}}}) == {"1": {"class_type": "L", "inputs": {}}}


def test_a_link_to_a_node_that_is_not_there_is_named() -> None:
    (found,) = broken_links({"2": stores("a", source="99")})
    assert (found.severity, found.node_id) == ("error", "2")
    assert "'data' is linked to node '99'" in found.message


@pytest.mark.parametrize("value", [["99", True], ["99", "0"], ["99"], ["99", 0, 0], [99, 0], "99", ("99", 0)])
def test_what_comfyui_takes_for_a_constant_is_no_link(value: object) -> None:
    assert broken_links({"1": node("L", x=value)}) == []


def test_a_circle_is_named_by_a_node_that_is_in_it() -> None:
    graph = {
        "1": node("Saves", x=["3", 0]),
        "2": node("A", x=["3", 0]),
        "3": node("B", x=["2", 0]),
        "4": node("Apart"),
    }
    (found,) = broken_links(graph)
    assert found.node_id in ("2", "3"), "node 1 only depends on the circle"
    (itself,) = broken_links({"1": node("A", x=["1", 0])})
    assert itself.node_id == "1"


def test_a_diamond_is_no_circle() -> None:
    graph = {
        "1": node("L"),
        "2": node("A", x=["1", 0]),
        "3": node("B", x=["1", 0], y=["1", 1]),
        "4": node("C", x=["2", 0], y=["3", 0]),
    }
    assert broken_links(graph) == []


def test_a_keys_subgraph_is_its_node_and_what_that_needs() -> None:
    graph = {
        "1": node("L"),
        "2": node("M", x=["1", 0]),
        "3": stores("a", "2"),
        "4": stores("b", "1"),
        "5": stores("c", "2"),
    }
    assert list(subgraph_for(graph, "a")) == ["1", "2", "3"]
    assert list(subgraph_for(graph, "b")) == ["1", "4"]


def test_a_shared_loader_takes_the_nearest_end_with_it_since_alone_it_would_be_refused() -> None:
    graph = {
        "1": node(CHECKPOINT, ckpt_name="sd.sft", key_opt=""),
        "2": node("Sampler", model=["1", 0], latent=["5", 0]),
        "3": node("Save", images=["2", 0]),
        "4": node("Preview", clip=["1", 1]),
        "5": node("Latent"),
        "6": stores("unrelated", "5"),
    }
    assert list(subgraph_for(graph, "sd.sft")) == ["1", "4"]


def test_a_shared_loader_behind_a_storing_node_ends_there() -> None:
    graph = {
        "1": node(CHECKPOINT, ckpt_name="sd.sft", key_opt=""),
        "2": stores("vae", "1"),
        "3": node("Save", images=["2", 0]),
    }
    assert list(subgraph_for(graph, "sd.sft")) == ["1", "2"]


def test_the_first_of_several_nodes_with_one_key_is_taken() -> None:
    graph = {"1": node("L"), "2": stores("a", "1"), "3": node("M"), "4": stores("a", "3")}
    assert list(subgraph_for(graph, "a")) == ["1", "2"]


def test_a_key_that_the_graph_does_not_store_is_an_error() -> None:
    with pytest.raises(WorkflowError, match="does not store the key '7'"):
        subgraph_for({"1": node("L"), "2": stores(7, kind="CacheBackendDataNumberKey //Inspire")}, "7")


graphs = st.builds(
    lambda edges, kinds: {
        str(number): stores(f"k{number}", str(min(targets)), tag="t")
        | {
            "inputs": {
                "key": f"k{number}",
                "tag": "t",
                **{f"in{target}": [str(target), 0] for target in targets},
            }
        }
        if kinds[number] and targets
        else node("Loader", **{f"in{target}": [str(target), 0] for target in targets})
        for number, targets in enumerate(edges)
    },
    st.integers(2, 9).flatmap(
        lambda size: st.tuples(
            *(st.sets(st.integers(0, number - 1), max_size=3) if number else st.just(set()) for number in range(size))
        )
    ),
    st.lists(st.booleans(), min_size=9, max_size=9),
)


@given(graphs)
def test_every_subgraph_is_closed_stores_its_key_and_shares_nothing_it_does_not_need(graph: Graph) -> None:
    assert broken_links(graph) == []
    for key in wanted_keys(graph):
        part = subgraph_for(graph, key)
        assert broken_links(part) == []
        assert key in wanted_keys(part)
        assert all(part[name] == graph[name] for name in part)
        without = [name for name in part if broken_links({k: v for k, v in part.items() if k != name}) == []]
        assert without == [next(each.node_id for each in stored_keys(graph) if each.key == key)]


def test_a_nonce_goes_on_the_storing_nodes_only_and_leaves_the_graph_as_it_was() -> None:
    graph = {"1": node("L"), "2": stores("a"), "3": node(CHECKPOINT, ckpt_name="sd.sft")}
    before = json.dumps(graph)
    marked = with_nonce(graph, "n1")
    assert [NONCE_INPUT in marked[name]["inputs"] for name in marked] == [False, True, True]
    assert marked["1"] == graph["1"], "the loader keeps its identity, so that it is not loaded twice"
    assert with_nonce(graph, "n2")["2"] != marked["2"]
    assert stored_keys(marked) == stored_keys(graph)
    assert json.dumps(graph) == before


@pytest.mark.parametrize(
    ("tag", "size"),
    [("", 20), ("anything", 20), ("ckpt", 5), ("my_ckpt_tag", 5), ("latent", 100), ("image", 100), ("images", 20)],
)
def test_a_tag_holds_as_many_keys_as_the_pack_says_where_the_server_does_not(tag: str, size: int) -> None:
    assert lru_size(tag, {}) == size
    assert lru_size(tag, {tag: 3}) == 3


def test_keys_that_would_evict_each_other_for_ever_are_told_with_the_numbers() -> None:
    many = [StoredKey(f"k{number}", "", str(number)) for number in range(21)]
    assert overfull_tags(many[:20], {}) == []
    (sentence,) = overfull_tags(many, {})
    assert sentence.startswith("21 keys wanted with tag '', whose LRU holds 20")
    assert overfull_tags(many, {"": 21}) == []
    assert overfull_tags([*many[:20], StoredKey("k0", "", "99")], {}) == [], "one key, stored by two nodes, is one"
    split = [StoredKey(each.key, "" if each.node_id < "15" else "more", each.node_id) for each in many]
    assert overfull_tags(split, {}) == []


def test_a_good_workflow_has_no_finding() -> None:
    assert lint(read_graph(json.loads(EXAMPLE.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    ("graph", "severity", "says"),
    [
        ({"1": node("L"), "2": stores("*")}, "error", "'*' is reserved"),
        ({"2": stores("a", "77")}, "error", "does not exist"),
        ({"1": node(CHECKPOINT, ckpt_name="sd.sft")}, "error", "no output node depends on this loader"),
        ({"1": node("L"), **{f"{n}": stores(f"k{n}") for n in range(2, 23)}}, "error", "21 keys wanted with tag ''"),
        ({"1": node("L"), "2": stores("a"), "3": stores("a")}, "warning", "stores 'a', as node 2 does too"),
        ({"1": node("L"), "2": stores(["1", 0])}, "warning", "not a constant"),
        ({"1": node(CHECKPOINT, ckpt_name="x", mode="Read Only"), "2": node("S", x=["1", 0])}, "warning", "Read Only"),
        ({"1": node("L")}, "warning", "stores no backend-cache key"),
    ],
)
def test_lint_says(graph: Graph, severity: str, says: str) -> None:
    found = lint(graph)
    assert any(finding.severity == severity and says in str(finding) for finding in found), found
    assert [finding.severity for finding in found] == sorted(finding.severity for finding in found), "errors first"


def test_lint_knows_the_sizes_of_the_server() -> None:
    graph = {"1": node("L"), "2": stores("a"), "3": stores("b")}
    assert lint(graph, {"": 2}) == []
    assert "2 keys wanted with tag '', whose LRU holds 1" in str(lint(graph, {"": 1})[0])
