"""What a server's answers mean: the shapes that were measured, the traps in them, and everything else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.answers import (
    Determination,
    describe_node_errors,
    excerpt,
    lacking_in,
    meets,
    parse_cache_list,
    parse_determine,
    parse_history,
    parse_json,
    parse_queue,
    parse_submitted,
)
from core.errors import BadAnswer, PromptRejected
from core.fleet import Expectation
from core.workflow import Key

STRINGS, NUMBERS, SIZES = (
    f"---- [{name}] ----\n" for name in ("String Key Caches", "Number Key Caches", "TagCache Settings")
)
LOGIN = "<!DOCTYPE html><html><title>Login</title><body>缓存已加载。</body></html>"


def printed(entries: list[tuple[Key, str]], sizes: dict[str, int] | None = None) -> str:
    """The text as the Inspire Pack's ShowCachedInfo.get_data writes it."""
    strings = "".join(f"{key}: {tag or 'N/A(tag)'}\n" for key, tag in entries if isinstance(key, str))
    numbers = "".join(f"{key}: {tag or 'N/A(tag)'}\n" for key, tag in entries if not isinstance(key, str))
    settings = "".join(f"{tag}: {size}\n" for tag, size in (sizes or {"ckpt": 5}).items())
    return f"{STRINGS}{strings}\n{NUMBERS}{numbers}\n{SIZES}{settings}"


def holds(entries: list[tuple[Key, str]], key: Key, tag: str | None = "") -> bool:
    return parse_cache_list(printed(entries)).holds(key, tag)


# -- GET /inspire/cache/list


def test_the_list_as_it_was_measured() -> None:
    listing = parse_cache_list(printed([("ok1", ""), ("vae", "VAE"), (7, "")], {"ckpt": 5, "latent": 100, "": 20}))
    assert listing.holds("ok1", "")
    assert listing.holds("vae", "VAE")
    assert listing.holds(7, "")
    assert not listing.holds("7", "")
    assert not listing.holds("ok", "")
    assert not listing.holds("k1", "")
    assert not listing.holds("ok1: N/A(tag)", "")
    assert listing.sizes == (("ckpt", 5), ("latent", 100), ("", 20))


def test_an_empty_cache_holds_nothing() -> None:
    assert not any(holds([], key) for key in ("", "a", 7, "\n", "N/A(tag)"))


@pytest.mark.parametrize(
    "key", ["a:b:c", "a: b", "缓存", "a\nb", "a\r\nb", "", " ", ": ", "x\n" + NUMBERS + "y", "7", "-"]
)
def test_a_key_of_any_spelling_is_found_where_it_is_stored(key: str) -> None:
    assert holds([("before", "t"), (key, ""), ("after", "")], key)
    assert holds([(key, "tag")], key, "tag")


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ("a: b", "a"),
        ("a:b", "a"),
        ("ba", "a"),
        ("a ", "a"),
        ("A", "a"),
        ("z\na", "a"),
        ("z\n\na", "a"),
        ("a: \nb", "a"),
        ("a: N/A(tag)", "a"),
        (STRINGS + "a", "a"),
        ("x\n" + NUMBERS + "7", 7),
        ("x\n\n" + NUMBERS + "7", 7),
        ("7", 7),
        (7, "7"),
        (77, 7),
        (-7, 7),
    ],
)
def test_a_key_is_not_seen_in_another_ones_text(stored: Key, wanted: Key) -> None:
    assert not holds([(stored, "")], wanted)


def test_a_tag_that_is_a_number_in_the_settings_is_no_number_key() -> None:
    assert not parse_cache_list(printed([("a", "7")], {"7": 20})).holds(7, "")


def test_a_key_is_loaded_under_whatever_tag_somebody_else_gave_it() -> None:
    assert holds([("vae", "theirs")], "vae", "ours")
    assert holds([("vae", "theirs")], "vae", None)


def may_be_read_as_holding(entries: list[tuple[Key, str]], key: Key) -> bool:
    """Whether some cache that does hold ``key`` prints the very same text (tags without newlines, as people give)."""
    text = printed(entries)
    body = text.removeprefix(STRINGS)
    if isinstance(key, int):
        return any(number == key for number, _ in entries) or f"\n{key}: " in text
    for position in range(len(body)):
        if not body.startswith(f"{key}: ", position):
            continue
        # What stands before must be whole entries: nothing, or a line that ends in ": tag".
        before = body[:position]
        if before and not (before.endswith("\n") and ": " in before[:-1].rsplit("\n", 1)[-1]):
            continue
        tag = body[position + len(f"{key}: ") :].split("\n", 1)[0]
        if tag:
            return True
    return False


pieces = st.sampled_from(("a", "b", ":", ": ", "\n", " ", "N/A(tag)", "缓", "7", STRINGS, "\n" + NUMBERS, "\n" + SIZES))
text_keys = st.lists(pieces, max_size=5).map("".join)
any_keys = text_keys | st.integers(0, 12)
tags = st.sampled_from(("", "t", "a", "N/A(tag)", "ckpt", "缓"))


@given(st.lists(st.tuples(any_keys, tags), max_size=5, unique_by=lambda entry: entry[0]), any_keys, tags)
@example([("a\n" + NUMBERS + "7: t\n", "")], 7, "")
@example([("z\na", "")], "a", "")
def test_no_key_is_seen_that_the_text_does_not_allow(entries: list[tuple[Key, str]], wanted: Key, tag: str) -> None:
    listing = parse_cache_list(printed(entries))
    if listing.holds(wanted, tag) and wanted not in dict(entries):
        assert may_be_read_as_holding(entries, wanted)


plain_keys = st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=8) | st.integers(0, 99)


@given(st.lists(st.tuples(plain_keys, tags), max_size=8, unique_by=lambda entry: entry[0]))
def test_every_key_of_one_line_is_seen(entries: list[tuple[Key, str]]) -> None:
    listing = parse_cache_list(printed(entries))
    assert all(listing.holds(key, tag) for key, tag in entries)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OK",
        "null",
        "{}",
        LOGIN,
        STRINGS,
        STRINGS + "a: b\n",
        NUMBERS + SIZES,
        "\n" + printed([]),
        printed([])[:-30],
    ],
)
def test_what_is_no_cache_list_is_a_bad_answer_with_an_excerpt(text: str) -> None:
    with pytest.raises(BadAnswer, match="answered no cache list"):
        parse_cache_list(text)


@given(st.text() | st.lists(pieces, max_size=12).map("".join))
def test_any_text_is_a_cache_list_or_a_bad_answer(text: str) -> None:
    with contextlib.suppress(BadAnswer):
        parse_cache_list(text).holds("a", "")


# -- GET /inspire/cache/determine

CLAIM = "，已经自动在后台执行缓存模型工作流。"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("缓存已加载。", Determination(True, (), False)),
        ("缓存已加载", Determination(True, (), False)),
        ('"缓存已加载。"\n', Determination(True, (), False)),
        ("未查询到缓存sam3" + CLAIM, Determination(False, ("sam3",), True)),
        ("未查询到缓存a,b_c,7" + CLAIM, Determination(False, ("a", "b_c", "7"), True)),
        ("未查询到缓存a, b。", Determination(False, ("a", "b"), False)),
        ("未查询到缓存a", Determination(False, ("a",), False)),
        ("未查询到缓存" + CLAIM, Determination(False, (), True)),
    ],
)
def test_the_sentences_of_the_fork(text: str, said: Determination) -> None:
    assert parse_determine(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OK",
        LOGIN,
        "<p>缓存已加载。</p>",
        "不知道缓存已加载没有",
        "缓存已加载。缓存已加载。",
        "缓存未加载",
        "缓存已加载吗？",
        "null",
    ],
)
def test_a_text_that_only_quotes_the_sentence_proves_nothing(text: str) -> None:
    with pytest.raises(BadAnswer, match="answered neither sentence"):
        parse_determine(text)


# -- GET /queue


def item(number: object, prompt_id: object, *keys: str, extra: object = None) -> list[object]:
    graph = {
        str(place): {"class_type": "CacheBackendData //Inspire", "inputs": {"key": key}}
        for place, key in enumerate(keys)
    }
    return [number, prompt_id, graph, {"client_id": "c"} if extra is None else extra, ["2"]]


def test_a_queue_is_running_first_then_pending_in_the_order_they_will_run() -> None:
    heap = [item(-3, "front"), item(9, "late"), item(4.5, "soon", "vae")]
    queue = parse_queue({"queue_running": [item(40, "now", "a", "b")], "queue_pending": heap})
    assert [each.prompt_id for each in queue.prompts] == ["now", "front", "soon", "late"]
    assert [each.prompt_id for each in queue.running] == ["now"]
    assert queue.prompts[0].keys == {"a", "b"}
    assert queue.prompts[2].keys == {"vae"}
    assert queue.prompts[0].client_id == "c"
    assert queue.find("soon") is queue.prompts[2]
    assert queue.find("gone") is None


@pytest.mark.parametrize("extra", [{}, None, "x", {"client_id": None}, {"client_id": 5}])
def test_a_prompt_without_a_client_is_anybodys(extra: object) -> None:
    (one,) = parse_queue({"queue_running": [item(1, "a", extra=extra or {})], "queue_pending": []}).prompts
    assert one.client_id == ""


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "x",
        {},
        {"queue_running": []},
        {"queue_running": {}, "queue_pending": []},
        {"error": "Authentication required."},
    ],
)
def test_what_is_no_queue_is_a_bad_answer(document: object) -> None:
    with pytest.raises(BadAnswer, match="answered no queue"):
        parse_queue(document)


def test_a_prompt_that_a_client_gave_a_number_for_an_id_is_not_overlooked() -> None:
    queue = parse_queue({"queue_running": [item(1, 4711, "vae")], "queue_pending": []})
    assert [each.prompt_id for each in queue.running] == ["4711"]


def test_a_number_beyond_all_floats_is_sorted_and_does_not_raise() -> None:
    pending = [item(10**400, "last"), item(1, "first"), item(-(10**400), "front"), item("x", "odd")]
    queue = parse_queue({"queue_running": [], "queue_pending": pending})
    assert [each.prompt_id for each in queue.prompts] == ["front", "odd", "first", "last"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(
    json_values
    | st.fixed_dictionaries({"queue_running": json_values, "queue_pending": st.lists(json_values, max_size=3)})
)
def test_any_document_is_a_queue_or_a_bad_answer(document: object) -> None:
    with contextlib.suppress(BadAnswer):
        parse_queue(document)


# -- GET /history/{id}


def entry(status_str: str, *messages: object, **more: object) -> dict[str, Any]:
    return {
        "p": {
            "prompt": [],
            "outputs": {},
            "status": {"status_str": status_str, "completed": True, "messages": list(messages), **more},
        }
    }


FAILURE = {
    "node_id": "3",
    "node_type": "SAM3ModelLoader",
    "exception_message": "CUDA out\nof memory ",
    "exception_type": "OOM",
}


def test_a_run_that_is_unknown_pending_or_running_is_no_run() -> None:
    assert parse_history({}, "p") is None
    assert parse_history({"other": {}}, "p") is None
    assert parse_history({"p": None}, "p") is None


def test_a_success_is_one_and_tells_how_many_nodes_were_taken_from_the_cache() -> None:
    run = parse_history(entry("success", ["execution_start", {}], ["execution_cached", {"nodes": ["1", "2"]}]), "p")
    assert run is not None
    assert (run.succeeded, run.detail, run.cached_nodes) == (True, "", 2)


def test_a_failure_is_told_in_the_servers_own_words_on_one_line() -> None:
    run = parse_history(entry("error", ["execution_error", FAILURE]), "p")
    assert run is not None
    assert (run.succeeded, run.detail) == (False, "node 3 (SAM3ModelLoader): CUDA out of memory")


def test_a_success_that_carries_an_error_is_a_failure() -> None:
    run = parse_history(entry("success", ["execution_error", FAILURE], ["execution_success", {}]), "p")
    assert run is not None
    assert (run.succeeded, run.detail) == (False, "node 3 (SAM3ModelLoader): CUDA out of memory")


def test_an_interrupted_run_says_so_and_a_silent_failure_says_that() -> None:
    interrupted = parse_history(entry("error", ["execution_interrupted", {"node_id": "3", "node_type": "L"}]), "p")
    assert interrupted is not None
    assert interrupted.detail == "interrupted at node 3 (L)"
    silent = parse_history(entry("error"), "p")
    assert silent is not None
    assert (silent.succeeded, silent.detail) == (False, "the server reports an error")


@pytest.mark.parametrize(
    "status",
    [None, "success", {}, {"status_str": "success", "messages": 5}, {"status_str": "success", "messages": {"a": 1}},
     {"status_str": "success", "messages": [5, [1], ["execution_error", "text"], ["execution_cached", {"nodes": 5}]]}],
)  # fmt: skip
def test_a_status_of_another_shape_does_not_raise(status: object) -> None:
    run = parse_history({"p": {"status": status}}, "p")
    assert run is not None
    assert run.succeeded == (isinstance(status, dict) and bool(status))


@given(
    st.fixed_dictionaries(
        {
            "p": json_values
            | st.fixed_dictionaries(
                {"status": json_values | st.fixed_dictionaries({"status_str": json_values, "messages": json_values})}
            )
        }
    )
)
def test_any_history_is_a_run_or_none(document: object) -> None:
    parse_history(document, "p")


@pytest.mark.parametrize("document", [None, [], "x", 5])
def test_what_is_no_history_is_a_bad_answer(document: object) -> None:
    with pytest.raises(BadAnswer, match="answered no object"):
        parse_history(document, "p")


# -- POST /prompt

OLD_UNKNOWN = {
    "error": {
        "type": "invalid_prompt",
        "message": "Cannot execute because node X does not exist.",
        "details": "Node ID '#9'",
        "extra_info": {},
    },
    "node_errors": {},
}
NEW_UNKNOWN = {
    "error": {
        "type": "missing_node_type",
        "message": "Node 'X' not found.",
        "details": "",
        "extra_info": {"node_id": "9"},
    },
    "node_errors": {},
}
NODE_ERRORS = {
    "1": {
        "errors": [{"type": "value_not_in_list", "message": "not in list", "details": "ckpt_name: 'nope' not in []"}],
        "dependent_outputs": ["2"],
        "class_type": "L",
    },
}
INVALID = {
    "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": ""},
    "node_errors": NODE_ERRORS,
}


def rejection(status: int, body: str) -> str:
    with pytest.raises(PromptRejected) as caught:
        parse_submitted(status, body, "ours")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("errors", [{}, [], None])
def test_a_prompt_is_accepted_with_its_own_id_and_no_node_errors(errors: object) -> None:
    parse_submitted(200, json.dumps({"prompt_id": "ours", "number": 0, "node_errors": errors}), "ours")


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, "", "answered 200 with an empty body: nothing was queued"),
        (200, " \n", "answered 200 with an empty body: nothing was queued"),
        (200, LOGIN, "answered 200 without a prompt_id: <!DOCTYPE html>"),
        (200, "{}", "without a prompt_id"),
        (200, "[]", "without a prompt_id"),
        (200, '{"prompt_id": 5}', "without a prompt_id"),
        (200, '{"prompt_id": "another"}', "under another id: another"),
        (
            200,
            json.dumps({"prompt_id": "ours", "node_errors": NODE_ERRORS}),
            "took only a part of the prompt: node 1 (L): ckpt_name",
        ),
        (200, json.dumps({"prompt_id": "ours", "node_errors": ["odd"]}), "took only a part of the prompt: ['odd']"),
        (400, json.dumps(OLD_UNKNOWN), "status 400: Cannot execute because node X does not exist. Node ID '#9'"),
        (400, json.dumps(NEW_UNKNOWN), "status 400: Node 'X' not found."),
        (400, json.dumps(INVALID), "Prompt outputs failed validation; node 1 (L): ckpt_name: 'nope' not in []"),
        (400, '{"error": "words"}', "status 400: words"),
        (401, '{"error": "Authentication required."}', "status 401: Authentication required."),
        (302, "", "status 302: (empty)"),
        (
            500,
            "500 Internal Server Error\n\nServer got itself in trouble",
            "status 500: 500 Internal Server Error Server got",
        ),
        (500, "\x00\xff" * 9999, "status 500"),
    ],
)
def test_a_prompt_is_refused_in_the_servers_words(status: int, body: str, says: str) -> None:
    assert says in rejection(status, body)


@pytest.mark.parametrize(
    "document",
    [
        [1],
        {"error": []},
        {"error": {"message": None}},
        {"node_errors": {"1": 5}},
        {"node_errors": {"1": {"errors": [5]}}},
    ],
)
def test_a_refusal_of_any_shape_is_a_refusal(document: object) -> None:
    assert rejection(400, json.dumps(document)).startswith("refused the prompt with status 400: ")


def test_node_errors_without_details_name_their_nodes() -> None:
    assert describe_node_errors({"4": {}, "5": None}) == "nodes 4, 5"
    assert describe_node_errors({}) == describe_node_errors(None) == describe_node_errors([]) == ""


# -- GET /object_info/{class}


def described(spec: object) -> dict[str, Any]:
    return {"L": {"input": {"required": {"name": spec}, "optional": {"dtype": [["a", "b"]]}}}}


@pytest.mark.parametrize(
    "spec",
    [[["x.sft", "y.sft"]], [["x.sft", "y.sft"], {"default": "x.sft"}], ["COMBO", {"options": ["x.sft", "y.sft"]}]],
)
def test_a_file_that_the_server_does_not_list_is_lacking_in_both_dialects(spec: object) -> None:
    assert lacking_in("L", described(spec), [("name", "x.sft"), ("dtype", "a")]) == []
    assert lacking_in("L", described(spec), [("name", "z.sft"), ("dtype", "c")]) == [
        "name 'z.sft' for L",
        "dtype 'c' for L",
    ]


def test_an_unknown_class_is_lacking_and_a_custom_input_is_not() -> None:
    assert lacking_in("L", {}, []) == ["node class 'L'"]
    assert lacking_in("L", described(["STRING", {}]), [("name", "anything"), ("undeclared", "x"), ("dtype", 7)]) == []


@pytest.mark.parametrize(
    "info",
    [
        {"L": {}},
        {"L": {"input": None}},
        {"L": {"input": {"required": []}}},
        described([]),
        described("COMBO"),
        described(["COMBO"]),
        described(["COMBO", {"options": 5}]),
    ],
)
def test_a_description_of_another_shape_accuses_nobody(info: object) -> None:
    assert lacking_in("L", info, [("name", "z.sft")]) == []
    with pytest.raises(BadAnswer, match="answered no object"):
        lacking_in("L", [], [])


# -- a custom detector's answer


@pytest.mark.parametrize(
    ("expect", "text", "wrong"),
    [
        (Expectation(text="ready"), "all ready", ""),
        (Expectation(text="ready"), "not yet", "does not contain 'ready': not yet"),
        (Expectation(regex=r"^\d+ models$"), "5 models", ""),
        (Expectation(regex=r"^\d+ models$"), "no models", "does not match"),
        (Expectation(json_path="a.1.b"), '{"a": [0, {"b": true}]}', ""),
        (Expectation(json_path="a.1.b"), '{"a": [0, {"b": false}]}', "a.1.b is False"),
        (Expectation(json_path="a.2.b"), '{"a": [0]}', "has no a.2.b"),
        (Expectation(json_path="a"), "not json", "has no a: not json"),
        (Expectation(json_path="state", json_value="warm"), '{"state": "warm"}', ""),
        (Expectation(json_path="state", json_value="warm"), '{"state": "cold"}', "state is 'cold', not 'warm'"),
    ],
)
def test_an_expectation_is_met_or_says_what_is_wrong(expect: Expectation, text: str, wrong: str) -> None:
    assert meets(expect, text) == wrong or (wrong and wrong in meets(expect, text))


def test_no_json_is_a_bad_answer_that_names_the_route_and_quotes_one_line() -> None:
    with pytest.raises(BadAnswer, match=r"^/queue answered no JSON: a b$"):
        parse_json("a\n\tb", "/queue")
    with pytest.raises(BadAnswer, match="answered no JSON"):
        parse_json("[" * 100_000, "/queue")
    with pytest.raises(BadAnswer, match="answered no JSON"):
        parse_json("1" * 5000, "/queue")


@given(st.text() | json_values)
def test_an_excerpt_is_one_printable_line_of_bounded_length(answer: object) -> None:
    line = excerpt(answer)
    assert 0 < len(line) <= 120
    assert line.isprintable()
