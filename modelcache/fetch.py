"""Brings the files that a pull needs, verified, into ``.model_cache``: ``parts`` for large ones, ``staging`` for small.

Large ones by our own resuming download, small ones by ``snapshot_download``, which begins a large file anew after a
kill (see ``modelcache.download``).
"""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from core.errors import HubError, ModelError
from core.models import words as say
from core.models.manifest import FileRecord, Manifest
from core.models.names import OWN_DIRECTORY
from modelcache.check import Progress
from modelcache.download import Part, download
from modelcache.huggingface import HuggingFace
from modelcache.model import hub_directory
from modelcache.own import PARTS, STAGING
from modelcache.reading import Reading
from modelcache.roots import CacheRoot, make_directory, open_file
from modelcache.weights import hash_file

RESUMED_FROM_BYTES = 8 << 20
"""Files from this size on are worth resuming; a hub keeps files up to 10 MB outside of its large file storage."""

_LARGE_FILES_AT_ONCE = 2
_SMALL_FILE_ROUNDS = 2


def fetch(
    hub: HuggingFace,
    wanted: Manifest,
    due: list[FileRecord],
    found: Reading,
    roots: tuple[CacheRoot, ...],
    progress: Progress,
) -> int:
    """Fetch what is due into parts and staging, verified; return the bytes that came over the network."""
    counter = _Counter(sum({each.content_name: each.size for each in due}.values()), progress)
    large = {each.content_name: each for each in due if each.size >= RESUMED_FROM_BYTES}
    parts = make_directory(found.top, f"{OWN_DIRECTORY}/{PARTS}")
    try:
        _fetch_large(hub, wanted, list(large.values()), parts, _Shelf(wanted.repo, roots), counter)
        _fetch_small(hub, wanted, [each for each in due if each.content_name not in large], found, counter)
    finally:
        os.close(parts)
    return counter.fetched


class _Counter:
    """Bytes done, for the display, and bytes fetched, for the report; used by several threads."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.done, self.fetched = total, 0, 0
        self._progress = progress
        self._lock = threading.Lock()

    def add(self, count: int, *, fetched: bool) -> None:
        with self._lock:
            self.done += count
            self.fetched += max(count, 0) if fetched else 0
            self._progress("fetch", self.done, self.total)


class _Shelf:
    """Hub caches on this machine: a blob there has its content's hash as its name, and need not be downloaded."""

    def __init__(self, repo: str, roots: tuple[CacheRoot, ...]) -> None:
        self._blobs = [f"{root.path}/{hub_directory(repo)}/blobs" for root in roots]

    def copy_to(self, part: Part) -> None:
        """Fill an empty part from a blob of the same name and size, if there is one; its hash is checked later."""
        for directory in self._blobs:
            with suppress(OSError):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
                source = os.open(f"{directory}/{part.record.content_name}", flags)
                try:
                    if os.fstat(source).st_size == part.record.size and os.fstat(part.descriptor).st_size == 0:
                        with (
                            os.fdopen(os.dup(source), "rb") as reader,
                            os.fdopen(os.dup(part.descriptor), "wb") as writer,
                        ):
                            shutil.copyfileobj(reader, writer, 1 << 20)
                finally:
                    os.close(source)


def _fetch_large(
    hub: HuggingFace, wanted: Manifest, records: list[FileRecord], parts: int, shelf: _Shelf, counter: _Counter
) -> None:
    stop = threading.Event()

    def fetch(record: FileRecord) -> None:
        part = Part(parts, record)
        started = False

        def advance(count: int) -> None:
            nonlocal started
            # The first call tells what was in the part already.
            counter.add(count, fetched=started)
            started = True

        try:
            shelf.copy_to(part)
            download(
                hub.url(wanted, record.path), hub.headers(), part,
                repo=wanted.repo, endpoint=hub.endpoint, advance=advance, stop=stop,
            )  # fmt: skip
        except BaseException:
            stop.set()
            raise
        finally:
            part.close()

    with ThreadPoolExecutor(_LARGE_FILES_AT_ONCE) as threads:
        tasks = [threads.submit(fetch, record) for record in records]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            stop.set()
            for task in tasks:
                task.cancel()
            # The first failure is the cause; the others were only stopped.
            errors = [task.exception() for task in tasks if task.done() and not task.cancelled()]
            cause = next((each for each in errors if isinstance(each, ModelError)), None)
            if cause is not None:
                raise cause from None
            raise


def _fetch_small(
    hub: HuggingFace, wanted: Manifest, records: list[FileRecord], found: Reading, counter: _Counter
) -> None:
    staging = f"{OWN_DIRECTORY}/{STAGING}"
    for attempt in range(_SMALL_FILE_ROUNDS + 1):
        missing = []
        for record in records:
            if staged_sha256(found.top, record) is None:
                with suppress(OSError):
                    os.unlink(f"{staging}/{record.path}", dir_fd=found.top)
                missing.append(record)
        if not missing:
            break
        if attempt:
            raise HubError(say.OTHER_CONTENT(endpoint=hub.endpoint, path=missing[0].path, repo=wanted.repo))
        hub.snapshot(wanted, [each.path for each in missing], Path(found.place.path, staging))
        counter.add(0, fetched=True)
        counter.fetched += sum(each.size for each in missing)
    counter.add(sum(each.size for each in records), fetched=False)


def staged_sha256(top: int, record: FileRecord) -> str | None:
    """Return the SHA-256 of a staged file if it is what the hub lists."""
    try:
        descriptor = open_file(top, f"{OWN_DIRECTORY}/{STAGING}/{record.path}")
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_size != record.size:
            return None
        sha256, blob_id = hash_file(descriptor, blob_id=not record.sha256)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return sha256 if record.agrees(sha256, blob_id) else None
