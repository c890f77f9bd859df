"""``python -m checker`` as its users type it, beside a running daemon and without one."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

import config
from checker.cli import UsageError, moment, seconds_of
from core.audit import AuditQuery, Stage
from examples.fake_comfyui import FakeFleet
from runtime.daemon_fleet import DaemonFleet
from store.audit_log import SqliteAuditLog
from tests.workspace import Workspace, wait_for, workspace_in

KEYS = ("pulid_eva_clip", "pulid_face_analysis", "pulid_model", "ben2_base", "sam3")

FLEET = """
[[set]]
name = "faces"
workflow = "examples/warmup.json"

[[group]]
name = "gpu"
servers = [{{ name = "first", url = "{0}" }}, {{ name = "second", url = "{1}" }}]

[[group]]
name = "lab"
servers = ["{2}"]
"""


class Place:
    """A workspace with three servers: first and second in the group gpu, a third in the group lab."""

    def __init__(self, workspace: Workspace, fakes: FakeFleet) -> None:
        self.workspace, self.fakes = workspace, fakes
        self.third = fakes[2].url.removeprefix("http://")
        workspace.write("fleet.toml", FLEET.format(*fakes.urls))

    def run(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """Run a command, which must end with ``code``; return what it printed, errors last."""
        result = self.workspace.checker(*arguments, **environment)
        assert result.returncode == code, f"{arguments}: {result.returncode}\n{result.stdout}{result.stderr}"
        assert "Traceback" not in result.stderr
        return result.stdout + result.stderr

    def json(self, *arguments: str, code: int = 0) -> dict[str, str]:
        """Run a command with --json; return the state of each server by name."""
        result = self.workspace.checker(*arguments, "--json")
        assert result.returncode == code, f"{arguments}: {result.returncode}\n{result.stdout}{result.stderr}"
        return {row["name"]: row["state"] for row in json.loads(result.stdout)["servers"]}


RUN_MANY = """
import contextlib, io, json, sys
from checker.__main__ import main
results = []
for arguments in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
    results.append([code, said.getvalue()])
print(json.dumps(results))
"""


def run_many(workspace: Workspace, commands: list[list[str]]) -> list[tuple[int, str]]:
    """Run commands one after the other in one process, which costs its imports once; return code and words of each."""
    result = workspace.run("-c", RUN_MANY, json.dumps(commands))
    assert result.returncode == 0, result.stderr
    return [(code, text) for code, text in json.loads(result.stdout)]


@pytest.fixture
def place(workspace: Workspace) -> Iterator[Place]:
    """Without a daemon."""
    with FakeFleet(3) as fakes:
        yield Place(workspace, fakes)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """With a daemon; everything is loaded."""
    with workspace_in(tmp_path_factory.mktemp("cli")) as workspace, FakeFleet(3) as fakes:
        place = Place(workspace, fakes)
        for fake in fakes:
            fake.store(*KEYS)
        workspace.running()
        wait_for(lambda: set(workspace.states().values()) == {"loaded"})
        yield place


# -- beside a running daemon -----------------------------------------------------------------------------------


def test_status_shows_what_the_daemon_knows_for_people_and_programs(running: Place) -> None:
    text = running.run("status")
    assert "not running" not in text
    for name in ("first", "second", running.third):
        assert [line for line in text.splitlines() if line.startswith(name) and "faces" in line and "5/5" in line]
    states = {"first": "loaded", "second": "loaded", running.third: "loaded"}
    assert running.json("status") == states
    assert running.json("status", "gpu") == {"first": "loaded", "second": "loaded"}
    assert running.json("status", running.fakes[2].url + "/", "first", "first") == {
        "first": "loaded",
        running.third: "loaded",
    }


def test_a_proxy_for_the_outside_world_is_not_asked_about_this_machine(running: Place) -> None:
    proxy = "http://127.0.0.1:1"
    assert "not running" not in running.run("status", http_proxy=proxy, HTTP_PROXY=proxy, ALL_PROXY=proxy)


def test_check_polls_now_and_its_exit_code_says_whether_all_is_loaded(running: Place) -> None:
    fake = running.fakes[1]
    fake.set_loader(fail=True)
    try:
        fake.evict("sam3")
        assert running.json("check", "first") == {"first": "loaded"}
        wait_for(lambda: running.workspace.states()[fake.url] == "failed")
        # It is tried again and again, so it is not always found failed, but never loaded.
        assert running.json("check", "second", code=1)["second"] != "loaded"
        assert set(running.json("check", code=1)) == {"first", "second", running.third}
        wait_for(lambda: "Error while loading the model" in running.run("check", "gpu", code=1))
    finally:
        fake.set_loader()
    assert running.json("warm", "second", "--wait") == {"second": "loaded"}
    assert set(fake.keys()) == set(KEYS)


def test_warm_with_force_warms_what_is_loaded(running: Place) -> None:
    fake = running.fakes[0]
    submitted = len(fake.prompts)
    assert running.json("warm", "first") == {"first": "loaded"}
    assert len(fake.prompts) == submitted
    running.run("warm", "first", "--set", "faces", "--force", "--wait", "--timeout", "20")
    assert len(fake.prompts) == submitted + 1


def test_a_pause_is_seen_by_the_daemon_and_ends_by_itself_or_when_told_to(running: Place) -> None:
    fake, workspace = running.fakes[2], running.workspace

    def state() -> str:
        return workspace.states()[fake.url]

    assert "Paused lab until resumed" in running.run("pause", "lab")
    wait_for(lambda: state() == "paused")
    asked = len(fake.requests)
    assert running.json("status", "lab", code=1) == {running.third: "paused"}
    time.sleep(1)
    assert len(fake.requests) == asked
    # By the server's own name nothing is paused; saying only that would leave the reader puzzled.
    assert "lab" in running.run("resume", running.third)
    assert state() == "paused"
    assert "Resumed lab" in running.run("resume", "all")
    wait_for(lambda: state() == "loaded")

    assert "until 20" in running.run("pause", running.third, "--for", "2s")
    wait_for(lambda: state() == "paused")
    wait_for(lambda: state() == "loaded")
    assert "Nothing was paused" in running.run("resume", "all")
    log = SqliteAuditLog(workspace.root / "audit.sqlite3")
    pauses = [each for each in log.records(AuditQuery(action="fleet.pause")) if each.stage is Stage.RESULT]
    log.close()
    assert [(each.channel, each.target, each.parameters["for"]) for each in pauses[-2:]] == [
        ("cli", "lab", None), ("cli", running.third, "2s"),
    ]  # fmt: skip
    assert all(each.actor.startswith("local:") for each in pauses)


def test_why_tells_what_led_to_a_state_at_a_time(running: Place) -> None:
    fake = running.fakes[1]
    # Where keys are gone and no run is remembered that could have stored them, a restart is what explains it.
    running.run("warm", "second", "--force", "--wait")
    before = datetime.now().isoformat(sep=" ")
    fake.evict("ben2_base")
    wait_for(lambda: len(fake.keys()) == len(KEYS) and running.workspace.states()[fake.url] == "loaded")
    now = running.run("why", "second")
    assert "keys left the cache while the server stayed up" in now
    assert "set faces was loaded" in now
    document = json.loads(running.run("why", "second", "--json", "--last", "200"))
    assert document["server"] == "second"
    assert {"at", "kind", "rule", "reason", "prompt_id", "seconds"} <= set(document["events"][0])
    assert {"eviction", "submitted", "verified"} <= {event["kind"] for event in document["events"]}
    assert len(json.loads(running.run("why", "second", "--json", "--last", "2"))["events"]) == 2
    then = running.run("why", "second", "--at", before, "--last", "1")
    assert "set faces was loaded" in then
    assert "ben2_base" not in then
    assert "Nothing is recorded of first up to 2020-01-01" in running.run("why", "first", "--at", "2020-01-01 10:00")


def test_a_chinese_terminal_is_told_in_chinese_and_a_program_as_ever(running: Place) -> None:
    chinese = "zh_CN.UTF-8"
    table = running.run("status", "first", LC_ALL=chinese)
    assert table.splitlines()[0].split() == ["服务器", "分组", "预热集", "状态", "已持续", "缓存键", "原因"]
    assert re.search(r"first +gpu +faces +缓存已加载 .* 5/5 +list 检测到已加载", table)
    document = json.loads(running.run("status", "first", "--json", LC_ALL=chinese))["servers"][0]["sets"][0]
    assert (document["state"], document["reason"]) == ("loaded", "seen by list")
    why = running.run("why", "first", LC_ALL=chinese)
    assert re.search(r"：list 检测到已加载 \[loaded\]", why)
    assert re.search(r"时预热集 faces：缓存已加载，已持续 .*，依据规则 loaded：\n  list 检测到已加载", why)
    assert "之前没有 first 的记录" in running.run("why", "first", "--at", "2020-01-01 10:00", LC_ALL=chinese)
    events = json.loads(running.run("why", "first", "--json", LC_ALL=chinese))["events"]
    assert events[-1]["reason"] == "seen by list"


def test_a_server_that_the_daemon_does_not_know_yet_is_told_so(running: Place) -> None:
    path = running.workspace.root / "fleet.toml"
    old = path.read_text()
    try:
        path.write_text(old.replace('servers = ["', 'servers = ["http://127.0.0.1:1", "'))
        for command in ("status", "check", "warm"):
            text = running.run(command, "127.0.0.1:1", code=1)
            assert "127.0.0.1:1" in text
            assert "reload" in text
    finally:
        path.write_text(old)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"220 mail ready\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 302 Found\r\nLocation: /healthz\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
    ],
)
def test_a_stranger_on_the_daemons_port_is_not_taken_for_it(tmp_path: Path, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def serve() -> None:
            connection, _ = stranger.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        settings = config.load(tmp_path, {"SERVERS": "http://127.0.0.1:1", "PORT": str(stranger.getsockname()[1])})
        assert DaemonFleet.reach(settings) is None
        serving.join(10)


# -- without a daemon ------------------------------------------------------------------------------------------


def test_without_a_daemon_each_command_does_it_itself_and_says_so(place: Place) -> None:
    for fake in place.fakes:
        fake.store(*KEYS)
    place.fakes[1].evict("sam3")
    place.fakes[2].set_loader(fail=True)
    place.fakes[2].clear_cache()

    nothing = place.run("status", code=1)
    assert "The daemon is not running; this is what was last recorded." in nothing
    assert all(fake.requests == [] for fake in place.fakes)

    asked = place.run("check", "first")
    assert "The daemon is not running; this command asks the servers itself." in asked
    dry = place.run("check", "gpu", "--dry-run", code=1)
    assert "would submit key 'sam3'" in dry
    assert "needs_submission" in dry
    assert place.fakes[1].prompts == []

    # It is followed to its end although nobody said --wait: the warm-up would end with this process.
    warmed = place.json("warm", "all", code=1)
    assert warmed == {"first": "loaded", "second": "loaded", place.third: "failed"}
    assert set(place.fakes[1].keys()) == set(KEYS)
    assert "Error while loading the model" in place.run("why", place.third)
    assert place.json("status", code=1) == warmed


def test_watching_without_a_workflow_does_not_wait_for_a_warm_up_that_cannot_come(place: Place) -> None:
    place.workspace.write(
        "fleet.toml",
        f'[[set]]\nname = "s"\nwanted_keys = ["a"]\n[[group]]\nname = "g"\nservers = ["{place.fakes[0].url}"]\n',
    )
    began = time.monotonic()
    assert "no workflow is configured" in place.run("warm", "g", "--wait", code=1)
    assert time.monotonic() - began < 15


SLIPS = {
    "check fist": ["no server or group 'fist'", "gpu", "lab", "first", "second"],
    "warm first --set face --dry-run": ["no warm-up set 'face'", "faces"],
    "pause gpus": ["no server or group 'gpus'", "gpu"],
    "pause gpu --for 2weeks": ["'2weeks' is no duration"],
    "pause gpu --for 999999999999d": ["'999999999999d'"],
    "why gpu": ["'gpu' is 2 servers", "first"],
    "why first --at 25:00": ["'25:00' is no time"],
    "why first --last 99999999999999999999": ["--last", "10000"],
    "why first --last 0": ["--last"],
    "warm": ["SERVER"],
    "cheque": ["cheque", "check"],
    "": ["COMMAND"],
    "warm first --timeout soon": ["--timeout"],
    "workflow lint": ["FILE"],
    "workflow lint examples/warmup.json --on fist": ["no server or group 'fist'"],
}


@pytest.fixture(scope="module")
def slips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[int, str]]]:
    with workspace_in(tmp_path_factory.mktemp("slips")) as workspace, FakeFleet(3) as fakes:
        place = Place(workspace, fakes)
        yield dict(zip(SLIPS, run_many(place.workspace, [line.split() for line in SLIPS]), strict=True))


@pytest.mark.parametrize("line", SLIPS)
def test_a_slip_is_exit_2_and_names_what_there_is(slips: dict[str, tuple[int, str]], line: str) -> None:
    code, text = slips[line]
    assert code == 2, text
    for word in SLIPS[line]:
        assert word in text


def test_bad_settings_are_exit_78_and_a_bad_cache_dir_is_one_line(place: Place) -> None:
    assert "PORT='x'" in place.run("status", code=78, PORT="x")
    blocked = place.workspace.write("file", "")
    for command in (["status"], ["pause", "gpu"]):
        text = place.run(*command, code=1, CACHE_DIR=str(blocked / "below"))
        assert len(text.splitlines()) == 1
        assert str(blocked) in text
    place.workspace.write("cache_keeper.sqlite3", "this is no database at all, but a text of some length")
    assert "move it aside" in place.run("why", "first", code=1)


def test_errors_and_remarks_are_told_in_the_language_of_the_terminal(place: Place) -> None:
    chinese = {"LC_ALL": "zh_CN.UTF-8"}
    assert place.run("status", code=78, PORT="x", **chinese) == "PORT='x'：必须是 1 到 65535 之间的整数\n"
    assert place.run("status", code=78, PORT="x") == "PORT='x': must be a whole number from 1 to 65535\n"
    blocked = place.workspace.write("file", "")
    text = place.run("status", code=1, CACHE_DIR=str(blocked / "below"), **chinese)
    assert text.startswith("无法运行：")
    assert str(blocked) in text
    english = place.run("status", code=1, CACHE_DIR=str(blocked / "below"))
    assert english == text.replace("无法运行：", "cannot run: ")
    assert "守护进程未运行，以下为最后记录。\n" in place.run("status", code=1, **chinese)
    assert "The daemon is not running; this is what was last recorded.\n" in place.run("status", code=1)


def test_a_reader_that_has_seen_enough_is_no_error(place: Place) -> None:
    command = [sys.executable, "-m", "checker", "status", "--json"]
    process = subprocess.Popen(
        command, cwd=place.workspace.root, env=place.workspace.environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as errors:
        text = errors.read()
    assert process.wait(20) in (0, 1, 141)
    assert "Traceback" not in text
    assert "Exception" not in text


# -- workflow lint -----------------------------------------------------------------------------------------------


def test_lint_lists_the_keys_and_finds_nothing_wrong_with_a_good_workflow(place: Place) -> None:
    path = "examples/warmup.json"
    text = place.run("workflow", "lint", path)
    assert "key 'pulid_eva_clip' with tag ''" in text
    assert "10 nodes, 5 keys, no findings" in text
    document = json.loads(place.run("workflow", "lint", path, "--json"))
    assert [each["key"] for each in document["keys"]] == list(KEYS)
    assert document["findings"] == []
    assert "no findings" in place.run("workflow", "lint", path, "--on", "first")


def test_lint_against_a_server_names_what_it_lacks(place: Place) -> None:
    graph = json.loads((place.workspace.root / "examples" / "warmup.json").read_text())
    graph["5"]["inputs"]["pulid_file"] = "another.safetensors"
    graph["7"]["class_type"] = "LoaderOfMine"
    place.workspace.write("mine.json", json.dumps(graph))
    assert "no findings" in place.run("workflow", "lint", "mine.json")
    text = place.run("workflow", "lint", "mine.json", "--on", "first", code=1)
    assert "LoaderOfMine" in text.partition("the server lacks")[2]
    assert "another.safetensors" in text


def test_lint_speaks_the_language_of_the_terminal(place: Place) -> None:
    place.workspace.write("broken.json", key_nodes(2).replace('["0", 0]', '["9", 0]'))
    text = place.run("workflow", "lint", "broken.json", code=1, LC_ALL="zh_CN.UTF-8")
    assert "缓存键 'k1'，标签 ''，由节点 1 存入" in text
    assert "错误：节点 1：输入 'data' 连接到节点 '9'，而该节点不存在" in text
    assert "没有发现问题" in place.run("workflow", "lint", "examples/warmup.json", LC_ALL="zh_CN.UTF-8")


def key_nodes(count: int) -> str:
    loader = {"class_type": "Loader", "inputs": {}}
    nodes = {
        str(number): {
            "class_type": "CacheBackendData //Inspire",
            "inputs": {"key": f"k{number}", "tag": "", "data": ["0", 0]},
        }
        for number in range(1, count + 1)
    }
    return json.dumps({"0": loader, **nodes})


BAD_FILES = {
    "too-many-keys": (key_nodes(25), 1, "25"),
    "broken-link": (key_nodes(2).replace('["0", 0]', '["9", 0]'), 1, "9"),
    "reserved-key": (key_nodes(1).replace('"k1"', '"*"'), 1, "*"),
    "ui-format": ('{"nodes": [{"id": 1, "type": "X"}], "links": [], "version": 0.4}', 2, "API"),
    "list": ("[]", 2, "list"),
    "empty-object": ("{}", 2, "empty-object"),
    "no-json": ("{not json", 2, "is not JSON"),
    "empty-file": ("", 2, "is not JSON"),
    "too-deep": ("[" * 100_000, 2, "is not JSON"),
    "lone-surrogate": ('"\\ud800"', 2, "lone-surrogate"),
    "missing": (None, 2, "No such file"),
}


@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[int, str]]]:
    with workspace_in(tmp_path_factory.mktemp("lint")) as workspace:
        for name, (text, _, _) in BAD_FILES.items():
            if text is not None:
                workspace.write(name, text)
        commands = [["workflow", "lint", name] for name in BAD_FILES]
        yield dict(zip(BAD_FILES, run_many(workspace, commands), strict=True))


@pytest.mark.parametrize("name", BAD_FILES)
def test_lint_finds_what_is_wrong_and_says_what_is_no_workflow(linted: dict[str, tuple[int, str]], name: str) -> None:
    _, code, words = BAD_FILES[name]
    assert linted[name][0] == code, linted[name][1]
    assert words in linted[name][1]
    assert code == 1 or len(linted[name][1].splitlines()) == 1


# -- times -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5m", 90), ("2h", 7200), ("3d", 259200), (" 5s ", 5)])
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1h", "2w", "h", "1h30m", "inf", "nan", "1e9", "99999999d", "٣d x"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no duration"):
        seconds_of(text)


def test_a_time_of_day_is_the_last_such_moment_and_never_in_the_future() -> None:
    now = datetime(2026, 2, 17, 10, 3, 30).timestamp()
    assert moment(None, now) == now
    assert moment("10:03", now) == now
    assert moment("10:02", now) == pytest.approx(datetime(2026, 2, 17, 10, 3).timestamp(), abs=1)
    assert moment("10:04", now) == pytest.approx(datetime(2026, 2, 16, 10, 5).timestamp(), abs=1)
    assert moment("9:00:05", now) == pytest.approx(datetime(2026, 2, 17, 9, 0, 6).timestamp(), abs=1)
    assert moment("2026-02-17 10:03:00", now) == datetime(2026, 2, 17, 10, 3).timestamp()
    assert moment("2026-02-17T10:03:00+00:00", now) == 1771322580
    for text in ("", "noon", "24:00", "10:60", "0000-00-00", "10:3"):
        with pytest.raises(UsageError, match="is no time"):
            moment(text, now)
