"""Which process owns a task, so surely that neither a reused PID nor a reboot can be mistaken for it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process: its PID, when it started, and the boot (and PID namespace) in which that PID means anything."""

    machine: str
    pid: int
    started: str


@cache
def this_machine() -> str:
    """Return what tells this boot of this machine, or this container of it, from every other."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        import psutil  # only where there is no /proc

        return f"{platform.node()} {psutil.boot_time():.0f}"


def this_process() -> Owner:
    """Return the owner that this process is; not cached, since a fork changes it."""
    return Owner(this_machine(), os.getpid(), _started(os.getpid()) or "")


def is_gone(owner: Owner) -> bool:
    """Whether the process is surely dead. False for one of another machine or boot: only its lease tells."""
    return owner.machine == this_machine() and _started(owner.pid) != owner.started


def _started(pid: int) -> str | None:
    """Return when a living process started, None for one that is gone or a zombie."""
    try:
        # After the name, which may hold spaces and parentheses: state is field 3, start time field 22 (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None
