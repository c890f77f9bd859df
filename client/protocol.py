"""What the poll cycle's asyncio client and the blocking one share: sizes, bodies, verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core import reason_phrases as say
from core.answers import excerpt
from core.errors import BadAnswer, NoSuchRoute
from core.workflow import Graph

MAX_TEXT_BYTES = 1 << 20
MAX_JSON_BYTES = 32 << 20
"""A queue of large workflows is megabytes; a server that sends more than this is not answering our question."""

REQUEST_HEADERS = {"Accept": "application/json, text/plain;q=0.9", "User-Agent": "comfyui-cache-keeper"}
"""``Accept`` without HTML: a login in front then answers 401 and not with its page."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})


def prompt_body(
    graph: Graph, *, prompt_id: str, client_id: str, front: bool = False, extra_data: Mapping[str, Any] | None = None
) -> bytes:
    """Return the body of ``POST /prompt``. Without a ``client_id`` every user's browser would show our progress."""
    body: dict[str, Any] = {"prompt": graph, "prompt_id": prompt_id, "client_id": client_id}
    if extra_data:
        body["extra_data"] = extra_data
    if front:
        body["front"] = True
    return json.dumps(body).encode()


def withdrawal_body(prompt_id: str) -> bytes:
    """Return the body of ``POST /queue`` that takes a prompt out which has not begun."""
    return json.dumps({"delete": [prompt_id]}).encode()


def redirect_words(location: str) -> str:
    """Return what stands for the text of a redirect; none is followed, since headers may carry a token."""
    # Short enough to be quoted whole: the sentence is an excerpt itself in the end.
    return say.REDIRECT(url=excerpt(location, 80))


def plain_text(path: str, status: int, text: str) -> str:
    """Given an answer, return its text when it is a plain 200; raises NoSuchRoute or BadAnswer otherwise."""
    if status == 404:
        raise NoSuchRoute(say.NO_ROUTE(path=path))
    if status != 200:
        raise BadAnswer(say.OTHER_STATUS(path=path, status=status, words=excerpt(text)))
    if text.lstrip()[:1] == "<":
        raise BadAnswer(say.HTML_PAGE(path=path, words=excerpt(text)))
    return text
