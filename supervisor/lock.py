"""The lock on CACHE_DIR/daemon.lock: whoever holds it is the daemon; no file's content can say otherwise.

The lock belongs to the open file, so it passes through exec and fork: ``start`` takes it and hands it to the
supervisor, and main inherits it, so that a main whose supervisor was killed still keeps a second one out.
The file is never unlinked: a lock on a nameless file excludes nobody.

On NFS a flock is a byte-range lock since Linux 2.6.12, and with ``local_lock`` it excludes only this host: one host
per CACHE_DIR.
"""

from __future__ import annotations

import errno
import os
import sys

from supervisor.files import same_file

if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int, *, exclusive: bool) -> None:  # noqa: ARG001 - msvcrt knows only exclusive locks
        # A Windows lock belongs to a process and is not inherited: there only the leash guards against an
        # orphaned main. Untested: written from the documentation of msvcrt.locking.
        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(fd: int, *, exclusive: bool) -> None:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)


_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


def try_lock(path: str) -> int | None:
    """Take the lock and return its file descriptor, or None when somebody holds it.

    Raises OSError when the file cannot be opened: permission, no directory, the name of a directory.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _locked(fd, exclusive=True):
            os.close(fd)
            return None
        if same_file(fd, path):
            return fd
        # Deleted between open and lock: what we hold excludes nobody.
        os.close(fd)


def is_held(path: str) -> bool:
    """Return whether somebody holds the lock. Raises OSError other than FileNotFoundError, as try_lock does.

    Reading is enough, so that any user may ask. The probe holds a shared lock for an instant, which is why
    whoever fails to take the lock tries again before it gives up.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _locked(fd, exclusive=False)
    finally:
        os.close(fd)


def _locked(fd: int, *, exclusive: bool) -> bool:
    try:
        _lock(fd, exclusive=exclusive)
    except OSError as error:
        if error.errno in _HELD:
            return False
        os.close(fd) if exclusive else None
        raise
    return True
