"""daemon.py logs: the last lines, and then those to come, through every rotation."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import BinaryIO

BLOCK_BYTES = 65536
POLL_SECONDS = 0.25


def last_lines(file: BinaryIO, count: int) -> bytes:
    """Return the last ``count`` lines, reading from the end; the file's position is then its end."""
    position = file.seek(0, os.SEEK_END)
    tail = b""
    while position > 0 and tail.count(b"\n") <= count:
        step = min(BLOCK_BYTES, position)
        position -= step
        file.seek(position)
        tail = file.read(step) + tail
    file.seek(0, os.SEEK_END)
    return b"".join(tail.splitlines(keepends=True)[-count:]) if count else b""


def follow(path: str, file: BinaryIO) -> Iterator[bytes]:
    """Yield what is appended to the log, for ever; a rotated log is read to its end, then its successors."""
    while True:
        if chunk := file.read(BLOCK_BYTES):
            yield chunk
            continue
        successor = _successor(path, file)
        if successor is None:
            time.sleep(POLL_SECONDS)
            continue
        # A last look: lines may have come between the read and the rotation.
        if chunk := file.read():
            yield chunk
        file.close()
        file = successor


def _successor(path: str, file: BinaryIO) -> BinaryIO | None:
    """Return the log that came after ``file``, None while ``file`` is the current one or there is no other."""
    ours = os.fstat(file.fileno())
    newer: str = path
    number = 0
    while True:
        candidate = f"{path}.{number}" if number else path
        try:
            found = os.stat(candidate)
        except OSError:
            # Not among the kept ones: deleted, or renamed by somebody else; go on with the current log.
            return _open(path) if number else None
        if os.path.samestat(ours, found):
            if number == 0:
                if found.st_size < file.tell():
                    file.seek(0)  # cut in place, as logrotate's copytruncate does
                return None
            return _open(newer)
        newer = candidate
        number += 1


def _open(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb")
    except OSError:
        return None
