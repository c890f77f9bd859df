"""Asks one ComfyUI server and waits for the answer: the blocking sibling of ``server_client``, with the same errors.

Unreachable, Busy and BadAnswer are three facts: no connection, connected but late, answered something else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

import requests
from requests import exceptions
from urllib3.exceptions import HTTPError, NewConnectionError, ReadTimeoutError

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
from core.answers import excerpt, parse_json, parse_queue, parse_submitted
from core.errors import BadAnswer, Busy, PromptRejected, ServerError, Unreachable
from core.fleet import Secret
from core.model import Queue
from core.outputs import OutputImage
from core.workflow import Graph

MAX_IMAGE_BYTES = 512 << 20
DOWNLOAD_SECONDS = 600.0
"""Most time for one image: a server that sends a byte now and then must not hold the caller for ever."""

_CHUNK_BYTES = 1 << 16


class BlockingServer:
    """One server's routes. Every method raises Unreachable, Busy or BadAnswer; safe to share between threads.

    ``secrets`` are values of ``headers`` that must not appear in what the server is quoted with.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        secrets: Sequence[Secret] = (),
        verify_tls: bool = True,
        connect_timeout_seconds: float,
        answer_timeout_seconds: float,
    ) -> None:
        self.url = url
        self._secrets = tuple(secrets)
        self._connect_seconds, self._answer_seconds = connect_timeout_seconds, answer_timeout_seconds
        self._session = requests.Session()
        # No proxy, netrc or certificate bundle of the environment, and no cookies: as the poll cycle asks.
        self._session.trust_env = False
        self._session.verify = verify_tls
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.update({**REQUEST_HEADERS, "Accept-Encoding": "identity", **headers})

    def close(self) -> None:
        self._session.close()

    def queue(self) -> Queue:
        return parse_queue(self._json("/queue"))

    def history(self, prompt_id: str) -> object:
        """Return the JSON of ``GET /history/{id}``: ``{}`` while the prompt is unknown, pending or running."""
        return self._json(f"/history/{quote(prompt_id, safe='')}")

    def submit(self, graph: Graph, *, prompt_id: str, client_id: str, extra_data: Mapping[str, Any]) -> None:
        """Send ``POST /prompt``; return once the server has taken exactly this prompt.

        Raises PromptRejected for a refusal, Unreachable when nothing was sent, Busy when it is unknown
        whether the server will still take it: look the prompt id up before sending again.
        """
        body = prompt_body(graph, prompt_id=prompt_id, client_id=client_id, extra_data=extra_data)
        status, text = self._ask("POST", "/prompt", MAX_TEXT_BYTES, body)
        try:
            parse_submitted(status, text, prompt_id)
        except PromptRejected as rejected:
            if status == 200:
                # Taken in part or unclearly: better no image than half of what was asked for.
                self._withdraw(prompt_id)
            raise PromptRejected(say.BY_SERVER(server_url=self.url, reason=rejected), rejected.detail) from None

    def download(self, image: OutputImage, file: BinaryIO) -> int:
        """Write one image to an open file and return its bytes; raises NoSuchRoute when the server has it no more."""
        query = urlencode({"filename": image.filename, "subfolder": image.subfolder, "type": image.kind})
        address, accept = f"{self.url}/view", {"Accept": "image/*, */*;q=0.5"}
        with self._answer("GET", f"{address}?{query}", accept) as response:
            kind = response.headers.get("Content-Type", "").lower()
            if response.status_code != 200 or kind.startswith(("text/", "application/json")):
                raw = _read(response, MAX_TEXT_BYTES, time.monotonic() + self._answer_seconds, address)
                text = plain_text(address, response.status_code, self._masked(raw.decode(errors="replace")))
                raise BadAnswer(say.NOT_AN_IMAGE(path=address, content=kind or "something", words=excerpt(text)))
            size_bytes = 0
            for chunk in _chunks(response, MAX_IMAGE_BYTES, time.monotonic() + DOWNLOAD_SECONDS, address):
                size_bytes += file.write(chunk)
        if not size_bytes:
            raise BadAnswer(say.EMPTY_IMAGE(path=address, file=image.filename))
        return size_bytes

    def _withdraw(self, prompt_id: str) -> None:
        try:
            self._ask("POST", "/queue", MAX_TEXT_BYTES, withdrawal_body(prompt_id))
        except ServerError:
            pass  # the refusal that led here says more than this

    def _json(self, path: str) -> object:
        address = self.url + path
        status, text = self._ask("GET", path, MAX_JSON_BYTES)
        return parse_json(plain_text(address, status, text), address)

    def _ask(self, method: str, path: str, limit: int, body: bytes | None = None) -> tuple[int, str]:
        address = self.url + path
        headers = {"Content-Type": "application/json"} if body is not None else {}
        deadline = time.monotonic() + self._connect_seconds + self._answer_seconds
        with self._answer(method, address, headers, body) as response:
            raw = _read(response, limit, deadline, address)
            try:
                return response.status_code, self._masked(raw.decode())
            except UnicodeDecodeError:
                raise BadAnswer(say.NOT_UTF8(path=address)) from None

    @contextmanager
    def _answer(
        self, method: str, address: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Iterator[requests.Response]:
        try:
            with self._session.request(
                method,
                address,
                data=body,
                headers=headers,
                timeout=(self._connect_seconds, self._answer_seconds),
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code in REDIRECTS:
                    where = redirect_words(self._masked(response.headers.get("Location", "?")))
                    raise BadAnswer(say.OTHER_STATUS(path=address, status=response.status_code, words=where))
                yield response
        except exceptions.ConnectTimeout:
            raise Unreachable(say.NO_CONNECTION_IN_TIME(url=self.url)) from None
        except exceptions.ReadTimeout:
            raise Busy(say.NOT_IN_TIME(path=address)) from None
        except exceptions.SSLError as error:
            raise Unreachable(say.NO_CONNECTION(url=self.url, words=_reason(error))) from None
        except exceptions.ConnectionError as error:
            raise self._lost(address, error, sent=body is not None) from None
        except exceptions.ChunkedEncodingError as error:
            raise BadAnswer(say.CUT_OFF(path=address, words=_reason(error))) from None
        except (exceptions.RequestException, HTTPError) as error:
            raise BadAnswer(say.NO_HTTP(path=address, words=_reason(error))) from None

    def _masked(self, text: str) -> str:
        """A server, or the proxy before it, may repeat our headers; its words end up in logs and on terminals."""
        for secret in self._secrets:
            text = secret.masked_in(text)
        return text

    def _lost(self, address: str, error: exceptions.ConnectionError, *, sent: bool) -> ServerError:
        """Return which of the three facts a ConnectionError is: requests uses this one class for many."""
        cause = error.args[0] if error.args else error
        cause = getattr(cause, "reason", cause)
        if isinstance(cause, NewConnectionError):
            number = getattr(cause.__cause__, "errno", None)
            why = os.strerror(number) if isinstance(number, int) and number > 0 else _reason(cause)
            return Unreachable(say.NO_CONNECTION(url=self.url, words=why))
        if isinstance(cause, ReadTimeoutError):
            return Busy(say.NOT_IN_TIME(path=address))
        # Sent, and the connection is gone: for a POST nobody knows whether it was taken.
        kind = Busy if sent else Unreachable
        return kind(say.CONNECTION_CLOSED(url=self.url, words=_reason(cause)))


def _read(response: requests.Response, limit: int, deadline: float, address: str) -> bytes:
    return b"".join(_chunks(response, limit, deadline, address))


def _chunks(response: requests.Response, limit: int, deadline: float, address: str) -> Iterator[bytes]:
    """Yield the body; raises BadAnswer beyond ``limit`` bytes and Busy beyond ``deadline`` (monotonic seconds)."""
    total = 0
    for chunk in response.iter_content(_CHUNK_BYTES):
        total += len(chunk)
        if total > limit:
            raise BadAnswer(say.TOO_LONG(path=address, bytes=limit))
        if time.monotonic() > deadline:
            raise Busy(say.NOT_WHOLE_IN_TIME(path=address))
        yield chunk


def _reason(error: BaseException) -> str:
    """Return the innermost words of an error; those around it repeat the address several times."""
    while error.args and isinstance(error.args[-1], BaseException):
        error = error.args[-1]
    return excerpt(str(error).rpartition(">: ")[2] or type(error).__name__)
