"""``python -m operations``: what it prints, for people and programs, and its exit codes; here and at ``--url``."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import config
from core.errors import CacheKeeperError
from operations.cli import Commands, exit_code_of
from operations.local import LocalOperations
from operations.parser import parser
from operations.show import Say
from tests.workspace import Workspace, wait_for, workspace_in

DAY = 86400.0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A project with an image cache of three old and two young tasks; the daemon runs, with one worker."""
    with workspace_in(tmp_path_factory.mktemp("operations")) as workspace:
        workspace.settings |= {"TASK_WORKERS": "1", "CACHE_DIR": "state", "SERVERS": "http://127.0.0.1:9"}
        fill(workspace)
        workspace.running()
        yield workspace


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Workspace]:
    """A project without a daemon."""
    with workspace_in(tmp_path) as workspace:
        workspace.settings |= {"CACHE_DIR": "state"}
        yield workspace


def fill(workspace: Workspace, *, old: int = 3, young: int = 2) -> Path:
    images = workspace.root / "resources" / "img"
    for number in range(old + young):
        directory = images / "11" / f"task-{number}"
        directory.mkdir(parents=True)
        (directory / "0.png").write_bytes(b"x" * 5000)
        if number < old:
            at = time.time() - (10 + number) * DAY
            os.utime(directory / "0.png", (at, at))
            os.utime(directory, (at, at))
    return images


def ask_json(workspace: Workspace, *arguments: str, code: int = 0, **environment: str) -> Any:
    ran = workspace.run("-m", "operations", *arguments, "--json", **environment)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


def token(workspace: Workspace, role: str) -> str:
    ran = workspace.run("-m", "api", "token", "create", "--user", "far", "--role", role, "--ttl", "1h")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_without_a_daemon_a_command_does_the_work_itself(alone: Workspace) -> None:
    images = fill(alone)
    planned = ask_json(alone, "cleanup", "--days", "7", "--type", "file", "--dry-run")
    assert planned["state"] == "done"
    assert planned["result"]["deleted_entries"] == 3
    assert len(list(images.glob("*/*"))) == 5
    done = ask_json(alone, "cleanup", "--days", "7", "--type", "file")
    assert (done["result"]["deleted_files"], done["result"]["ok"]) == (3, True)
    assert done["result"]["freed_bytes"] == planned["result"]["freed_bytes"] > 0
    assert len(list(images.glob("*/*"))) == 2
    # Nothing is left running.
    assert ask_json(alone, "workers") == []
    # The index knows it too.
    assert ask_json(alone, "stats")["counts"]["images"] == 2


def test_without_a_daemon_a_command_runs_no_task_but_its_own(alone: Workspace) -> None:
    images = fill(alone)
    queued = alone.run("-m", "operations", "cleanup", "--days", "7", "--type", "file", "--no-wait", "--json")
    assert queued.returncode == 0
    assert "none runs here" in queued.stderr
    assert "operations cancel 1" in queued.stderr
    assert ask_json(alone, "refresh")["state"] == "done"
    assert ask_json(alone, "cleanup", "--days", "300", "--dry-run")["result"]["deleted_entries"] == 0
    assert ask_json(alone, "task", "1", code=75)["state"] == "queued"
    assert len(list(images.glob("*/*"))) == 5


def test_ctrl_c_cancels_what_only_the_command_itself_would_carry_out(alone: Workspace) -> None:
    alone.settings["SERVERS"] = "http://127.0.0.1:9"
    command = alone.start("warmup", module="operations")
    wait_for(lambda: [each["state"] for each in ask_json(alone, "tasks")["items"]] == ["running"])
    command.signal(signal.SIGINT)
    assert command.wait() == 130
    assert "task 1: warmup, cancelled" in command.output()
    assert [each["state"] for each in ask_json(alone, "tasks")["items"]] == ["cancelled"]
    assert ask_json(alone, "workers") == []


def test_after_ctrl_c_what_another_worker_carries_out_goes_on_and_the_command_says_so(alone: Workspace) -> None:
    alone.settings["SERVERS"] = "http://127.0.0.1:9"
    worker = alone.start("worker", module="operations")
    worker.wait_for_output("Ready")
    command = alone.start("warmup", module="operations")
    wait_for(lambda: [each["state"] for each in ask_json(alone, "tasks")["items"]] == ["running"])
    command.signal(signal.SIGINT)
    assert command.wait() == 130
    assert "task 1 goes on; python -m operations cancel 1 ends it" in command.output()
    assert ask_json(alone, "task", "1", code=75)["state"] == "running"


def test_what_is_kept_unread_has_no_size_instead_of_nought(alone: Workspace) -> None:
    fill(alone)
    asked = ("cleanup", "--days", "7", "--target", "images", "--dry-run")
    (effect,) = ask_json(alone, *asked)["result"]["effects"]
    assert effect["reasons"]["young"] == {"entries": 2, "bytes": None}
    assert re.search(r"^ +2 +-  not old enough$", alone.run("-m", "operations", *asked).stdout, re.MULTILINE)


def test_what_a_command_did_is_on_record_before_and_after(alone: Workspace) -> None:
    fill(alone)
    ask_json(alone, "cleanup", "--days", "7", "--type", "file")
    ran = alone.run("-m", "operations", "audit", "list", "--json")
    records = json.loads(ran.stdout)["records"]
    mine = [(each["action"], each["stage"], each["outcome"], each["channel"]) for each in records]
    assert ("cache.cleanup", "intent", "pending", "worker") in mine
    assert ("cache.cleanup", "result", "success", "worker") in mine
    assert ("cleanup.request", "result", "success", "cli") in mine
    assert len({each["request_id"] for each in records if each["action"].startswith(("cache.c", "cleanup"))}) == 1
    assert alone.run("-m", "operations", "audit", "verify").returncode == 0


def test_a_dry_run_is_on_record_as_a_plan_and_counts_as_no_deletion(alone: Workspace) -> None:
    fill(alone)
    ask_json(alone, "clear", "--target", "images", "--dry-run")
    for line in alone.run("-m", "operations", "audit", "list").stdout.splitlines():
        assert ".plan  images  dry-run" in line
    exported = alone.run("-m", "operations", "audit", "export", "--format", "jsonl").stdout.splitlines()
    records = [json.loads(line) for line in exported]
    assert {each["action"] for each in records} == {"clear.request.plan", "cache.clear.plan"}
    (result,) = (each for each in records if (each["action"], each["stage"]) == ("cache.clear.plan", "result"))
    assert result["effect"]["would_delete_entries"] == 5
    assert not {"entries", "files", "bytes"} & set(result["effect"])
    assert ask_json(alone, "audit", "list", "--action", "cache.clear")["records"] == []


def test_a_plan_says_what_is_refused_and_the_refusal_names_a_command_that_does_it(alone: Workspace) -> None:
    images = fill(alone, old=20, young=1)
    asked = ("cleanup", "--days", "7", "--target", "images")
    planned = ask_json(alone, *asked, "--dry-run", code=1)["result"]
    done = ask_json(alone, *asked, code=1)["result"]
    why = done["effects"][0]["refused"]
    assert "20 of 21 entries (95%) would go" in why
    assert (planned["effects"][0]["would_refuse"], planned["effects"][0]["refused"]) == (why, "")
    assert (planned["deleted_entries"], planned["freed_bytes"], planned["ok"]) == (0, 0, False)
    assert planned["effects"][0]["reasons"]["older_than"]["entries"] == 20
    shown = alone.run("-m", "operations", *asked, "--dry-run", LANG="C.UTF-8")
    assert f"images: would be refused: {why}" in shown.stdout
    assert "would free: 0 bytes" in shown.stdout
    assert len(list(images.glob("*/*"))) == 21
    rows = alone.run("-m", "operations", "tasks").stdout.splitlines()
    assert ["done: refused" in row for row in rows] == [False, True, True, True]
    (command,) = re.findall(r"that is meant: python (.+ --allow-most)", why)
    assert alone.run(*command.split()).returncode == 0
    assert len(list(images.glob("*/*"))) == 1


def test_the_same_commands_answer_the_same_here_and_far_away(project: Workspace) -> None:
    ask_json(project, "refresh")
    viewer = token(project, "viewer")
    for command in (["stats"], ["backend-info"], ["workers"], ["tasks"]):
        near, far = ask_json(project, *command), ask_json(project, "--url", project.page, *command, API_TOKEN=viewer)
        assert shape(near) <= shape(far), command
    near = ask_json(project, "details", "--sort=-size", "--page-size", "2")
    far = ask_json(project, "--url", project.page, "details", "--sort=-size", "--page-size", "2", API_TOKEN=viewer)
    assert [each["name"] for each in far["items"]] == [each["name"] for each in near["items"]]
    assert len(near["items"]) == 2
    following = ask_json(project, "details", "--sort=-size", "--page-size", "2", "--cursor", near["next_cursor"])
    assert not {each["name"] for each in following["items"]} & {each["name"] for each in near["items"]}


def shape(value: Any, path: str = "") -> set[str]:
    """The keys of a document, with the first row of each list."""
    if isinstance(value, dict):
        return {f"{path}.{name}" for name in value}.union(
            *(shape(each, f"{path}.{name}") for name, each in value.items())
        )
    return shape(value[0], f"{path}[]") if isinstance(value, list) and value else set()


def test_far_away_a_cleanup_is_followed_to_its_end(project: Workspace) -> None:
    operator = token(project, "operator")
    planned = ask_json(
        project, "--url", project.page, "cleanup", "--days", "7", "--type", "file", "--dry-run", API_TOKEN=operator
    )
    assert (planned["state"], planned["result"]["deleted_entries"]) == ("done", 3)
    assert planned["user"] == "far"


def test_far_away_who_may_not_is_told_so(project: Workspace) -> None:
    ran = project.run("-m", "operations", "--url", project.page, "stats")
    assert (ran.returncode, ran.stdout) == (77, "")
    assert "API_TOKEN" in ran.stderr
    viewer = token(project, "viewer")
    ran = project.run("-m", "operations", "--url", project.page, "cleanup", "--days", "7", API_TOKEN=viewer)
    assert ran.returncode == 77
    assert viewer not in ran.stderr
    ran = project.run("-m", "operations", "stats", "--url", "http://127.0.0.1:9", API_TOKEN=viewer)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1)
    assert "Connection refused" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["cleanup", "--days", "0"], 2, "days"),
        (["cleanup", "--days", "366"], 2, "days"),
        (["cleanup", "--target", "nothing"], 2, "there are: images"),
        (["clear", "--target", "images"], 2, "confirm"),
        (["clear", "--target", "images", "--confirm", "image"], 2, "confirm"),
        (["clear", "--target", "/etc", "--confirm", "/etc"], 2, "no target"),
        (["details", "--cursor", "nonsense"], 2, "cursor"),
        (["task", "99999"], 2, "no task"),
        (["retry", "x"], 2, "no task"),
        (["queue", "no:such:key"], 2, "keys"),
        (["warmup", "no-such-server"], 2, "no server"),
    ],
)
def test_bad_input_is_one_line_that_says_what_is_wrong(
    project: Workspace, arguments: list[str], code: int, words: str
) -> None:
    # Within this process: twelve programs to start would be ten seconds.
    surface = LocalOperations(config.load(project.root, project.environment))
    out = io.StringIO()
    try:
        with pytest.raises(CacheKeeperError) as raised:
            Commands(parser().parse_args(arguments), surface, Say(chinese=False), out).run()
    finally:
        surface.close()
    assert (exit_code_of(raised.value), out.getvalue()) == (code, "")
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_what_is_wrong_goes_to_stderr_in_one_line(project: Workspace) -> None:
    ran = project.run("-m", "operations", "clear", "--target", "images", "--confirm", "image")
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (2, "", 1)
    assert "confirm must be the target's own name, 'images'" in ran.stderr


def test_the_audit_log_is_read_far_away_as_it_is_here(project: Workspace) -> None:
    ask_json(project, "refresh")
    viewer, admin = token(project, "viewer"), token(project, "admin")
    near = ask_json(project, "audit", "list", "--action", "refresh.request", "--limit", "1")
    far = ask_json(
        project, "--url", project.page, "audit", "list", "--action", "refresh.request", "--limit", "1", API_TOKEN=viewer
    )
    assert [each["hash"] for each in far["records"]] == [each["hash"] for each in near["records"]]
    shown = project.run("-m", "operations", "--url", project.page, "audit", "list", "--limit", "1", API_TOKEN=viewer)
    assert shown.returncode == 0
    assert len([line for line in shown.stdout.splitlines() if not line.startswith("More")]) == 1
    export = ["audit", "export", "--action", "refresh.request"]
    local = project.run("-m", "operations", *export)
    remote = project.run("-m", "operations", "--url", project.page, *export, API_TOKEN=admin)
    assert (remote.returncode, remote.stdout) == (0, local.stdout)
    refused = project.run("-m", "operations", "--url", project.page, *export, API_TOKEN=viewer)
    assert (refused.returncode, refused.stdout) == (77, "")
    everything = ask_json(project, "--url", project.page, "audit", "list", "--limit", "150", API_TOKEN=viewer)
    seqs = [each["seq"] for each in everything["records"]]
    assert seqs == list(range(seqs[0], seqs[0] - len(seqs), -1)), "one page after the other"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "http://127.0.0.1:1", "audit", "verify"], "run it on the daemon's machine"),
        (["--url", "http://127.0.0.1:1", "worker"], "leave out --url"),
        (["--url", "127.0.0.1:8000", "stats"], "no address such as http://"),
        (["--url", "http://127.0.0.1:99999", "stats"], "no address such as http://"),
        (["--url", "ftp://127.0.0.1", "audit", "list"], "no address such as http://"),
        (["--url", "", "stats"], "no address such as http://"),
        (["--url", "http://", "stats"], "no address such as http://"),
        (["stats", "--url", "http://"], "no address such as http://"),
        (["audit", "list", "--url", ""], "no address such as http://"),
    ],
)
def test_what_cannot_be_done_far_away_is_never_done_here_instead(
    alone: Workspace, arguments: list[str], said: str
) -> None:
    ran = alone.run("-m", "operations", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr


def test_a_token_that_cannot_be_one_is_told_before_it_is_sent(project: Workspace) -> None:
    ran = project.run("-m", "operations", "--url", project.page, "stats", API_TOKEN="令牌\n")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "API_TOKEN has characters that no token has" in ran.stderr


def test_the_same_mistake_ends_with_the_same_code_here_and_far_away(project: Workspace) -> None:
    admin = token(project, "admin")
    for wrong in (["clear", "--target", "images", "--confirm", "image"], ["details", "--cursor", "nonsense"]):
        assert project.run("-m", "operations", *wrong).returncode == 2
        assert project.run("-m", "operations", "--url", project.page, *wrong, API_TOKEN=admin).returncode == 2
    lost = project.run("-m", "operations", "--url", project.page + "/status", "stats", API_TOKEN=admin)
    assert "its address has no path" in lost.stderr


def test_a_task_that_is_over_cannot_be_cancelled(project: Workspace) -> None:
    done = ask_json(project, "refresh")
    ran = project.run("-m", "operations", "cancel", done["id"])
    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"task {done['id']} is done: there is nothing to cancel" in ran.stderr
    again = project.run(
        "-m", "operations", "--url", project.page, "cancel", done["id"], API_TOKEN=token(project, "operator")
    )
    assert (again.returncode, again.stderr) == (1, ran.stderr)


def test_a_walk_is_told_in_words(project: Workspace) -> None:
    ran = project.run("-m", "operations", "refresh", "--target", "images")
    assert re.search(r"  images: 5 entries, \d new, 0 changed, 0 gone; \d+\.\d\d s\n", ran.stdout), ran.stdout


def test_a_task_that_is_not_waited_for_can_be_looked_at_and_followed(project: Workspace) -> None:
    queued = ask_json(project, "refresh", "--no-wait")
    assert queued["state"] in ("queued", "running", "done")
    assert ask_json(project, "task", queued["id"], "--wait")["state"] == "done"
    assert queued["id"] in [each["id"] for each in ask_json(project, "tasks", "--limit", "5")["items"]]
    assert ask_json(project, "queue", f"task:{queued['id']}:progress")["status"] == "done"
    again = project.run("-m", "operations", "retry", queued["id"])
    assert (again.returncode, len(again.stderr.splitlines())) == (1, 1)


def test_a_warm_up_of_a_server_that_is_down_fails_and_says_why(project: Workspace) -> None:
    wait_for(lambda: project.states().get("http://127.0.0.1:9") == "unreachable")
    ran = project.run("-m", "operations", "warmup")
    assert ran.returncode == 1
    assert "1 of 1 not loaded" in ran.stdout
    assert "unreachable" in ran.stdout
    # The task keeps the English; who looks at it in Chinese reads Chinese.
    failed = ask_json(project, "tasks", "--limit", "1")["items"][0]["id"]
    shown = project.run("-m", "operations", "task", failed, LC_ALL="zh_CN.UTF-8").stdout
    assert (
        "1 个中有 1 个未加载：127.0.0.1:9 default：无法连接 (无法连接 http://127.0.0.1:9：Connection refused)" in shown
    )


def test_people_are_answered_in_their_own_language(project: Workspace) -> None:
    ask_json(project, "refresh")
    english = project.run("-m", "operations", "stats").stdout
    chinese = project.run("-m", "operations", "stats", LANG="zh_CN.UTF-8").stdout
    assert "files" in english
    assert "个文件" in chinese
    assert "images" in english


def test_what_is_wrong_is_told_in_the_language_of_the_terminal_here_and_far_away(project: Workspace) -> None:
    wrong = ["clear", "--target", "nosuch", "--confirm", "x"]
    english, chinese = "there is no target 'nosuch'; there are: images", "没有目标 'nosuch'；现有：images"
    environment = {"API_TOKEN": token(project, "admin")}
    for where in ([], ["--url", project.page]):
        ran = project.run("-m", "operations", *where, *wrong, **environment)
        assert (ran.returncode, ran.stderr.startswith(f"cannot do that: {english}")) == (2, True), ran.stderr
        ran = project.run("-m", "operations", *where, *wrong, **environment, LANG="zh_CN.UTF-8")
        assert (ran.returncode, ran.stderr.startswith(f"操作失败：{chinese}")) == (2, True), ran.stderr
    ran = project.run("-m", "operations", "--url", project.page, "stats", LANG="zh_CN.UTF-8")
    assert ran.stderr == (
        "操作失败：需要令牌：Authorization: Bearer …；可用 python -m api token create 签发"
        f"（请将 API_TOKEN 设为 {project.page} 的令牌）\n"
    )
    days = ["--url", project.page, "cleanup", "--days", "0"]
    ran = project.run("-m", "operations", *days, **environment, LANG="zh_CN.UTF-8")
    assert ran.stderr == "操作失败：cleanup.arguments.days：必须大于或等于 1\n"


def test_a_failed_task_keeps_the_english_for_programs_and_is_told_in_chinese(project: Workspace) -> None:
    queued = ask_json(project, "warmup", "--set", "nosuch", code=1)
    assert queued["error"] == "none of the servers has a warm-up set 'nosuch'"
    shown = project.run("-m", "operations", "task", queued["id"], LANG="zh_CN.UTF-8").stdout
    assert "没有服务器有预热集 'nosuch'" in shown
    assert ask_json(project, "task", queued["id"], code=1, LANG="zh_CN.UTF-8")["error"] == queued["error"]
    listed = project.run("-m", "operations", "audit", "list", "--action", "fleet.warmup", LANG="zh_CN.UTF-8").stdout
    assert "没有服务器有预热集 'nosuch'" in listed


def test_settings_that_cannot_be_used_and_a_broken_queue_are_named(alone: Workspace) -> None:
    ran = alone.run("-m", "operations", "workers", PORT="none")
    assert ran.returncode == 78
    assert "PORT" in ran.stderr
    (alone.root / "state").mkdir()
    alone.write("state/tasks.sqlite3", "no database" * 1000)
    ran = alone.run("-m", "operations", "tasks")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1)
    assert "tasks.sqlite3" in ran.stderr
    ran = alone.run("-m", "operations", "tasks", LANG="zh_CN.UTF-8")
    assert f"{alone.root}/state/tasks.sqlite3 无法打开：已损坏（file is not a database）；请将其移走" in ran.stderr
