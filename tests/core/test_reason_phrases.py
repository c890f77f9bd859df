"""The reasons in Chinese: every phrase there and back, whatever a server says in it, and at what cost."""

from __future__ import annotations

import ast
import re
import time
from string import Formatter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import cleaning_phrases
from core import reason_phrases as say
from core import workflow_phrases as wrong
from core.model import State
from core.models import removal, states, words
from core.phrases import Phrase, Phrasebook
from core.reason_phrases import BOOK, in_chinese
from core.reason_words import reason_text
from core.state_words import STATE_WORDS
from operations.backends.models import _word
from tests.workspace import SOURCE

ROUND_TRIPS = [
    (book, kind, phrase)
    for book in (BOOK, words.BOOK, wrong.BOOK, cleaning_phrases.BOOK)
    for kind, phrases in book.kinds.items()
    for phrase in phrases
]
INNER = {
    "missing": ("clip, vae", "clip, vae"),
    "words": ("Out of memory", "Out of memory"),
    "lacking": ("node class 'X'", "节点类型 'X'"),
    "part": ("the whole workflow", "整个工作流"),
    "submission": ("submission 1f-2e for 'vae'", "提交 1f-2e（缓存键 'vae'）"),
    "state": ("needs_submission", "缓存未加载"),
    "holder": ("another process is at it", "另一进程正在处理"),
    "use": ("being downloaded: another process is at it", "正在下载：另一进程正在处理"),
    "header": ("tensor 'w' has impossible offsets", "张量 'w' 的偏移量不可能"),
    "note": ("not a manifest: KeyError('repo')", "不是清单：KeyError('repo')"),
    "answer": ("the connection was cut", "连接中断"),
    "models": ("-", "无"),
    "flaw": ("maps 'promt', which is no parameter", "映射了 'promt'，但没有此参数"),
    "broken": ("is part of a circle of links", "处于循环连线中"),
    "giver": ("seed is mapped to", "seed 映射到"),
    "known": ("none", "无"),
    "step": ("queued", "排队中"),
}
# A sentence that a phrase of another kind stands in.
CARRIERS = {
    "missing": say.MISSING,
    "words": say.REFUSED,
    "lacking": say.LACKS,
    "part": say.WOULD_SUBMIT,
    "submission": say.RUNNING,
    "state": say.SET_STANDS,
    "holder": words.LOCKED,
    "use": words.IN_USE,
    "header": words.BAD_HEADER,
    "note": words.NOTE_UNUSABLE,
    "answer": words.HUB_FAILED,
    "models": words.NOT_HERE,
    "flaw": wrong.IN_FILE,
    "broken": wrong.BROKEN,
    "giver": wrong.NO_PLACE,
    "known": wrong.NO_IMAGE_NODE,
    "step": wrong.NOT_FINISHED,
}
GIVEN: dict[str, Any] = {
    "status": 400, "server": "gpu-1", "set": "faces", "reason": say.NOT_POLLED(), "seconds": 1, "name": "manifest.json",
    "model": "flux dev", "endpoint": "https://hub", "repo": "me/flux", "typed": 1, "file": "m.json", "node": 3,
    "value": 6, "prompt": "1f-2e", "url": "http://x:1",
}  # fmt: skip
plain = st.text(st.characters(codec="utf-8", exclude_characters=";,()"), min_size=1, max_size=80)
SHAPED: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(
        ("url", "path", "server", "set", "name", "target"),
        st.text(st.characters(categories=("L", "N", "P", "S"), exclude_characters=";,()"), min_size=1, max_size=80),
    ),
    "id": st.uuids().map(str),
    **dict.fromkeys(("endpoint", "server_url"), st.sampled_from(("https://hub.example", "http://127.0.0.1:8188"))),
    "file": st.sampled_from(("manifest.json", "0.png")),
    "repo": st.just("black-forest-labs/FLUX.1-dev"),
    **dict.fromkeys(("needed", "free"), st.sampled_from(("53.91 GB", "0 B", "1023.99 TB"))),
    **dict.fromkeys(("parameter", "again"), st.sampled_from(("prompt", "negative_prompt"))),
    "clock": st.just("2026-02-17 10:03:00"),
    "detector": st.sampled_from(("list", "determine", "history", "custom")),
    **dict.fromkeys(
        ("value", "other"),
        st.one_of(st.booleans(), st.none(), st.integers(), plain, st.lists(st.booleans(), max_size=3)),
    ),
}


def another(book: Phrasebook) -> tuple[str, str]:
    """Return a sentence of a book in English and in Chinese."""
    phrase = next(each for each in book.kinds["reason"] if "{" not in each.english)
    return phrase(), phrase.chinese


def fields_of(phrase: Phrase) -> list[tuple[str, str, str]]:
    """Return (name, format, conversion) of each field of the English."""
    return [(name, form or "", cast or "") for _, name, form, cast in Formatter().parse(phrase.english) if name]


@st.composite
def told(draw: st.DrawFn, phrase: Phrase, book: Phrasebook) -> tuple[str, str]:
    """Draw fields for a phrase; return it in English and in Chinese."""
    english: dict[str, Any] = {}
    chinese: dict[str, str] = {}
    for name, form, cast in fields_of(phrase):
        if name == "reason":
            english[name], chinese[name] = another(book)
        elif name in book.kinds:
            english[name], chinese[name] = INNER[name]
        elif form:
            english[name] = draw(st.integers(0, 10**12))
            chinese[name] = format(english[name], form)
        else:
            value = draw(SHAPED.get(name, st.text(max_size=80) | st.integers() if cast else plain))
            english[name], chinese[name] = value, repr(value) if cast else str(value)
    return phrase(**english), phrase.chinese.format(**chinese)


@pytest.mark.parametrize(
    ("book", "kind", "phrase"), ROUND_TRIPS, ids=[f"{kind}: {each.english}" for _, kind, each in ROUND_TRIPS]
)
@settings(max_examples=20)
@given(data=st.data())
def test_a_phrase_is_read_as_it_was_made(book: Phrasebook, kind: str, phrase: Phrase, data: st.DataObject) -> None:
    english, chinese = data.draw(told(phrase, book))
    if kind != "reason":
        carrier = CARRIERS[kind]
        english = carrier(**{**GIVEN, kind: english})
        chinese = carrier.chinese.format(**{**GIVEN, "reason": say.NOT_POLLED.chinese, kind: chinese})
    assert book.in_chinese(english) == chinese
    follows, told_then = another(book)
    assert book.in_chinese(say.also(english, follows)) == f"{chinese}；{told_then}", "and what follows it too"


def test_both_languages_of_a_phrase_have_the_same_fields_and_end_alike() -> None:
    for book, _, phrase in ROUND_TRIPS:
        named = [name for name, _, _ in fields_of(phrase)]
        assert sorted(named) == sorted(re.findall(r"\{(\w+)\}", phrase.chinese)), phrase.english
        parts = list(Formatter().parse(phrase.english))
        if (last := parts[-1][1]) in book.kinds:
            assert phrase.chinese.endswith(f"{{{last}}}"), phrase.english
        words = any(re.search("[a-z]", literal) for literal, *_ in parts)
        assert not words or re.search("[\u4e00-\u9fff]", phrase.chinese), phrase.english


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (
            "node 3 (Load (X)): Out; of memory; failed 3 times, next try in 40 s",
            "节点 3（Load (X)）：Out; of memory；已失败 3 次，40 秒后重试",
        ),
        (
            "missing: a, b; 2 jobs of users are queued; waiting at most 30 s more",
            "缺少：a, b；有 2 个用户任务在排队；最多再等 30 秒",
        ),
        (
            "submission 1f for 'it\\'s; odd' is neither in the queue nor in the history: lost; failed 1 times, "
            "next try in 5 s",
            "提交 1f（缓存键 'it\\'s; odd'）既不在队列中也不在历史中：已丢失；已失败 1 次，5 秒后重试",
        ),
        (
            "submission 1f for the whole workflow: sent, and not answered as it should be: /prompt was not answered "
            "in time",
            "提交 1f（整个工作流）：已发送，但应答不正常：/prompt 未及时应答",
        ),
        (
            "answers late while our submission is open: /queue was not answered in time",
            "我们的提交尚未结束，服务器应答缓慢：/queue 未及时应答",
        ),
        (
            "missing: nothing; asked for by an operator; would submit key 7",
            "缺少：无；由操作员请求；将提交缓存键 7",
        ),
        (
            "the server lacks node class 'A', ckpt_name 'a, b.safetensors' for Load (X); failed 1 times, "
            "next try in 5 s",
            "服务器缺少节点类型 'A'、Load (X) 的 ckpt_name 'a, b.safetensors'；已失败 1 次，5 秒后重试",
        ),
        (
            "refused the prompt with status 400: Prompt outputs failed validation; node 3 (Load): model: None",
            "拒绝了任务，状态码 400：Prompt outputs failed validation；节点 3（Load）：model: None",
        ),
        (
            "2 of 9 not loaded: gpu-1 faces: failed (no connection to http://x:1: Connection refused; failed 3 times, "
            "next try in 40 s); gpu-2 faces: needs_submission (missing: a); and 4 more",
            "9 个中有 2 个未加载：gpu-1 faces：失败 (无法连接 http://x:1：Connection refused；"
            "已失败 3 次，40 秒后重试)；gpu-2 faces：缓存未加载 (缺少：a)；还有 4 个",
        ),
        (
            "/queue answered status 302: a redirect to https://x/login?a=b, perhaps a login",
            "/queue 应答状态码 302：重定向到 https://x/login?a=b，可能是登录页",
        ),
    ],
)
def test_a_reason_within_a_reason_is_read_too(english: str, chinese: str) -> None:
    assert in_chinese(english) == chinese


FOREIGN = (
    "", "Connection refused", "a; b; c", "; ", "; ; ", ", ", "node", "missing", "missing:", "prompt ", "已加载",
    "{0}{x}%s", "Value not in list: ckpt_name: 'a' not in ['b']; retry",
)  # fmt: skip


@pytest.mark.parametrize("text", FOREIGN)
def test_what_is_none_of_ours_stays_as_it_is(text: str) -> None:
    assert in_chinese(text) == text
    assert in_chinese(say.REFUSED(status=400, words=text)) == f"拒绝了任务，状态码 400：{text}"


@given(st.text(max_size=300))
def test_no_word_of_a_server_is_lost(words: str) -> None:
    told = in_chinese(say.also(say.NO_JSON(path="/queue", words=words), say.FAILED_BEFORE(failures=2, seconds=9)))
    assert told == f"/queue 的应答不是 JSON：{words}；已失败 2 次，9 秒后重试"


HOSTILE = (
    "missing: ", "; ", "prompt x; ", "prompt x of a cache keeper ", "submission x for 'a; ", "submission x for '",
    "node 1 (X; ", "node 1 ((X", "a is '; ", "missing: a is '; ", "the server lacks a 'b, ", "a 'b' for (, ",
    "'", "\\", "x answered status 1: ", "no connection to x; ", "failed 1 times, next try in 1 s; ",
    " ", "9", "x", "\n", "(", ")",
)  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_words_that_nearly_are_ours_over_and_over_cost_no_more_than_their_length(piece: str) -> None:
    for before in ("", "missing: ", "the server lacks ", "node 3 (X): "):
        text = before + piece * (10_000 // len(piece))
        began = time.thread_time()
        assert in_chinese(text)
        small = time.thread_time() - began
        # Linear costs milliseconds here, the square of the length seconds, and worse never ends.
        assert small < 0.5
        began = time.thread_time()
        in_chinese(text * 100)
        assert time.thread_time() - began < 0.5, "a megabyte is not read to its end"


def test_a_reason_is_read_once_and_then_known() -> None:
    reasons = [f"missing: a, b; {each} jobs of users are queued; waiting at most 30 s more" for each in range(1000)]
    began = time.thread_time()
    first = [in_chinese(each) for each in reasons]
    once = time.thread_time() - began
    began = time.thread_time()
    assert [in_chinese(each) for each in reasons] == first
    assert time.thread_time() - began < once


WORDED = (
    "core/warmup.py", "core/answers.py", "checker/poll.py", "checker/probe.py", "checker/submit.py",
    "checker/events.py", "checker/tracks.py", "client/protocol.py", "client/server_client.py",
)  # fmt: skip


@pytest.mark.parametrize("name", WORDED)
def test_no_reason_is_worded_anywhere_else(name: str) -> None:
    tree = ast.parse((SOURCE / name).read_text(encoding="utf-8"))
    for_programmers: set[int] = set()
    for node in ast.walk(tree):
        logs = isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log.")
        if (
            logs
            or isinstance(node, ast.Assert)
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        ):
            for_programmers |= {id(each) for each in ast.walk(node)}
    sentences = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in for_programmers
        if re.search(r"[a-z]+ [a-z]+", node.value)
    ]
    # The words of an exception of the system's kind, which is quoted as the system's are.
    assert set(sentences) <= {"no name server answers"}


def test_what_is_found_of_models_is_told_in_both_languages() -> None:
    assert words.STATE_WORDS.keys() == {each.value for each in states.State}
    assert words.FAULT_WORDS.keys() == {each.value for each in states.Fault}
    assert words.finding_text("wrong size", "9 of 10 bytes", chinese=True) == "大小不符，9 / 10 字节"
    assert words.finding_text("wrong size", "9 of 10 bytes", chinese=False) == "wrong size, 9 of 10 bytes"
    assert words.finding_text("unreadable", "Permission denied", chinese=True) == "无法读取，Permission denied"
    assert words.finding_text("unfinished", "", chinese=True) == "未完成"


@pytest.mark.parametrize(
    ("reason", "chinese"),
    [
        ("older_than", "超过保留天数"),
        ("mount", "该处挂载了另一文件系统"),
        ("no sign of a model in it", "其中没有模型"),
        ("vae/a.bin is open in python (17)", "vae/a.bin 被 python (17) 打开"),
        ("Permission denied", "Permission denied"),
        (
            "target images: /a b cannot be opened: Not a directory (replaced by a link while it was opened?)",
            "目标 images：/a b 无法打开：Not a directory（打开时被换成了链接？）",
        ),
        (
            "target images: 9 of 10 entries (90%) would go, more than 50%: is the clock right, and the directory? If "
            "that is meant: --allow-most",
            "目标 images：10 个条目中有 9 个（90%）将被删除，超过 50%：时钟和目录是否正确？如确需如此：--allow-most",
        ),
        (
            "the clock went back by 3.0 days since the last run: nothing is deleted this time; the next scheduled run "
            "trusts the clock again",
            "自上次清理以来时钟回退了 3.0 天：本次不删除任何内容；下次定时清理将重新信任时钟",
        ),
    ],
)
def test_why_an_entry_stays_or_goes_is_told_too(reason: str, chinese: str) -> None:
    assert reason_text(reason, chinese=True) == chinese


def test_every_reason_of_a_cleaning_has_words() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (SOURCE / "operations" / "backends").glob("*.py"))
    code += "".join(path.read_text(encoding="utf-8") for path in (SOURCE / "cleaner").glob("*.py"))
    named = set(re.findall(r"""(?:stays|skips|skipped\.add)\((?:path, )?"(\w[\w ]*)\"""", code))
    named |= {_word(each) for each in removal.Reason}
    assert {"no_time", "mount", "written to meanwhile"} <= named
    assert [each for each in named if not re.search("[\u4e00-\u9fff]", reason_text(each, chinese=True))] == []


def test_a_state_is_worded_for_each_state() -> None:
    assert {*STATE_WORDS} == {str(each) for each in State}
