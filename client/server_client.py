"""Asks one ComfyUI server, for the poll cycle: asyncio, one shared keep-alive session for the whole fleet.

Every method raises Unreachable, Busy or BadAnswer and nothing else. The three are different facts: no
connection, connected but late, answered something that was not asked for.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from client.protocol import (
    MAX_JSON_BYTES,
    MAX_TEXT_BYTES,
    REDIRECTS,
    REQUEST_HEADERS,
    plain_text,
    prompt_body,
    redirect_words,
    withdrawal_body,
)
from core import reason_phrases as say
from core.answers import (
    Determination,
    Listing,
    excerpt,
    parse_cache_list,
    parse_determine,
    parse_history,
    parse_json,
    parse_queue,
    parse_submitted,
)
from core.errors import BadAnswer, Busy, Unreachable
from core.fleet import Server
from core.model import Queue, Run
from core.workflow import Graph

T = TypeVar("T")

_CONNECTION_ERRORS = (aiohttp.ClientConnectionError, ssl.SSLError, OSError)


class FleetSession:
    """The connections to all servers. Use as an async context manager; one per event loop.

    ``progress`` is called after every request, answered or not: it is what the daemon's heartbeat lives on.
    """

    def __init__(
        self,
        *,
        connect_timeout_seconds: float,
        answer_timeout_seconds: float,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._progress = progress
        self._connect_timeout_seconds = connect_timeout_seconds
        self._timeout = aiohttp.ClientTimeout(
            total=connect_timeout_seconds + answer_timeout_seconds, sock_connect=connect_timeout_seconds
        )

    async def __aenter__(self) -> FleetSession:
        self._session = aiohttp.ClientSession(
            # Unlimited: a black hole must not hold a place that a live server needs. Longer than any sensible
            # interval, so that a poll finds the connection of the last one still open.
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=75, ttl_dns_cache=60, resolver=_Resolver(self._connect_timeout_seconds)
            ),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=REQUEST_HEADERS,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    def client(self, server: Server) -> ServerClient:
        """Return the client of one server; it is cheap and holds no connection of its own."""
        return ServerClient(self._session, server, self._progress)


class _Resolver(aiohttp.ThreadedResolver):
    """Looks names up within the connect timeout, which aiohttp begins to count only once there is an address."""

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__()
        self._timeout_seconds = timeout_seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await super().resolve(host, port, family)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answers") from None


class ServerClient:
    """One server's routes. Facts about them: ComfyUI ``server.py`` and the Inspire Pack's ``inspire_server.py``."""

    __slots__ = ("_base", "_headers", "_progress", "_secrets", "_session", "_ssl")

    def __init__(self, session: aiohttp.ClientSession, server: Server, progress: Callable[[], None]) -> None:
        self._progress = progress
        self._session = session
        self._base = server.url
        self._headers = {name: secret.reveal() for name, secret in server.group.headers} or None
        self._secrets = server.group.secrets
        self._ssl = server.group.verify_tls

    async def cache_list(self) -> Listing:
        """Return the keys in the backend cache. Reading it reorders the server's LRU, so read it once a poll."""
        return await self._get("/inspire/cache/list", parse_cache_list)

    async def determine(self) -> Determination:
        """Return what ``/inspire/cache/determine`` says; older builds start the workflow on this very call."""
        return await self._get("/inspire/cache/determine", parse_determine)

    async def queue(self) -> Queue:
        return parse_queue(await self.json("/queue"))

    async def history(self, prompt_id: str) -> Run | None:
        """Return the finished run of ``prompt_id``, None while it is unknown, pending or running."""
        run = parse_history(await self.json(f"/history/{quote(prompt_id, safe='')}"), prompt_id)
        return replace(run, detail=self._masked(run.detail)) if run is not None else None

    async def history_is_empty(self) -> bool:
        """Whether the server has finished no prompt since its start (or its history was cleared)."""
        document = await self.json("/history?max_items=1")
        if not isinstance(document, dict):
            raise BadAnswer(say.NO_OBJECT(path="/history", words=excerpt(document)))
        return not document

    async def object_info(self, class_type: str) -> object:
        # The slashes of "CacheBackendData //Inspire" must be percent-encoded, or the route is not found.
        return await self.json(f"/object_info/{quote(class_type, safe='')}")

    async def submit(self, graph: Graph, *, prompt_id: str, client_id: str, front: bool) -> None:
        """Send ``POST /prompt``; return once the server has taken exactly this prompt.

        Raises PromptRejected for a refusal, Unreachable when nothing was sent, any other ServerError when it is
        unknown whether the server took it (no answer, half an answer): look the prompt id up before sending again.
        """
        body = prompt_body(graph, prompt_id=prompt_id, client_id=client_id, front=front)
        status, text = await self._ask("POST", "/prompt", MAX_TEXT_BYTES, body)
        self._understand(text, lambda words: parse_submitted(status, words, prompt_id))

    async def withdraw(self, prompt_id: str) -> None:
        """Take a prompt of ours that has not begun out of the queue; the server answers 200 for any id."""
        status, text = await self._ask("POST", "/queue", MAX_TEXT_BYTES, withdrawal_body(prompt_id))
        if status != 200:
            words = excerpt(self._masked(text))
            raise BadAnswer(say.NOT_WITHDRAWN(path="/queue", prompt=prompt_id, status=status, words=words))

    async def json(self, path: str) -> object:
        return await self._get(path, lambda text: parse_json(text, path), limit=MAX_JSON_BYTES)

    async def text(self, path: str) -> str:
        """Given a path on the server (or a whole address), return the text of a plain 200 answer, fit to be shown."""
        return await self._get(path, self._masked)

    async def _get(self, path: str, parse: Callable[[str], T], *, limit: int = MAX_TEXT_BYTES) -> T:
        status, text = await self._ask("GET", path, limit)
        return self._understand(text, lambda words: parse(plain_text(path, status, words)))

    def _understand(self, text: str, parse: Callable[[str], T]) -> T:
        """Return what ``parse`` makes of an answer; an error quotes it without our own secrets.

        An answer is masked only to be quoted: a key may well contain what happens to be a header's value.
        """
        try:
            return parse(text)
        except BadAnswer:
            return parse(self._masked(text))

    async def _ask(self, method: str, path: str, limit: int, body: bytes | None = None) -> tuple[int, str]:
        headers: Mapping[str, str] | None = self._headers
        # Headers may carry a token; they go to the server that they were given for and nowhere else.
        url = path if "://" in path else self._base + path
        if not url.startswith(self._base + "/"):
            headers = None
        if body is not None:
            headers = {**(headers or {}), "Content-Type": "application/json"}
        try:
            async with self._session.request(
                # encoded=True leaves %2F alone; decoded, the route is not found.
                method,
                URL(url, encoded=True),
                data=body,
                headers=headers,
                allow_redirects=False,
                ssl=self._ssl,
            ) as response:
                if response.status in REDIRECTS:
                    return response.status, redirect_words(self._masked(response.headers.get("Location", "?")))
                raw = await _read(response, limit)
                if len(raw) > limit:
                    raise BadAnswer(say.TOO_LONG(path=path, bytes=limit))
                return response.status, raw.decode("utf-8")
        except aiohttp.ConnectionTimeoutError:
            raise Unreachable(say.NO_CONNECTION_IN_TIME(url=self._base)) from None
        except TimeoutError:
            raise Busy(say.NOT_IN_TIME(path=path)) from None
        except UnicodeDecodeError:
            raise BadAnswer(say.NOT_UTF8(path=path)) from None
        except aiohttp.ClientPayloadError as error:
            raise BadAnswer(say.CUT_OFF(path=path, words=excerpt(str(error)))) from None
        except (aiohttp.ServerDisconnectedError, ConnectionResetError) as error:
            # Sent, and the connection is gone: for a POST nobody knows whether it was taken.
            kind = Busy if body is not None else Unreachable
            raise kind(say.CONNECTION_CLOSED(url=self._base, words=excerpt(str(error)))) from None
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(say.NO_CONNECTION(url=self._base, words=_why(error))) from None
        except _CONNECTION_ERRORS as error:
            kind = Busy if body is not None else Unreachable
            raise kind(say.CONNECTION_LOST(url=self._base, words=excerpt(str(error)))) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise BadAnswer(say.NO_HTTP(path=path, words=excerpt(str(error)))) from None
        finally:
            self._progress()

    def _masked(self, text: str) -> str:
        """Return words of a server, or of the proxy before it, that repeat our headers, without the secrets."""
        for secret in self._secrets:
            text = secret.masked_in(text)
        return text


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read the body up to just over ``limit`` bytes, so that an endless answer costs no more than that."""
    chunks, total = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        total += len(chunk)
        if total > limit:
            break
    return b"".join(chunks)


def _why(error: aiohttp.ClientConnectorError) -> str:
    """Return the system's own words (Connection refused) where there are any."""
    number = getattr(getattr(error, "os_error", None), "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else excerpt(str(error))
