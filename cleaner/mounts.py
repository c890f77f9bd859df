"""Mounts beneath a directory, from /proc/self/mountinfo (proc_pid_mountinfo(5)).

A bind mount has the same device number as its surroundings and ``os.path.ismount`` does not see it, so the
table is the only reliable source. Where there is no such table (not Linux) only device numbers remain.
"""

from __future__ import annotations

import os
import re
import select
from pathlib import Path

_MOUNTINFO = "/proc/self/mountinfo"
# Here a listing may skip or repeat names when entries are deleted in the middle of it.
_UNSTABLE_LISTING = ("nfs", "cifs", "smb", "9p", "fuse", "afs", "ceph", "vboxsf")


def mount_points() -> dict[str, str]:
    """Return the file system type of every mount point; empty where the system has no mountinfo."""
    try:
        text = os.fsdecode(Path(_MOUNTINFO).read_bytes())
    except OSError:
        return {}
    found = {}
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        # Space, tab, newline and backslash are written as octal escapes.
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields.split(" ")[4])
        found[point] = rest.split(" ")[0]
    return found


class Mounts:
    """The mounts beneath one root, kept up to date while a sweep goes on."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._poll: select.poll | None = None
        self._file: int | None = None
        try:
            self._file = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
            self._poll = select.poll()
            # The kernel reports a changed mount table as an urgent condition on this file.
            self._poll.register(self._file, select.POLLPRI | select.POLLERR)
        except OSError:
            pass
        self._read()

    def _read(self) -> None:
        points = mount_points()
        prefix = self._root + "/"
        self.beneath = frozenset(point[len(prefix) :] for point in points if point.startswith(prefix))
        above = [point for point in points if prefix.startswith(point.rstrip("/") + "/")]
        kind = points[max(above, key=len)] if above else ""
        self.listing_is_stable = not kind.startswith(_UNSTABLE_LISTING)

    def refresh(self) -> None:
        """Read the table again if the kernel says that it has changed; costs one system call."""
        if self._poll is not None and self._poll.poll(0):
            self._read()

    def at_or_below(self, path: str) -> bool:
        """Whether a path (relative to the root) is a mount point or has one below it."""
        return any(point == path or point.startswith(path + "/") for point in self.beneath)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
