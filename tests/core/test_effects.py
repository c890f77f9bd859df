"""What a task left undone, judged by what it returned."""

from __future__ import annotations

from typing import Any

import pytest

from core.effects import Effect, Shortfall, Trouble, shortfall

WHOLE = Effect("a", "images", dry_run=False, deleted_entries=2)
REFUSED = Effect("b", "images", dry_run=False, refused="too much")
BUSY = Effect("c", "images", dry_run=False, busy="pid 7 is at work")
FAILED = Effect("d", "images", dry_run=False, failed=Trouble(1))
ONE_ROOT_REFUSED = Effect("e", "images", dry_run=False, deleted_entries=1, refused="too much")
WOULD_REFUSE = Effect("f", "images", dry_run=True, would_refuse="too much")


@pytest.mark.parametrize(
    ("effects", "left"),
    [
        ([], None),
        ([WHOLE, WHOLE], None),
        ([REFUSED], Shortfall.REFUSED),
        ([REFUSED, BUSY], Shortfall.REFUSED),
        ([WOULD_REFUSE], Shortfall.REFUSED),
        ([WHOLE, REFUSED], Shortfall.PARTLY),
        ([REFUSED, FAILED], Shortfall.PARTLY),
        ([ONE_ROOT_REFUSED], Shortfall.PARTLY),
    ],
)
def test_a_task_is_refused_when_each_target_was_and_done_when_none_was(
    effects: list[Effect], left: Shortfall | None
) -> None:
    assert shortfall({"effects": [each.as_dict() for each in effects]}) is left


@pytest.mark.parametrize(
    ("result", "left"),
    [
        (None, None),
        ("text", None),
        ({"loaded": 3}, None),
        ({"targets": {"images": {}}, "errors": {}}, None),
        ({"targets": {"images": {}}, "errors": {"redis": "away"}}, Shortfall.PARTLY),
    ],
)
def test_a_task_without_effects_is_judged_by_its_errors(result: Any, left: Shortfall | None) -> None:
    assert shortfall(result) is left
