"""The daemon: ``python daemon.py start|stop|restart|status|logs|run``.

Only the command line is here; supervisor/ has the rest, and its docstring is the map. ``run`` is the supervisor in
the foreground, ``start`` a detached ``run``, and main.py is always its child.
"""

from __future__ import annotations

import os
import sys

from supervisor.handover import FLAG, receive


def main(arguments: list[str]) -> int:
    """Return the exit code: LSB's for ``status``, sysexits' otherwise (73 CACHE_DIR, 75 running, 78 settings)."""
    _open_standard_streams()
    if FLAG in arguments:
        # Before argparse and config are imported: this process lives for months and stays small.
        from supervisor.loop import Supervisor

        return Supervisor(receive(int(arguments[arguments.index(FLAG) + 1]))).run()

    from pathlib import Path

    from supervisor.commands import command

    return command(Path(__file__).resolve().parent, arguments)


def _open_standard_streams() -> None:
    """Fill 0, 1 and 2 where they are closed, lest a pipe or the log get such a number and be taken for it."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
