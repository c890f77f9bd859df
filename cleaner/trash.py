"""Undo: units moved into ``.trash`` on the same file system, purged after some hours.

    <root>/.trash/20260217T020000-4711/<path of the unit below the root>

Moving back is ``mv``. A trash frees no space until it is purged, so a sweep
that runs because the disk is full goes without it.
"""

from __future__ import annotations

import os
import re
import stat
import time
from pathlib import PurePosixPath

from cleaner.layout import TRASH_NAME
from cleaner.report import SweepReport
from cleaner.roots import OPEN_DIRECTORY
from cleaner.unit import chunks, descend
from core.retention import HOUR_SECONDS

_PURGING = "purging-"
# Somebody else's .trash may have the same name; only directories that a run of ours made are purged.
_OURS = re.compile(rf"({_PURGING})?\d{{8}}T\d{{6}}-\d+")


class Trash:
    """One run's part of the trash of a root."""

    def __init__(self, root: int, now: float) -> None:
        self._run = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}-{os.getpid()}"
        self._trash = _open_or_make(root, TRASH_NAME)
        self._own: int | None = None
        self._parents: dict[str, int] = {}

    def take(self, parent: int, name: str, path: str) -> None:
        """Move a unit here; raises OSError, and then the unit is where it was."""
        os.rename(name, name, src_dir_fd=parent, dst_dir_fd=self._place(path.rpartition("/")[0]))

    def _place(self, above: str) -> int:
        if self._own is None:
            self._own = _open_or_make(self._trash, self._run)
        if not above:
            return self._own
        if above not in self._parents:
            if len(self._parents) >= 32:  # open files are scarce, and units of one directory come together
                self._close_parents()
            descriptor = os.dup(self._own)
            for part in PurePosixPath(above).parts:
                child = _open_or_make(descriptor, part)
                os.close(descriptor)
                descriptor = child
            self._parents[above] = descriptor
        return self._parents[above]

    def _close_parents(self) -> None:
        for descriptor in self._parents.values():
            os.close(descriptor)
        self._parents.clear()

    def close(self) -> None:
        self._close_parents()
        for descriptor in (self._own, self._trash):
            if descriptor is not None:
                os.close(descriptor)


def purge(root: int, report: SweepReport, now: float, hours: float) -> None:
    """Given an open root, delete what has been in its trash for longer than ``hours``; totals go to the report."""
    try:
        trash = os.open(TRASH_NAME, OPEN_DIRECTORY, dir_fd=root)
    except OSError:
        return
    try:
        for portion in chunks(trash, stable=False):
            for each in portion:
                name = each.name
                if not each.is_dir(follow_symlinks=False) or not _OURS.fullmatch(name):
                    continue
                if not name.startswith(_PURGING):
                    # Its own time: what is in it keeps the old times that made it expire.
                    if each.stat(follow_symlinks=False).st_mtime >= now - hours * HOUR_SECONDS:
                        continue
                    # Emptying it makes it look fresh: the new name says that it is to go in any case.
                    os.rename(name, _PURGING + name, src_dir_fd=trash, dst_dir_fd=trash)
                    name = _PURGING + name
                _purge_run(trash, name, report)
    except OSError as error:
        report.failed.add(TRASH_NAME, error.strerror or str(error))
    finally:
        os.close(trash)


def _purge_run(trash: int, name: str, report: SweepReport) -> None:
    descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=trash)
    try:
        for directory, child, status in descend(descriptor):
            if stat.S_ISDIR(status.st_mode):
                os.rmdir(child, dir_fd=directory)
            else:
                os.unlink(child, dir_fd=directory)
                report.purged_bytes += status.st_blocks * 512 if status.st_nlink == 1 else 0
        os.rmdir(name, dir_fd=trash)
    finally:
        os.close(descriptor)


def _open_or_make(parent: int, name: str) -> int:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass
    return os.open(name, OPEN_DIRECTORY, dir_fd=parent)
