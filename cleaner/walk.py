"""One pass over a target: read, decide, and (unless it is a dry run) remove. Streams; remembers no list of all.

A dry run, a survey and a real run are this same pass; they differ in what happens after an entry is judged.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cleaner.judge import Judge, Stopped
from cleaner.layout import Layout, is_bytecode
from cleaner.roots import OPEN_DIRECTORY, reopened
from cleaner.unit import MAX_DEPTH, Inspection, chunks, freed_by, inspect
from core.entries import Entry, Reason, age_time
from core.retention import FUTURE_SLACK_SECONDS

# A cold disk needs milliseconds for each entry, and whoever watches the progress gets nervous after seconds.
BEAT_EVERY = 128


@dataclass
class Walk:
    """One pass. ``measure_all`` reads young entries too; a judge with a survey implies it.

    ``share`` = (k, n) handles only the units that fall to worker k of n; such a worker sees only part of a
    directory above the units and notes in ``left`` how many entries stay there instead of removing it.
    ``interrupted`` are units that a killed run had begun to take apart.
    """

    layout: Layout
    judge: Judge
    keep_file: str
    remove_empty: bool = False
    measure_all: bool = False
    share: tuple[int, int] = (0, 1)
    interrupted: frozenset[str] = frozenset()
    left: dict[str, int] = field(default_factory=dict)

    def run(self, root: int) -> None:
        """Given the open root, work through the target; what went wrong is in the report."""
        self.judge.device = os.fstat(root).st_dev
        try:
            self.judge.pulse()
            with reopened(root) as own:
                if self.layout.unit_depth:
                    self._directories(own, "", 1)
                else:
                    self._files(own, "", 1)
        except Stopped:
            self.judge.report.stopped = True
        except OSError as error:
            self.judge.failed("", error)
        if self.judge.dry_run and self.judge.survey is None:
            self._count_planned()

    def _count_planned(self) -> None:
        """A dry run reports what its plan says would go, in the numbers of a real run."""
        report, planned = self.judge.report, self.judge.report.plan.deleted
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
        read_all = self.measure_all or self.judge.survey is not None
        young_from, future_from = self.judge.rules.young_from, self.judge.rules.now + FUTURE_SLACK_SECONDS
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
                        if young % BEAT_EVERY == 0:
                            self.judge.beat()
                        if status.st_mtime > future_from:
                            future += 1
                            self.judge.report.skipped.add(path, Reason.FUTURE_TIME)
                        continue
                    # A killed run began to empty it, which is all that its fresh time says.
                    status = None
                stays += self._unit(descriptor, name, path, status)
            self.judge.pulse()
        if young:
            self.judge.report.plan.keep_unread(self.judge.rules.unread.reason, young - future)
            if future:
                self.judge.report.plan.keep_unread(Reason.FUTURE_TIME, future)
        return stays + young

    def _portions(self, descriptor: int) -> Iterator[list[os.DirEntry[str]]]:
        return chunks(descriptor, stable=self.judge.mounts.listing_is_stable, by_inode=not self.judge.dry_run)

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
        if path in self.judge.mounts.beneath:
            self.judge.report.skipped.add(path, "mount")
            return 1
        try:
            descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            return 0
        except OSError as error:
            self.judge.failed(path, error)
            return 1
        try:
            if level > MAX_DEPTH:
                self.judge.failed(path, OSError(errno.ELOOP, f"more than {MAX_DEPTH} directories deep"))
                return 1
            if os.fstat(descriptor).st_dev != self.judge.device:
                self.judge.report.skipped.add(path, "mount")
                return 1
            stays = work(descriptor, path + "/", level + 1)
        except OSError as error:
            self.judge.failed(path, error)
            return 1
        finally:
            os.close(descriptor)
        if self.share[1] > 1:
            self.left[path] = stays
            return 1
        if stays or not self.remove_empty or self.judge.survey is not None:
            return 1
        return self.remove_empty_directory(parent, name, path)

    def remove_empty_directory(self, parent: int, name: str, path: str) -> int:
        if not self.judge.dry_run:
            try:
                os.rmdir(name, dir_fd=parent)
            except FileNotFoundError:
                return 0
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    self.judge.failed(path, error)
                return 1
        self.judge.report.deleted_dirs += 1
        return 0

    def _unit(self, parent: int, name: str, path: str, status: os.stat_result | None) -> int:
        """Read, judge and perhaps remove one directory; return 1 if it stays."""
        if self.judge.mounts.beneath and self.judge.is_mount(path):
            return 1
        try:
            descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            return 0
        except OSError as error:
            self.judge.failed(path, error)
            return 1
        try:
            found = inspect(descriptor, path, status, self.keep_file, stable=self.judge.mounts.listing_is_stable)
            if self.layout.bytecode and not _is_all_bytecode(found):
                self.judge.report.skipped.add(path, "holds other files than bytecode")
                return 1
            return self.judge.judge(parent, name, descriptor, found)
        except OSError as error:
            self.judge.failed(path, error)
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
            self.judge.pulse()
        return stays

    def _owns(self, path: str) -> bool:
        return self.layout.owns is None or self.layout.owns(path)

    def _is_stray_bytecode(self, descriptor: int, name: str) -> bool:
        """A ``.pyc`` beside its source. Without the source it *is* the program and must stay."""
        return name.endswith((".pyc", ".pyo")) and _exists(name[:-1], descriptor)

    def _file(self, parent: int, each: os.DirEntry[str], path: str) -> int:
        stated = self.layout.stated_time(path) if self.layout.stated_time is not None else None
        read_all = self.measure_all or self.judge.survey is not None
        if stated is not None and stated >= self.judge.rules.young_from and not read_all:
            self.judge.report.plan.keep_unread(self.judge.rules.unread.reason, 1)
            return 1
        try:
            status = each.stat(follow_symlinks=False)
        except FileNotFoundError:
            return 0
        mtime, ctime = status.st_mtime, status.st_ctime
        modified = age_time(mtime, ctime) if stated is None else stated
        entry = Entry(path, modified, ctime, freed_by(status), status.st_size, 1)
        inspection = Inspection(entry, None, (status.st_ino,))
        return self.judge.judge(parent, each.name, None, inspection)

    def _is_kept(self, descriptor: int) -> bool:
        """A keep file in a directory above the units protects all of them."""
        if not self.keep_file or not _exists(self.keep_file, descriptor):
            return False
        self.judge.report.plan.keep_unread(Reason.KEEP_FILE, 1)
        return True


def _is_all_bytecode(found: Inspection) -> bool:
    return found.files is not None and all(is_bytecode(name) for name, _ in found.files)


def _exists(name: str, descriptor: int) -> bool:
    try:
        os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except OSError:
        return False
    return True
