"""``python -m modelcache`` as a process: what people type, what it says, and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.audit import AuditOutcome, AuditQuery
from modelcache.lock import ModelLock
from modelcache.parser import parser
from modelcache.roots import CacheRoot
from store.audit_log import SqliteAuditLog
from tests.modelcache.fake_hub import FakeHub
from tests.modelcache.models import NAME, REPO, safetensors, write
from tests.modelcache.test_check import SMALL, managed
from tests.workspace import Workspace, workspace_in

ONE = {"config.json": b"{}", "w.safetensors": safetensors(200_000)}


@pytest.fixture
def workspace(tmp_path: Path, hub: FakeHub) -> Iterator[Workspace]:
    settings = {
        "MODEL_CACHE_DIRS": str(tmp_path / "cache"), "MODEL_VIEW_DIRS": str(tmp_path / "view"), "HF_ENDPOINT": hub.url,
        "MODELSCOPE_ENDPOINT": hub.url, "MODELSCOPE_API_TOKEN": "ms-token-1", "HOME": str(tmp_path),
        "WORKFLOW_PATH": "", "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "*",
    }  # fmt: skip
    with workspace_in(tmp_path, **settings) as workspace:
        yield workspace


def run(workspace: Workspace, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return workspace.run("-m", "modelcache", *arguments, **environment)


def answered(workspace: Workspace, answer: str, *arguments: str) -> tuple[int, str]:
    """Run on a terminal, and type an answer to its question."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "modelcache", *arguments], cwd=workspace.root, env=workspace.environment,
        stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, answer.encode() + b"\n")
    output, _ = process.communicate(timeout=60)
    os.close(ours)
    return process.returncode, output


def test_the_guides_second_run_finds_the_model_and_says_so(workspace: Workspace, hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, SMALL)
    first = run(workspace, "pull", REPO)
    assert first.returncode == 0, first.stderr
    assert "✅ 下载完成！" in first.stdout
    hub.requests.clear()
    second = run(workspace, "pull", REPO)
    lines = second.stdout.splitlines()
    assert lines[1] == f"📁 检查目录: {tmp_path}/cache/{NAME}"
    assert lines[2] == "✅ 模型已存在且完整: 2.13 MB"
    assert lines[3].startswith("✅ 模型已存在，跳过下载！")
    assert hub.requests == []
    moved = run(workspace, "transfer", REPO, "me/flux", "--json")
    assert (moved.returncode, json.loads(moved.stdout)["verified"]) == (0, True)
    checked = run(workspace, "transfer", REPO, "me/flux", "--verify-only", LANG="zh_CN.UTF-8")
    assert f"✅ 两端一致: {len(SMALL)} 个文件" in checked.stdout


def test_list_shows_names_repos_states_and_the_free_space(workspace: Workspace, tmp_path: Path) -> None:
    managed(tmp_path / "cache")
    write(tmp_path / "cache" / "broken", {"config.json": b"{}", "w.bin": b""})
    write(tmp_path / "view" / "seen", ONE)
    shown = run(workspace, "list", "--sort", "size").stdout.splitlines()
    assert [line.split()[0] for line in shown[:4]] == ["NAME", NAME, "seen", "broken"]
    assert "complete (by hash)" in shown[1]
    assert "[read-only]" in shown[2]
    assert "corrupt" in shown[3]
    assert "free" in shown[5]
    found = json.loads(run(workspace, "list", "--top", "1", "--sort", "size", "--json").stdout)
    assert [each["name"] for each in found["models"]] == [NAME]
    assert found["total"]["models"] == 3
    assert found["disks"][0]["free_bytes"] > 0


def test_clean_shows_all_matches_first_and_only_a_yes_deletes(workspace: Workspace, tmp_path: Path) -> None:
    managed(tmp_path / "cache")
    write(tmp_path / "cache" / "other", ONE)
    refused = run(workspace, "clean", "flux")
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    code, output = answered(workspace, "", "clean", "flux")
    assert code == 1
    assert output.index(NAME) < output.index("(y/N)")
    assert "other" not in output
    assert (tmp_path / "cache" / NAME).exists()
    code, output = answered(workspace, "y", "clean", "flux")
    assert (code, (tmp_path / "cache" / NAME).exists()) == (0, False)
    assert "deleted: 1, freed 2.1" in output
    assert run(workspace, "clean", "--dry-run").returncode == 0
    assert (tmp_path / "cache" / "other").exists()
    assert run(workspace, "clean", "--force").returncode == 0
    assert not (tmp_path / "cache" / "other").exists()


def test_a_deletion_is_on_record_and_does_not_begin_without_one(workspace: Workspace, tmp_path: Path) -> None:
    managed(tmp_path / "cache")
    (workspace.root / "audit.sqlite3").mkdir()
    refused = run(workspace, "clean", "flux", "--force")
    assert refused.returncode == 1
    assert "cannot be put on record" in refused.stderr
    assert (tmp_path / "cache" / NAME).exists()
    (workspace.root / "audit.sqlite3").rmdir()
    assert run(workspace, "clean", "flux", "--force").returncode == 0
    log = SqliteAuditLog(workspace.root / "audit.sqlite3")
    intent, result = log.records(AuditQuery())
    log.close()
    assert (intent.action, intent.target, intent.parameters["models"]) == ("model.clean", "flux", [NAME])
    assert (result.outcome, result.effect["models"]) == (AuditOutcome.SUCCESS, 1)


def test_force_never_passes_over_a_lock_or_a_pin(workspace: Workspace, tmp_path: Path) -> None:
    managed(tmp_path / "cache")
    with ModelLock(CacheRoot(tmp_path / "cache"), NAME, "pull"):
        locked = run(workspace, "clean", "flux", "--force")
        assert locked.returncode == 75
        assert f"process {os.getpid()}" in locked.stdout
        assert run(workspace, "pin", "flux").returncode == 75
    assert run(workspace, "pin", "flux").returncode == 0
    pinned = run(workspace, "clean", "flux", "--force")
    assert (pinned.returncode, "pinned" in pinned.stdout) == (1, True)
    assert (tmp_path / "cache" / NAME).exists()
    run(workspace, "pin", "flux", "--off")
    assert run(workspace, "clean", "flux", "--force").returncode == 0


def test_verify_says_which_file_is_wrong_and_fails(workspace: Workspace, tmp_path: Path) -> None:
    model = managed(tmp_path / "cache")
    assert run(workspace, "verify").returncode == 0
    os.truncate(model / "flux1.safetensors", 60_000)
    wrong = run(workspace, "verify", "--full")
    assert wrong.returncode == 1
    assert "flux1.safetensors: wrong size, 60000 of" in wrong.stdout
    assert "flux1.safetensors" in run(workspace, "info", "FLUX.1-dev").stdout


def test_prune_asks_too_and_says_what_it_freed(workspace: Workspace, tmp_path: Path) -> None:
    model = managed(tmp_path / "cache")
    write(model, {".model_cache/parts/x": b"x" * 9000})
    assert run(workspace, "prune").returncode == 1
    done = run(workspace, "prune", "--force", "--json")
    assert json.loads(done.stdout)[0]["freed_bytes"] == 12288


def test_a_name_that_matches_nothing_is_a_usage_error_that_shows_what_is_there(
    workspace: Workspace, tmp_path: Path
) -> None:
    write(tmp_path / "cache" / "one", ONE)
    for command in ("info", "clean", "verify", "pin"):
        result = run(workspace, command, "nothing")
        assert result.returncode == 2
        assert "one" in result.stderr


def test_a_refusal_is_one_line_without_the_token(workspace: Workspace, hub: FakeHub) -> None:
    hub.publish(REPO, SMALL)
    hub.token = "the-right-one"
    result = run(workspace, "pull", REPO, HF_TOKEN="hf_not_the_right_one")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "401" in result.stderr
    assert "hf_not_the_right_one" not in result.stdout + result.stderr


def test_listing_loads_no_client_library(workspace: Workspace) -> None:
    heavy = ("huggingface_hub", "modelscope_hub", "requests")
    code = (
        "import sys; from modelcache.__main__ import main; main(['list'])\n"
        f"print([each for each in sys.modules if each in {heavy}])"
    )
    assert "[]" in workspace.run("-c", code).stdout.splitlines()[-1]


def test_arguments_that_mean_nothing_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, says in (
        (["clean", "--older-than", "soon"], "30d"), (["clean", "--keep-under", "much"], "200GB"),
        (["pull", "flux"], "repo id"), (["list", "--top", "0"], "above 0"),
        (["pull", "a/b", "--revision", "../x"], "branch"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            parser().parse_args(arguments)
        assert ended.value.code == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize("locale", ["C.UTF-8", "zh_CN.UTF-8"])
def test_where_there_is_nothing_to_do_that_is_said(workspace: Workspace, locale: str) -> None:
    chinese = locale.startswith("zh")
    for arguments, english, in_chinese in (
        (["verify", "--full"], "no models to verify", "没有可校验的模型"),
        (["clean"], "no models that could be deleted", "没有可删除的模型"),
    ):
        result = run(workspace, *arguments, LANG=locale)
        assert (result.returncode, result.stdout) == (0, f"{in_chinese if chinese else english}\n")
        assert run(workspace, *arguments, "--json").stdout == "[]\n"


def test_a_list_without_models_tells_the_room_that_there_is_for_the_first(workspace: Workspace, tmp_path: Path) -> None:
    assert not (tmp_path / "cache").exists()
    lines = run(workspace, "list").stdout.splitlines()
    assert lines[:2] == ["no models", "models: 0, 0 B, on disk 0 B"]
    assert lines[2].startswith(f"{tmp_path}/cache: free ")


@pytest.mark.parametrize("answer", ["n", "\x04"])
def test_whoever_does_not_say_yes_reads_that_nothing_was_deleted(
    workspace: Workspace, tmp_path: Path, answer: str
) -> None:
    write(tmp_path / "cache" / "one", ONE)
    code, output = answered(workspace, answer, "clean")
    assert code == 1
    assert output.endswith("nothing was deleted\n")
    assert (tmp_path / "cache" / "one").exists()


HAN = re.compile("[\u4e00-\u9fff]")
CHINESE = {"LANG": "zh_CN.UTF-8"}


@pytest.mark.parametrize(
    ("arguments", "code", "english", "chinese"),
    [
        (["info", "nosuch"], 2, "no model matches 'nosuch'; there are: one", "没有模型匹配 'nosuch'；现有：one"),
        (
            ["clean"], 1, "refused: nobody is here to say yes; --force does it without asking",
            "已拒绝：此处无人可确认；--force 可不经询问直接执行",
        ),
        (
            ["pull", REPO, "--into", "/nowhere/else"], 1, "/nowhere/else is not one of MODEL_CACHE_DIRS",
            "/nowhere/else 不在 MODEL_CACHE_DIRS 中",
        ),
        (
            ["pull", "a/none"], 1, "{hub} has no such repo, revision or file: a/none (404)",
            "{hub} 没有此仓库、版本或文件：a/none（404）",
        ),
        (
            ["pull", "flux"], 2, "'flux' is not a repo id such as black-forest-labs/FLUX.1-dev",
            "'flux' 不是仓库 ID，应如 black-forest-labs/FLUX.1-dev",
        ),
    ],
)  # fmt: skip
def test_an_error_is_in_the_language_of_the_terminal(
    workspace: Workspace, hub: FakeHub, tmp_path: Path, arguments: list[str], code: int, english: str, chinese: str
) -> None:
    write(tmp_path / "cache" / "one", ONE)
    hub.publish(REPO, SMALL)
    told = run(workspace, *arguments)
    last = told.stderr.splitlines()[-1]
    assert (told.returncode, last.partition("argument REPO: ")[2] or last) == (code, english.format(hub=hub.url))
    assert not HAN.search(told.stderr)
    told = run(workspace, *arguments, **CHINESE)
    assert told.returncode == code
    assert told.stderr.splitlines()[-1].endswith(chinese.format(hub=hub.url))


def test_a_busy_model_is_told_in_the_language_of_the_terminal(workspace: Workspace, tmp_path: Path) -> None:
    managed(tmp_path / "cache")
    with ModelLock(CacheRoot(tmp_path / "cache"), NAME, "pull"):
        assert re.fullmatch(
            rf"{NAME}: process {os.getpid()} is at it \(pull\) since [\d :-]+; try again later\n",
            run(workspace, "pin", "flux").stderr,
        )
        told = run(workspace, "pin", "flux", **CHINESE).stderr
        assert re.fullmatch(rf"{NAME}：进程 {os.getpid()} 自 [\d :-]+ 起正在处理（pull）；请稍后重试\n", told)
        kept = run(workspace, "clean", "flux", "--force", **CHINESE).stdout
        assert f"已锁定：进程 {os.getpid()} 自 " in kept


def test_the_guides_lines_stand_alone_on_a_chinese_terminal(workspace: Workspace, hub: FakeHub) -> None:
    hub.publish(REPO, SMALL)
    first = run(workspace, "pull", REPO, **CHINESE).stdout
    assert "✅ 下载完成！ 2.13 MB，本次下载 2.13 MB，存入 " in first
    lines = run(workspace, "pull", REPO, **CHINESE).stdout.splitlines()
    assert (lines[0], lines[2:]) == (
        "🔍 检查模型是否已存在...", ["✅ 模型已存在且完整: 2.13 MB", "✅ 模型已存在，跳过下载！"]
    )  # fmt: skip
    english = run(workspace, "pull", REPO).stdout.splitlines()
    assert english[0] == f"🔍 检查模型是否已存在... / is {REPO} here already?"
    assert english[3] == "✅ 模型已存在，跳过下载！ / complete, nothing to download"
