"""Taking CACHE_DIR for oneself, or learning who has it. Done by the command line, before a supervisor exists."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from core import setting_phrases as said
from core.errors import AlreadyRunning, DaemonError
from supervisor.files import Files
from supervisor.identity import is_main, orphan_of, supervisor_of
from supervisor.lock import try_lock

EXIT_CANNOT_CREATE = 73
"""EX_CANTCREAT of sysexits.h: CACHE_DIR cannot be made or written."""

ALREADY_RUNNING = "Daemon already running"
"""Begins a line that scripts know, and that is the same in every language."""

POLL_SECONDS = 0.03
STRANGER_PATIENCE_SECONDS = 10.0
"""A starter writes its PID some 100 ms after taking the lock, seconds on a busy machine; else it is a stranger."""

Say = Callable[[str], None]


def make_cache_dir(path: str) -> bool:
    """Make CACHE_DIR if it is missing; return whether it was. Raises DaemonError when it cannot be used."""
    made = not os.path.lexists(path)
    if made:
        try:
            os.makedirs(path, mode=0o755, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise DaemonError(said.CACHE_DIR_NOT_MADE(path=path, words=reason), EXIT_CANNOT_CREATE) from None
    if not os.path.isdir(path):
        raise DaemonError(said.CACHE_DIR_NO_DIRECTORY(path=path), EXIT_CANNOT_CREATE)
    return made


def claim(files: Files, grace_seconds: float, say: Say) -> int:
    """Take the lock and return its file descriptor.

    A living supervisor is left alone (AlreadyRunning). A main whose supervisor was killed gets ``grace_seconds``
    to follow its broken leash, as it would at a stop, and is killed then: never two mains. Raises DaemonError
    when the lock cannot be opened, AlreadyRunning also when a stranger holds it.
    """
    started = time.monotonic()
    orphan_seen: int | None = None
    while True:
        fd = _try(files)
        if fd is not None:
            return fd
        running = supervisor_of(files)
        if running is not None:
            raise AlreadyRunning(f"{ALREADY_RUNNING} (PID: {running})")
        waited = time.monotonic() - started
        orphan = orphan_of(files)
        if orphan is not None and orphan != orphan_seen:
            orphan_seen = orphan
            say(said.ORPHAN_AWAITED(pid=orphan))
        if orphan is not None and waited > grace_seconds:
            say(said.ORPHAN_KILLED(pid=orphan))
            kill_orphan(orphan, files)
        if orphan is None and waited > STRANGER_PATIENCE_SECONDS:
            raise AlreadyRunning(said.HELD_BY_STRANGER(path=files.lock, lock=files.lock))
        time.sleep(POLL_SECONDS)


def kill_orphan(pid: int, files: Files) -> None:
    """Kill the group of a main without a supervisor, once it is recognised. Raises DaemonError: not permitted."""
    if not is_main(pid, files):
        return
    try:
        # main leads its own session, so its group has its number.
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise DaemonError(said.MAY_NOT_STOP_MAIN(pid=pid)) from None


def _try(files: Files) -> int | None:
    try:
        return try_lock(files.lock)
    except PermissionError:
        # Not "already running": a lock file that root once made says nothing about who runs now.
        if os.path.lexists(files.lock):
            text = said.MAY_NOT_OPEN(path=files.lock, owner=_owner(files.lock))
        else:
            text = said.MAY_NOT_WRITE(path=files.cache_dir, owner=_owner(files.cache_dir))
        raise DaemonError(text, EXIT_CANNOT_CREATE) from None
    except OSError as error:
        raise DaemonError(said.NOT_OPENED(path=files.lock, words=error.strerror or error), EXIT_CANNOT_CREATE) from None


def _owner(path: str) -> str:
    try:
        uid = os.stat(path).st_uid
    except OSError:
        return said.OWNER_UNKNOWN()
    try:
        import pwd

        return said.OWNER(name=pwd.getpwuid(uid).pw_name)
    except (ImportError, KeyError):
        return said.OWNER_NUMBER(number=uid)
