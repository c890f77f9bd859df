"""The operations of a daemon elsewhere, over its REST API: what ``--url`` of the command line uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from core import request_phrases as say
from core.audit import AuditQuery
from core.audit_chain import iso
from core.errors import AccessDenied, BadRequest, CacheKeeperError, NotConfirmed, NotFound, StoreError, TaskStateError
from core.operation_phrases import PARAMETER
from core.reason_phrases import also
from core.secret import Secret
from operations.surface import EntriesWanted, TasksWanted

if TYPE_CHECKING:
    # Imported where it is used: without --url a command need not pay for it.
    import requests

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 70.0
AUDIT_PAGE = 100
"""Records that the API gives at once, at most."""

_TOKEN = re.compile(r"[!-~]+")


class RemoteOperations:
    """Implements ``operations.surface.Surface``. Raises CacheKeeperError in the daemon's own words.

    Raises BadRequest for an address or a token that cannot be one.
    """

    def __init__(self, url: str, token: Secret | None) -> None:
        self._base = _address(url)
        self._token = token
        if token is not None and not _TOKEN.fullmatch(token.reveal()):
            raise BadRequest("API_TOKEN", say.BAD_TOKEN())

    def stats(self) -> dict[str, Any]:
        return self._object("GET", "/api/cache/stats")

    def details(self, wanted: EntriesWanted) -> dict[str, Any]:
        asked = asdict(wanted)
        if wanted.cursor:
            del asked["page"]
        return self._object("GET", "/api/cache/details", asked)

    def backend_info(self) -> dict[str, Any]:
        return self._object("GET", "/api/cache/backend-info")

    def submit(self, name: str, arguments: Mapping[str, Any], *, host: str = "") -> dict[str, Any]:
        body = {"name": name, "arguments": dict(arguments)}
        return self._object("POST", "/api/cache/operations", {"host": host}, body=body)

    def task(self, task_id: str) -> dict[str, Any]:
        return self._object("GET", f"/api/cache/operations/{_part(task_id)}")

    def tasks(self, wanted: TasksWanted) -> dict[str, Any]:
        return self._object("GET", "/api/cache/operations", asdict(wanted))

    def cancel(self, task_id: str) -> dict[str, Any]:
        return self._object("POST", f"/api/cache/operations/{_part(task_id)}/cancel")

    def retry(self, task_id: str) -> dict[str, Any]:
        return self._object("POST", f"/api/cache/operations/{_part(task_id)}/retry")

    def queue_key(self, key: str) -> Any:
        return self._data("GET", f"/api/cache/queue/{_part(key)}")

    def workers(self) -> Any:
        return self._data("GET", "/api/cache/workers")

    def audit_page(self, query: AuditQuery, cursor: str, limit: int) -> dict[str, Any]:
        """Return ``records``, newest first, and ``next_cursor``."""
        records: list[dict[str, Any]] = []
        while True:
            asked = {**_asked(query), "cursor": cursor, "limit": min(limit - len(records), AUDIT_PAGE)}
            page = self._object("GET", "/api/audit", asked)
            records += page["items"]
            cursor = page["next_cursor"]
            if not cursor or len(records) >= limit:
                return {"records": records, "next_cursor": cursor}

    def audit_export(self, query: AuditQuery, form: str) -> Iterator[str]:
        """Yield an export in pieces, as the daemon sends it."""
        import requests

        with self._send("GET", "/api/audit/export", {**_asked(query), "format": form}, stream=True) as answer:
            if answer.status_code != 200:
                raise self._error(answer, _document(answer))
            answer.encoding = "utf-8"
            try:
                yield from answer.iter_content(None, decode_unicode=True)
            except requests.RequestException as error:
                raise self._silent(error) from None

    def carry_out(self, task_id: str) -> None:
        """A worker of the daemon's does it."""

    def goes_on(self, task_id: str) -> bool:  # noqa: ARG002
        return True

    def close(self) -> None:
        """Nothing is held open."""

    def _object(
        self, method: str, path: str, *asked: Mapping[str, Any], body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        found = self._data(method, path, asked[0] if asked else None, body)
        if not isinstance(found, dict):
            raise CacheKeeperError(say.NOT_OUR_DAEMON(url=f"{self._base}{path}"))
        return found

    def _data(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        answer = self._send(method, path, query, body)
        document = _document(answer)
        if answer.status_code not in (200, 202) or "data" not in document:
            raise self._error(answer, document)
        return document["data"]

    def _send(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: Mapping[str, Any] | None = None,
        *, stream: bool = False,
    ) -> requests.Response:  # fmt: skip
        import requests

        headers = {"Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        values = {name: _text(value) for name, value in (query or {}).items() if value not in (None, "", ())}
        try:
            return requests.request(
                method, self._base + path, params=values, json=body, headers=headers, stream=stream,
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                # A redirect would carry the token to wherever it points.
                allow_redirects=False,
            )  # fmt: skip
        except (requests.RequestException, ValueError) as error:
            raise self._silent(error) from None

    def _silent(self, error: Exception) -> CacheKeeperError:
        return CacheKeeperError(say.NO_ANSWER(url=self._base, words=_reason(error)))

    def _error(self, answer: requests.Response, document: Mapping[str, Any]) -> CacheKeeperError:
        words = str(document.get("detail") or document.get("message") or f"HTTP {answer.status_code}")
        fields = document.get("fields") or []
        match answer.status_code:
            case 401:
                return AccessDenied(say.SET_API_TOKEN(denial=words, url=self._base), 401)
            case 403:
                return AccessDenied(words, 403)
            case 404:
                if not document:
                    words = say.NOT_OUR_ROOT(url=self._base)
                return NotFound(words)
            case 409 if fields:
                return NotConfirmed(str(fields[0].get("field", "")), words)
            case 409:
                return TaskStateError(words)
            case 422:
                name = str(fields[0].get("field", "")) if fields else ""
                return BadRequest(name, words if not name or name in words else PARAMETER(parameter=name, reason=words))
            case 429:
                return StoreError(also(words, say.TRY_AGAIN(seconds=answer.headers.get("Retry-After", "60"))))
            case 503:
                return StoreError(words)
        request_id = document.get("request_id")
        if not request_id:
            return CacheKeeperError(say.ITS_ERROR(url=self._base, reason=words))
        return CacheKeeperError(say.ITS_REQUEST(url=self._base, id=request_id, reason=words))


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(each.isspace() for each in url):
        raise BadRequest("url", say.NO_ADDRESS(given=url[:200]))
    return url.rstrip("/")


def _asked(query: AuditQuery) -> dict[str, Any]:
    """Given what is wanted of the audit log, return it as the API's parameters."""
    moments = {"since": query.since, "until": query.until}
    return vars(query) | {name: None if at is None else iso(at) for name, at in moments.items()}


def _document(answer: requests.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {}


def _part(text: str) -> str:
    return quote(text, safe="")


def _text(value: Any) -> str | list[str]:
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reason(error: Exception) -> str:
    """The innermost cause, without the pool's and the retry's wrapping."""
    while error.__cause__ is not None or error.__context__ is not None:
        inner = error.__cause__ or error.__context__
        if not isinstance(inner, Exception):
            break
        error = inner
    return str(error)
