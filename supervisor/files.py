"""The files of the daemon in CACHE_DIR: their names, and writing them so that no reader sees half of one."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple


class Files(NamedTuple):
    """Paths of the daemon's files. Strings, not Paths: pathlib would cost the supervisor half a megabyte."""

    cache_dir: str
    lock: str
    pid: str
    log: str
    state: str


def files_in(cache_dir: str) -> Files:
    """Return the daemon's files under ``cache_dir``, an absolute path."""
    return Files(cache_dir, *(os.path.join(cache_dir, f"daemon.{kind}") for kind in _KINDS))


_KINDS = ("lock", "pid", "log", "state.json")


def write_atomically(path: str, text: str) -> None:
    """Replace ``path`` by ``text``, readable by all and writable by the owner only; leave no temporary file.

    Only the holder of the lock writes, so one fixed temporary name is enough, and what a killed writer left
    behind is swept by the next. Raises OSError: full disk, permission, ``path`` is a directory.
    """
    temporary = path + ".tmp"
    remove(temporary)
    try:
        # O_EXCL also refuses a symbolic link that somebody planted under the name.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(fd, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except OSError:
        remove(temporary)
        raise


def remove(path: str) -> None:
    """Delete the file; one that is gone, or cannot be deleted, is no reason to fail."""
    try:
        os.unlink(path)
    except OSError:
        pass


def read_pid(path: str) -> int | None:
    """Return the PID in the file, or None when there is none to be had (no file, garbage, a directory).

    A PID file is only an address: never signal what it names before ``identity`` has recognised it.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(32).strip()
    except OSError:
        return None
    # 1 is init, 0 and negative numbers would signal whole groups.
    return int(text) if text.isdigit() and 1 < int(text) < 2**31 else None


def write_state(path: str, state: dict[str, Any]) -> None:
    """Replace the state file. Raises OSError as ``write_atomically``."""
    write_atomically(path, json.dumps(state, ensure_ascii=False) + "\n")


def read_state(path: str) -> dict[str, Any]:
    """Return what the supervisor last wrote about itself and main, {} when that cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            state = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return state if isinstance(state, dict) else {}


def same_file(fd: int, path: str) -> bool:
    """Return whether ``path`` still names the open file ``fd``."""
    return identity(os.fstat(fd)) == identity_at(path)


def identity(status: os.stat_result) -> tuple[int, int]:
    """Return what makes a file the same file, whatever its name and content."""
    return status.st_dev, status.st_ino


def identity_at(path: str) -> tuple[int, int] | None:
    """Return the identity of the file that ``path`` names now, None when there is none."""
    try:
        return identity(os.stat(path))
    except OSError:
        return None
