"""main.py once through: one cycle, one plan, an exit code; and settings that cannot be used."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from examples.fake_comfyui import FakeFleet, FakeServer
from tests.workspace import Workspace

KEYS = ("pulid_eva_clip", "pulid_face_analysis", "pulid_model", "ben2_base", "sam3")


def test_a_dry_run_says_what_it_would_submit_and_submits_nothing(workspace: Workspace) -> None:
    with FakeServer() as fake:
        workspace.settings["SERVERS"] = fake.url
        result = workspace.run("main.py", "--once", "--dry-run")
        assert "would submit key 'pulid_eva_clip'" in result.stdout
        assert result.returncode == 1
        assert fake.prompts == []


def test_once_polls_each_server_once_and_its_exit_code_says_whether_all_is_loaded(workspace: Workspace) -> None:
    with FakeFleet(2) as fleet:
        workspace.settings["SERVERS"] = ",".join(fleet.urls)
        for fake in fleet:
            fake.store(*KEYS)
        loaded = workspace.run("main.py", "--once")
        assert (loaded.returncode, loaded.stderr) == (0, "")
        assert all(f"127.0.0.1:{fake.port} default: loaded" in loaded.stdout for fake in fleet)
        lists = [[request for request in fake.requests if request.path == "/inspire/cache/list"] for fake in fleet]
        assert [len(each) for each in lists] == [1, 1]

        fleet[1].evict("sam3")
        missing = workspace.run("main.py", "--once")
        assert missing.returncode == 1
        assert [len(fake.prompts) for fake in fleet] == [0, 1]


def test_once_plans_one_cleaning_and_deletes_nothing(workspace: Workspace) -> None:
    tasks = [make_task(workspace, name, days) for name, days in (("old", 30), ("older", 60), ("new", 0))]
    workspace.settings["SERVERS"] = "http://127.0.0.1:1"
    result = workspace.run("main.py", "--once")
    assert f"images {workspace.root}/resources/img: would delete 2 entries, 2 files" in result.stdout
    assert all(task.exists() for task in tasks)


def make_task(workspace: Workspace, name: str, days: float) -> Path:
    """Make a task's directory in the image cache, as old as it is said to be."""
    task = workspace.root / "resources" / "img" / "02" / name
    task.mkdir(parents=True)
    (task / "0.png").write_bytes(b"png")
    for path in (task / "0.png", task):
        os.utime(path, (time.time() - days * 86400,) * 2)
    return task


def test_everything_that_is_wrong_with_the_settings_is_listed_at_once(workspace: Workspace) -> None:
    workspace.write(".env", "PORT=0\nCLEAN_TIME=25:00\nSERVERS=ftp://somewhere\n")
    del workspace.settings["PORT"]
    workspace.settings |= {"CHECK_INTERVAL_SECONDS": "soon", "WORKFLOW_PATH": "nowhere.json"}
    workspace.write("fleet.toml", '[[group]]\nname = "a"\nserver = ["http://127.0.0.1:1"]\n')
    result = workspace.run("main.py")
    assert result.returncode == 78
    problems = result.stderr.splitlines()
    for key in (
        "PORT='0'",
        "CLEAN_TIME='25:00'",
        "SERVERS='ftp://somewhere'",
        "CHECK_INTERVAL_SECONDS='soon'",
        "WORKFLOW_PATH='",
        "group[a].server=",
    ):
        assert [line for line in problems if line.startswith(key)], f"{key} is not in {problems}"
    assert not list(workspace.root.glob("*.sqlite3*")), "nothing may be started with settings that are wrong"


@pytest.mark.parametrize(("below", "language"), [("", "chinese"), ("1", "english")])
def test_errors_are_told_in_the_language_of_the_terminal_and_below_the_supervisor_in_english(
    workspace: Workspace, below: str, language: str
) -> None:
    # The supervisor writes them into the log.
    workspace.settings |= {"LC_ALL": "zh_CN.UTF-8", "CACHE_KEEPER_SUPERVISED": below, "PORT": "0"}
    told = {
        "chinese": "PORT='0'：必须是 1 到 65535 之间的整数\n",
        "english": "PORT='0': must be a whole number from 1 to 65535\n",
    }
    assert workspace.run("main.py").stderr == told[language]
    workspace.settings |= {"PORT": "8000", "CACHE_DIR": str(workspace.write("file", "") / "cache")}
    told = {"chinese": "无法运行：", "english": "cannot run: "}
    assert workspace.run("main.py", "--once").stderr.startswith(told[language])


def test_a_cache_directory_that_cannot_be_made_is_one_line_and_a_failure(workspace: Workspace) -> None:
    workspace.settings["CACHE_DIR"] = str(workspace.write("file", "") / "cache")
    result = workspace.run("main.py", "--once")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert str(workspace.root / "file") in result.stderr
