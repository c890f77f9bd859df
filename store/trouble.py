"""What is wrong with one of our SQLite files, and what a person can do about it: SQLite's own words blame the file.

"unable to open database file" may be a file of somebody else, and "disk I/O error" a full disk; both files are healthy.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from core import store_phrases as say
from core.errors import StoreError, StoreUnavailable
from core.phrases import Phrase

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# What a full disk may look like: a -wal that cannot be made, a -shm that cannot grow, a page that cannot be written.
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
_NOT_ALLOWED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN)

_ROOM_BYTES = 64 << 10
"""Less than this is a full disk: a -shm alone takes 32 KiB."""


_SOMEBODY = "another user"
"""Whose a file is that has an owner without a name; ``OTHERS_FILE`` says so in Chinese."""


def trouble(path: Path, what: Phrase, error: Exception) -> StoreError:
    """Given what could not be done with a database and why, return the error to raise: what is the matter, what to do.

    ``what`` has the fields ``path`` and ``reason``. StoreUnavailable where nothing is wrong with the file itself.
    """
    if is_damage(error):
        return StoreError(what(path=path, reason=say.DAMAGED(words=error)))
    passing = _passing(path, error)
    if passing:
        return StoreUnavailable(what(path=path, reason=passing))
    if _code(error) == sqlite3.SQLITE_IOERR:
        return StoreError(what(path=path, reason=say.DISK_ERROR(words=error)))
    return StoreError(what(path=path, reason=error))


def _passing(path: Path, error: Exception) -> str:
    """Return what is the matter around a healthy file, empty when it is something else."""
    code, number = _code(error), error.errno if isinstance(error, OSError) else 0
    if code in _LOCKED:
        return say.LOCKED(words=error)
    if number in (errno.ENOSPC, errno.EDQUOT) or (code in _NO_ROOM and _is_full(path, code)):
        return say.DISK_FULL()
    if not path.parent.is_dir():
        return say.NO_DIRECTORY(path=path.parent)
    if number == errno.EROFS or (code == sqlite3.SQLITE_READONLY and _is_read_only(path)):
        return say.READ_ONLY()
    owner = ""
    if number in (errno.EACCES, errno.EPERM):
        owner = _owner(path.parent)
    elif code in _NOT_ALLOWED:
        owner = _forbidden(path)
    return say.NO_PERMISSION(user=owner, owner=owner) if owner else ""


def _code(error: Exception) -> int:
    # Extended codes have the plain one in their lowest byte.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_damage(error: Exception) -> bool:
    """Whether the file itself is broken: nothing else is mended by an empty one."""
    return _code(error) in _DAMAGED


def _is_full(path: Path, code: int) -> bool:
    try:
        disk = os.statvfs(path.parent)
    except (OSError, AttributeError):
        return code == sqlite3.SQLITE_FULL
    inodes_gone = disk.f_files > 0 and disk.f_favail == 0
    return code == sqlite3.SQLITE_FULL or inodes_gone or disk.f_bavail * disk.f_frsize < _ROOM_BYTES


def _is_read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except (OSError, AttributeError):
        return False


def _forbidden(path: Path) -> str:
    """Return whose the file or directory is that we may not write to, empty where we may."""
    for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"), path.parent):
        try:
            if (each.exists() or each == path.parent) and not os.access(each, os.R_OK | os.W_OK):
                return _owner(each)
        except OSError:
            return _owner(path.parent)
    return ""


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (OSError, KeyError, NotImplementedError):
        return _SOMEBODY
