"""Everything below one directory, read once through descriptors: files, links as text, directories, troubles."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from core.models import words as say
from modelcache.roots import OPEN_DIRECTORY

MAX_DEPTH = 40
_MOUNTINFO = Path("/proc/self/mountinfo")


@dataclass
class Tree:
    """What lies below a directory, by relative path. ``troubles`` are what could not be read, and why."""

    files: dict[str, os.stat_result] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    directories: dict[str, os.stat_result] = field(default_factory=dict)
    troubles: list[tuple[str, str]] = field(default_factory=list)

    def usage(self) -> Usage:
        """Return what these files take on the disk."""
        usage = Usage()
        for status in self.files.values():
            usage.add(status)
        return usage


@dataclass
class Usage:
    """Bytes on the disk: those of files with one name, and of each file with several names, by device and inode.

    ``linked`` holds (bytes, names in all, names seen): a file's bytes are freed only with its last name.
    """

    own_bytes: int = 0
    linked: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)

    def add(self, status: os.stat_result) -> None:
        # Blocks, not the apparent size: a sparse file takes less than it shows.
        disk_bytes = status.st_blocks * 512
        if status.st_nlink == 1:
            self.own_bytes += disk_bytes
        else:
            key = (status.st_dev, status.st_ino)
            self.linked[key] = (disk_bytes, status.st_nlink, self.linked.get(key, (0, 0, 0))[2] + 1)

    def merge(self, other: Usage) -> None:
        self.own_bytes += other.own_bytes
        for key, (disk_bytes, names, seen) in other.linked.items():
            self.linked[key] = (disk_bytes, names, self.linked.get(key, (0, 0, 0))[2] + seen)

    @property
    def disk_bytes(self) -> int:
        return self.own_bytes + sum(disk_bytes for disk_bytes, _, _ in self.linked.values())

    @property
    def freeable_bytes(self) -> int:
        """What removing all of these names would free: not what has another name elsewhere."""
        return self.own_bytes + sum(disk_bytes for disk_bytes, names, seen in self.linked.values() if seen >= names)


def read_tree(top: int) -> Tree:
    """Given an open directory, return what is below it. Links are not followed, other file systems not entered."""
    tree = Tree()
    own = os.fstat(top)
    tree.directories[""] = own
    pending = [("", os.dup(top))]
    try:
        while pending:
            prefix, descriptor = pending.pop()
            try:
                pending += _read_directory(tree, prefix, descriptor, own.st_dev)
            finally:
                os.close(descriptor)
    except BaseException:
        for _, descriptor in pending:
            os.close(descriptor)
        raise
    return tree


def _read_directory(tree: Tree, prefix: str, descriptor: int, device: int) -> list[tuple[str, int]]:
    below = []
    with os.scandir(descriptor) as entries:
        for each in entries:
            path = prefix + each.name
            try:
                status = each.stat(follow_symlinks=False)
                if stat.S_ISLNK(status.st_mode):
                    tree.links[path] = os.readlink(each.name, dir_fd=descriptor)
                elif not stat.S_ISDIR(status.st_mode):
                    tree.files[path] = status
                elif status.st_dev != device:
                    tree.troubles.append((path, say.MOUNTED()))
                elif path.count("/") >= MAX_DEPTH:
                    tree.troubles.append((path, say.TOO_DEEP()))
                else:
                    child = os.open(each.name, OPEN_DIRECTORY, dir_fd=descriptor)
                    tree.directories[path] = status
                    below.append((path + "/", child))
            except FileNotFoundError:
                continue
            except OSError as error:
                tree.troubles.append((path, error.strerror or str(error)))
    return below


def mounts_beneath(path: Path) -> list[str]:
    """Return the mount points in or below a directory: a bind mount shows in no other way (proc_pid_mountinfo(5))."""
    try:
        lines = os.fsdecode(_MOUNTINFO.read_bytes()).splitlines()
    except OSError:
        return []
    points = (re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split(" ")[4]) for line in lines)
    return [point for point in points if point == str(path) or point.startswith(f"{path}/")]
