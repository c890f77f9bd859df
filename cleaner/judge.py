"""What happens to one unit once it has been read: judged by the rules, counted, and removed unless it is a dry run."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cleaner.lock import Note
from cleaner.mounts import Mounts
from cleaner.openfiles import open_inodes
from cleaner.report import SweepReport
from cleaner.unit import Inspection, remove
from core import cleaning_phrases as say
from core.entries import KEEP_IN_USE, Decision, Entry, Reason
from core.retention import Rules, Survey

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


# Kept for a reason that somebody may want to do something about.
_WORTH_TELLING = frozenset({Reason.IN_USE, Reason.FUTURE_TIME})


@dataclass
class Judge:
    """Judges the units of one pass over a target, and removes what has to go.

    ``survey`` set: everything is only read into it. The report, the log and the progress are kept here too.
    """

    rules: Rules
    report: SweepReport
    mounts: Mounts
    dry_run: bool
    survey: Survey | None = None
    log: RemovalLog | None = None
    note: Note | None = None
    trash: TrashBin | None = None
    progress: Progress | None = None
    device: int = 0
    _open_inodes: frozenset[int] = field(default=frozenset(), repr=False)
    _open_read: float = -math.inf
    _pulsed: float = 0.0

    def judge(self, parent: int, name: str, descriptor: int | None, found: Inspection) -> int:
        """Given a unit as read, decide on it and perhaps remove it; return 1 if it stays. ``descriptor`` is None
        for a file, else the open directory of the unit.
        """
        self.beat()
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
        if self.mounts.beneath and self.is_mount(entry.name):
            return 1
        if self.trash is not None:
            try:
                self.trash.take(parent, name, entry.name)
            except FileNotFoundError:
                return 0
            except OSError as error:
                self.failed(entry.name, error)
                return 1
            self.report.trashed_units += 1
            self._count(entry, freed=False)
        elif descriptor is None:
            try:
                os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                return 0
            except OSError as error:
                self.failed(entry.name, error)
                return 1
            self._count(entry)
        elif not self._remove_directory(parent, name, descriptor, found):
            return 1
        if self.log is not None:
            self.log.removed(entry.name, entry.files, entry.allocated_bytes, decision.reason)
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
            self.failed(path, removed.trouble)
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
            self._open_inodes, self._open_read = open_inodes(self.device), now
        return not self._open_inodes.isdisjoint(found.inodes)

    def is_mount(self, path: str) -> bool:
        if not self.mounts.beneath or not self.mounts.at_or_below(path):
            return False
        self.report.skipped.add(path, "mount")
        return True

    def failed(self, path: str, error: OSError) -> None:
        self.report.failed.add(path, error.strerror or str(error))
        if error.errno == errno.EROFS:
            self.report.warnings.append(say.READ_ONLY())
            raise Stopped

    def beat(self) -> None:
        """Report progress if the last report is a moment ago."""
        if time.monotonic() - self._pulsed > _PULSE_SECONDS:
            self.pulse()

    def pulse(self) -> None:
        self._pulsed = time.monotonic()
        self.mounts.refresh()
        if self.log is not None:
            self.log.pulse()
        if self.progress is not None and self.progress(self.report) is False:
            raise Stopped
