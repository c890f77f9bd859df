"""``python -m api token`` as its users type it, and what a running daemon then takes."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from api.token_cli import parser
from core.audit import AuditQuery, AuditRecord, Stage
from store.audit_log import SqliteAuditLog
from tests.workspace import Workspace, workspace_in


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A daemon of its own on loopback, with whatever key it has made for itself."""
    with workspace_in(tmp_path_factory.mktemp("tokens"), SERVERS="http://127.0.0.1:1") as workspace:
        workspace.running()
        yield workspace


def token(workspace: Workspace, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    result = workspace.run("-m", "api", "token", *arguments)
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


def created(workspace: Workspace, role: str = "operator", *arguments: str) -> dict[str, Any]:
    document = json.loads(token(workspace, "create", "--user", "alice", "--role", role, "--json", *arguments).stdout)
    assert isinstance(document, dict)
    return document


def paused(workspace: Workspace, given: str) -> int:
    return workspace.ask("/api/pause/0?seconds=60", "POST", Authorization=f"Bearer {given}").status


def on_record(workspace: Workspace, **query: Any) -> list[AuditRecord]:
    log = SqliteAuditLog(workspace.root / "audit.sqlite3")
    try:
        return list(log.records(AuditQuery(**query)))
    finally:
        log.close()


def test_create_prints_the_token_alone_so_that_a_shell_can_keep_it(running: Workspace) -> None:
    result = token(running, "create", "--user", "bob", "--role", "operator", "--ttl", "30m")
    assert result.stdout.count("\n") == 1
    assert result.stdout.strip().count(".") == 2
    assert "bob, operator, until" in result.stderr
    assert result.stdout.strip() not in result.stderr
    assert paused(running, result.stdout.strip()) == 200
    shown = token(running, "list", "--json").stdout
    assert result.stdout.strip() not in shown


def test_a_revoked_token_is_refused_by_the_running_daemon_at_once(running: Workspace) -> None:
    one, other = created(running), created(running)
    assert paused(running, one["token"]) == paused(running, other["token"]) == 200
    told = token(running, "revoke", one["id"])
    assert "is refused from now on" in told.stdout
    answer = running.ask("/api/pause/0", "POST", Authorization=f"Bearer {one['token']}")
    assert (answer.status, answer.json()["detail"]) == (401, "the token has been revoked")
    assert paused(running, other["token"]) == 200
    states = {each["id"]: each["state"] for each in json.loads(token(running, "list", "--all", "--json").stdout)}
    assert (states[one["id"]], states[other["id"]]) == ("revoked", "live")
    assert one["id"] not in token(running, "list").stdout


def test_the_list_has_a_line_that_says_what_its_columns_are(running: Workspace) -> None:
    made = created(running)
    header, *rows = token(running, "list").stdout.splitlines()
    assert header.split() == ["ID", "ROLE", "STATE", "ISSUED", "EXPIRES", "USER"]
    assert made["id"] in "".join(rows)
    assert header.index("USER") == rows[0].index("alice")
    header, *rows = running.run("-m", "api", "token", "list", LANG="zh_CN.UTF-8").stdout.splitlines()
    assert header.split() == ["编号", "角色", "状态", "签发", "到期", "用户"]
    # A Chinese character is two columns wide.
    assert header.index("用户") + 2 * 5 == rows[0].index("alice")


def test_a_rotation_ends_the_tokens_of_the_key_before_the_former_in_the_running_daemon(running: Workspace) -> None:
    first = created(running)["token"]
    token(running, "rotate")
    second = created(running)["token"]
    assert paused(running, first) == paused(running, second) == 200
    assert json.loads(token(running, "rotate", "--json").stdout)["signs"]
    assert (paused(running, first), paused(running, second)) == (401, 200)


def test_every_command_leaves_a_record_without_the_token(running: Workspace) -> None:
    made = created(running, "admin")
    token(running, "revoke", made["id"])
    token(running, "list")
    (result,) = [
        each
        for each in on_record(running, action="token.create", stage=Stage.RESULT)
        if each.effect["token_id"] == made["id"]
    ]
    assert (result.channel, result.target, result.parameters["role"]) == ("cli", "alice", "admin")
    assert result.actor.startswith("local:")
    assert [each.outcome for each in on_record(running, action="token.revoke", target=made["id"])] == [
        "pending", "success",
    ]  # fmt: skip
    assert on_record(running, action="token.list")
    content = (running.root / "audit.sqlite3").read_bytes() + (running.root / "audit.sqlite3-wal").read_bytes()
    assert made["token"].encode() not in content


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--user", "local:root", "--role", "admin"),
        ("create", "--user", "schedule", "--role", "admin"),
        ("create", "--user", "", "--role", "admin"),
        ("create", "--user", "a b", "--role", "admin"),
        ("create", "--user", "a", "--role", "root"),
        ("create", "--user", "a"),
        ("create", "--user", "a", "--role", "admin", "--ttl", "0h"),
        ("create", "--user", "a", "--role", "admin", "--ttl", "-1h"),
        ("create", "--user", "a", "--role", "admin", "--ttl", "367d"),
        ("create", "--user", "a", "--role", "admin", "--ttl", "8"),
        ("revoke",),
        (),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_bad_usage(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["token", *arguments])
    assert ended.value.code == 2


def test_a_token_that_nobody_was_given_cannot_be_revoked_and_the_command_says_so(running: Workspace) -> None:
    assert "there is no token 'nobody'" in token(running, "revoke", "nobody", code=1).stderr


def test_a_chinese_terminal_is_answered_in_chinese(running: Workspace) -> None:
    def chinese(*arguments: str) -> subprocess.CompletedProcess[str]:
        return running.run("-m", "api", "token", *arguments, LANG="zh_CN.UTF-8")

    refused = chinese("revoke", "nobody")
    assert (refused.returncode, refused.stderr) == (1, "没有令牌 'nobody'；可用 python -m api token list --all 查看\n")
    made = chinese("create", "--user", "bo", "--role", "viewer")
    assert "仅显示这一次" in made.stderr
    assert "not shown" not in made.stderr
    issued = json.loads(chinese("create", "--user", "bo", "--role", "viewer", "--json").stdout)
    assert chinese("revoke", issued["id"]).stdout == f"bo 的令牌 {issued['id']} 已撤销\n"
    unusable = running.run("-m", "api", "token", "list", LANG="zh_CN.UTF-8", CACHE_DIR="/dev/null/x")
    assert (unusable.returncode, unusable.stdout) == (1, "")
    assert unusable.stderr.startswith("操作失败：")


def test_no_token_is_given_out_that_cannot_be_put_on_record(workspace: Workspace) -> None:
    (workspace.root / "audit.sqlite3").mkdir()
    result = token(workspace, "create", "--user", "eve", "--role", "admin", code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("cannot do that: nothing was done: token.create of eve cannot be put on record: ")
    chinese = workspace.run("-m", "api", "token", "create", "--user", "eve", "--role", "admin", LANG="zh_CN.UTF-8")
    assert chinese.stderr.startswith(
        f"操作失败：未执行任何操作：eve 的 token.create 无法写入审计日志：{workspace.root}/"
    )
    assert json.loads(token(workspace, "list", "--all", "--json").stdout) == []


def test_with_a_secret_of_the_settings_rotate_says_how_to_change_it(workspace: Workspace) -> None:
    workspace.settings["API_SECRET"] = secrets.token_urlsafe(48)
    assert "API_SECRET=NEW,FORMER" in token(workspace, "rotate", code=1).stderr
    assert not (workspace.root / "api_keys.json").exists()
