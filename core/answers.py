"""What a ComfyUI server's answers mean, given as text or parsed JSON. Nothing here trusts a word it cannot place.

The shapes are those measured on ComfyUI 0.3 and 0.12 with the Inspire Pack 1.21. An answer of another shape
raises BadAnswer with a reason; a probe turns that into a state.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from core import reason_phrases as say
from core.errors import BadAnswer, PromptRejected
from core.fleet import Expectation
from core.model import Queue, QueuedPrompt, Run
from core.workflow import Key, keys_stored_by

_STRINGS = "---- [String Key Caches] ----\n"
_NUMBERS = "\n---- [Number Key Caches] ----\n"
_SETTINGS = "\n---- [TagCache Settings] ----\n"

LOADED_SENTENCE = "缓存已加载"
MISSING_SENTENCE = "未查询到缓存"
EXECUTING_SENTENCE = "已经自动在后台执行"


@dataclass(frozen=True)
class Listing:
    """The text of ``/inspire/cache/list``, cut into its sections; entries stay raw, since nothing is escaped."""

    strings: str
    numbers: str
    sizes: tuple[tuple[str, int], ...]

    def holds(self, key: Key, tag: str | None) -> bool:
        """Whether ``key`` is stored. ``tag`` is the one that its workflow gives it, None when unknown.

        An entry is ``key: tag`` with nothing escaped, so ``a: b: N/A(tag)`` is the key ``a: b``, not ``a``, and a
        line begins an entry only where the one before it can have ended another. Where a line could be read in
        two ways, only the expected tag makes it ours: better to warm once too often than to call a cache loaded
        that is not.
        """
        if isinstance(key, int):
            return re.search(rf"^{key}: ", self.numbers, re.MULTILINE) is not None
        start = 0
        mark = f"\n{key}: "
        section = "\n" + self.strings
        while (found := section.find(mark, start)) >= 0:
            begin = found + len(mark)
            end = section.find("\n", begin)
            line_before = section[section.rfind("\n", 0, found) + 1 : found]
            begins_entry = found == 0 or ": " in line_before
            if begins_entry and _is_tag(section[begin : end if end >= 0 else len(section)], tag):
                return True
            start = found + 1
        return False


def _is_tag(text: str, expected: str | None) -> bool:
    # An empty tag is printed as N/A(tag), so that no entry ends in nothing.
    return bool(text) and (text == expected or ": " not in text)


def parse_cache_list(text: str) -> Listing:
    """Given the body of ``GET /inspire/cache/list``, return its sections; raises BadAnswer for any other text.

    The last of each header counts: a key may contain a header's text, and it stands before the real one.
    """
    settings_at = text.rfind(_SETTINGS)
    numbers_at = text.rfind(_NUMBERS, 0, max(settings_at, 0) + 1)
    if not text.startswith(_STRINGS) or settings_at < 0 or numbers_at < 0:
        raise BadAnswer(say.NO_CACHE_LIST(path="/inspire/cache/list", words=excerpt(text)))
    sizes = {}
    for line in text[settings_at + len(_SETTINGS) :].split("\n"):
        tag, colon, size = line.rpartition(": ")
        if colon and size.isdecimal():
            sizes[tag] = int(size)
    return Listing(
        text[len(_STRINGS) - 1 : numbers_at + 1].removeprefix("\n"),
        text[numbers_at + len(_NUMBERS) : settings_at + 1],
        tuple(sizes.items()),
    )


@dataclass(frozen=True)
class Determination:
    """What ``/inspire/cache/determine`` says: all there, or which keys are not, and whether it claims to run."""

    loaded: bool
    missing: tuple[str, ...]
    claims_executing: bool


def parse_determine(text: str) -> Determination:
    """Given the body of ``GET /inspire/cache/determine``, return what it says; raises BadAnswer for other texts."""
    said = text.strip().strip('"')
    # The whole answer must be the sentence: a page that merely quotes it proves nothing.
    if said.rstrip("。.!！") == LOADED_SENTENCE:
        return Determination(True, (), False)
    if said.startswith(MISSING_SENTENCE):
        named = said.removeprefix(MISSING_SENTENCE).split("，已经自动", 1)[0].rstrip("。")
        keys = tuple(key for key in (part.strip() for part in named.split(",")) if key)
        return Determination(False, keys, EXECUTING_SENTENCE in said)
    raise BadAnswer(say.NO_SENTENCE(path="/inspire/cache/determine", words=excerpt(text)))


def parse_queue(document: object) -> Queue:
    """Given the JSON of ``GET /queue``, return it in order; raises BadAnswer for another shape.

    ``queue_pending`` is a heap, so it is sorted here by number, as the server will take them.
    """
    if not isinstance(document, dict) or not all(
        isinstance(document.get(name), list) for name in ("queue_running", "queue_pending")
    ):
        raise BadAnswer(say.NO_QUEUE(path="/queue", words=excerpt(document)))
    running = [_queued(item, True) for item in document["queue_running"]]
    pending = [_queued(item, False) for item in document["queue_pending"]]
    ordered = sorted((prompt for prompt in pending if prompt), key=lambda prompt: prompt.number)
    return Queue(tuple(prompt for prompt in running if prompt) + tuple(ordered))


def _queued(item: object, running: bool) -> QueuedPrompt | None:
    # An id is a text, but a client may have sent a number for one, and older servers keep it as it came.
    if not isinstance(item, list) or len(item) < 3 or not isinstance(item[1], str | int):
        return None
    number = item[0] if isinstance(item[0], int | float) else 0
    try:
        place = float(number)
    except OverflowError:
        place = math.inf if number > 0 else -math.inf
    extra = item[3] if len(item) > 3 and isinstance(item[3], dict) else {}
    client = extra.get("client_id")
    who = client if isinstance(client, str) else ""
    return QueuedPrompt(str(item[1]), place, running, keys_stored_by(item[2]), who)


def parse_history(document: object, prompt_id: str) -> Run | None:
    """Given the JSON of ``GET /history/{id}``, return the finished run, or None while there is none.

    A ``success`` that carries an ``execution_error`` message is a failure. Raises BadAnswer for another shape.
    """
    if not isinstance(document, dict):
        raise BadAnswer(say.NO_OBJECT(path="/history", words=excerpt(document)))
    entry = document.get(prompt_id)
    if not isinstance(entry, dict):
        return None
    status = entry.get("status")
    status = status if isinstance(status, dict) else {}
    detail, cached = "", 0
    messages = status.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, list) or len(message) != 2 or not isinstance(message[1], dict):
            continue
        name, data = message
        if name == "execution_error":
            detail = _failure(data)
        elif name == "execution_interrupted":
            detail = detail or say.INTERRUPTED(node=data.get("node_id"), node_class=data.get("node_type"))
        elif name == "execution_cached" and isinstance(data.get("nodes"), list):
            cached = len(data["nodes"])
    succeeded = status.get("status_str") == "success" and not detail
    return Run(prompt_id, succeeded, detail if succeeded or detail else say.REPORTS_ERROR(), cached)


def _failure(data: Mapping[str, Any]) -> str:
    message = " ".join(str(data.get("exception_message") or data.get("exception_type") or "").split())
    return say.NODE_FAILED(node=data.get("node_id"), node_class=data.get("node_type"), words=message)[:500]


def parse_submitted(status: int, body: str, prompt_id: str) -> None:
    """Given the answer to ``POST /prompt``, return when the server took exactly our prompt.

    Raises PromptRejected with the server's own words otherwise: a 200 with an empty body queued nothing, and
    a 200 with ``node_errors`` runs only a part.
    """
    document = _json_or_none(body)
    if status == 200:
        if not body.strip():
            raise PromptRejected(say.NOTHING_QUEUED())
        if not isinstance(document, dict) or not isinstance(document.get("prompt_id"), str):
            raise PromptRejected(say.NO_PROMPT_ID(words=excerpt(body)))
        if document["prompt_id"] != prompt_id:
            raise PromptRejected(say.OTHER_PROMPT_ID(words=document["prompt_id"]))
        errors = describe_node_errors(document.get("node_errors"))
        if errors:
            raise PromptRejected(say.TAKEN_IN_PART(words=errors), errors)
        return
    detail = ""
    if isinstance(document, dict):
        error = document.get("error")
        if isinstance(error, dict):
            detail = " ".join(str(error.get(name) or "") for name in ("message", "details")).strip()
        elif isinstance(error, str):
            detail = error
        detail = say.also(detail, describe_node_errors(document.get("node_errors")))
    detail = detail or excerpt(body)
    raise PromptRejected(say.REFUSED(status=status, words=detail), detail)


def describe_node_errors(errors: object) -> str:
    """Given ``node_errors``, return them as one line: node, class, what is wrong; empty when there are none."""
    if not errors:
        return ""
    if not isinstance(errors, dict):
        return excerpt(errors)
    sentences = []
    for node_id, entry in errors.items():
        details = entry.get("errors") if isinstance(entry, dict) else None
        for error in details if isinstance(details, list) else []:
            if isinstance(error, dict):
                words = _what_is_wrong(error)
                sentences.append(say.NODE_FAILED(node=node_id, node_class=entry.get("class_type"), words=words))
    return say.also(*sentences)[:500] or say.BAD_NODES(nodes=", ".join(map(str, errors)))


def _what_is_wrong(error: Mapping[str, Any]) -> str:
    details, message = str(error.get("details") or ""), str(error.get("message") or error.get("type") or "")
    # For a bound or a missing input the details are the input's bare name, and only the message says what of it.
    if details and message and " " not in details:
        return f"{message}: {details}"
    return details or message


def lacking_in(class_type: str, info: object, inputs: Iterable[tuple[str, object]]) -> list[str]:
    """Given the JSON of ``GET /object_info/{class}`` and a node's constant inputs, return what the server lacks.

    An unknown class answers 200 ``{}``. A combo input lists the files that the server has. Raises BadAnswer
    for another shape.
    """
    if not isinstance(info, dict):
        raise BadAnswer(say.NO_OBJECT(path="/object_info", words=excerpt(info)))
    described = info.get(class_type)
    if not isinstance(described, dict):
        return [say.NODE_CLASS(class_name=class_type)]
    declared: dict[str, Any] = {}
    groups = described.get("input")
    for group in ("required", "optional"):
        part = groups.get(group) if isinstance(groups, dict) else None
        declared.update(part if isinstance(part, dict) else {})
    lacking = []
    for name, value in inputs:
        options = _combo(declared.get(name))
        if options is not None and isinstance(value, str) and value not in options:
            lacking.append(say.INPUT_VALUE(input=name, file=value, node_class=class_type))
    return lacking


def _combo(spec: object) -> list[object] | None:
    if not isinstance(spec, list) or not spec:
        return None
    if isinstance(spec[0], list):
        return spec[0]
    # Newer servers: ["COMBO", {"options": [...]}].
    if spec[0] == "COMBO" and len(spec) > 1 and isinstance(spec[1], dict):
        options = spec[1].get("options")
        return options if isinstance(options, list) else None
    return None


def meets(expect: Expectation, text: str) -> str:
    """Given a custom detector's answer, return an empty text when it is as expected, else what is wrong with it."""
    if expect.text is not None:
        return "" if expect.text in text else say.NOT_CONTAINED(expected=expect.text, words=excerpt(text))
    if expect.regex is not None:
        return "" if re.search(expect.regex, text) else say.NOT_MATCHED(expected=expect.regex, words=excerpt(text))
    value = _json_or_none(text)
    for step in (expect.json_path or "").split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return say.NO_VALUE(field=expect.json_path, words=excerpt(text))
    if expect.json_value is None:
        return "" if value else say.EMPTY_VALUE(field=expect.json_path, value=value)
    if value == expect.json_value:
        return ""
    return say.OTHER_VALUE(field=expect.json_path, value=value, other=expect.json_value)


def parse_json(text: str, what: str) -> object:
    """Given a body, return it parsed; raises BadAnswer naming ``what`` when it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadAnswer(say.NO_JSON(path=what, words=excerpt(text))) from None


def _json_or_none(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def excerpt(answer: object, length: int = 120) -> str:
    """Given any answer, return its beginning as one printable line, for a reason that a person reads."""
    text = answer if isinstance(answer, str) else repr(answer)
    line = "".join(character if character.isprintable() else " " for character in text[: length * 4])
    line = " ".join(line.split())
    if not line:
        return say.BLANK()
    return line if len(line) <= length else line[: length - 1] + "…"
