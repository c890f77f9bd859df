"""Downloads one large file so that a killed download goes on where it stopped, in another process, days later.

huggingface_hub's own download does not: each attempt gets a random ``.incomplete`` name, and what a killed process had
fetched is fetched again (measured with 2.4.0; its pull request 4306 made it so on purpose, for file systems without
working locks). Here the part has a name made of the content's hash, our lock guards it, and a hash of the whole
decides: what was there before is hashed with the rest, so a damaged beginning is found too.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.errors import HubError, ModelError, NoRoom
from core.models import words as say
from core.models.manifest import FileRecord
from modelcache.huggingface import refusal, retry_after_seconds
from modelcache.weights import Stopped

if TYPE_CHECKING:
    import requests

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 20
_ATTEMPTS_WITHOUT_PROGRESS = 6
_TIMEOUT_SECONDS = (10, 60)
_NO_ROOM = (28, 122)  # ENOSPC, EDQUOT

Advance = Callable[[int], None]


class Part:
    """A file that grows: an open descriptor, and the running hashes of what is in it."""

    def __init__(self, directory: int, record: FileRecord) -> None:
        self.record = record
        self.descriptor = os.open(record.content_name, _FLAGS, 0o644, dir_fd=directory)
        self.restart()

    def restart(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._git = hashlib.sha1(f"blob {self.record.size}\0".encode(), usedforsecurity=False)

    def take_up(self, stop: threading.Event) -> int:
        """Hash what an earlier process left, and return its bytes; a part that is too long is begun anew."""
        if os.fstat(self.descriptor).st_size > self.record.size:
            self.truncate()
        while chunk := os.pread(self.descriptor, _CHUNK_BYTES, self.size):
            self._count(chunk)
            if stop.is_set():
                raise Stopped
        return self.size

    def append(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[os.pwrite(self.descriptor, view, self.size + len(chunk) - len(view)) :]
        self._count(chunk)

    def truncate(self) -> None:
        os.ftruncate(self.descriptor, 0)
        self.restart()

    def is_whole(self) -> bool:
        """Whether everything is there with the right hash."""
        git = self._git.hexdigest() if not self.record.sha256 else ""
        return self.size == self.record.size and self.record.agrees(self._sha256.hexdigest(), git)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def close(self) -> None:
        os.close(self.descriptor)

    def _count(self, chunk: bytes) -> None:
        self._sha256.update(chunk)
        if not self.record.sha256:
            self._git.update(chunk)
        self.size += len(chunk)


def download(
    url: str, headers: dict[str, str], part: Part, *, repo: str, endpoint: str, advance: Advance, stop: threading.Event
) -> None:
    """Fill a part from a URL, from where it stands; on return it is whole, synced, and its hash is the hub's.

    ``advance`` is told of bytes gained, and of bytes lost (negative) when a part must be begun anew. Raises HubError,
    NoRoom, Stopped.
    """
    fruitless, begun_anew = 0, False
    advance(part.take_up(stop))
    while not part.is_whole():
        if part.size >= part.record.size:
            # All there and the wrong bytes: a damaged part, or a hub that serves something else under this name.
            if begun_anew:
                raise HubError(say.OTHER_CONTENT(endpoint=endpoint, path=part.record.path, repo=repo))
            begun_anew = True
            advance(-part.size)
            part.truncate()
        before = part.size
        status, wait, trouble = _attempt(url, headers, part, advance, stop)
        if status in (401, 403, 404):
            raise refusal(f"{repo}/{part.record.path}", endpoint, status, trouble)
        fruitless = 0 if part.size > before else fruitless + 1
        if part.size >= part.record.size:
            continue
        if fruitless >= _ATTEMPTS_WITHOUT_PROGRESS:
            raise refusal(f"{repo}/{part.record.path}", endpoint, status if status and status >= 400 else None, trouble)
        if stop.wait(retry_after_seconds(wait, fruitless)):
            raise Stopped
    os.fsync(part.descriptor)


def _attempt(
    url: str, headers: dict[str, str], part: Part, advance: Advance, stop: threading.Event
) -> tuple[int | None, str | None, str]:
    """Ask once for the rest; return the status, the hub's Retry-After and what went wrong."""
    import requests  # only a download needs it, and listing shall start quickly

    # Also from 0: a CDN that refuses to send a huge file whole sends it as a range. Never compressed: ranges of a
    # compressed answer are ranges of something else.
    ranged = {**headers, "Range": f"bytes={part.size}-", "Accept-Encoding": "identity"}
    status: int | None = None
    try:
        with requests.get(url, headers=ranged, stream=True, timeout=_TIMEOUT_SECONDS) as response:
            status = response.status_code
            if status == 416 or (status == 206 and not _continues(response, part)):
                advance(-part.size)
                part.truncate()
                answer = f"{status} {response.headers.get('Content-Range', '')}"
                return status, None, say.CANNOT_CONTINUE(words=answer)
            if status == 200 and part.size:
                advance(-part.size)  # the range was ignored, and this is the file from its beginning
                part.truncate()
            if status not in (200, 206):
                return status, response.headers.get("Retry-After"), say.IT_ANSWERED(status=status)
            for chunk in response.iter_content(_CHUNK_BYTES):
                if stop.is_set():
                    raise Stopped
                chunk = chunk[: part.record.size - part.size]
                if not chunk:
                    break
                part.append(chunk)
                advance(len(chunk))
            return status, None, say.CUT()
    except requests.RequestException as error:
        return status, None, say.NO_CONNECTION(words=type(error).__name__)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise NoRoom(say.DISK_FULL(path=part.record.path)) from None
        raise ModelError(say.NOT_WRITTEN(path=part.record.path, words=error.strerror)) from None


def _continues(response: requests.Response, part: Part) -> bool:
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return bool(match) and int(match[1]) == part.size and match[2] in ("*", str(part.record.size))  # type: ignore[index]
