"""What is wrong with settings and the daemon, in Chinese: each phrase there and back, and none worded elsewhere."""

from __future__ import annotations

import ast
import re
import signal
import time
import tomllib
from collections.abc import Iterator
from string import Formatter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core import setting_phrases as say
from core import settings as keys
from core.error_words import error_text
from core.errors import ConfigError, Problem
from core.fleet_file import FleetReader
from core.phrases import Phrase
from core.secret_strength import weakness_of
from core.setting_phrases import BOOK
from core.targets import target_from_table
from supervisor.child import describe_end
from tests.workspace import SOURCE

HAN = re.compile("[\u4e00-\u9fff]")
READ_BACK = [(kind, phrase) for kind, phrases in BOOK.kinds.items() for phrase in phrases]
# A sentence that a phrase of another kind stands in, for the field of that name.
CARRIERS = {
    "weakness": say.WEAK_SECRET,
    "trouble": say.NOT_READ,
    "fault": say.FAULTY_NODE,
    "owner": say.MAY_NOT_WRITE,
    "place": say.BELOW_TEMPORARY,
    "end": next(each for each in BOOK.kinds["reason"] if "its configuration is wrong" in each.english),
}
INNER = {
    "reason": (say.LOG(path="x"), "日志：x"),
    "allowed": (say.TRUE_OR_FALSE(), say.TRUE_OR_FALSE.chinese),
    "weakness": (say.REPEATS(), say.REPEATS.chinese),
    "trouble": ("No such file; or directory", "No such file; or directory"),
    "fault": ("is part of a circle of links", "处于循环连线中"),
    "owner": ("it belongs to root", "属于 root"),
    "place": ("The project", "项目"),
    "end": ("was killed by SIGKILL", "被 SIGKILL 终止"),
}
plain = st.text(st.characters(codec="utf-8", exclude_characters="\n;,():{}'\" "), min_size=1, max_size=40)
SHAPED: dict[str, st.SearchStrategy[Any]] = {
    "key": st.sampled_from(("PORT", "target[a b].roots", "fleet.toml.gruop", "group[3]", ".env")),
    "value": st.text(max_size=200) | st.sampled_from(("it's", "\"'", "a\\", "\x00" * 200)),
    "setting": st.sampled_from(("CHECK_INTERVAL_SECOND", "x")),
    "low": st.sampled_from(("0", "0.05", "-1")),
    "high": st.sampled_from(("65535", "1e+06", "1.09951e+12")),
    "words": st.sampled_from(("a, b, c", "No such file or directory", "x: y")),
}


def fields_of(phrase: Phrase) -> list[tuple[str, str, str]]:
    """Return (name, format, conversion) of each field of the English."""
    return [(name, form or "", cast or "") for _, name, form, cast in Formatter().parse(phrase.english) if name]


def carried(kind: str, english: str, chinese: str) -> tuple[str, str]:
    """Return a part of a sentence within the whole line that it comes in, in both languages."""
    while kind != "reason":
        if kind == "allowed":
            return f"PORT='x': {english}", f"PORT='x'：{chinese}"
        carrier = CARRIERS[kind]
        given = {name: "x" for name, _, _ in fields_of(carrier)}
        english = carrier(**{**given, kind: english})
        chinese = carrier.chinese.format(**{**given, kind: chinese})
        kind = next(name for name, phrases in BOOK.kinds.items() if carrier in phrases)
    return english, chinese


@pytest.mark.parametrize(
    ("kind", "phrase"), READ_BACK, ids=[f"{kind}: {phrase.english[:60]}" for kind, phrase in READ_BACK]
)
@settings(max_examples=10)
@given(data=st.data())
def test_a_phrase_is_read_as_it_was_made(kind: str, phrase: Phrase, data: st.DataObject) -> None:
    english: dict[str, Any] = {}
    chinese: dict[str, str] = {}
    for name, form, cast in fields_of(phrase):
        if name in BOOK.kinds:
            english[name], chinese[name] = INNER[name]
        elif form:
            english[name] = data.draw(st.integers(0, 10**6))
            chinese[name] = format(english[name], form)
        else:
            english[name] = data.draw(SHAPED.get(name, plain))
            chinese[name] = repr(english[name]) if cast else english[name]
    text, told = carried(kind, phrase(**english), phrase.chinese.format(**chinese))
    assert error_text(text, chinese=True) == told
    assert error_text(text, chinese=False) == text


def test_both_languages_of_a_phrase_have_the_same_fields_and_end_alike() -> None:
    for _, phrase in READ_BACK:
        named = [name for name, _, _ in fields_of(phrase)]
        assert sorted(named) == sorted(re.findall(r"\{(\w+)\}", phrase.chinese)), phrase.english
        parts = list(Formatter().parse(phrase.english))
        if (last := parts[-1][1]) in BOOK.kinds:
            assert phrase.chinese.endswith(f"{{{last}}}"), phrase.english
        worded = any(re.search("[a-z]", literal) for literal, *_ in parts)
        assert not worded or HAN.search(phrase.chinese), phrase.english


@pytest.mark.parametrize("key", keys.KEYS, ids=[key.name for key in keys.KEYS])
@settings(max_examples=25)
@example("\x01")
@example("r:\\cache")
@example("http://me:secret@x")
@example("a b, c d")
@example("http://x:70000")
@given(st.text(max_size=30))
def test_whatever_is_refused_of_a_setting_is_told_in_chinese(key: keys.Key, text: str) -> None:
    _, problems = keys.parse({key.name: text})
    for problem in problems:
        told = error_text(ConfigError([problem]), chinese=True)
        head = f"{problem.key}={problem.value!r}："
        assert told.startswith(head)
        assert HAN.search(told.removeprefix(head)), told
        assert "must" not in told.removeprefix(head)


FLEETS = (
    "group = 5", "[[group]]\nname = 'a'", "[[group]]\nname = 'a b'\nservers = ['x']", "what = 1",
    "[[group]]\nname = 'a'\nservers = ['http://x', 'http://x', 'ftp://y', '{5..1}', 'h{1..9}{1..9}{0..999}']",
    "[[group]]\nname = 'a'\nservers = ['x']\nsets = ['none', 5.5]", "[[group]]\nname = 'a'\nservers = ['x']\nsets = []",
    "[[group]]\nname = 'a'\nservers = ['x']\nsets = ['other']\n[[set]]\nname = 'models'\nwanted_keys = ['k']",
    "[[group]]\nname = 'a'\nservers = [{ name = 'n', url = 'http://x{1..2}' }]\nlabels = 5\nverify_tls = 'no'",
    "[[group]]\nname = 'a'\nservers = ['x']\nheaders = { 'a b' = 'c' }\nheaders_from_env = { A = 'B' }",
    "[[set]]\nname = 'm'\nwanted_keys = 5\ndetector = 'list'\npriority = 'x'\ntimeout_seconds = 'soon'",
    "[[set]]\nname = 'm'\ndetector = 5", "[[set]]\nname = 'm'\ndetector = { kind = 'custom', text = '' }",
    "[[set]]\nname = 'm'\ndetector = { url = '/r', regex = '(' }\n[[set]]\nname = 'm'",
)  # fmt: skip
TARGETS: tuple[dict[str, object], ...] = (
    {}, {"roots": ["~"]}, {"roots": 5}, {"roots": ["a"], "kind": "x", "unit": "y", "name": " "},
    {"roots": ["a"], "kind": "images", "unit": "file"}, {"roots": ["a"], "nonsense": 1, "remove_empty": "yes"},
    {"roots": ["a"], "older_than": "x", "max_size": "x", "min_free": "x", "free_until": "x", "grace": "x"},
    {"roots": ["a"], "free_until": "10%"}, {"roots": ["a"], "free_until": "10%", "min_free": "5GB"},
    {"roots": ["a"], "free_until": "5%", "min_free": "10%"}, {"roots": ["a"], "depth": 0, "workers": 1.5},
    {"roots": ["a"], "trash_hours": -1, "largest_share": 2},
)  # fmt: skip


def problems_of_fleets() -> Iterator[Problem]:
    for text in FLEETS:
        reader = FleetReader(
            load_workflow=lambda _: {}, secret=lambda _: None, base_interval_seconds=30, base_timeout_seconds=600
        )
        reader.read(tomllib.loads(text))
        assert reader.problems, text
        yield from reader.problems
    for table in TARGETS:
        _, problems = target_from_table(table, key="target[a b]")
        assert problems, table
        yield from problems


def test_whatever_is_refused_of_fleet_toml_is_told_in_chinese() -> None:
    for problem in problems_of_fleets():
        told = error_text(ConfigError([problem]), chinese=True)
        head = f"{problem.key}={problem.value!r}："
        assert told.startswith(head)
        assert HAN.search(told.removeprefix(head)), told


def test_each_of_several_wrong_addresses_is_told() -> None:
    _, problems = keys.parse({"SERVERS": "ftp://x, http://y:70000", "ALLOWED_HOSTS": "a/b c:d/"})
    assert error_text(ConfigError(problems), chinese=True).splitlines() == [
        "SERVERS='ftp://x, http://y:70000'：'ftp://x' 不是服务器地址（例如 http://127.0.0.1:8188）；"
        "'http://y:70000'：端口必须在 1 到 65535 之间",
        "ALLOWED_HOSTS='a/b c:d/'：'a/b' 不是主机名（不带协议和端口）；'c:d/' 不是主机名（不带协议和端口）",
    ]


def test_several_problems_are_several_lines() -> None:
    error = ConfigError([Problem("PORT", "x", say.TRUE_OR_FALSE()), Problem("HOST", "y", "words of somebody else's")])
    assert error_text(error, chinese=True) == "PORT='x'：必须是 true 或 false\nHOST='y'：words of somebody else's"
    assert str(error) == "PORT='x': must be true or false\nHOST='y': words of somebody else's"


def test_what_a_setting_names_tells_by_itself_what_it_lacks() -> None:
    english = "WORKFLOW_PATH='/w.json': is not a workflow: expected a JSON object of nodes"
    assert error_text(english, chinese=True) == "WORKFLOW_PATH='/w.json'：不是工作流：应为由节点组成的 JSON 对象"


@pytest.mark.parametrize("secret", ["", "x", "ab" * 40, "changeme" * 8])
def test_a_weak_secret_is_told_with_what_to_do(secret: str) -> None:
    problem = Problem("API_SECRET", "***", say.WEAK_SECRET(weakness=weakness_of(secret)))
    told = error_text(str(problem), chinese=True)
    assert told.endswith('：请在 .env 中设置随机密钥：python -c "import secrets; print(secrets.token_urlsafe(48))"')
    assert not re.search("[a-z] (is|and|must) ", told)


@pytest.mark.parametrize("code", [0, 1, 127, -signal.SIGKILL, -signal.SIGSEGV, -50])
def test_the_end_of_main_is_read_as_the_supervisor_words_it(code: int) -> None:
    for words in ("its configuration is wrong.", "restart in 0.1 s. To stop trying: python daemon.py stop"):
        gap = ": " if words.startswith("its") else "; "
        told = error_text(f"Main program {describe_end(code)}{gap}{words}", chinese=True)
        assert told.startswith(("主程序已退出，退出码 ", "主程序被 SIG", "主程序被信号 50 终止"))
        assert not re.search("exited|killed|wrong|restart in", told)


@pytest.mark.parametrize(
    "text",
    ["", "  ", "    indented: words", "a=b: c", "x='y'", "PORT='x", "Daemon already running (PID: 7)",
     "Daemon is not running", "Daemon started (PID: 7)", "Daemon stopped (PID: 7)", "must be a list of texts",
     "Created cache directory: /x", "is not JSON: Expecting value"],
)  # fmt: skip
def test_what_is_none_of_ours_and_what_scripts_know_stays_as_it_is(text: str) -> None:
    assert BOOK.in_chinese(text) == text


HOSTILE = ("a='", "a=", "='x': ", "a='x': ", "a='x': must be one of ", "  ", "; ", "'x' is not a host name; ",
           "No permission to open x (", "(", "\\", "'", "Main program exited with code ")  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_words_that_nearly_are_ours_over_and_over_cost_no_more_than_their_length(piece: str) -> None:
    BOOK.in_chinese(say.PROBLEM(key="a", value="b", allowed=say.TEXT()))
    for before in ("", "PORT='x': ", "  "):
        began = time.thread_time()
        assert BOOK.in_chinese(before + piece * (10_000 // len(piece)))
        # Linear costs milliseconds here, the square of the length seconds, and worse never ends.
        assert time.thread_time() - began < 0.5


WORDED = (
    "config.py", "main.py", "core/settings.py", "core/fleet_file.py", "core/targets.py", "core/secret_strength.py",
    "core/errors.py", "supervisor/claim.py", "supervisor/client.py", "supervisor/commands.py", "supervisor/status.py",
    "checker/__main__.py", "cleaner/__main__.py", "cleaner/scheduler.py", "cleaner/convenience.py",
    "runtime/daemon_fleet.py", "runtime/web.py", "runtime/operating.py", "runtime/gate.py", "runtime/fleet.py",
    "runtime/own_fleet.py", "runtime/access.py", "runtime/workers.py", "scripts/install_service.py",
)  # fmt: skip
# Told in either language, in the same line.
IN_BOTH_LANGUAGES = {"cannot run: "}
# What scripts and documents know of daemon.py.
THE_SAME_IN_EVERY_LANGUAGE = {"Daemon is running (PID: ", "Daemon is not running"}
# Of Python's kinds, with words for whoever programs.
FOR_PROGRAMMERS = {"AttributeError", "AssertionError", "TypeError"}
BLAMED = ("Problem", "Status", "self._problem", "self.blame", "reader.blame", "problems.append")


@pytest.mark.parametrize("name", WORDED)
def test_an_error_is_made_of_a_phrase_and_of_no_other_words(name: str) -> None:
    tree = ast.parse((SOURCE / name).read_text(encoding="utf-8"))
    told: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            kind = ast.unparse(node.exc.func)
            told += [] if kind in FOR_PROGRAMMERS or kind.endswith("ArgumentTypeError") else [node.exc]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in BLAMED:
            told.append(node)
        elif isinstance(node, ast.Return) and node.value is not None:
            told.append(node.value)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("text", "words", "reason", "allowed"):
            # What is raised in the next line.
            told.append(node.value)
        elif isinstance(node, ast.Call) and "file=sys.stderr" in ast.unparse(node):
            told.append(node)
    sentences = {
        each.value
        for node in told
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and re.search("[a-z]+ [a-z]+", each.value)
    }
    assert sentences <= IN_BOTH_LANGUAGES | THE_SAME_IN_EVERY_LANGUAGE
