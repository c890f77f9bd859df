"""What errors of models, workflows, templates and prompts say in Chinese, and that they say nothing else."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from core import errors, workflow_phrases
from core import reason_phrases as say
from core.error_words import error_text
from core.models import words
from core.models.manifest import from_json
from core.phrases import Phrase, Phrasebook
from core.template import DEFAULTS, fill, read_template
from core.workflow import read_graph, subgraph_for
from tests.workspace import SOURCE

GRAPH = {
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["5", 0]}},
    "7": {"class_type": "Nothing", "inputs": {}},
}
MODULES = sorted(
    str(path.relative_to(SOURCE))
    for path in (
        *(SOURCE / "modelcache").glob("*.py"),
        *(SOURCE / "client").glob("*.py"),
        *(SOURCE / "core" / "models").glob("*.py"),
        *(SOURCE / "core" / name for name in ("workflow.py", "template.py", "outputs.py")),
    )
)
WORDLESS = {
    # A path and the system's own words: there is nothing to translate.
    ("modelcache/pull.py", "ModelError(f'{root.path}/{name}: {error.strerror or error}')"),
    # Its problems have the words, and are looked at below.
    ("client/comfyui_client.py", "ConfigError([Problem('server_address', str(server_address), str(invalid))])"),
    ("client/comfyui_client.py", "ConfigError([Problem('SERVERS', '', wrong.NO_SERVER())])"),
}
ERRORS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
} | {"ValueError", "Malformed", "ArgumentTypeError"}  # fmt: skip


def _called(node: ast.expr) -> str:
    return ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""


def _is_told(node: ast.expr, function: ast.AST) -> bool:
    """Whether an expression is a phrase: called here, joined with others, or given a name in the same function."""
    if isinstance(node, ast.IfExp):
        return _is_told(node.body, function) and _is_told(node.orelse, function)
    if isinstance(node, ast.Name):
        given = [
            each.value
            for each in ast.walk(function)
            if isinstance(each, ast.Assign) and node.id in map(ast.unparse, each.targets)
        ]
        return bool(given) and all(_is_told(each, function) for each in given)
    name = _called(node)
    if name == "also":
        assert isinstance(node, ast.Call)
        return all(_is_told(each, function) or _called(each) == "str" for each in node.args)
    return name.isupper() or name == "error_text"


def _errors_made(path: Path) -> Iterator[tuple[ast.Call, ast.AST]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and _called(node) in ERRORS:
                yield node, function


@pytest.mark.parametrize("name", MODULES)
def test_every_error_is_made_of_a_phrase(name: str) -> None:
    literal = {
        ast.unparse(call) for call, function in _errors_made(SOURCE / name) if not _is_told(call.args[0], function)
    }
    assert literal == {text for module, text in WORDLESS if module == name}


def _sample(phrase: Phrase, book: Phrasebook) -> str:
    """Return a phrase with fields as they are in life."""
    known: dict[str, Any] = {
        "endpoint": "https://hub.example", "server_url": "http://127.0.0.1:8188", "url": "http://127.0.0.1:8188",
        "repo": "me/flux", "path": "/models/ab", "file": "m.json", "parameter": "seed", "again": "seed",
        "needed": "53.91 GB", "free": "0 B", "reason": say.NOT_POLLED(), "model": "flux dev", "id": "1f-2e",
    }  # fmt: skip
    fields: dict[str, Any] = {}
    for _, name, spec, cast in Formatter().parse(phrase.english):
        if name and name in book.kinds and name != "reason":
            fields[name] = _sample(book.kinds[name][-1], book)
        elif name:
            fields[name] = 7 if spec else "it's" if cast else known.get(name, "word")
    return phrase(**fields)


@pytest.mark.parametrize(
    ("book", "phrase"),
    [(book, each) for book in (words.BOOK, workflow_phrases.BOOK) for each in book.kinds["reason"]]
    + [(say.BOOK, each) for each in (say.FAILED_ON, say.BY_SERVER, say.MAY_STILL_TAKE, say.NOT_AN_IMAGE, say.NO_ENTRY)],
    ids=lambda each: each.english if isinstance(each, Phrase) else "",
)
def test_no_other_book_takes_a_phrase_for_one_of_its_own(book: Phrasebook, phrase: Phrase) -> None:
    english = _sample(phrase, book)
    assert error_text(english, chinese=False) == english
    assert error_text(english, chinese=True) == book.in_chinese(english) != english


def _wrong_with(mapping: dict[str, Any]) -> errors.WorkflowError:
    with pytest.raises(errors.WorkflowError) as caught:
        read_template(mapping, read_graph(GRAPH))
    return caught.value


def _wrong_with_asking(**overrides: Any) -> errors.WorkflowError:
    template = read_template({"inputs": {"width": "5.width", "prompt": "6.text", "seed": "5.width"}}, read_graph(GRAPH))
    values = {**DEFAULTS, **{name: overrides.pop(name) for name in [*overrides] if name in DEFAULTS}}
    with pytest.raises(errors.WorkflowError) as caught:
        fill(template, values, overrides)
    return caught.value


@pytest.mark.parametrize(
    ("mapping", "chinese"),
    [
        ({}, '不是映射：应为 {"workflow": "file.json", "inputs": {"prompt": "6.text", …}}'),
        ({"inputs": {}, "b": 1, "a": 2}, "含有未知项：a, b"),
        ({"inputs": {"promt": "6.text"}}, "映射了 'promt'，但没有此参数：是否指 prompt？"),
        ({"inputs": {"zz": "6.text"}}, "映射了 'zz'，但没有此参数"),
        ({"inputs": {"prompt": "6.clip"}}, "prompt 映射到 6.clip，而它连接到节点 5：请映射到该节点"),
        ({"inputs": {"prompt": 6}}, "prompt 映射到 6：位置应写作 node.input，如 6.text"),
        (
            {"inputs": {"prompt": "8.text"}},
            "prompt 映射到 8.text：工作流中没有节点 8；现有 5 (EmptyLatentImage), 6 (CLIPTextEncode), 7 (Nothing)",
        ),
        (
            {"inputs": {"prompt": "6.txt"}},
            "prompt 映射到 6.txt：节点 6（CLIPTextEncode）没有输入 'txt'；现有 clip, text",
        ),
        ({"inputs": {"prompt": "7.x"}}, "prompt 映射到 7.x：节点 7（Nothing）没有输入 'x'；现有 无"),
        ({"inputs": {}, "images": "9"}, '"images" 应为节点 ID 的列表，如 ["9"]'),
        (
            {"inputs": {}, "images": ["9"]},
            "图片取自节点 9，而工作流中没有该节点；现有 5 (EmptyLatentImage), 6 (CLIPTextEncode), 7 (Nothing)",
        ),
        ({"inputs": {}, "largest_seed": -1}, '"largest_seed" 应为 0 到 18446744073709551615 的整数'),
    ],
)
def test_what_is_wrong_with_a_mapping_is_told_by_itself_and_after_its_file(
    mapping: dict[str, Any], chinese: str
) -> None:
    error = _wrong_with(mapping)
    assert error_text(error, chinese=True) == chinese
    path = "/some where/t.mapping.json"
    assert error_text(workflow_phrases.IN_FILE(file=path, flaw=error), chinese=True) == f"{path}：{chinese}"
    assert error_text(workflow_phrases.FILE_IS(file=path, flaw=error), chinese=True) == f"{path} {chinese}"


@pytest.mark.parametrize(
    ("asked", "chinese"),
    [
        ({"cfg": 3.0}, "模板中没有 cfg 的位置：请加入映射，或不要给出 cfg"),
        ({"prompt": 7}, "prompt 应为文本，而不是 int"),
        ({"width": [1, "a; b"]}, "width 应为数字，而不是 [1, 'a; b']"),
        ({"seed": -1}, "seed 应为 0 到 18446744073709551615 的整数，而不是 -1"),
        ({"steps_": 1}, "没有参数 'steps_'：是否指 steps？覆盖项应写作 node.input：95.sampler_name"),
        ({"zz": 1}, "没有参数 'zz'；覆盖项应写作 node.input：95.sampler_name"),
        ({"6.clip": 1}, "覆盖项 6.clip：该输入连接到节点 5；请更改该节点的输入"),
        ({"7.": 1}, "覆盖项 '7.'：位置应写作 node.input，如 6.text"),
        ({"5.width": {1}}, "有值无法以 JSON 发送：Object of type set is not JSON serializable"),
        ({"6.clip": ["8", 0]}, "错误：节点 6：输入 'clip' 连接到节点 '8'，而该节点不存在"),
        ({"6.clip": ["6", 0]}, "错误：节点 6：处于循环连线中"),
    ],
)
def test_what_is_wrong_with_what_is_asked_is_told(asked: dict[str, Any], chinese: str) -> None:
    assert error_text(_wrong_with_asking(**asked), chinese=True) == chinese


@pytest.mark.parametrize(
    ("document", "chinese"),
    [
        ([], "不是工作流：应为由节点组成的 JSON 对象"),
        ({"nodes": [], "links": []}, "是编辑器格式：请在 ComfyUI 中使用“导出 API 格式”（Export (API)）另存"),
        ({"3": {}}, "节点 '3' 没有 class_type：不是 API 格式的工作流"),
        ({"3": {"class_type": "X", "inputs": []}}, "节点 '3' 的 inputs 不是对象"),
    ],
)
def test_what_is_no_workflow_is_told_by_itself_and_after_its_file(document: object, chinese: str) -> None:
    with pytest.raises(errors.WorkflowError) as caught:
        read_graph(document)
    assert error_text(caught.value, chinese=True) == chinese
    assert error_text(f"w.json: {caught.value}", chinese=True) == f"w.json：{chinese}"


def test_a_key_that_is_not_stored_is_told() -> None:
    with pytest.raises(errors.WorkflowError) as caught:
        subgraph_for(read_graph(GRAPH), "vae")
    assert error_text(caught.value, chinese=True) == "不存入缓存键 'vae'"


@pytest.mark.parametrize(
    ("document", "chinese"),
    [
        ({"format": 2}, "manifest.json 无法使用：格式 2，本程序只支持 1"),
        ({}, "manifest.json 无法使用：不是清单：KeyError('format')"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_told(document: object, chinese: str) -> None:
    with pytest.raises(ValueError, match="format") as caught:
        from_json(document)
    assert words.in_chinese(words.NOTE_UNUSABLE(file="manifest.json", note=caught.value)) == chinese


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (
            "flux: process 17 is at it (pull) since 2026-11-23 12:00:00; try again later",
            "flux：进程 17 自 2026-11-23 12:00:00 起正在处理（pull）；请稍后重试",
        ),
        ("locked: another process is at it", "已锁定：另一进程正在处理"),
        ("flux: being downloaded: another process is at it", "flux：正在下载：另一进程正在处理"),
        ("flux: vae/a.bin is open in python (17), x (8)", "flux：vae/a.bin 被 python (17), x (8) 打开"),
        ("flux: vae/a.bin is open in a process of another user", "flux：vae/a.bin 被其他用户的进程打开"),
        ("flux: pinned", "flux：已固定"),
        (
            "http://h could not be asked about me/flux/w.bin: the connection failed (ReadTimeout); run the same "
            "command again",
            "无法向 http://h 查询 me/flux/w.bin：连接失败（ReadTimeout）；请重新运行同一命令",
        ),
        (
            "http://h could not be asked about me/flux: Name; or service not known; run the same command again",
            "无法向 http://h 查询 me/flux：Name; or service not known；请重新运行同一命令",
        ),
        ("http://h answered 503 for me/flux: it answered 503", "http://h 对 me/flux 应答状态码 503：应答状态码 503"),
        ("http://h, me/flux: odd, (really); run the same command again",
         "http://h，me/flux：odd, (really)；请重新运行同一命令"),
        ("no model matches 'x'; there are: -", "没有模型匹配 'x'；现有：无"),
        ("no model matches 'x'; there are: " + "flux, " * 200, "没有模型匹配 'x'；现有：" + "flux, " * 200),
        (
            "http://h:1 refused the prompt with status 400: Prompt failed validation; node 3 (Load): model: None",
            "http://h:1 拒绝了任务，状态码 400：Prompt failed validation；节点 3（Load）：model: None",
        ),
        (
            "http://h:1/prompt was not answered in time; it may still take the prompt: wait('1f') before sending again",
            "http://h:1/prompt 未及时应答；服务器仍可能接受该任务：再次提交前请先 wait('1f')",
        ),
        (
            "prompt 1f failed on http://h:1: node 3 (Load (X)): Out; of memory",
            "任务 1f 在 http://h:1 上失败：节点 3（Load (X)）：Out; of memory",
        ),
        (
            "prompt 1f has not finished after 0.5 s (running on http://h:1); wait for it again, or look at the server",
            "任务 1f 在 0.5 秒后仍未完成（http://h:1 上生成中）；请继续等待，或查看服务器",
        ),
    ],
)  # fmt: skip
def test_an_error_within_an_error_is_read_too(english: str, chinese: str) -> None:
    assert error_text(english, chinese=True) == chinese


@pytest.mark.parametrize(
    "text",
    [
        "", "a: b", "a: b; c: d", "/models/flux: No space left on device", "x is open", "none", "node 3 (X)", "; ",
        "http://h:1 ", "error: ", "me: error: x", "already / 已经", "C: node 'x' has", "/a b: node 3 has a fault",
    ],
)  # fmt: skip
def test_what_is_none_of_ours_stays_as_it_is(text: str) -> None:
    assert error_text(text, chinese=True) == text


HOSTILE = (
    ": ", "x: ", "; x: ", "a is open in ", ": a is open in ", " node ", ": node 'x' has ", "maps 'a", ": maps 'a' ",
    "x, y: ", "http://x, ", "http://x ", "http://x answered 1 for ", " needs ", "x; run the same command again; ",
    "prompt ", " of ", "task id 'a", " is mapped to ", "override '", "(", "'", "[", " ",
)  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_words_that_nearly_are_ours_over_and_over_cost_no_more_than_their_length(piece: str) -> None:
    for before in ("", "/a b: ", "http://h, me/x: ", "prompt x failed on y: "):
        text = before + piece * (10_000 // len(piece))
        began = time.thread_time()
        for book in (words.BOOK, workflow_phrases.BOOK, say.BOOK):
            assert book.in_chinese(text)
        # Linear costs milliseconds here, the square of the length seconds, and worse never ends.
        assert time.thread_time() - began < 1.0


def test_every_module_of_the_model_cache_and_the_client_is_looked_at() -> None:
    made = [ast.unparse(call) for name in MODULES for call, _ in _errors_made(SOURCE / name)]
    assert len(made) > 80
    assert any(re.match("HubError", each) for each in made)
