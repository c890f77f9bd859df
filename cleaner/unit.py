"""Reading and removing one directory unit, always relative to open directories and never through a link."""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Collection, Iterator
from itertools import chain, islice
from typing import NamedTuple

from cleaner.roots import OPEN_DIRECTORY
from core.entries import OLDEST_CREDIBLE_TIME, Entry, age_time

# Deeper trees than this are somebody's accident or attack; each level costs an open file.
MAX_DEPTH = 64
# Names held at a time.
CHUNK = 16_384
# A unit with more entries than this is read twice instead of being remembered.
_REMEMBERED = 4_096
_FORMAT, _DIRECTORY = 0o170000, stat.S_IFDIR


class Inspection(NamedTuple):
    """A unit as read: ``files`` is None when it is nested or big and has to be walked again to remove it."""

    entry: Entry
    files: list[tuple[str, os.stat_result]] | None
    inodes_below: Collection[int] = ()

    @property
    def inodes(self) -> Collection[int]:
        """The inodes of all files in it."""
        return self.inodes_below if self.files is None else [status.st_ino for _, status in self.files]


def chunks(descriptor: int, *, stable: bool = True, by_inode: bool = False) -> Iterator[list[os.DirEntry[str]]]:
    """Given an open directory, yield its entries in bounded portions.

    Where deleting disturbs a listing (``stable`` false: NFS, SMB, FUSE) everything comes in one portion.
    ``by_inode`` sorts each portion by its place on the disk: deleting in that order costs the kernel less, while
    reading from a warm cache gains nothing.
    """
    # scandir reads from where the descriptor stands, which an earlier listing may have left at the end.
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.scandir(descriptor) as entries:
        while portion := list(islice(entries, CHUNK if stable else None)):
            if by_inode:
                portion.sort(key=os.DirEntry.inode)
            yield portion


def inspect(
    descriptor: int, path: str, directory: os.stat_result | None, keep_file: str, *, stable: bool = True
) -> Inspection:
    """Given an open unit and its directory's status, return what is in it; the newest thing decides its age.

    Without a status the directory's own times do not count. This runs for every candidate of a sweep, and the
    loop for every file: it is written for speed. Raises OSError when something in the unit cannot be read.
    """
    newest = -math.inf if directory is None else directory.st_mtime
    blocks = apparent_bytes = 0
    kept = False
    files: list[tuple[str, os.stat_result]] = []
    nested = False
    with os.scandir(descriptor) as entries:
        for each in islice(entries, _REMEMBERED + 1):
            try:
                status = each.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_mode & _FORMAT == _DIRECTORY:
                nested = True
                break
            if status.st_nlink == 1:
                blocks += status.st_blocks
            mtime, name = status.st_mtime, each.name
            if mtime > newest:
                newest = mtime
            if name == keep_file:
                kept = True
            apparent_bytes += status.st_size
            files.append((name, status))
    if (
        nested or len(files) > _REMEMBERED
    ):  # only now: two listings of one descriptor share their position in the directory
        return _inspect_deep(descriptor, path, directory, keep_file, stable=stable)
    # A directory's ctime is when the last file came into it, whatever mtime that file brought along.
    arrived = 0.0 if directory is None else directory.st_ctime
    if newest < OLDEST_CREDIBLE_TIME:
        newest = age_time(newest, arrived)
    return Inspection(Entry(path, newest, arrived, blocks * 512, apparent_bytes, len(files), 1, kept), files)


def _inspect_deep(
    descriptor: int, path: str, directory: os.stat_result | None, keep_file: str, *, stable: bool
) -> Inspection:
    newest, arrived = (-math.inf, 0.0) if directory is None else (directory.st_mtime, directory.st_ctime)
    freed_bytes = apparent_bytes = files = 0
    directories = 1
    kept = False
    inodes: set[int] = set()
    for _, name, status in descend(descriptor, stable=stable):
        newest = max(newest, status.st_mtime)
        arrived = max(arrived, status.st_ctime)
        if stat.S_ISDIR(status.st_mode):
            directories += 1
            continue
        kept = kept or name == keep_file
        files += 1
        apparent_bytes += status.st_size
        freed_bytes += freed_by(status)
        inodes.add(status.st_ino)
    modified = age_time(newest, arrived)
    entry = Entry(path, modified, arrived, freed_bytes, apparent_bytes, files, directories, kept)
    return Inspection(entry, None, inodes)


def freed_by(status: os.stat_result) -> int:
    """Given a file's status, return the bytes that its removal frees: none while it has another hard link."""
    return status.st_blocks * 512 if status.st_nlink == 1 else 0


def descend(top: int, *, stable: bool = True) -> Iterator[tuple[int, str, os.stat_result]]:
    """Given an open directory, yield (open parent, name, status) of all below it, children before their directory.

    Iterative, because a tree can be deeper than Python's stack. Raises OSError for what cannot be read, a
    directory of another file system, or one that is too deep.
    """
    device = os.fstat(top).st_dev
    opened: list[tuple[int, Iterator[os.DirEntry[str]], tuple[int, str, os.stat_result] | None]]
    opened = [(top, chain.from_iterable(chunks(top, stable=stable)), None)]
    try:
        while opened:
            descriptor, entries, own = opened[-1]
            for each in entries:
                try:
                    status = each.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    yield descriptor, each.name, status
                    continue
                if len(opened) >= MAX_DEPTH:
                    raise OSError(errno.ELOOP, f"more than {MAX_DEPTH} directories deep")
                if status.st_dev != device:
                    raise OSError(errno.EXDEV, "another file system is mounted in it")
                child = os.open(each.name, OPEN_DIRECTORY, dir_fd=descriptor)
                portion = chain.from_iterable(chunks(child, stable=stable))
                opened.append((child, portion, (descriptor, each.name, status)))
                break
            else:
                opened.pop()
                if own is not None:
                    os.close(descriptor)
                    yield own
    finally:
        for descriptor, _, own in opened:
            if own is not None:
                os.close(descriptor)


class Removed(NamedTuple):
    """What really went; ``trouble`` is why the unit could not be finished, ``conflict`` that somebody wrote to it."""

    files: int
    directories: int
    freed_bytes: int
    apparent_bytes: int
    trouble: OSError | None = None
    conflict: bool = False


def remove(parent: int, name: str, descriptor: int, inspection: Inspection, *, stable: bool = True) -> Removed:
    """Given an inspected unit, remove what was read there and then the directory, if nothing else came in."""
    files = directories = freed_bytes = apparent_bytes = 0
    try:
        if inspection.files is not None:
            for child, status in inspection.files:
                try:
                    os.unlink(child, dir_fd=descriptor)
                except FileNotFoundError:
                    continue
                files += 1
                freed_bytes += freed_by(status)
                apparent_bytes += status.st_size
        else:
            for directory, child, status in descend(descriptor, stable=stable):
                if stat.S_ISDIR(status.st_mode):
                    os.rmdir(child, dir_fd=directory)
                    directories += 1
                    continue
                # This second reading may meet files that the decision has not seen.
                if status.st_mtime > inspection.entry.modified or (
                    status.st_nlink == 1 and status.st_ctime > inspection.entry.arrived
                ):
                    return Removed(files, directories, freed_bytes, apparent_bytes, conflict=True)
                os.unlink(child, dir_fd=directory)
                files += 1
                freed_bytes += freed_by(status)
                apparent_bytes += status.st_size
        os.rmdir(name, dir_fd=parent)
        directories += 1
    except FileNotFoundError:
        pass
    except OSError as error:
        # rmdir refuses what is not empty: a writer came in between and wins.
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return Removed(files, directories, freed_bytes, apparent_bytes, conflict=True)
        return Removed(files, directories, freed_bytes, apparent_bytes, trouble=error)
    return Removed(files, directories, freed_bytes, apparent_bytes)
