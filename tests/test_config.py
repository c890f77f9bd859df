""".env, the environment and fleet.toml in real files, read into Settings or refused with every problem at once."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path

import pytest

import config
from core.errors import ConfigError
from core.settings import KEYS

PROJECT = Path(__file__).resolve().parents[1]
WORKFLOW = PROJECT / "examples" / "warmup.json"
FLEET = '[[group]]\nname = "studio"\nservers = ["http://10.0.0.1:8188"]\n'


def write(root: Path, name: str, text: str, encoding: str = "utf-8") -> None:
    (root / name).write_bytes(text.encode(encoding))


def load(root: Path, **environ: str) -> config.Settings:
    return config.load(root, environ)


def problems(root: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(root, environ)
    found = [str(problem) for problem in caught.value.problems]
    assert all("\n" not in problem for problem in found)
    return found


def test_without_any_file_everything_has_its_default(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert [server.url for server in settings.servers] == ["http://127.0.0.1:8188"]
    assert settings.cache_dir == tmp_path.resolve()
    assert settings.image_cache_dir == tmp_path.resolve() / "resources" / "img"
    assert (settings.check_interval_seconds, settings.clean_days, settings.clean_time) == (30, 1, "02:00")
    assert settings.servers[0].sets[0].graph is None
    assert settings.warnings == ()


def test_the_example_file_means_the_defaults(tmp_path: Path) -> None:
    plain = load(tmp_path)
    shutil.copy(PROJECT / ".env.example", tmp_path / ".env")
    assert load(tmp_path) == plain


def test_every_key_of_the_table_ends_up_in_the_settings_or_in_the_servers(tmp_path: Path) -> None:
    fields = set(config.Settings.__dataclass_fields__)
    assert {key.name.lower() for key in KEYS} - fields == {"workflow_path", "fleet_file"}
    assert load(tmp_path).servers


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    write(tmp_path, ".env", "PORT=9001\nHOST=10.0.0.5\n")
    settings = load(tmp_path, PORT="9002")
    assert (settings.port, settings.host, settings.log_level) == (9002, "10.0.0.5", "INFO")


def test_an_empty_variable_means_the_default_as_in_a_shell(tmp_path: Path) -> None:
    write(tmp_path, ".env", "PORT=9001\n")
    assert load(tmp_path, PORT="").port == 8000
    write(tmp_path, ".env", "PORT=\n")
    assert load(tmp_path).port == 8000


@pytest.mark.parametrize(
    ("file", "environ", "url"),
    [
        ("SERVERS=a:1\n", {}, "http://a:1"),
        ("SERVERS_STR=a:1\n", {}, "http://a:1"),
        ("SERVERS=a:1\n", {"SERVERS": "b:2"}, "http://b:2"),
        ("SERVERS=a:1\n", {"SERVERS_STR": "b:2"}, "http://b:2"),
        ("SERVERS_STR=a:1\n", {"SERVERS": "b:2"}, "http://b:2"),
        ("SERVERS=a:1\n", {"SERVERS": "", "SERVERS_STR": "b:2"}, "http://b:2"),
        ("SERVERS=http://127.0.0.1:8188\nSERVERS_STR=a:1\n", {}, "http://a:1"),
        ("SERVERS=a:1\nSERVERS_STR=b:2\n", {}, "http://a:1"),
    ],
)
def test_servers_under_either_name(tmp_path: Path, file: str, environ: dict[str, str], url: str) -> None:
    write(tmp_path, ".env", file)
    assert [server.url for server in load(tmp_path, **environ).servers] == [url]


def test_every_problem_is_listed_at_once_with_key_value_and_what_is_allowed(tmp_path: Path) -> None:
    write(tmp_path, ".env", "PORT=x\nCLEAN_TIME=noon\nWORKFLOW_PATH=gone.json\n")
    write(tmp_path, "fleet.toml", "[[group]]\nname = 'a'\nservers = []\n")
    found = problems(tmp_path, CHECK_INTERVAL_SECONDS="-1", SERVERS="ftp://x")
    assert len(found) == 6, found
    for start in (
        "CHECK_INTERVAL_SECONDS='-1': must be a number",
        "PORT='x': must be a whole number",
        "CLEAN_TIME='noon': must be a time of day",
        "SERVERS='ftp://x': ",
        "group[a].servers=",
        "WORKFLOW_PATH=",
    ):
        assert any(each.startswith(start) for each in found), (start, found)


def test_a_problem_with_the_workflow_is_among_them(tmp_path: Path) -> None:
    (one,) = problems(tmp_path, WORKFLOW_PATH="gone.json")
    assert one == f"WORKFLOW_PATH={str(tmp_path / 'gone.json')!r}: cannot be read: No such file or directory"


def test_main_refuses_to_start_with_exit_code_78_and_one_line_a_problem(tmp_path: Path) -> None:
    import subprocess

    ran = subprocess.run(
        [sys.executable, str(PROJECT / "main.py"), "--once", "--dry-run"],
        env={"PATH": "/usr/bin:/bin", "PORT": "x", "CLEAN_TIME": "noon", "CACHE_DIR": str(tmp_path / "c")},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ran.returncode == 78
    assert len(ran.stderr.splitlines()) == 2, ran.stderr
    assert not (tmp_path / "c").exists(), "nothing was started"


# -- .env as people and their editors write it


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("PORT=9001\nGARBAGE hunter2", [2]),
        ("PORT=9001\n\n# a comment\n\nhunter2\r\n\r\nHF_TOKEN='hunter2\n", [5, 7]),
        ("=hunter2\n", [1]),
    ],
)
def test_a_bad_line_is_a_problem_with_its_file_and_number_and_not_with_its_text(
    tmp_path: Path, text: str, lines: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, ".env", text)
    found = problems(tmp_path, CLEAN_TIME="noon")
    assert len(found) == len(lines) + 1, "together with whatever else is wrong"
    for line, problem in zip(lines, found, strict=False):
        assert f"{tmp_path / '.env'}, line {line}'" in problem
    assert "hunter2" not in "".join(found)
    assert not caplog.records


def test_a_daemon_is_found_in_spite_of_a_bad_line_unless_it_says_where(tmp_path: Path) -> None:
    write(tmp_path, ".env", "CACHE_DIR=state\nGARBAGE LINE\n")
    assert config.cache_dir(tmp_path, {}) == tmp_path / "state"
    write(tmp_path, ".env", "CACHE_DIR='state\n")
    with pytest.raises(ConfigError):
        config.cache_dir(tmp_path, {})


def test_all_wrong_addresses_of_a_list_are_named(tmp_path: Path) -> None:
    values = {"SERVERS": "http://a:99999,ftp://x,,http://,http://good:1", "ALLOWED_HOSTS": "a/b,ok,c d!"}
    servers, hosts = problems(tmp_path, **values)
    for wrong in ("'http://a:99999': a port", "'ftp://x' is not", "'http://' is not"):
        assert wrong in servers
    for wrong in ("'a/b'", "'d!'"):
        assert wrong in hosts
    assert "'ok' is" not in hosts


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    write(tmp_path, ".env", "\ufeffPORT=9001\r\nHOST=10.0.0.5\r\n")
    settings = load(tmp_path)
    assert (settings.port, settings.host) == (9001, "10.0.0.5")


def test_comments_quotes_export_and_spaces_are_read_as_usual(tmp_path: Path) -> None:
    write(
        tmp_path,
        ".env",
        "# 注释\nexport PORT = 9001\nHOST='10.0.0.5'  # why\nLOG_LEVEL=\"debug\"\nCACHE_DIR=my cache\n",
    )
    settings = load(tmp_path)
    assert (settings.port, settings.host, settings.log_level) == (9001, "10.0.0.5", "DEBUG")
    assert settings.cache_dir == tmp_path.resolve() / "my cache"


def test_a_dollar_is_only_a_dollar(tmp_path: Path) -> None:
    write(tmp_path, ".env", "CACHE_DIR=a${HOME}b\n")
    assert load(tmp_path, HOME="/elsewhere").cache_dir.name == "a${HOME}b"


@pytest.mark.parametrize("encoding", ["utf-16", "gbk"])
def test_a_file_that_is_not_utf8_is_one_problem(tmp_path: Path, encoding: str) -> None:
    write(tmp_path, ".env", "# 缓存目录\nPORT=9001\n", encoding)
    (one,) = problems(tmp_path)
    assert one.startswith(".env=")
    assert "cannot be read" in one


def test_a_directory_in_the_place_of_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    (tmp_path / "fleet.toml").mkdir()
    assert len(problems(tmp_path)) == 2


def test_a_name_that_is_nearly_a_setting_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path, ".env", "CHECK_INTERVALS_SECONDS=5\n")
    assert load(tmp_path).warnings == (
        "CHECK_INTERVALS_SECONDS in .env is not a setting: did you mean CHECK_INTERVAL_SECONDS?",
    )


# -- paths


@pytest.mark.parametrize(
    ("written", "relative"),
    [
        ("cache", "cache"),
        ("./a/../b", "b"),
        ("'with space'", "with space"),
        ('"quoted"', "quoted"),
        ("缓存/x", "缓存/x"),
    ],
)
def test_a_relative_path_hangs_on_the_root(tmp_path: Path, written: str, relative: str) -> None:
    write(tmp_path, ".env", f"CACHE_DIR={written}\nIMAGE_CACHE_DIR={written}\n")
    settings = load(tmp_path)
    assert settings.cache_dir == settings.image_cache_dir == tmp_path.resolve() / relative


def test_home_and_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load(tmp_path, CACHE_DIR="~/cache").cache_dir == tmp_path / "home" / "cache"
    assert load(tmp_path, CACHE_DIR="~").cache_dir == tmp_path / "home"
    assert load(tmp_path, CACHE_DIR=f"{tmp_path}/x/").cache_dir == tmp_path / "x"


@pytest.mark.skipif(sys.platform == "win32", reason="there they are paths")
@pytest.mark.parametrize(
    "written",
    [r"r:\api_proxy_cache", r"'r:\api_proxy_cache'", r'"r:\api_proxy_cache"', r"\\server\share\api_cache",
     r"'\\server\share\api_cache'", r'"\\server\share\api_cache"', "r:/api_proxy_cache"],
)  # fmt: skip
def test_a_windows_or_unc_path_is_refused_here_in_one_line(tmp_path: Path, written: str) -> None:
    write(tmp_path, ".env", f"CACHE_DIR={written}\n")
    (one,) = problems(tmp_path)
    assert one.startswith("CACHE_DIR=")
    assert "Windows path" in one


def test_cache_dir_alone_is_known_though_everything_else_is_wrong(tmp_path: Path) -> None:
    write(tmp_path, ".env", "CACHE_DIR=c\nPORT=x\nWORKFLOW_PATH=gone.json\n")
    assert config.cache_dir(tmp_path, {}) == tmp_path.resolve() / "c"
    with pytest.raises(ConfigError):
        config.cache_dir(tmp_path, {"CACHE_DIR": "r:\\x"})


# -- the workflow


def test_the_workflow_gives_the_wanted_keys(tmp_path: Path) -> None:
    (warmup,) = load(tmp_path, WORKFLOW_PATH=str(WORKFLOW), WORKFLOW_TIMEOUT_SECONDS="42").servers[0].sets
    assert warmup.keys == ("pulid_eva_clip", "pulid_face_analysis", "pulid_model", "ben2_base", "sam3")
    assert warmup.timeout_seconds == 42


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a workflow"),
        ('{"nodes": [], "links": []}', "Export (API)"),
        ('{"1": {"class_type": "L", "inputs": {"x": ["9", 0]}}}', "linked to node '9', which does not exist"),
    ],
)
def test_a_workflow_that_cannot_be_used_is_a_problem(tmp_path: Path, content: str, says: str) -> None:
    write(tmp_path, "w.json", content)
    (one,) = problems(tmp_path, WORKFLOW_PATH="w.json")
    assert says in one


def test_a_workflow_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    write(tmp_path, "w.json", "\ufeff" + WORKFLOW.read_text(encoding="utf-8"))
    assert len(load(tmp_path, WORKFLOW_PATH="w.json").servers[0].sets[0].keys) == 5


def test_a_workflow_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "w.json").open("wb") as file:
        file.truncate(config.MAX_FILE_BYTES + 1)
    (one,) = problems(tmp_path, WORKFLOW_PATH="w.json")
    assert "larger than 16 MiB" in one


# -- fleet.toml


def test_a_fleet_without_sets_is_warmed_with_the_one_workflow(tmp_path: Path) -> None:
    write(tmp_path, "fleet.toml", FLEET)
    (server,) = load(tmp_path, WORKFLOW_PATH=str(WORKFLOW)).servers
    assert [each.name for each in server.sets] == ["default"]
    assert len(server.sets[0].keys) == 5


def test_a_fleet_file_takes_the_place_of_the_default_server_but_not_of_servers_that_were_given(tmp_path: Path) -> None:
    write(tmp_path, "fleet.toml", FLEET)
    assert [server.url for server in load(tmp_path).servers] == ["http://10.0.0.1:8188"]
    shutil.copy(PROJECT / ".env.example", tmp_path / ".env")
    assert [server.url for server in load(tmp_path).servers] == ["http://10.0.0.1:8188"]
    both = load(tmp_path, SERVERS="http://10.0.0.1:8188,http://10.0.0.9:8188").servers
    assert [server.url for server in both] == ["http://10.0.0.1:8188", "http://10.0.0.9:8188"]


def test_several_sets_with_paths_beside_the_root_and_intervals_from_the_environment(tmp_path: Path) -> None:
    shutil.copy(WORKFLOW, tmp_path / "warm.json")
    write(
        tmp_path,
        "fleet.toml",
        '[[set]]\nname="m"\nworkflow="warm.json"\n[[set]]\nname="e"\nwanted_keys=["x"]\n' + FLEET,
    )
    (server,) = load(tmp_path, CHECK_INTERVAL_SECONDS="7", WORKFLOW_TIMEOUT_SECONDS="99").servers
    assert [(each.name, len(each.keys), each.timeout_seconds) for each in server.sets] == [("m", 5, 99), ("e", 1, 99)]
    assert server.group.check_interval_seconds == 7


def test_a_fleet_file_that_was_named_must_exist(tmp_path: Path) -> None:
    (one,) = problems(tmp_path, FLEET_FILE="other.toml")
    assert one.startswith("FLEET_FILE=")


def test_bad_toml_is_told_with_line_and_column(tmp_path: Path) -> None:
    write(tmp_path, "fleet.toml", "[[group]]\nname = \n")
    (one,) = problems(tmp_path)
    assert "line 2" in one


def test_a_header_from_the_environment_or_the_file_reaches_the_group_and_no_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    write(tmp_path, "fleet.toml", FLEET + 'headers_from_env = { Authorization = "GPU_TOKEN" }\n')
    (one,) = problems(tmp_path)
    assert "GPU_TOKEN" in one
    write(tmp_path, ".env", "GPU_TOKEN=Bearer hunter2\n")
    settings = load(tmp_path)
    ((name, secret),) = settings.servers[0].group.headers
    assert (name, secret.reveal()) == ("Authorization", "Bearer hunter2")
    assert "hunter2" not in repr(settings) + str(settings) + caplog.text
    assert load(tmp_path, GPU_TOKEN="Bearer other").servers[0].group.headers[0][1].reveal() == "Bearer other"


def test_no_problem_prints_a_secret(tmp_path: Path) -> None:
    write(
        tmp_path,
        "fleet.toml",
        FLEET.replace("http://", "http://user:hunter2@") + 'headers = { "Bad Name" = "hunter2" }\n',
    )
    found = problems(tmp_path, SERVERS="http://user:hunter2@host", GPU_TOKEN="hunter2")
    assert len(found) == 3
    assert "hunter2" not in json.dumps(found)


# -- what else the environment tells


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (None, None)),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000"}, ("/run/x", 30.0)),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, (None, None)),
        ({"WATCHDOG_USEC": "soon"}, (None, None)),
        ({"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "0"}, (None, None)),
    ],
)
def test_what_systemd_gave(environ: dict[str, str], expected: tuple[str | None, float | None]) -> None:
    assert config.systemd_environment(environ) == expected


@pytest.mark.parametrize(
    ("environ", "chinese"),
    [
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "en_US", "LC_MESSAGES": "zh_TW"}, True),
        ({}, False),
        # The log is in English, whoever has started the daemon.
        ({"LANG": "zh_CN.UTF-8", "CACHE_KEEPER_SUPERVISED": "1"}, False),
    ],
)
def test_the_language_of_the_terminal(environ: dict[str, str], chinese: bool) -> None:
    assert config.prefers_chinese(environ) is chinese


@pytest.mark.parametrize(
    ("host", "page"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/status"),
        ("0.0.0.0", "http://127.0.0.1:8000/status"),
        ("::", "http://[::1]:8000/status"),
        ("::1", "http://[::1]:8000/status"),
    ],
)
def test_the_address_of_the_page_can_be_opened_on_this_machine(tmp_path: Path, host: str, page: str) -> None:
    assert load(tmp_path, HOST=host).page == page
