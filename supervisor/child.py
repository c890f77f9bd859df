"""main.py as a process: its leash, its output, its death, and its whole group when that must go."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import IO

from core.control import MARK, Control, parse

READ_BYTES = 65536
"""A pipe's capacity on Linux, so that one read empties it."""

MAX_TAIL_BYTES = 65536
"""A line without an end is logged in pieces of this size: its writer must not own our memory."""


class Splitter:
    """Divides main's output into log text and control lines, at whatever bytes the reads happen to end."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, chunk: bytes) -> tuple[bytes, list[Control]]:
        """Return the whole log lines that are complete now, as one text, and what main told us."""
        data = self._tail + chunk
        end = data.rfind(b"\n") + 1
        if not end and len(data) > MAX_TAIL_BYTES:
            self._tail = b""
            return data + b"\n", []
        text, self._tail = data[:end], data[end:]
        if MARK not in text:
            return text, []
        kept: list[bytes] = []
        controls: list[Control] = []
        for line in text[:-1].split(b"\n"):
            # The mark may follow text of another thread of main that had not ended its line yet.
            before, mark, after = line.partition(MARK)
            control = parse(after) if mark else None
            if control is not None:
                controls.append(control)
            if before or not mark:
                kept.append(before + b"\n")
        return b"".join(kept), controls

    def rest(self) -> bytes:
        """Return the last line if main died before it ended it, else nothing."""
        tail, self._tail = self._tail, b""
        return tail + b"\n" if tail and MARK not in tail else b""


class MainProcess:
    """One run of main.py. It inherits 0 (leash), 1 and 2 (one pipe to us) and the lock, nothing else.

    Raises OSError when it cannot be started (no memory, no more processes, python gone in an upgrade).
    """

    def __init__(self, python: str, script: str, root: str, lock_fd: int) -> None:
        # Its own session: a Ctrl-C on our terminal is for us alone, and its group can be killed as a whole.
        # No preexec_fn: it is unsafe beside threads, and subprocess does all that is needed.
        self._process = subprocess.Popen(
            [python, script],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
            pass_fds=(lock_fd,) if os.name == "posix" else (),
        )
        assert self._process.stdin is not None  # both are pipes, as asked
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self._leash = self._process.stdin
        self._output = _selectable(self._process.stdout)
        self.output_fd = self._output.fileno()

    def read(self) -> bytes | None:
        """Return what main has written, b"" at the end of its pipe, None when there is nothing now."""
        try:
            if isinstance(self._output, socket.socket):
                return self._output.recv(READ_BYTES)
            return os.read(self.output_fd, READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def ended(self) -> int | None:
        """Return the exit code once main is dead, negative for a signal; then nothing of its group is left."""
        if hasattr(os, "waitid"):
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            # Not reaped yet, so its PID cannot be anybody else's while we sweep up what it started.
            self.kill()
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Signal main alone. It is our child and not reaped, so the PID is surely its own."""
        # Not Popen.send_signal: that reaps a main which has just died, behind the back of ``ended``.
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask main to end: the leash for one that looks at it, SIGTERM for one that sleeps."""
        self.release_leash()
        if os.name == "posix":
            self.signal(signal.SIGTERM)
        # On Windows terminate() would be a kill; there the leash has to do.

    def abort(self) -> None:
        """Make main's faulthandler write its stacks, which ends it."""
        if sys.platform == "win32":
            self._process.kill()
        else:
            self.signal(signal.SIGABRT)

    def release_leash(self) -> None:
        self._leash.close()

    def kill(self) -> None:
        """Kill main and everything in its group."""
        if sys.platform == "win32":
            self._process.kill()
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # macOS says EPERM when only zombies are left.
            pass

    def close(self) -> None:
        """Let go of the pipes. A stranger that still holds their other ends keeps nothing of ours."""
        self.release_leash()
        self._output.close()


def _selectable(pipe: IO[bytes]) -> IO[bytes] | socket.socket:
    """Return something that a selector can wait for and that never blocks: the pipe itself, where that will do."""
    if sys.platform != "win32":
        os.set_blocking(pipe.fileno(), False)
        return pipe
    # Windows selects on sockets only: a thread carries the bytes over. Untested, like all that is for Windows.
    import threading

    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def carry() -> None:
        with theirs:
            while chunk := os.read(pipe.fileno(), READ_BYTES):
                theirs.sendall(chunk)

    threading.Thread(target=carry, daemon=True).start()
    return ours


def describe_end(code: int) -> str:
    """Return a dead main's exit for people: ``exited with code 1``, ``was killed by SIGKILL``."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
