"""``python -m operations audit``: what it lists, what it finds wrong, and what it exports."""

from __future__ import annotations

import argparse
import csv
import json
import re
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import config
from core.audit import AuditLog, AuditOutcome, Stage
from core.audit_chain import CSV_FIELDS, head_line
from operations.audit_cli import KINDS, add_parser, run
from operations.auditing import LazyAuditLog
from store.audit_log import SqliteAuditLog
from tests.operations.audit_logs import SqlitePlace, record
from tests.workspace import SOURCE


class Desk:
    """The command over a log of its own."""

    def __init__(self, directory: Path) -> None:
        self.settings = config.load(directory, {})
        self.log: AuditLog = SqliteAuditLog(self.settings.audit_database)
        self.place = SqlitePlace(self.settings.audit_database)
        self._parser = argparse.ArgumentParser()
        self._parser.add_argument("--url")
        add_parser(self._parser.add_subparsers())

    def run(self, *arguments: str, code: int = 0) -> str:
        out = StringIO(newline="")
        assert run(self._parser.parse_args(["audit", *arguments]), self.settings, out) == code, out.getvalue()
        return out.getvalue()

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_the_list_shows_who_did_what_and_what_was_never_finished(desk: Desk) -> None:
    desk.log.append(record(1))
    desk.log.append(record(2, stage=Stage.INTENT, outcome=AuditOutcome.PENDING, actor="eve", action="cache.clear"))
    lines = desk.run("list").splitlines()
    assert "unfinished" in lines[0]
    assert "eve (api)  cache.clear  images" in lines[0]
    assert "success  alice (api)  cache.cleanup  images  1.10 s  bytes=" in lines[1]
    assert lines[1].endswith("files=1")
    first = desk.json("list", "--limit", "1")
    assert (first["records"][0]["actor"], first["records"][0]["unfinished"], first["next_cursor"]) == ("eve", True, "2")
    second = desk.json("list", "--limit", "1", "--cursor", first["next_cursor"])
    assert (second["records"][0]["actor"], second["next_cursor"]) == ("alice", "")
    assert [each["seq"] for each in desk.json("list", "--actor", "eve", "--stage", "intent")["records"]] == [2]
    assert desk.run("list", "--action", "nothing") == "No records.\n"


def test_a_dry_run_is_marked_also_in_a_record_whose_action_does_not_tell(desk: Desk) -> None:
    desk.log.append(record(1, action="cache.clear", parameters={"dry_run": True}))
    desk.log.append(record(2, action="cache.clear", parameters={"dry_run": False}))
    done, planned = desk.run("list").splitlines()
    assert "cache.clear  images  dry-run" in planned
    assert "dry-run" not in done


def test_what_is_listed_does_not_command_the_terminal(desk: Desk) -> None:
    desk.log.append(record(1, target="x\x1b]0;evil\x07", error="\x1b[2Jgone"))
    assert "\x1b" not in desk.run("list")


def test_times_are_filters_too(desk: Desk) -> None:
    desk.log.append(record(0))
    desk.log.append(record(3600))
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(1_700_000_000 + 60))
    assert [each["seq"] for each in desk.json("list", "--since", moment)["records"]] == [2]
    assert [each["seq"] for each in desk.json("list", "--until", moment)["records"]] == [1]


def test_a_whole_log_is_verified_with_exit_0_and_tells_its_head(desk: Desk) -> None:
    last = [desk.log.append(record(number)) for number in range(3)][-1]
    assert f"head 3:{last.hash}" in desk.run("verify")
    assert desk.json("verify")["ok"] is True
    assert desk.run("verify", "--head", f"3:{last.hash}")


def test_a_changed_record_is_named_with_exit_1(desk: Desk) -> None:
    for number in range(3):
        desk.log.append(record(number))
    desk.place.change(2, actor="mallory")
    assert "changed: record 2 was changed" in desk.run("verify", code=1)
    document = desk.json("verify", code=1)
    assert (document["ok"], [each["seq"] for each in document["findings"]]) == (False, [2])


def test_a_cut_tail_is_found_by_the_heads_in_the_daemons_log_and_in_the_rotated_ones(desk: Desk) -> None:
    for number in range(5):
        desk.log.append(record(number))
    head = desk.log.head()
    assert head is not None
    (desk.settings.cache_dir / "daemon.log.2").write_text(f"2026-01-01 INFO audit: {head_line(head)}\n")
    desk.place.remove(4, 5)
    desk.place.forget_head()
    assert "cut: records 4 to 5 are missing at the end" in desk.run("verify", code=1)
    (desk.settings.cache_dir / "daemon.log.2").unlink()
    assert desk.json("verify")["ok"], "without any head nobody can know"
    assert "cut: records 4 to 5" in desk.run("verify", "--head", f"{head.seq}:{head.hash}", code=1)


def test_what_is_wrong_with_the_chain_is_told_in_chinese_on_a_chinese_terminal(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        desk.log.append(record(number))
    whole = desk.run("verify")
    assert whole.startswith("6 records, 1 known heads compared: the chain is whole\nhead 6:")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert desk.run("verify").startswith("共 6 条记录，比对了 1 个已知链头：链完整\n链头 6:")
    desk.place.change(2, actor="mallory")
    desk.place.remove(4, 4)
    desk.place.remove(6, 6)
    assert desk.run("verify", code=1).splitlines()[:-1] == [
        "被修改：记录 2 被修改：与其哈希不符",
        "被删除：记录 4 被删除",
        "被截断：末尾缺少记录 6 至 6：已被截断",
        "共 4 条记录，比对了 1 个已知链头：链已被破坏",
    ]
    assert desk.json("verify", code=1)["findings"][0]["words"] == "record 2 was changed: it does not have its hash"
    assert "没有记录" in desk.run("list", "--action", "nothing")


def test_every_kind_of_finding_has_a_word_in_chinese() -> None:
    code = (SOURCE / "core" / "audit_chain.py").read_text(encoding="utf-8")
    assert set(re.findall(r'Finding\("(\w+)"', code)) == set(KINDS)


def test_a_head_from_before_a_pruning_is_no_accusation(desk: Desk) -> None:
    for number in range(5):
        desk.log.append(record(number))
        head = desk.log.head()
        assert head is not None
        with (desk.settings.cache_dir / "daemon.log").open("a") as file:
            file.write(head_line(head) + "\n")
    desk.log.prune(before=1_700_000_003.0, now=1_700_000_009.0)
    document = desk.json("verify")
    assert (document["ok"], document["checkpoint"], document["records"]) == (True, 3, 3)


def test_an_export_has_every_record_that_matches_the_oldest_first(desk: Desk, tmp_path: Path) -> None:
    for number in range(1200):
        desk.log.append(record(number, actor="=cmd()" if number % 2 else "bob"))
    lines = desk.run("export").splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, 1201))
    rows = list(csv.DictReader(StringIO(desk.run("export", "--format", "csv", "--actor", "=cmd()"), newline="")))
    assert len(rows) == 600
    assert tuple(rows[0]) == CSV_FIELDS
    assert rows[0]["actor"] == "'=cmd()", "no formula, whoever opens it"
    assert json.loads(rows[0]["parameters"]) == {"days": 7, "名": "值"}
    path = tmp_path / "out.csv"
    assert desk.run("export", "--format", "csv", "--output", str(path)) == ""
    assert len(list(csv.reader(path.read_text(encoding="utf-8").splitlines()))) == 1203
    # The two exports before this one are in it: who took the whole log away is on record.
    assert [each["action"] for each in desk.json("list", "--stage", "read")["records"]] == ["audit.export"] * 3


def test_what_cannot_be_meant_is_bad_usage(desk: Desk) -> None:
    for arguments in (
        ["verify", "--head", "1"], ["list", "--limit", "0"], ["list", "--since", "yesterday"], ["list", "--stage", "x"],
        ["export", "--format", "xml"], [],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            desk.run(*arguments)
        assert ended.value.code == 2


def test_a_log_is_opened_at_its_first_use_and_tried_again_after_a_failure(tmp_path: Path) -> None:
    settings = config.load(tmp_path, {"CACHE_DIR": str(tmp_path / "later")})
    log = LazyAuditLog(settings)
    assert not (tmp_path / "later").exists()
    (tmp_path / "later").touch()
    with pytest.raises(Exception, match="audit log"):
        log.append(record(1))
    (tmp_path / "later").unlink()
    assert log.append(record(1)).seq == 1
    log.close()
