"""Taking CACHE_DIR for oneself, or learning who has it. Done by the command line, before a supervisor exists."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from core.errors import AlreadyRunning, DaemonError
from supervisor.files import Files
from supervisor.identity import is_main, orphan_of, supervisor_of
from supervisor.lock import try_lock

EXIT_CANNOT_CREATE = 73
"""EX_CANTCREAT of sysexits.h: CACHE_DIR cannot be made or written."""

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
            raise DaemonError(f"Failed to create cache directory: {path}: {reason}", EXIT_CANNOT_CREATE) from None
    if not os.path.isdir(path):
        raise DaemonError(f"CACHE_DIR {path} is not a directory", EXIT_CANNOT_CREATE)
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
            raise AlreadyRunning(f"Daemon already running (PID: {running})")
        waited = time.monotonic() - started
        orphan = orphan_of(files)
        if orphan is not None and orphan != orphan_seen:
            orphan_seen = orphan
            say(f"Waiting for the main program of a killed daemon to end (PID: {orphan})")
        if orphan is not None and waited > grace_seconds:
            say(f"Killing the main program of a killed daemon, which did not end by itself (PID: {orphan})")
            kill_orphan(orphan, files)
        if orphan is None and waited > STRANGER_PATIENCE_SECONDS:
            raise AlreadyRunning(
                f"{files.lock} is held by a process that cannot be recognised: another container or user? "
                f"Find it with: fuser -v {files.lock}"
            )
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
        raise DaemonError(f"No permission to stop the main program (PID: {pid}): it runs as another user") from None


def _try(files: Files) -> int | None:
    try:
        return try_lock(files.lock)
    except PermissionError:
        # Not "already running": a lock file that root once made says nothing about who runs now.
        if os.path.lexists(files.lock):
            text = f"No permission to open {files.lock} ({_owner(files.lock)}): run as that user, or chown it"
        else:
            text = f"No permission to write in CACHE_DIR {files.cache_dir} ({_owner(files.cache_dir)})"
        raise DaemonError(text, EXIT_CANNOT_CREATE) from None
    except OSError as error:
        raise DaemonError(f"Cannot open {files.lock}: {error.strerror or error}", EXIT_CANNOT_CREATE) from None


def _owner(path: str) -> str:
    try:
        uid = os.stat(path).st_uid
    except OSError:
        return "its owner is unknown"
    try:
        import pwd

        return f"it belongs to {pwd.getpwuid(uid).pw_name}"
    except (ImportError, KeyError):
        return f"it belongs to user number {uid}"
