"""What schemathesis cannot know of the API; loaded by its command (see test_described_behaviour.py)."""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis import GenerationMode


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Take out what is valid by its form and cannot be tried blindly.

    A cursor is one that we gave out, whatever its form; and nobody waits for a task, whose work is tested elsewhere.
    """
    valid = case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE
    if valid:
        case.query.pop("cursor", None)
    described = {each.get("name") for each in case.operation.definition.raw.get("parameters", [])}
    if "wait" in described and (valid or not _is_wrong(case.query.get("wait", 10))):
        case.query["wait"] = 0


def _is_wrong(wait: Any) -> bool:
    try:
        return not 0 <= float(wait) <= 60
    except (TypeError, ValueError):
        return True
