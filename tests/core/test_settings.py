"""The keys of .env: how each is read, what is refused and in which words."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings import (
    KEYS,
    Invalid,
    literal_paths,
    misspelt,
    parse,
    render_example,
    resolve_path,
    server_list,
    server_url,
)

ROOT = Path(__file__).resolve().parents[2]


def value_of(name: str, text: str) -> Any:
    values, problems = parse({name: text})
    assert problems == []
    return values[name.lower()]


def problem_of(name: str, text: str) -> str:
    values, problems = parse({name: text})
    assert name.lower() not in values
    (problem,) = problems
    assert "\n" not in str(problem)
    assert str(problem).startswith(f"{name}=")
    return str(problem)


def test_the_example_file_is_rendered_from_the_table() -> None:
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == render_example()


def test_every_key_has_both_languages_and_a_default_that_is_allowed() -> None:
    values, problems = parse({})
    assert problems == []
    assert set(values) == {key.name.lower() for key in KEYS}
    for key in KEYS:
        assert key.english.isascii()
        assert any("一" <= character <= "鿿" for character in key.chinese)


def test_the_defaults_are_those_of_the_users_documents() -> None:
    values, _ = parse({})
    expected = {
        "servers": ("http://127.0.0.1:8188",), "check_interval_seconds": 30, "auto_execute_recheck_seconds": 5,
        "image_cache_dir": "resources/img", "clean_days": 1, "clean_time": "02:00", "clean_interval_hours": None,
        "host": "127.0.0.1", "port": 8000, "log_level": "INFO",
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("CHECK_INTERVAL_SECONDS", " 2.5 ", 2.5),
        ("CHECK_INTERVAL_SECONDS", "", 30),
        ("CHECK_INTERVAL_SECONDS", "  ", 30),
        ("PORT", "65535", 65535),
        ("CLEAN_DAYS", "off", None),
        ("CLEAN_DAYS", "NONE", None),
        ("CLEAN_DAYS", "0.5", 0.5),
        ("CLEAN_TIME", "2:05", "02:05"),
        ("CLEAN_TIME", "23:59", "23:59"),
        ("CLEAN_TIME", "off", None),
        ("CLEAN_INTERVAL_HOURS", "6", 6),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("CACHE_DIR", r"r:\api_proxy_cache", r"r:\api_proxy_cache"),
        ("SERVERS", "10.0.0.1:8188，http://b ; https://c/x/", ("http://10.0.0.1:8188", "http://b", "https://c/x")),
        ("SERVERS", "a,a, http://a/", ("http://a",)),
    ],
)
def test_a_value_is_read(name: str, text: str, value: object) -> None:
    assert value_of(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("CHECK_INTERVAL_SECONDS", "nan", "must be a number from 0.05 to 604800"),
        ("CHECK_INTERVAL_SECONDS", "inf", "must be a number from 0.05 to 604800"),
        ("CHECK_INTERVAL_SECONDS", "0", "must be a number from 0.05 to 604800"),
        ("CHECK_INTERVAL_SECONDS", "30s", "must be a number"),
        ("PORT", "0", "must be a whole number from 1 to 65535"),
        ("PORT", "8000.5", "must be a whole number"),
        ("PORT", "9" * 5000, "must be a whole number"),
        ("CLEAN_DAYS", "-1", "must be a number"),
        ("CLEAN_DAYS", "0", "must be a number"),
        ("CLEAN_TIME", "25:00", "time of day"),
        ("CLEAN_TIME", "2", "time of day"),
        ("CLEAN_TIME", "02:00:00", "time of day"),
        ("LOG_LEVEL", "LOUD", "must be one of DEBUG, INFO, WARNING, ERROR"),
        ("CACHE_DIR", "r:\x07pi", "without double quotes"),
        ("SERVERS", "http://a, ftp://b", "'ftp://b' is not a server address"),
        ("SERVERS", "http://a:99999", "a port is from 1 to 65535"),
        ("SERVERS", "http://a:" + "9" * 5000, "is not a server address"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_allowed(name: str, text: str, says: str) -> None:
    assert says in problem_of(name, text)


def test_all_problems_are_found_at_once() -> None:
    values, problems = parse({"PORT": "x", "CLEAN_TIME": "noon", "SERVERS": "::", "HOST": "0.0.0.0"})
    assert [problem.key for problem in problems] == ["SERVERS", "CLEAN_TIME", "PORT"]
    assert values["host"] == "0.0.0.0"


def test_the_old_name_of_servers_is_read_and_named_in_its_problem() -> None:
    values, _ = parse({"SERVERS_STR": "a:1,b:2"})
    assert values["servers"] == ("http://a:1", "http://b:2")
    _, (problem,) = parse({"SERVERS_STR": "ftp://x"})
    assert problem.key == "SERVERS_STR"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:8188", "http://127.0.0.1:8188"),
        ("HTTP://Host", "http://host"),
        ("https://GPU-1.example/comfy/", "https://gpu-1.example/comfy"),
        ("http://[::1]:8188", "http://[::1]:8188"),
        ("http://主机:8188", "http://主机:8188"),
        ("host_name", "http://host_name"),
        ("http://a:08188", "http://a:8188"),
    ],
)
def test_an_address_is_normalised(text: str, url: str) -> None:
    assert server_url(text) == url


@pytest.mark.parametrize(
    "text",
    ["", "http://", "http://a:b", "http://a?x=1", "http://a#x", "http://a b", "a,b", "http://[::1", "http://10.0.0.{1..3}",
     "ws://a", "http://a/b\\c d", "http://:8188", "*", "<script>"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        server_url(text)


@given(st.text(max_size=20))
def test_any_list_of_servers_is_normalised_for_good_or_refused(text: str) -> None:
    try:
        urls = server_list(text)
    except Invalid:
        return
    assert server_list(",".join(urls)) == urls


SECRET = "hunter2"


@pytest.mark.parametrize(
    "address",
    [
        f"http://user:{SECRET}@host:8188",
        f"user:{SECRET}@host",
        f"http://user:x/{SECRET}@host",
        f"http://user:{SECRET}/x@host",
        f"http://host/?token={SECRET}",
        f"http://good,http://u:{SECRET}@bad",
    ],
)
def test_a_password_or_token_in_an_address_is_never_printed(address: str) -> None:
    assert SECRET not in problem_of("SERVERS", address)


POSIX: dict[str, Any] = {"root": PurePosixPath("/srv/keeper"), "home": PurePosixPath("/home/me"), "windows": False}
WINDOWS: dict[str, Any] = {
    "root": PureWindowsPath("D:/keeper"),
    "home": PureWindowsPath("C:/Users/me"),
    "windows": True,
}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("cache", "/srv/keeper/cache"),
        ("/var/cache", "/var/cache"),
        ("~", "/home/me"),
        ("~/cache", "/home/me/cache"),
        ("~other", "/srv/keeper/~other"),
        ("图片 缓存", "/srv/keeper/图片 缓存"),
    ],
)
def test_a_path_on_posix(text: str, path: str) -> None:
    assert str(resolve_path(text, **POSIX)) == path


@pytest.mark.parametrize("text", [r"r:\api_proxy_cache", "r:/api", r"\\server\share\api_cache", "C:"])
def test_a_windows_path_on_posix_is_refused_and_not_taken_for_a_file_name(text: str) -> None:
    with pytest.raises(Invalid, match="is a Windows path"):
        resolve_path(text, **POSIX)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (r"r:\api_proxy_cache", r"r:\api_proxy_cache"),
        ("r:/api", r"r:\api"),
        (r"\\server\share\api_cache", r"\\server\share\api_cache"),
        ("cache", r"D:\keeper\cache"),
        (r"~\cache", r"C:\Users\me\cache"),
        ("~/cache", r"C:\Users\me\cache"),
    ],
)
def test_a_path_on_windows(text: str, path: str) -> None:
    assert str(resolve_path(text, **WINDOWS)) == path


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (r'CACHE_DIR="r:\api_proxy_cache"', r"CACHE_DIR='r:\\api_proxy_cache'"),
        (r"CACHE_DIR='\\server\share'  # why", r"CACHE_DIR='\\\\server\\share'  # why"),
        (r'export IMAGE_CACHE_DIR = "\\\\server\\share"', r"export IMAGE_CACHE_DIR = '\\\\server\\share'"),
        (r"CACHE_DIR=r:\api", r"CACHE_DIR=r:\api"),
        (r'CACHE_DIR="/var/cache"', r'CACHE_DIR="/var/cache"'),
        (r'GPU_TOKEN="a\nb"', r'GPU_TOKEN="a\nb"'),
        (r'#CACHE_DIR="r:\api"', r'#CACHE_DIR="r:\api"'),
    ],
)
def test_a_quoted_windows_path_is_taken_as_it_is_written(line: str, read: str) -> None:
    assert literal_paths(f"PORT=1\n{line}\nHOST=x\n") == f"PORT=1\n{read}\nHOST=x\n"


def test_a_name_that_is_nearly_a_setting_is_asked_about() -> None:
    assert misspelt({"CHECK_INTERVAL_SECOND": "5", "PATH": "", "SERVERS_STR": "", "MY_TOKEN": ""}) == [
        "CHECK_INTERVAL_SECOND in .env is not a setting: did you mean CHECK_INTERVAL_SECONDS?"
    ]
