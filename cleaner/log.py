"""cache_cleaner.log: start, each removed unit with its size, totals and errors; rotated by size.

The command line and the daemon may write it at the same time: every write is one append of whole lines, and
only the holder of a lock on the file rotates it. A full disk costs log lines, never the cleaning.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from cleaner.report import SweepReport
from cleaner.roots import SAFE
from core.entries import Reason
from core.printable import printable

LOG_NAME = "cache_cleaner.log"
_FLUSH_SECONDS = 1.0
_FLUSH_LINES = 500


class CleanerLog:
    """Appends to one log file; a context manager that writes what is left on leaving."""

    def __init__(self, path: Path, max_bytes: int = 10 << 20, backups: int = 5) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.backups = backups
        self._lines: list[str] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> CleanerLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def line(self, text: str) -> None:
        self._lines.append(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}\n")

    def removed(self, path: str, files: int, size_bytes: int, reason: Reason) -> None:
        """One removed unit. Called tens of thousands of times a second: no formatting of times here."""
        shown = path if path.isprintable() else printable(path)
        self._lines.append(f"  removed {shown} files={files} bytes={size_bytes} reason={reason.value}\n")
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()

    def started(self, report: SweepReport) -> None:
        self.line(f"clean started target={report.target} root={printable(report.root)} pid={os.getpid()}")
        self.flush()

    def finished(self, report: SweepReport) -> None:
        for path, reason in report.failed.first:
            self.line(f"failed {printable(path)}: {reason}")
        for path, reason in report.skipped.first:
            self.line(f"skipped {printable(path)}: {reason}")
        for warning in report.warnings:
            self.line(f"warning {printable(warning)}")
        if report.refused or report.busy:
            self.line(f"clean refused target={report.target}: {report.refused or report.busy}")
        self.line(
            f"clean finished target={report.target} units={report.deleted_units} files={report.deleted_files} "
            f"directories={report.deleted_dirs} freed_bytes={report.freed_bytes} trashed={report.trashed_units} "
            f"skipped={report.skipped.total} failed={report.failed.total} seconds={report.duration_seconds:.2f}"
            + (" stopped=before_the_end" if report.stopped else "")
        )
        self.flush()

    def pulse(self) -> None:
        """Write what has gathered if it is a second old; a killed run loses no more than that."""
        if self._lines and time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        content, self._lines = "".join(self._lines).encode(), []
        self._flushed = time.monotonic()
        if not content:
            return
        try:
            descriptor = self._open()
            try:
                if os.fstat(descriptor).st_size + len(content) > self.max_bytes and self._rotate(descriptor):
                    os.close(descriptor)
                    descriptor = self._open()
                os.write(descriptor, content)
            finally:
                os.close(descriptor)
        except OSError:
            pass

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | SAFE, 0o640)

    def _rotate(self, descriptor: int) -> bool:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Somebody else may have rotated while we waited: then this file is a backup already.
        if os.fstat(descriptor).st_ino != self.path.stat().st_ino:
            return True
        if self.backups == 0:
            os.ftruncate(descriptor, 0)
            return False
        for number in range(self.backups - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            if older.exists():
                older.rename(self.path.with_name(f"{self.path.name}.{number + 1}"))
        self.path.rename(self.path.with_name(f"{self.path.name}.1"))
        return True
