from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from core.errors import WorkflowError
from core.template import DEFAULTS, fill, read_template, recorded

GRAPH: dict[str, Any] = {
    "1": {"class_type": "Loader", "inputs": {"name": "m"}},
    "2:5": {"class_type": "Sampler", "inputs": {"seed": 5, "a.b": 1, "model": ["1", 0]}},
    "3": {"class_type": "Sampler", "inputs": {"seed": 6, "model": ["1", 0]}},
}
MAPPING = {"workflow": "x.json", "inputs": {"seed": ["2:5.seed", "3.seed"]}, "largest_seed": 100}


def parameters(**changes: Any) -> dict[str, Any]:
    return {**DEFAULTS, **changes}


def test_a_parameter_goes_to_all_its_places_and_the_template_stays_as_it_was() -> None:
    before = deepcopy(GRAPH)
    graph = fill(read_template(MAPPING, GRAPH), parameters(seed=42), {})
    assert [graph[node]["inputs"]["seed"] for node in ("2:5", "3")] == [42, 42]
    assert before == GRAPH


def test_a_node_id_may_have_a_colon_and_an_input_a_dot() -> None:
    graph = fill(read_template(MAPPING, GRAPH), parameters(), {"2:5.a.b": 9})
    assert graph["2:5"]["inputs"]["a.b"] == 9


def test_none_leaves_what_the_template_has_and_that_is_recorded() -> None:
    template = read_template(MAPPING, GRAPH)
    assert recorded(template, fill(template, parameters(), {})) == {"seed": 5}


def test_a_link_may_be_replaced_by_a_link_that_leads_somewhere() -> None:
    template = read_template(MAPPING, GRAPH)
    assert fill(template, parameters(), {"3.model": ["1", 1]})["3"]["inputs"]["model"] == ["1", 1]
    with pytest.raises(WorkflowError, match="circle"):
        fill(template, parameters(), {"3.model": ["3", 0]})


def test_the_largest_seed_of_the_mapping_is_kept_to() -> None:
    template = read_template(MAPPING, GRAPH)
    fill(template, parameters(seed=100), {})
    with pytest.raises(WorkflowError, match="from 0 to 100"):
        fill(template, parameters(seed=101), {})
    with pytest.raises(WorkflowError, match="whole number"):
        fill(template, parameters(seed=1.5), {})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": None}, "is not a mapping"),
        ({"input": {}}, "unknown entries: input"),
        ({"inputs": {"seed": "3"}}, "written node.input"),
        ({"inputs": {"seed": 3}}, "written node.input"),
        ({"inputs": {"seed": []}}, "written node.input"),
        ({"inputs": {"seed": ".seed"}}, "written node.input"),
        ({"images": "3"}, "list of node ids"),
        ({"largest_seed": 2**64}, "largest_seed"),
        ({"largest_seed": True}, "largest_seed"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(WorkflowError, match=said):
        read_template({**MAPPING, **change}, GRAPH)


def test_a_workflow_with_a_dangling_link_is_refused() -> None:
    graph = {**GRAPH, "4": {"class_type": "Save", "inputs": {"images": ["9", 0]}}}
    with pytest.raises(WorkflowError, match="does not exist"):
        read_template(MAPPING, graph)
