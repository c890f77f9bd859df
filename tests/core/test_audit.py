"""What may stand in an audit record, what its hash covers, and how records leave the house."""

from __future__ import annotations

import csv
import json
from io import StringIO
from typing import Any

import pytest

from core.audit import AuditOutcome, AuditRecord, Head, Stage, redact, redact_text
from core.audit_chain import (
    COLUMNS,
    CSV_FIELDS,
    chained,
    csv_line,
    csv_row,
    hash_of,
    head_line,
    heads_in,
    json_line,
    parse_head,
    record_of,
)

RECORD = AuditRecord(
    1_700_000_000.25, "r1", Stage.RESULT, "alice", "operator", "t1", "203.0.113.7", "api", "cache.cleanup", "images",
    {"days": 7}, AuditOutcome.SUCCESS, 1.5, {"files": 3}, "",
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"days": 7, "dry_run": False, "target": None}, {"days": 7, "dry_run": False, "target": None}),
        ({"password": "hunter2"}, {"password": "***"}),
        ({"api-key": "x", "Authorization": "Bearer abc"}, {"api-key": "***", "Authorization": "***"}),
        ({"HF_TOKEN": "y", "client_secret": "z"}, {"HF_TOKEN": "***", "client_secret": "***"}),
        ({"token_id": "t1", "password": ""}, {"token_id": "t1", "password": ""}),
        ({"url": "redis://user:pa55@host:6379/0"}, {"url": "redis://***@host:6379/0"}),
        ({"url": "https://host/x?token=abc&page=2"}, {"url": "https://host/x?token=***&page=2"}),
        ({"note": "sent Authorization: Bearer abcdefghi to it"}, {"note": "sent Authorization: Bearer *** to it"}),
        ({"nested": {"list": [{"secret": "x"}, "mongodb://a:b@c/d"]}}, {"nested": {"list": [{"secret": "***"}, "mongodb://***@c/d"]}}),
        ({"number": float("nan"), "other": float("inf")}, {"number": "nan", "other": "inf"}),
        ({"half": "a\ud800b"}, {"half": "a\\ud800b"}),
    ],
    ids=str,
)  # fmt: skip
def test_parameters_are_kept_without_their_secrets(given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert redact(given) == kept
    json.dumps(redact(given), allow_nan=False).encode()


def test_a_token_is_no_more_seen_in_a_text() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
    assert token not in redact_text(f"the token {token} was not taken")
    assert redact_text("python -m api --password=hunter2 x") == "python -m api --password=*** x"


def test_parameters_without_end_are_cut() -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = {"d": deep}
    kept = redact(
        {"long": "x" * 100_000, "many": list(range(100_000)), "deep": deep} | {f"k{n}": n for n in range(1000)}
    )
    assert len(json.dumps(kept)) < 10_000
    assert kept["long"].endswith("…")


def test_every_column_and_the_place_in_the_chain_are_in_the_hash() -> None:
    row = chained(RECORD, Head(6, "a" * 64))
    assert row[0] == 7
    for number, name in enumerate(COLUMNS[:-1]):
        other = (*row[:number], "another" if row[number] != "another" else "", *row[number + 1 :])
        assert hash_of(other) != row[-1], name


def test_where_one_text_ends_and_the_next_begins_is_in_the_hash() -> None:
    one = chained(AuditRecord(1, "ab", Stage.READ, "c", "", "", "", "", "", ""), None)
    two = chained(AuditRecord(1, "a", Stage.READ, "bc", "", "", "", "", "", ""), None)
    assert one[-1] != two[-1]


def test_a_whole_number_of_seconds_has_the_hash_that_a_database_gives_back() -> None:
    whole = chained(AuditRecord(7, "", Stage.READ, "", "", "", "", "", "", "", duration_seconds=3), None)
    assert hash_of(tuple(float(each) if name in ("at", "duration_seconds") else each
                         for name, each in zip(COLUMNS, whole, strict=True))) == whole[-1]  # fmt: skip


def test_a_head_is_found_again_in_a_log_of_anything() -> None:
    head = Head(42, "0123456789abcdef" * 4)
    log = f"02:00 INFO started\n03:00 INFO {head_line(head)}\naudit head seq=x hash=y\n04:00 INFO {head_line(head)} \n"
    assert heads_in(log) == [head, head]
    assert parse_head(f"42:{head.hash}\n") == head
    for wrong in (
        "42",
        "42:",
        f"-1:{head.hash}",
        f"42:{head.hash}0",
        f"42:{head.hash.upper()}",
        f"{'9' * 19}:{head.hash}",
    ):
        with pytest.raises(ValueError, match="SEQ:HASH"):
            parse_head(wrong)


@pytest.mark.parametrize(
    "text",
    ['=HYPERLINK("http://evil")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "=1,2", "\n=1"],
)
def test_no_cell_of_an_export_is_a_formula(text: str) -> None:
    (cells,) = csv.reader(StringIO(csv_line([text, "after"]), newline=""))
    assert cells == ["'" + text, "after"]


@pytest.mark.parametrize("text", ["plain", "with, comma", 'with "quotes"', "two\nlines", "值", "a=b", ""])
def test_other_cells_come_back_as_they_were(text: str) -> None:
    (cells,) = csv.reader(StringIO(csv_line([text, -1, 2.5, None]), newline=""))
    assert cells == [text, "-1", "2.5", ""]


def test_a_record_leaves_as_one_line_that_can_be_read_again() -> None:
    kept = record_of(chained(RECORD, None))
    line = json_line(kept)
    assert line.count("\n") == 1
    document = json.loads(line)
    assert document["at"] == "2023-11-14T22:13:20.250+00:00"
    assert (document["seq"], document["actor"], document["effect"]) == (1, "alice", {"files": 3})
    (cells,) = csv.reader(StringIO(csv_row(kept), newline=""))
    named = dict(zip(CSV_FIELDS, cells, strict=True))
    assert (named["at"], named["effect"], named["outcome"]) == (document["at"], '{"files":3}', "success")
