"""One pass over a target: read, decide, and (unless it is a dry run) remove. Streams; remembers no list of all.

A dry run, a survey and a real run are this same pass; they differ in what happens after an entry is judged.
"""

from __future__ import annotations

import errno
import math
import os
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from cleaner.layout import Layout, is_bytecode
from cleaner.lock import Note
from cleaner.mounts import Mounts
from cleaner.openfiles import open_inodes
from cleaner.report import SweepReport
from cleaner.roots import OPEN_DIRECTORY, reopened
from cleaner.unit import MAX_DEPTH, Inspection, chunks, freed_by, inspect, remove
from core.entries import KEEP_IN_USE, Decision, Entry, Reason, age_time
from core.retention import FUTURE_SLACK_SECONDS, Rules, Survey

_PULSE_SECONDS = 0.2
_OPEN_FILES_SECONDS = 5.0
_ARRIVED_LATELY_SECONDS = 3600.0

Progress = Callable[[SweepReport], object]
"""Called with the report so far, a few times a second while work goes on; answering False stops the run."""


class RemovalLog(Protocol):
    """Where each removed unit is written down."""

    def removed(self, path: str, files: int, size_bytes: int, reason: Reason) -> None: ...
    def pulse(self) -> None: ...


class TrashBin(Protocol):
    """Where units go instead of being deleted."""

    def take(self, parent: int, name: str, path: str) -> None: ...


class Stopped(Exception):
    """The run ends early: the file system became read-only, or the caller said so."""


@dataclass
class Walk:
    """One pass. ``survey`` set: read everything, judge nothing. ``measure_all``: read young entries too.

    ``share`` = (k, n) handles only the units that fall to worker k of n; such a worker sees only part of a
    directory above the units and notes in ``left`` how many entries stay there instead of removing it.
    ``interrupted`` are units that a killed run had begun to take apart.
    """

    layout: Layout
    rules: Rules
    report: SweepReport
    mounts: Mounts
    keep_file: str
    dry_run: bool
    remove_empty: bool = False
    measure_all: bool = False
    survey: Survey | None = None
    share: tuple[int, int] = (0, 1)
    interrupted: frozenset[str] = frozenset()
    left: dict[str, int] = field(default_factory=dict)
    log: RemovalLog | None = None
    note: Note | None = None
    trash: TrashBin | None = None
    progress: Progress | None = None
    _open_inodes: frozenset[int] = field(default=frozenset(), repr=False)
    _open_read: float = -math.inf
    _pulsed: float = 0.0
    _device: int = 0

    def run(self, root: int) -> None:
        """Given the open root, work through the target; what went wrong is in the report."""
        self._device = os.fstat(root).st_dev
        try:
            self._pulse()
            with reopened(root) as own:
                if self.layout.unit_depth:
                    self._directories(own, "", 1)
                else:
                    self._files(own, "", 1)
        except Stopped:
            self.report.stopped = True
        except OSError as error:
            self._failed("", error)
        if self.dry_run and self.survey is None:
            self._count_planned()

    def _count_planned(self) -> None:
        """A dry run reports what its plan says would go, in the numbers of a real run."""
        report, planned = self.report, self.report.plan.deleted
        report.deleted_units += planned.entries
        report.deleted_files += planned.files
        report.deleted_dirs += planned.directories
        report.freed_bytes += planned.allocated_bytes
        report.apparent_bytes += planned.apparent_bytes

    # Directory units

    def _directories(self, descriptor: int, prefix: str, level: int) -> int:
        """Work through one directory above the units; return how many entries stay in it."""
        if self._is_kept(descriptor):
            return 1
        if level < self.layout.unit_depth:
            return self._above_units(descriptor, prefix, level)
        stays = young = future = 0
        read_all = self.measure_all or self.survey is not None
        young_from, future_from = self.rules.young_from, self.rules.now + FUTURE_SLACK_SECONDS
        owns, (worker, workers) = self.layout.owns, self.share
        for portion in self._portions(descriptor):
            for each in portion:
                name = each.name
                path = prefix + name
                if not each.is_dir(follow_symlinks=False) or (owns is not None and not owns(path)):
                    stays += 1
                    continue
                if workers > 1 and zlib.crc32(os.fsencode(path)) % workers != worker:
                    continue
                status: os.stat_result | None
                try:
                    status = each.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if status.st_mtime >= young_from and not read_all:
                    if path not in self.interrupted:
                        # Something in it was created or removed lately: it is young, whatever its files say.
                        young += 1
                        if status.st_mtime > future_from:
                            future += 1
                            self.report.skipped.add(path, Reason.FUTURE_TIME)
                        continue
                    # A killed run began to empty it, which is all that its fresh time says.
                    status = None
                stays += self._unit(descriptor, name, path, status)
            self._pulse()
        if young:
            self.report.plan.keep_unread(self.rules.unread.reason, young - future)
            if future:
                self.report.plan.keep_unread(Reason.FUTURE_TIME, future)
        return stays + young

    def _portions(self, descriptor: int) -> Iterator[list[os.DirEntry[str]]]:
        return chunks(descriptor, stable=self.mounts.listing_is_stable, by_inode=not self.dry_run)

    def _above_units(self, descriptor: int, prefix: str, level: int) -> int:
        stays = 0
        for portion in self._portions(descriptor):
            for each in portion:
                path = prefix + each.name
                if each.is_dir(follow_symlinks=False) and self.layout.passes(path):
                    stays += self._enter(descriptor, each.name, path, level, self._directories)
                else:
                    stays += 1
        return stays

    def _enter(self, parent: int, name: str, path: str, level: int, work: Callable[[int, str, int], int]) -> int:
        """Work through a directory that is not a unit; return 0 if it is gone or empty afterwards and goes too."""
        if path in self.mounts.beneath:
            self.report.skipped.add(path, "mount")
            return 1
        try:
            descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            return 0
        except OSError as error:
            self._failed(path, error)
            return 1
        try:
            if level > MAX_DEPTH:
                self._failed(path, OSError(errno.ELOOP, f"more than {MAX_DEPTH} directories deep"))
                return 1
            if os.fstat(descriptor).st_dev != self._device:
                self.report.skipped.add(path, "mount")
                return 1
            stays = work(descriptor, path + "/", level + 1)
        except OSError as error:
            self._failed(path, error)
            return 1
        finally:
            os.close(descriptor)
        if self.share[1] > 1:
            self.left[path] = stays
            return 1
        if stays or not self.remove_empty or self.survey is not None:
            return 1
        return self.remove_empty_directory(parent, name, path)

    def remove_empty_directory(self, parent: int, name: str, path: str) -> int:
        if not self.dry_run:
            try:
                os.rmdir(name, dir_fd=parent)
            except FileNotFoundError:
                return 0
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    self._failed(path, error)
                return 1
        self.report.deleted_dirs += 1
        return 0

    def _unit(self, parent: int, name: str, path: str, status: os.stat_result | None) -> int:
        """Read, judge and perhaps remove one directory; return 1 if it stays."""
        if self.mounts.beneath and self._is_mount(path):
            return 1
        try:
            descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            return 0
        except OSError as error:
            self._failed(path, error)
            return 1
        try:
            found = inspect(descriptor, path, status, self.keep_file, stable=self.mounts.listing_is_stable)
            if self.layout.bytecode and not _is_all_bytecode(found):
                self.report.skipped.add(path, "holds other files than bytecode")
                return 1
            return self._judge(parent, name, descriptor, found)
        except OSError as error:
            self._failed(path, error)
            return 1
        finally:
            os.close(descriptor)

    # File units

    def _files(self, descriptor: int, prefix: str, level: int) -> int:
        """Work through one directory whose files are the units; return how many entries stay in it."""
        if self._is_kept(descriptor):
            return 1
        stays = 0
        layout = self.layout
        for portion in self._portions(descriptor):
            for each in portion:
                path = prefix + each.name
                if each.is_dir(follow_symlinks=False):
                    if layout.bytecode and each.name == "__pycache__" and self._owns(path):
                        stays += self._unit(descriptor, each.name, path, each.stat(follow_symlinks=False))
                    elif layout.recursive and layout.passes(path):
                        stays += self._enter(descriptor, each.name, path, level, self._files)
                    else:
                        stays += 1
                elif not each.is_file(follow_symlinks=False) or not self._owns(path):
                    stays += 1
                elif not layout.bytecode or self._is_stray_bytecode(descriptor, each.name):
                    stays += self._file(descriptor, each, path)
            self._pulse()
        return stays

    def _owns(self, path: str) -> bool:
        return self.layout.owns is None or self.layout.owns(path)

    def _is_stray_bytecode(self, descriptor: int, name: str) -> bool:
        """A ``.pyc`` beside its source. Without the source it *is* the program and must stay."""
        return name.endswith((".pyc", ".pyo")) and _exists(name[:-1], descriptor)

    def _file(self, parent: int, each: os.DirEntry[str], path: str) -> int:
        stated = self.layout.stated_time(path) if self.layout.stated_time is not None else None
        read_all = self.measure_all or self.survey is not None
        if stated is not None and stated >= self.rules.young_from and not read_all:
            self.report.plan.keep_unread(self.rules.unread.reason, 1)
            return 1
        try:
            status = each.stat(follow_symlinks=False)
        except FileNotFoundError:
            return 0
        mtime, ctime = status.st_mtime, status.st_ctime
        modified = age_time(mtime, ctime) if stated is None else stated
        entry = Entry(path, modified, ctime, freed_by(status), status.st_size, 1)
        inspection = Inspection(entry, None, (status.st_ino,))
        return self._judge(parent, each.name, None, inspection)

    # Both

    def _judge(self, parent: int, name: str, descriptor: int | None, found: Inspection) -> int:
        entry = found.entry
        if self.survey is not None:
            self.survey.add(entry)
            return 1
        decision = self.rules.decide(entry)
        if decision.delete and self._in_use(found):
            decision = KEEP_IN_USE
        self.report.plan.add(entry, decision)
        if not decision.delete:
            if decision.reason in _WORTH_TELLING:
                self.report.skipped.add(entry.name, decision.reason)
            return 1
        if entry.arrived > self.rules.now - _ARRIVED_LATELY_SECONDS:
            self.report.arrived_lately += 1
        if self.dry_run:
            return 0
        return self._delete(parent, name, descriptor, found, decision)

    def _delete(self, parent: int, name: str, descriptor: int | None, found: Inspection, decision: Decision) -> int:
        entry = found.entry
        self.mounts.refresh()
        if self.mounts.beneath and self._is_mount(entry.name):
            return 1
        if self.trash is not None:
            try:
                self.trash.take(parent, name, entry.name)
            except FileNotFoundError:
                return 0
            except OSError as error:
                self._failed(entry.name, error)
                return 1
            self.report.trashed_units += 1
            self._count(entry, freed=False)
        elif descriptor is None:
            try:
                os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                return 0
            except OSError as error:
                self._failed(entry.name, error)
                return 1
            self._count(entry)
        elif not self._remove_directory(parent, name, descriptor, found):
            return 1
        if self.log is not None:
            self.log.removed(entry.name, entry.files, entry.allocated_bytes, decision.reason)
        now = time.monotonic()
        if now - self._pulsed > _PULSE_SECONDS:
            self._pulse()
        return 0

    def _remove_directory(self, parent: int, name: str, descriptor: int, found: Inspection) -> bool:
        path = found.entry.name
        if self.note is not None:
            self.note.write(path)
        before = os.fstat(descriptor)
        removed = remove(parent, name, descriptor, found, stable=self.mounts.listing_is_stable)
        report = self.report
        report.deleted_files += removed.files
        report.deleted_dirs += removed.directories
        report.freed_bytes += removed.freed_bytes
        report.apparent_bytes += removed.apparent_bytes
        if removed.trouble is None and not removed.conflict:
            report.deleted_units += 1
            return True
        if removed.files:
            # What was removed makes the directory look fresh; the next run must judge it by its age.
            os.utime(descriptor, ns=(before.st_atime_ns, before.st_mtime_ns))
        if removed.trouble is not None:
            self._failed(path, removed.trouble)
        else:
            report.skipped.add(path, "written to meanwhile")
        return False

    def _count(self, entry: Entry, *, freed: bool = True) -> None:
        report = self.report
        report.deleted_units += 1
        report.deleted_files += entry.files
        report.deleted_dirs += entry.directories
        report.apparent_bytes += entry.apparent_bytes
        if freed:
            report.freed_bytes += entry.allocated_bytes

    def _in_use(self, found: Inspection) -> bool:
        now = time.monotonic()
        if now - self._open_read > _OPEN_FILES_SECONDS:
            self._open_inodes, self._open_read = open_inodes(self._device), now
        return not self._open_inodes.isdisjoint(found.inodes)

    def _is_kept(self, descriptor: int) -> bool:
        """A keep file in a directory above the units protects all of them."""
        if not self.keep_file or not _exists(self.keep_file, descriptor):
            return False
        self.report.plan.keep_unread(Reason.KEEP_FILE, 1)
        return True

    def _is_mount(self, path: str) -> bool:
        if not self.mounts.beneath or not self.mounts.at_or_below(path):
            return False
        self.report.skipped.add(path, "mount")
        return True

    def _failed(self, path: str, error: OSError) -> None:
        self.report.failed.add(path, error.strerror or str(error))
        if error.errno == errno.EROFS:
            self.report.warnings.append("the file system is read-only: nothing more can be removed")
            raise Stopped

    def _pulse(self) -> None:
        self._pulsed = time.monotonic()
        self.mounts.refresh()
        if self.log is not None:
            self.log.pulse()
        if self.progress is not None and self.progress(self.report) is False:
            raise Stopped


_WORTH_TELLING = frozenset({Reason.IN_USE, Reason.FUTURE_TIME})


def _is_all_bytecode(found: Inspection) -> bool:
    return found.files is not None and all(is_bytecode(name) for name, _ in found.files)


def _exists(name: str, descriptor: int) -> bool:
    try:
        os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except OSError:
        return False
    return True
