"""Opens weight files and says what is wrong with one: truncated, zero-filled, not what its name says. Also hashes."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from typing import Any

from core.models import words as say
from core.models.formats import (
    HEAD_BYTES,
    TAIL_BYTES,
    Malformed,
    judge_head,
    judge_tail,
    safetensors_header_bytes,
    safetensors_size_bytes,
    zeros_from,
)
from core.models.names import is_weight
from core.models.states import Fault, Finding
from modelcache.roots import open_file

_PAGE = 4096
_SAMPLES = 16
_SAMPLED_FROM_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 20
_MAX_DOCUMENT_BYTES = 64 << 20

Advance = Callable[[int], None]
"""Told how many more bytes were worked through."""


class Stopped(Exception):
    """The work was called off by another thread."""


def inspect_weight(top: int, tree_path: str, path: str) -> Finding | None:
    """Given an open directory and a file in it that goes by ``path`` in its repo, return what is wrong with it.

    Reads the header, the end and seventeen pages: milliseconds, whatever the size.
    """
    if not is_weight(path):
        return None
    try:
        descriptor = open_file(top, tree_path)
    except OSError as error:
        return Finding(path, Fault.UNREADABLE, error.strerror or str(error))
    try:
        return _inspect(descriptor, path)
    except Malformed as malformed:
        return Finding(path, Fault.MALFORMED, str(malformed))
    except OSError as error:
        return Finding(path, Fault.UNREADABLE, error.strerror or str(error))
    finally:
        os.close(descriptor)


def _inspect(descriptor: int, path: str) -> Finding | None:
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, HEAD_BYTES, 0)
    judge_head(path, head, size)
    if path.lower().endswith((".safetensors", ".sft")):
        wanted = safetensors_size_bytes(os.pread(descriptor, safetensors_header_bytes(head), 8))
        if size != wanted:
            what = say.TRUNCATED if size < wanted else say.TOO_LONG
            return Finding(path, Fault.WRONG_SIZE, what(size=size, wanted=wanted))
    else:
        judge_tail(head, os.pread(descriptor, TAIL_BYTES, max(size - TAIL_BYTES, 0)))
    if size >= _SAMPLED_FROM_BYTES:
        offsets = [(size - _PAGE) * each // _SAMPLES for each in range(_SAMPLES + 1)]
        zeros = zeros_from([(offset, not any(os.pread(descriptor, _PAGE, offset))) for offset in offsets])
        if zeros is not None:
            return Finding(path, Fault.MALFORMED, say.ZEROS_FROM(offset=zeros))
    return None


def read_document(top: int, tree_path: str) -> Any:
    """Given an open directory and a JSON file in it, return what it says, or None when it says nothing."""
    try:
        descriptor = open_file(top, tree_path)
        with os.fdopen(descriptor, "rb") as file:
            return json.loads(file.read(_MAX_DOCUMENT_BYTES))
    except (OSError, ValueError, RecursionError):
        return None


def hash_file(
    descriptor: int, *, blob_id: bool = False, advance: Advance | None = None, stop: threading.Event | None = None
) -> tuple[str, str]:
    """Given an open file, return its SHA-256 and, if wanted, its git blob id (else empty); raises Stopped, OSError.

    Reads from the beginning through the page cache; the interpreter lock is free while a block is hashed.
    """
    digest = hashlib.sha256()
    git = hashlib.sha1(usedforsecurity=False)
    if blob_id:
        git.update(f"blob {os.fstat(descriptor).st_size}\0".encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    buffer = bytearray(_BUFFER_BYTES)
    view = memoryview(buffer)
    while count := os.readv(descriptor, [buffer]):
        digest.update(view[:count])
        if blob_id:
            git.update(view[:count])
        if advance is not None:
            advance(count)
        if stop is not None and stop.is_set():
            raise Stopped
    return digest.hexdigest(), git.hexdigest() if blob_id else ""
