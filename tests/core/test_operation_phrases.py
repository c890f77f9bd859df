"""What operations, the API and the stores say of errors: every phrase there and back, and no other words."""

from __future__ import annotations

import ast
import re
import time
from string import Formatter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import cleaning_phrases, reason_phrases
from core import operation_phrases as operations
from core import request_phrases as requests
from core import store_phrases as stores
from core.error_words import error_text
from core.models import words
from core.operation_phrases import BOOK
from core.phrases import Phrase, Phrasebook
from core.reason_phrases import also
from tests.workspace import SOURCE

PHRASES = [(kind, phrase) for kind, phrases in BOOK.kinds.items() for phrase in phrases]
INNER = {
    "reason": (stores.DISK_FULL(), stores.DISK_FULL.chinese),
    "state": ("running", "正在执行"),
    "part": ("arguments of clear", "clear 的参数"),
    "denial": ("the token has expired", "令牌已过期"),
    "kept": ("in use", "正在使用"),
}
# A sentence that a phrase of another kind stands in.
CARRIERS = {
    "state": stores.ONLY_ENDED,
    "part": stores.NO_JSON,
    "denial": requests.SET_API_TOKEN,
    "kept": operations.STAYS,
}
GIVEN = {"id": "17", "words": "Circular reference detected", "url": "http://far:8000", "model": "vae"}
plain = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters=";,()"), min_size=1, max_size=80
)
word = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=40)
identifier = st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True)
SHAPED: dict[str, st.SearchStrategy[Any]] = {
    "path": plain.map("/{}".format) | plain.map("C:\\{}".format),
    "url": word.map("http://{}:8000".format),
    "id": st.uuids().map(str),
    "field": identifier,
    "fault": st.sampled_from(("StoreError", "BackendError")),
    "known": st.lists(word, min_size=1, max_size=300).map(", ".join),
    "choices": st.lists(word.map(repr), min_size=1, max_size=3).map(", ".join),
    **dict.fromkeys(("operation", "role", "other_role", "sort", "package"), identifier),
    **dict.fromkeys(("word", "place", "action", "target", "model"), word),
}


def fields_of(phrase: Phrase) -> list[tuple[str, str, str]]:
    return [(name, form or "", cast or "") for _, name, form, cast in Formatter().parse(phrase.english) if name]


@st.composite
def told(draw: st.DrawFn, phrase: Phrase) -> tuple[str, str]:
    """Draw fields for a phrase; return it in English and in Chinese."""
    english: dict[str, Any] = {}
    chinese: dict[str, str] = {}
    for name, form, cast in fields_of(phrase):
        if name == "parameter":
            # Only what says what Pydantic does has a parameter before it.
            english[name] = chinese[name] = draw(identifier)
            english["reason"], chinese["reason"] = "Field required", "必填"
            break
        if name in INNER:
            english[name], chinese[name] = INNER[name]
        elif form:
            english[name] = draw(st.integers(0, 10**5))
            chinese[name] = format(english[name], form)
        else:
            value = draw(st.text(max_size=80) if cast else SHAPED.get(name, plain))
            english[name], chinese[name] = value, repr(value) if cast else str(value)
    return phrase(**english), phrase.chinese.format(**chinese)


@pytest.mark.parametrize(("kind", "phrase"), PHRASES, ids=[f"{kind}: {each.english}" for kind, each in PHRASES])
@settings(max_examples=20)
@given(data=st.data())
def test_a_phrase_is_read_as_it_was_made(kind: str, phrase: Phrase, data: st.DataObject) -> None:
    english, chinese = data.draw(told(phrase))
    if kind != "reason":
        carrier = CARRIERS[kind]
        english, chinese = carrier(**{**GIVEN, kind: english}), carrier.chinese.format(**{**GIVEN, kind: chinese})
    assert error_text(english, chinese=False) == english
    assert error_text(english, chinese=True) == chinese
    follows = stores.TASK_VANISHED(id=3)
    assert error_text(also(english, follows), chinese=True) == f"{chinese}；任务 3 写入后不见了", "and what follows it"


def test_both_languages_of_a_phrase_have_the_same_fields_and_end_alike() -> None:
    for _, phrase in PHRASES:
        named = sorted(name for name, _, _ in fields_of(phrase))
        assert sorted(re.findall(r"\{(\w+)\}", phrase.chinese)) == named, phrase.english
        parts = list(Formatter().parse(phrase.english))
        if (last := parts[-1][1]) in BOOK.kinds:
            assert phrase.chinese.endswith(f"{{{last}}}"), phrase.english
        has_words = any(re.search("[a-z]", literal) for literal, *_ in parts)
        assert not has_words or re.search("[\u4e00-\u9fff]", phrase.chinese) or phrase is requests.VALUE_ERROR


SAMPLES = {
    "path": "/a/b", "url": "http://h:1", "reason": "Connection refused", "words": "Out of memory",
    "missing": "clip, vae", "lacking": "node class 'X'", "part": "the whole workflow", "submission": "submission 1f-2e",
    "state": "failed", "value": True, "other": False, "clock": "10:03:00", "detector": "list",
}  # fmt: skip


@pytest.mark.parametrize(
    "book", [cleaning_phrases.BOOK, words.BOOK, reason_phrases.BOOK], ids=["clean", "model", "fleet"]
)
def test_what_another_book_says_is_not_taken_for_ours(book: Phrasebook) -> None:
    for phrase in book.kinds["reason"]:
        fields = {name: 3 if form else SAMPLES.get(name, "abc") for name, form, _ in fields_of(phrase)}
        english = phrase(**fields)
        if any(phrase.chinese == ours.chinese for _, ours in PHRASES):
            continue
        assert BOOK.in_chinese(english) in (english, book.in_chinese(english))


FOREIGN = (
    "Connection refused", "ValueError: no such thing", "redis: nothing", "a; b; c", "task", "task 3", "record x",
    "[Errno 13] Permission denied: '/x'", "cannot be opened: x", "已加载", "{0}{x}%s", "it stays",
    "Input should be good",
)  # fmt: skip


@pytest.mark.parametrize("text", FOREIGN)
def test_what_is_none_of_ours_stays_as_it_is(text: str) -> None:
    assert BOOK.in_chinese(text) == text
    assert error_text(stores.REDIS_REFUSES(place="h:1", words=text), chinese=True) == f"位于 h:1 的 Redis 拒绝：{text}"


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (
            "nothing was done: cache.clear of images cannot be put on record: the audit log /c/audit.sqlite3: the disk "
            "is full; free some space and try again",
            "未执行任何操作：images 的 cache.clear 无法写入审计日志："
            "审计日志 /c/audit.sqlite3：磁盘已满；请释放空间后重试",
        ),
        (
            "/c/audit.sqlite3 cannot be opened: no permission: it belongs to another user; run this as another user, "
            "or change its owner",
            "/c/audit.sqlite3 无法打开：没有权限：属于其他用户；请以该用户运行，或更改其所有者",
        ),
        (
            "a token is needed: Authorization: Bearer …; python -m api token create makes one (set API_TOKEN to a "
            "token of http://far:8000)",
            "需要令牌：Authorization: Bearer …；可用 python -m api token create 签发"
            "（请将 API_TOKEN 设为 http://far:8000 的令牌）",
        ),
        (
            "http://far:8000, request 1f2e: the index was damaged (x): a damaged index was set aside as i.damaged; the "
            "next walks fill a new one",
            "http://far:8000，请求 1f2e：索引已损坏（x）：损坏的索引已移为 i.damaged；下次刷新会重建索引",
        ),
        (
            "arguments.Clear.days: Input should be greater than or equal to 1; "
            "arguments.x: Extra inputs are not permitted",
            "arguments.Clear.days：必须大于或等于 1；arguments.x：未知字段",
        ),
        ("vae stays: in use, python (17), 3 files", "vae 保留：正在使用，python (17), 3 files"),
        ("vae stays: vae/a.bin is open in python (17)", "vae 保留：vae/a.bin 被 python (17) 打开"),
        (
            "the daemon has carried out none of 2 wishes for 60 s: does it run? "
            "守护进程没有响应，请检查: python daemon.py status",
            "守护进程在 60 秒内未执行 2 个请求中的任何一个：是否在运行？请检查 python daemon.py status",
        ),
    ],
)
def test_what_is_said_around_another_error_is_read_with_it(english: str, chinese: str) -> None:
    assert error_text(english, chinese=True) == chinese


HOSTILE = (
    "/x cannot be ",
    "/x cannot be read: ",
    "the index /",
    "task x",
    "task x is ",
    "record 1 ",
    "Redis at ",
    "nothing was done: ",
    "a token is needed",
    "days: Input ",
    "x stays: ",
    "x stays: in use, ",
    "http://x: ",
    "http://x, request 1: ",
    "StoreError: ",
    "there is no task '",
    "no permission: it belongs to ",
    "; ",
    ", ",
    "'",
    "\\",
    "/",
    "9",
    " ",
    "(",
    ")",
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_words_that_nearly_are_ours_over_and_over_cost_no_more_than_their_length(piece: str) -> None:
    for before in ("", "/x cannot be opened: ", "x stays: "):
        began = time.thread_time()
        assert BOOK.in_chinese(before + piece * (10_000 // len(piece)))
        # Linear costs milliseconds here, the square of the length seconds, and worse never ends.
        assert time.thread_time() - began < 0.5


# -- no error is worded anywhere else ------------------------------------------------------------------------

# Errors that only a programmer sees, such as ValueError, and what argparse makes of an option, are none of these.
RAISED = (
    "CacheKeeperError|StoreError|StoreUnavailable|BadCursor|TaskError|TaskStateError|TaskCancelled|TaskInterrupted|"
    "BackendError|NotFound|BadRequest|NotConfirmed|AccessDenied|RefusedTarget|TargetBusy|KeysUnusable|HTTPException|"
    "Finding"
)
MODULES = sorted(
    str(path.relative_to(SOURCE))
    for place in ("operations", "api", "store", "core")
    for path in (SOURCE / place).rglob("*.py")
    if "phrases" not in path.name and path.name != "errors.py"
)


def worded(tree: ast.AST) -> list[str]:
    """Return the sentences that errors are made of, as they stand in a module."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and re.fullmatch(RAISED, ast.unparse(node.func)):
            given = [each for argument in node.args for each in _plain(argument)]
            found += [each for each in given if " " in each.strip()]
    return found


def _plain(node: ast.AST) -> list[str]:
    """Return the texts in an argument, but not those that a phrase is called with."""
    if isinstance(node, ast.Call | ast.Dict):
        return []
    if isinstance(node, ast.JoinedStr):
        return [ast.unparse(node)]
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    return [each for inner in ast.iter_child_nodes(node) for each in _plain(inner)]


@pytest.mark.parametrize("name", MODULES)
def test_every_error_is_made_of_a_phrase(name: str) -> None:
    assert worded(ast.parse((SOURCE / name).read_text(encoding="utf-8"))) == []


def test_an_error_in_words_of_its_own_would_be_found() -> None:
    code = 'raise NotFound(f"there is no {name!r}")\nraise BadRequest("days", "too many days" if many else say.FEW())'
    assert worded(ast.parse(code)) == ["f'there is no {name!r}'", "too many days"]
