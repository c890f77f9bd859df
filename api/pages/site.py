"""What every page shares: its language, who reads it, and the way from a template to an answer.

A page is asked for twice. First by the browser, which gets the whole document: with its content where no token is
needed to read it, and else as a shell without data, since a browser cannot send a token when it follows a link. Then
by the page's own script, again and again, with the token if there is one: it gets the content alone, and of that only
the parts that it does not have.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api.gate import Gate
from api.pages import words
from api.texts import TEXTS, language_of
from core.access import Caller, Role
from core.audit import Records
from core.effects import shortfall
from core.error_words import error_text
from core.reason_phrases import in_chinese
from core.reason_words import reason_text

PARTS_HEADER = "x-parts"
"""Sent by the page's script: the versions of the parts that it has. Its presence asks for the content alone."""

NAVIGATION = ("status", "cache", "tasks", "audit", "models")
_AGES = re.compile(r"(<time [^>]*data-since[^>]*>)[^<]*")


@dataclass(frozen=True)
class Visit:
    """One request for a page. ``caller`` is None for somebody who gets the shell."""

    request: Request
    caller: Caller | None
    language: str
    fragment: bool
    have: frozenset[str] = field(default_factory=frozenset)

    @property
    def path(self) -> str:
        return self.request.url.path

    def may(self, role: str) -> bool:
        """Whether the reader's role includes ``role``: what it may not do is not offered."""
        return self.caller is not None and self.caller.role.includes(Role(role))

    def link(self, path: str = "", **changes: object) -> str:
        """Return an address with this page's query changed; a change to "" or None leaves a parameter out.

        Another page keeps the language only.
        """
        kept = dict(self.request.query_params) if path in ("", self.path) else {}
        # An address that leads nowhere may begin with two slashes, or one and a backslash: a link to another site.
        path = path or "/" + quote(self.path.lstrip("/"), safe="/:@!$&'()*+,;=~")
        lang = self.request.query_params.get("lang")
        values = {**({"lang": lang} if lang else {}), **kept, **changes}
        query = urlencode({name: str(value) for name, value in values.items() if value not in ("", None)})
        return f"{path}?{query}" if query else path

    def part(self, tag: str, key: str, content: Markup, classes: str = "") -> Markup:
        """Return an element that is sent only when it has changed; ``key`` names it within the page."""
        name = Markup(' class="%s"') % classes if classes else Markup("")
        # Ages grow by themselves in the browser: they alone are no change.
        lasting = _AGES.sub(r"\1", f"{key}\0{name}\0{content}")
        version = hashlib.blake2b(lasting.encode(), digest_size=6).hexdigest()
        opening = Markup('<%s%s data-key="%s" data-version="%s"') % (tag, name, key, version)
        if version in self.have:
            return opening + Markup(f" data-kept></{tag}>")
        return opening + Markup(">") + content + Markup(f"</{tag}>")


class Texts:
    """The texts of one language, as a template names them: ``text.keys`` is a text and no method of a dict."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def __getitem__(self, name: str) -> str:
        return self._texts[name]

    def __getattr__(self, name: str) -> str:
        try:
            return self._texts[name]
        except KeyError:
            raise AttributeError(name) from None


class Site:
    """Renders pages and knows who may read them."""

    def __init__(self, gate: Gate, records: Records) -> None:
        self._gate = gate
        self._records = records
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
            # Server names, reasons and keys come from outside: all is escaped unless a template says otherwise.
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            clock=words.clock, iso=words.iso, bytes=words.bytes_of, count=words.count, percent=words.percent
        )

    def visit(self, *, open_here: bool = False) -> Callable[[Request], Awaitable[Visit]]:
        """Return the dependency that finds out who reads; ``open_here``: no token is needed on this machine."""

        async def find(request: Request) -> Visit:
            parts = request.headers.get(PARTS_HEADER)
            language = _language(request)
            caller = None
            if parts is not None or (open_here and request.state.origin.is_local):
                caller = await self._gate.admit(request, Role.VIEWER, open_here=open_here)
            return Visit(request, caller, language, parts is not None, frozenset((parts or "").split(",")))

        return find

    def answer(
        self,
        visit: Visit,
        template: str,
        title: str,
        values: Callable[[], Mapping[str, Any]],
        *,
        action: str,
        target: str = "",
        status: int = 200,
    ) -> HTMLResponse:
        """Render the page, or its content alone, and put the look on record as ``action``.

        ``values`` is asked only where there is somebody to show them to.
        """
        content = ""
        if visit.caller is not None:
            self._records.read(visit.caller, action, target)
            content = self._templates.get_template(template).render({**self._common(visit), **values()})
        return self._page(visit, title, content, status)

    def nothing(self, request: Request) -> HTMLResponse:
        """Say that an address leads nowhere, and where the pages are: to anybody, with a token or without."""
        visit = Visit(request, None, _language(request), fragment=False)
        content = self._templates.get_template("nothing.html").render({**self._common(visit), "navigation": NAVIGATION})
        return self._page(visit, TEXTS[visit.language]["nothing_here"], content, 404)

    def _common(self, visit: Visit) -> dict[str, Any]:
        text, chinese = Texts(TEXTS[visit.language]), visit.language == "zh"
        return {
            "text": text,
            "language": visit.language,
            "visit": visit,
            "may": visit.may,
            "link": visit.link,
            "part": visit.part,
            "told": in_chinese if chinese else str,
            "shortfall": shortfall,
            "why": lambda reason: reason_text(reason, chinese=chinese),
            "fault": lambda error: reason_text(error_text(error, chinese=chinese), chinese=chinese),
            "duration": lambda seconds: words.duration(seconds, text.units),
        }

    def _page(self, visit: Visit, title: str, content: str, status: int) -> HTMLResponse:
        if not visit.fragment:
            content = self._templates.get_template("layout.html").render(
                {**self._common(visit), "title": title, "content": Markup(content), "navigation": NAVIGATION}
            )
        # Neither a proxy nor the browser's own store may keep what was shown to the bearer of a token.
        return HTMLResponse(content, status, {"Cache-Control": "no-store", "Vary": "Accept-Language"})


def _language(request: Request) -> str:
    return language_of(request.query_params.get("lang", ""), request.headers.get("accept-language", ""))
