"""Is the process behind a PID ours? PIDs are reused: nothing is signalled before this says yes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from supervisor.files import Files, read_pid, read_state

OwnershipCheck = Callable[[int], bool]


def supervisor_command(python: str, script: str, cache_dir: str) -> list[str]:
    """Return the command line of a supervisor, which names CACHE_DIR so that it can be recognised by it."""
    return [python, script, "run", "--cache-dir", cache_dir]


def supervisor_of(files: Files) -> int | None:
    """Return the PID of the living supervisor of this CACHE_DIR, None when there is none to be recognised.

    The state file names the PID as well: it helps where somebody deleted or overwrote the PID file.
    """
    for pid in (read_pid(files.pid), _pid_in_state(files, "pid")):
        if pid is not None and is_supervisor(pid, files):
            return pid
    return None


def orphan_of(files: Files) -> int | None:
    """Return the PID of the living main of this CACHE_DIR, whether or not its supervisor lives."""
    pid = _pid_in_state(files, "main_pid")
    return pid if pid is not None and is_main(pid, files) else None


def is_supervisor(pid: int, files: Files) -> bool:
    """Return whether ``pid`` runs ``daemon.py run`` for this CACHE_DIR (from whichever checkout)."""
    command = command_line(pid)
    expected = supervisor_command("", "", files.cache_dir)[2:]
    return os.path.basename(command[1] if len(command) > 1 else "") == "daemon.py" and (
        command[2 : 2 + len(expected)] == expected
    )


def is_main(pid: int, files: Files) -> bool:
    """Return whether ``pid`` is a main started for this CACHE_DIR: main.py, and it holds the lock's file."""
    command = command_line(pid)
    if len(command) < 2 or os.path.basename(command[1]) != "main.py":
        return False
    if not os.path.isdir("/proc/self/fd"):
        return True  # no way to look into another process here: the command line must do
    return _has_open(pid, files.lock)


def command_line(pid: int) -> list[str]:
    """Return the arguments of a process, [] when it is gone or a zombie."""
    if os.path.isdir("/proc/self"):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return [os.fsdecode(argument) for argument in file.read().split(b"\0")[:-1]]
        except OSError:
            return []
    import psutil  # only where there is no /proc: 27 ms and 4 MB

    try:
        return list(psutil.Process(pid).cmdline())
    except psutil.Error:
        return []


def send_if(pid: int, check: OwnershipCheck, signal_number: int) -> bool:
    """Signal ``pid`` if ``check`` recognises it; return whether it was. Raises PermissionError: not our user's.

    On Linux a pidfd pins the process before it is looked at, so that no reuse of the PID fits in between.
    """
    if not hasattr(os, "pidfd_open"):
        if not check(pid):
            return False
        os.kill(pid, signal_number)
        return True
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not check(pid):
            return False
        signal.pidfd_send_signal(pidfd, signal_number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def _pid_in_state(files: Files, key: str) -> int | None:
    pid = read_state(files.state).get(key)
    return pid if isinstance(pid, int) and not isinstance(pid, bool) and pid > 1 else None


def _has_open(pid: int, path: str) -> bool:
    try:
        wanted = os.stat(path)
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        try:
            if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), wanted):
                return True
        except OSError:
            continue
    return False
