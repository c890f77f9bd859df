"""One cleaner per directory at a time, and a note of the unit it is working on.

The lock is an OS lock on a file in CACHE_DIR/locks named after the directory; it ends with the process that
holds it, however that dies. The file also says who holds it, and each worker notes there which unit it is
taking apart: after a kill -9 the next run knows the one unit whose directory only looks fresh because the
dead run had begun to empty it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import zlib
from pathlib import Path

from cleaner.roots import SAFE
from core import cleaning_phrases as say
from core.errors import RefusedTarget, TargetBusy
from core.printable import printable

_HOLDER_BYTES = 1024
_NOTE_BYTES = 8192
MAX_WORKERS = 16
_CREATE = os.O_RDWR | os.O_CREAT | SAFE
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def lock_path(state_dir: Path, real_root: Path) -> Path:
    """The lock file of a cleaned directory: the same for every target and process that means this directory."""
    text = os.fsencode(real_root)
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", real_root.name)[:60]
    return state_dir / "locks" / f"clean-{readable}-{zlib.crc32(text):08x}.lock"


class TargetLock:
    """Holds the lock of one directory; a context manager. Raises TargetBusy or RefusedTarget on entering."""

    def __init__(self, state_dir: Path, real_root: Path, root_fd: int, *, since: str) -> None:
        self._path = lock_path(state_dir, real_root)
        self._root = real_root
        self._root_fd = root_fd
        self._since = since
        self.descriptor = -1
        self.interrupted: frozenset[str] = frozenset()
        self.warning: str | None = None

    def __enter__(self) -> TargetLock:
        import fcntl  # late: where there is none, targets are refused before they are locked

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self.descriptor = os.open(self._path, _CREATE, 0o600)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise RefusedTarget(say.NO_LOCK(path=self._path, why=error.strerror)) from None
            # On a full disk cleaning is needed most: lock the directory itself, which needs no new file.
            self.warning = say.NO_ROOM_FOR_LOCK(path=self._path, why=error.strerror)
            self.descriptor = os.dup(self._root_fd)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = self._holder()
            os.close(self.descriptor)
            self.descriptor = -1
            raise TargetBusy(say.BEING_CLEANED(path=printable(str(self._root)), words=holder)) from None
        if self.warning is None:
            self._take_over()
        return self

    def __exit__(self, *_: object) -> None:
        if self.warning is None:
            self._write(0, b"\0" * _HOLDER_BYTES)
        # Never unlinked: a second process could then lock a new file of the same name beside us.
        os.close(self.descriptor)
        self.descriptor = -1

    def _take_over(self) -> None:
        self.interrupted = _notes(self.descriptor)
        command = " ".join(Path(sys.argv[0]).parts[-2:]) if sys.argv and sys.argv[0] else "python"
        holder = json.dumps({"pid": os.getpid(), "command": command, "since": self._since})
        self._write(0, holder.encode()[:_HOLDER_BYTES].ljust(_HOLDER_BYTES, b"\0"))

    def _holder(self) -> str:
        try:
            holder = json.loads(_read(self.descriptor, 0, _HOLDER_BYTES) or b"{}")
            return f"process {holder['pid']} ({holder['command']}) since {holder['since']}"
        except (ValueError, KeyError, TypeError):
            return "another process"

    def clear_notes(self) -> None:
        """Say that nothing is half taken apart: at the end of a run that worked through everything."""
        for worker in range(MAX_WORKERS):
            if _read(self.descriptor, _HOLDER_BYTES + worker * _NOTE_BYTES, 1):
                self._write(_HOLDER_BYTES + worker * _NOTE_BYTES, b"\0" * _NOTE_BYTES)

    def _write(self, offset: int, content: bytes) -> None:
        try:
            os.pwrite(self.descriptor, content, offset)
        except OSError:
            pass  # deleting must not depend on room for a note


def interrupted_units(state_dir: Path, real_root: Path) -> frozenset[str]:
    """Return the units that a killed run left half taken apart, without taking the lock."""
    try:
        descriptor = os.open(lock_path(state_dir, real_root), os.O_RDONLY | SAFE)
    except OSError:
        return frozenset()
    try:
        return _notes(descriptor)
    finally:
        os.close(descriptor)


def _notes(descriptor: int) -> frozenset[str]:
    notes = (_read(descriptor, _HOLDER_BYTES + worker * _NOTE_BYTES, _NOTE_BYTES) for worker in range(MAX_WORKERS))
    return frozenset(os.fsdecode(note.partition(b"\0")[0]) for note in notes if note)


def _read(descriptor: int, offset: int, length: int) -> bytes:
    try:
        return os.pread(descriptor, length, offset).rstrip(b"\0")
    except OSError:  # a locked directory (see TargetLock.__enter__) has no content
        return b""


class Note:
    """The unit that one worker is taking apart, kept in the lock file; survives the process, not a power cut."""

    def __init__(self, descriptor: int, worker: int = 0) -> None:
        self._descriptor = descriptor
        self._offset = _HOLDER_BYTES + worker * _NOTE_BYTES
        self._length = 0

    def write(self, unit: str) -> None:
        content = os.fsencode(unit)[: _NOTE_BYTES - 1]
        padded = content.ljust(max(self._length, len(content) + 1), b"\0")
        self._length = len(content) + 1
        try:
            os.pwrite(self._descriptor, padded, self._offset)
        except OSError:
            pass
