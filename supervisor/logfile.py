"""daemon.log: its only writer. Time stamps, rotation by size, and a log that somebody took away."""

from __future__ import annotations

import os
import select
import sys
import time

from supervisor.files import identity

ECHO_PATIENCE_SECONDS = 0.1
ECHO_BYTES = 512
"""The least PIPE_BUF that POSIX allows: a pipe that select calls writable takes so many bytes at once."""

# Before a line, but not before each: a stat for each of 5,000 lines a second costs most of a core.
CHECK_SECONDS = 1.0


class LogFile:
    """Appends lines as ``[2026-02-17 18:00:00] text``. No method but ``open`` fails: a full disk loses lines, counted.

    ``max_bytes`` 0 means no rotation; ``backups`` is how many of ``daemon.log.1`` (the newest) … are kept.
    ``echo_fd`` gets every line as well, as long as somebody reads it.
    """

    def __init__(self, path: str, max_bytes: int, backups: int, echo_fd: int | None = None) -> None:
        self.path = path
        self.dropped_total = 0
        self._max_bytes = max_bytes
        self._backups = backups
        self._echo_fd = echo_fd
        self._fd: int | None = None
        self._identity = (0, 0)
        self._size = 0
        self._unreported = 0
        self._checked = 0.0
        self._staying = False
        self._torn = False
        self._reason = ""

    def open(self) -> None:
        """Open the log for appending, made when missing. Raises OSError."""
        # Not for everybody: what the audit log cannot take is written here in full.
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        status = os.fstat(self._fd)
        self._identity, self._size = identity(status), status.st_size

    def line(self, text: str) -> None:
        """Write one line of the supervisor's own."""
        self.lines(text.encode("utf-8", "replace").replace(b"\n", b" ") + b"\n")

    def lines(self, text: bytes) -> None:
        """Write whole lines: ``text`` ends with a newline and may hold thousands of lines (one write for all)."""
        if not self._staying and time.monotonic() - self._checked >= CHECK_SECONDS:
            self.check()
        stamp = b"[" + time.strftime("%Y-%m-%d %H:%M:%S").encode() + b"] "
        block = stamp + text[:-1].replace(b"\n", b"\n" + stamp) + b"\n"
        self._append(block, stamp)
        self._echo(block)

    def stay(self) -> None:
        """Go on in the file that is open, whatever becomes of its name: that may belong to another daemon now."""
        self._staying = True

    def check(self) -> None:
        """Go on in a new file when the log was deleted, renamed or cut; say how many lines were lost."""
        self._checked = time.monotonic()
        try:
            found = os.stat(self.path)
        except OSError:
            found = None
        if self._fd is None or found is None or identity(found) != self._identity:
            self._reopen()
        else:
            self._size = found.st_size  # copytruncate of logrotate makes it smaller
        if self._unreported:
            self._append(b"", b"[" + time.strftime("%Y-%m-%d %H:%M:%S").encode() + b"] ")

    def _append(self, block: bytes, stamp: bytes) -> None:
        if self._max_bytes and self._size and self._size + len(block) > self._max_bytes:
            self._rotate()
        head = b"\n" if self._torn else b""
        if self._unreported:
            head += stamp + f"{self._unreported} log lines were dropped: {self._reason}\n".encode()
        written = self._write(head + block)
        if written >= len(head):
            self._unreported = 0
        if written < len(head) + len(block):
            lost = block[max(written - len(head), 0) :].count(b"\n")
            self._unreported += lost
            self.dropped_total += lost
            if written:
                self._torn = (head + block)[written - 1] != ord("\n")
        else:
            self._torn = False

    def _write(self, data: bytes) -> int:
        if self._fd is None or not data:
            return 0
        written = 0
        try:
            # A regular file takes all or, as the disk becomes full, a part: then the next write says why.
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as error:
            self._reason = error.strerror or str(error)
        self._size += written
        return written

    def _rotate(self) -> None:
        try:
            for number in range(self._backups, 0, -1):
                older = f"{self.path}.{number}"
                newer = f"{self.path}.{number - 1}" if number > 1 else self.path
                if os.path.exists(newer):
                    os.replace(newer, older)
            if not self._backups:
                os.unlink(self.path)
        except OSError as error:
            # Go on in the same file and try again after as much again, not at each line.
            self._reason = error.strerror or str(error)
            self._size = 0
            return
        self._reopen()

    def _reopen(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self._torn = False
        try:
            self.open()
        except OSError as error:
            self._reason = error.strerror or str(error)

    def _echo(self, block: bytes) -> None:
        if self._echo_fd is None:
            return
        try:
            # A stopped terminal (Ctrl-S) or a stuck pipe must not stop the supervision; the file has the lines.
            while block and _takes_more(self._echo_fd):
                block = block[os.write(self._echo_fd, block[:ECHO_BYTES]) :]
        except OSError:
            self._echo_fd = None  # the terminal is gone, or the reader of the pipe


def _takes_more(fd: int) -> bool:
    """Return whether ``ECHO_BYTES`` can be written without waiting long."""
    if sys.platform == "win32":
        return True  # select knows only sockets there
    return bool(select.select([], [fd], [], ECHO_PATIENCE_SECONDS)[1])
