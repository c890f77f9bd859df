"""What the pages say and draw, without a browser: languages, texts, durations, charts."""

from __future__ import annotations

import ast
import re

import pytest

from api.pages.charts import bands, latency_chart, line_chart, nice, shares
from api.pages.words import bytes_of, duration, percent
from api.texts import RULES, TEXTS, caches, common, fleet, language_of, operations
from core.access import Role
from core.audit import AuditOutcome, Stage
from core.effects import Shortfall
from core.fleet_query import ServerSort
from core.listing import AGE_LIMITS_DAYS, Family
from core.model import Action, Outcome, State
from core.tasks import TaskState
from operations.service import KINDS
from tests.workspace import SOURCE


@pytest.mark.parametrize(
    ("accepted", "chosen", "expected"),
    [
        ("", "", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "", "en"),
        ("zh-TW", "", "zh"),
        ("de,zh;q=0.3", "", "zh"),
        ("en;q=0.1,zh;q=0.2", "", "zh"),
        ("zh;q=0", "", "en"),
        ("zh;q=nonsense,,;;", "", "en"),
        ("*", "", "en"),
        ("zh", "en", "en"),
        ("en", "zh", "zh"),
        ("zh", "tlh", "zh"),
    ],
)
def test_the_language_is_the_address_before_the_browser(accepted: str, chosen: str, expected: str) -> None:
    assert language_of(chosen, accepted) == expected


def test_every_word_of_the_program_has_a_text_in_both_languages() -> None:
    wanted = {
        *State, *(f"sort_{each}" for each in ServerSort), *(f"action_{each}" for each in Action),
        *(f"{kind}_{each}" for kind in ("outcome", "event") for each in Outcome),
        *(f"task_{each}" for each in (*TaskState, *KINDS)), *(f"task_left_{each}" for each in Shortfall),
        *(f"family_{each}" for each in Family),
        *(f"stage_{each}" for each in Stage), *(f"audit_{each}" for each in AuditOutcome), *Role,
        *(f"age_{band}" for band in range(len(AGE_LIMITS_DAYS) + 1)),
    }  # fmt: skip
    for texts in TEXTS.values():
        assert wanted <= texts.keys()
        assert all(texts.values())
    for name, english in TEXTS["en"].items():
        places = re.findall(r"\{\w+\}", english)
        assert sorted(places) == sorted(re.findall(r"\{\w+\}", TEXTS["zh"][name])), name


def test_every_text_that_a_template_names_exists_and_every_text_is_used() -> None:
    templates = "".join(path.read_text(encoding="utf-8") for path in (SOURCE / "api" / "templates").glob("*.html"))
    code = "".join(path.read_text(encoding="utf-8") for path in (SOURCE / "api" / "pages").glob("*.py"))
    named = set(re.findall(r"\btext\.(\w+)", templates)) | set(re.findall(r"\btext\['([\w-]+)'\]", templates))
    assert named <= TEXTS["en"].keys()
    composed = (
        "sort_", "action_", "outcome_", "event_", "age_", "family_", "task_", "stage_", "audit_", "key_", "model_",
        "step_",
    )  # fmt: skip
    for name in TEXTS["en"]:
        plain = re.search(rf"""(text\.{name}\b|["']{name}["'])""", templates + code)
        assert plain or name.startswith(composed) or name in {*State}, f"{name} is not used"


def test_no_two_pages_give_one_name_to_different_texts() -> None:
    pages = [caches.TEXTS, common.TEXTS, fleet.TEXTS, operations.TEXTS]
    names = [name for texts in pages for name in texts]
    assert len(names) == len(set(names))


def test_every_rule_of_the_checker_is_explained() -> None:
    rules = {str(each) for each in Outcome}
    for name in ("core/warmup.py", "checker/poll.py", "checker/tracks.py"):
        for node in ast.walk(ast.parse((SOURCE / name).read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
            rule = node.args[2] if called in ("Decision", "_look_again", "_say") and len(node.args) > 2 else None
            if isinstance(rule, ast.Constant) and rule.value:
                rules.add(str(rule.value))
    assert len(rules) > 20
    for explained in RULES.values():
        assert rules <= explained.keys()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (7200 + 300, "2 h 5 min"), (4 * 86400, "4 d 0 h")],
)
def test_durations_are_told_as_people_say_them(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (3 * 10**12, "3.0 TB"), (5 * 10**15, "5000 TB")],
)
def test_sizes_are_told_in_powers_of_a_thousand(size: int | None, words: str) -> None:
    assert bytes_of(size) == words


def test_a_share_is_nothing_or_everything_only_where_it_is() -> None:
    assert [percent(part) for part in (0, 0.0001, 0.5, 0.9999, 1)] == ["0 %", "1 %", "50 %", "99 %", "100 %"]


def test_a_strip_leaves_out_what_is_unknown_and_shares_add_up_to_what_is_known() -> None:
    found = bands(
        [
            {"state": None, "begins_at": 0.0, "cells": 40},
            {"state": "failed", "begins_at": 1.0, "cells": 2},
            {"state": "loaded", "begins_at": 2.0, "cells": 6},
        ]
    )
    assert [(band.state, band.x, band.width) for band in found] == [("failed", 40, 2), ("loaded", 42, 6)]
    assert shares(found) == {"loaded": 0.75, "failed": 0.25}
    assert shares([]) == {}


def test_a_latency_chart_breaks_its_line_where_no_answer_came() -> None:
    chart = latency_chart([0.1, 0.2, None, 0.05, None, 0.1, 0.1], width=600, height=100)
    assert chart.lines == ("0.0,50.0 100.0,0.0", "500.0,50.0 600.0,50.0")
    assert chart.dots == ((300.0, 75.0),)
    assert chart.missed == (200.0, 400.0)
    assert chart.ticks == ((100.0, 0.0), (50.0, 0.1), (0.0, 0.2))
    assert latency_chart([]).median is None
    assert latency_chart([None]).slowest is None


@pytest.mark.parametrize(("value", "top"), [(0, 0.01), (0.003, 0.005), (0.2, 0.2), (0.21, 0.5), (7, 10), (10, 10)])
def test_the_top_of_a_chart_is_a_round_number_above_everything(value: float, top: float) -> None:
    assert nice(value) == pytest.approx(top)


def test_a_line_chart_spans_its_days_whatever_is_missing_between_them() -> None:
    chart = line_chart([(100, 500.0), (101, 1000.0), (110, 250.0)], width=100, height=100)
    assert chart.line == "0.0,50.0 10.0,0.0 100.0,75.0"
    assert chart.area == f"0,100 {chart.line} 100,100"
    assert (chart.first, chart.last, chart.first_day, chart.last_day) == (500.0, 250.0, 100, 110)
    assert line_chart([(1, 0.0), (2, 0.0)]).line.endswith("150.0")
