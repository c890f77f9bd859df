"""How a ``[[target]]`` table is read, and how it is blamed."""

from __future__ import annotations

import pytest

from core.proxy_names import is_debug_file, stated_time
from core.retention import FreeSpace
from core.targets import TargetKind, Unit, target_from_table


def test_a_full_table_becomes_a_target() -> None:
    target, problems = target_from_table(
        {
            "name": "previews",
            "kind": "directory",
            "roots": ["/srv/a", "/srv/b"],
            "unit": "directory",
            "depth": 2,
            "include": "*.png",
            "older_than": "36h",
            "keep_last": 20,
            "max_size": "50GB",
            "min_free": "10%",
            "free_until": "15%",
            "pinned": ["best-*"],
            "workers": 2,
            "trash_hours": 12,
            "largest_share": 1.0,
        },
        key="target[0]",
    )
    assert problems == []
    assert target is not None
    assert (target.roots, target.unit, target.depth, target.include) == (
        ("/srv/a", "/srv/b"),
        Unit.DIRECTORY,
        2,
        ("*.png",),
    )
    assert target.policy.older_than_seconds == 36 * 3600
    assert target.policy.max_size_bytes == 50 * 10**9
    assert target.policy.min_free == FreeSpace(fraction=0.1)
    assert (target.workers, target.trash_hours, target.largest_share) == (2, 12.0, 1.0)


def test_every_problem_is_reported_at_once_with_its_key() -> None:
    target, problems = target_from_table(
        {
            "kind": "attic",
            "older_than": -1,
            "keep_last": True,
            "max_size": "huge",
            "min_free": "100%",
            "workers": 0,
            "tpyo": 1,
        },
        key="target[3]",
    )
    assert target is None
    assert {problem.key for problem in problems} == {
        f"target[3].{name}"
        for name in ("kind", "roots", "older_than", "keep_last", "max_size", "min_free", "workers", "tpyo")
    }


@pytest.mark.parametrize("root", ["", "  ", ".", "/", "~", "~/cache"])
def test_a_root_that_names_no_directory_of_its_own_is_a_problem(root: str) -> None:
    target, problems = target_from_table({"root": root}, key="t")
    assert target is None
    assert [problem.key for problem in problems] == ["t.roots"]


@pytest.mark.parametrize("age", [0, -3, float("nan"), float("inf"), "1y", "", True, "-1d"])
def test_an_age_that_is_none_is_a_problem(age: object) -> None:
    _, problems = target_from_table({"root": "/srv/a", "older_than": age}, key="t")
    assert [problem.key for problem in problems] == ["t.older_than"]


def test_a_kind_fixes_its_unit_and_bytecode_may_all_go() -> None:
    target, _ = target_from_table({"kind": "python", "root": "/srv/app"}, key="t")
    assert target is not None
    assert (target.unit, target.largest_share) == (Unit.DIRECTORY, 1.0)
    _, problems = target_from_table({"kind": "images", "root": "/srv/img", "unit": "file"}, key="t")
    assert [problem.key for problem in problems] == ["t.unit"]
    images, _ = target_from_table({"kind": "images", "root": "/srv/img"}, key="t")
    assert images is not None
    assert (images.kind, images.depth, images.remove_empty) == (TargetKind.IMAGES, 2, True)


def test_a_high_mark_needs_a_low_one_of_its_sort_below_it() -> None:
    for table in (
        {"free_until": "5%"},
        {"min_free": "5%", "free_until": "9GB"},
        {"min_free": "9%", "free_until": "5%"},
    ):
        _, problems = target_from_table({"root": "/srv/a", **table}, key="t")
        assert [problem.key for problem in problems] == ["t.free_until"], table


@pytest.mark.parametrize(
    "name",
    ["20260217_143709_853_REQUEST_chat.json", "20260217_143718_998_ERROR_x y.json", "CALLS_20260217.json"],
)
def test_the_proxys_files_are_told_by_the_shape_of_their_names(name: str) -> None:
    assert is_debug_file(name)


@pytest.mark.parametrize(
    "name",
    ["daemon.log", "daemon.pid", "cache_keeper.sqlite3", "20260217_143709_853_REQUEST_chat.json.bak", "CALLS_.json",
     "notes_20260217_143709_853_REQUEST_a.json", "20260217_REQUEST_a.json", "CALLS_20260217.jsonl"],
)  # fmt: skip
def test_other_names_are_none_of_the_cleaners_business(name: str) -> None:
    assert not is_debug_file(name)


def test_a_stated_time_has_a_day_of_margin_for_the_unknown_time_zone() -> None:
    stated = stated_time("20260217_143709_853_REQUEST_chat.json")
    assert stated == 1_771_339_029 + 86_400
    assert stated_time("CALLS_20260217.json") == 1_771_286_400 + 2 * 86_400
    assert stated_time("20261399_143709_853_REQUEST_chat.json") is None
