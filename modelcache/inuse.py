"""Whether some process has a model's files open or mapped, and which.

A lease tells of every process on this machine, in containers and of other users too: F_SETLEASE (fcntl(2)) grants a
write lease only on a file that nobody else has open. It needs the file's owner; elsewhere /proc has to do, which
shows an ordinary user only that user's own processes. /proc also knows the name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Collection
from contextlib import suppress

from modelcache.roots import open_file

_F_SETSIG = 10  # not in the fcntl module of every Python
_MAPPED_DEVICE_FIELD, _MAPPED_INODE_FIELD = 3, 4

Inode = tuple[int, int]


def open_elsewhere(top: int, paths: Collection[str]) -> tuple[str | None, bool]:
    """Given an open directory and files in it, return the first that another process has open, None when none is.

    The second value says whether every file could be asked: only then does None mean that nobody has one open.
    """
    all_asked = True
    for path in paths:
        try:
            descriptor = open_file(top, path)
        except OSError:
            all_asked = False
            continue
        try:
            # Whoever opens the file within these microseconds makes the kernel send a signal: one that is ignored.
            fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return path, True
            all_asked = False  # another owner's file, or a file system without leases
        finally:
            os.close(descriptor)
    return None, all_asked


def users(inodes: Collection[Inode]) -> list[str]:
    """Given files by device and inode, return the processes that have one open or mapped, as ``name (PID)``.

    Costs a few milliseconds for each 10,000 open files of the machine, so ask once for many files.
    """
    wanted = frozenset(inodes)
    by_number = frozenset(inode for _, inode in wanted)
    found = []
    for process in sorted((name for name in os.listdir("/proc") if name.isdigit()), key=int):
        if int(process) != os.getpid() and (_has_open(process, wanted) or _has_mapped(process, by_number, wanted)):
            found.append(f"{_name(process)} ({process})")
    return found


def _has_open(process: str, wanted: frozenset[Inode]) -> bool:
    try:
        descriptors = os.listdir(f"/proc/{process}/fd")
    except OSError:
        return False
    for descriptor in descriptors:
        link = f"/proc/{process}/fd/{descriptor}"
        with suppress(OSError):
            # Sockets and pipes are told by the link's text, without touching what it points to.
            if os.readlink(link).startswith("/"):
                status = os.stat(link)
                if (status.st_dev, status.st_ino) in wanted:
                    return True
    return False


def _has_mapped(process: str, by_number: frozenset[int], wanted: frozenset[Inode]) -> bool:
    """Any mapping counts, private ones too: that is how weights are loaded."""
    try:
        with open(f"/proc/{process}/maps", "rb") as maps:
            lines = maps.read().splitlines()
    except OSError:
        return False
    for line in lines:
        fields = line.split(None, 5)
        if len(fields) > _MAPPED_INODE_FIELD and int(fields[_MAPPED_INODE_FIELD]) in by_number:
            major, minor = (int(part, 16) for part in fields[_MAPPED_DEVICE_FIELD].split(b":"))
            # Some file systems (btrfs, overlay) show another device here than stat does: the inode has to do there.
            if (os.makedev(major, minor), int(fields[_MAPPED_INODE_FIELD])) in wanted or major == 0:
                return True
    return False


def _name(process: str) -> str:
    try:
        with open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return "process"
