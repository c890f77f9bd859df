"""How others find the running supervisor: the lock it holds, its PID file and its state file."""

from __future__ import annotations

import os
from typing import Any

from supervisor.files import Files, identity, identity_at, read_pid, remove, write_atomically, write_state


class Presence:
    """Keeps the files of a supervisor that holds the lock, as long as CACHE_DIR is its own.

    ``lost`` becomes true when the lock's name was deleted or replaced: from then on these names may belong to
    another daemon, and nothing is written to them.
    """

    def __init__(self, files: Files, lock_fd: int) -> None:
        self.lost = False
        self._files = files
        self._lock_identity = identity(os.fstat(lock_fd))

    def announce(self) -> None:
        """Write the PID file. Raises OSError."""
        write_atomically(self._files.pid, f"{os.getpid()}\n")

    def check(self) -> None:
        """Look whether the lock still has its name, and bring back a PID file that was deleted."""
        self.lost = self.lost or identity_at(self._files.lock) != self._lock_identity
        if self.lost or os.path.exists(self._files.pid):
            return
        try:
            self.announce()
        except OSError:
            pass  # a full disk: the lock is held all the same, and the next check tries again

    def show(self, state: dict[str, Any]) -> bool:
        """Write the state file; return whether that worked (a full disk: try again later)."""
        if self.lost:
            return True
        try:
            write_state(self._files.state, {"pid": os.getpid(), **state})
        except OSError:
            return False
        return True

    def withdraw(self) -> None:
        """Delete what names us. The lock is held until the process ends, so nobody else's files are here yet."""
        if self.lost:
            return
        if read_pid(self._files.pid) == os.getpid():
            remove(self._files.pid)
        remove(self._files.state)
