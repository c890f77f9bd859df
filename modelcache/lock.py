"""One process per model at a time: an OS lock on a file beside the models, which ends with its process.

The file outlives the model on purpose: unlinked, a second process could lock a new file of the same name.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from contextlib import suppress

from core.errors import ModelBusy, ModelError
from core.models import words as say
from modelcache.roots import CacheRoot, make_directory, open_directory, open_root

LOCKS = ".locks"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK_SECONDS = 0.3


class ModelLock:
    """Holds the lock of one model; a context manager. Raises ModelBusy, or ModelError where no lock can be had."""

    def __init__(self, root: CacheRoot, name: str, doing: str) -> None:
        self._root = root
        self._name = name
        self._doing = doing
        self._descriptor = -1

    def __enter__(self) -> ModelLock:
        try:
            root = open_root(self._root)
        except OSError as error:
            raise ModelError(say.NOT_OPENED(path=self._root.path, words=error.strerror)) from None
        try:
            self._descriptor = _open_lock(root, self._name)
        except OSError as error:
            said = say.NO_LOCK(name=self._name, path=self._root.path, words=error.strerror)
            raise ModelError(said) from None
        finally:
            os.close(root)
        # Whoever only looks (holder_of) has the lock for a moment.
        deadline = time.monotonic() + _LOOK_SECONDS
        while not _try_lock(self._descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                holder = _holder(self._descriptor)
                os.close(self._descriptor)
                raise ModelBusy(say.BUSY(name=self._name, holder=holder))
            time.sleep(0.02)
        with suppress(OSError):  # a full disk has no room for the note, and cleaning is needed most there
            note = json.dumps({"pid": os.getpid(), "doing": self._doing, "since": time.strftime("%Y-%m-%d %H:%M:%S")})
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, note.encode(), 0)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def holder_of(root: CacheRoot, name: str) -> str | None:
    """Return who works on a model, None when nobody does; never makes a lock file."""
    try:
        top = open_root(root)
    except OSError:
        return None
    try:
        return file_holder(top, f"{LOCKS}/{name}.lock")
    finally:
        os.close(top)


def file_holder(top: int, path: str) -> str | None:
    """Return who holds the lock file at a path below an open directory, None when nobody does or it is not there."""
    above, _, name = path.rpartition("/")
    try:
        directory = open_directory(top, above)
    except OSError:
        return None
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return None
    finally:
        os.close(directory)
    try:
        return None if _try_lock(descriptor, fcntl.LOCK_SH) else _holder(descriptor)
    finally:
        os.close(descriptor)


def _open_lock(root: int, name: str) -> int:
    try:
        locks = make_directory(root, LOCKS)
        try:
            return os.open(f"{name}.lock", _FLAGS, 0o644, dir_fd=locks)
        finally:
            os.close(locks)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # No room for a new lock file on a full disk: the model itself is locked instead.
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holder(descriptor: int) -> str:
    try:
        note = json.loads(os.pread(descriptor, 1024, 0))
        return say.AT_WORK(pid=note["pid"], doing=note["doing"], since=note["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return say.SOMEBODY()
