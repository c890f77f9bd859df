"""The daemon: ``python daemon.py start|stop|restart|status|logs|run``.

Only the command line is here; supervisor/ has the rest, and its docstring is the map. ``run`` is the supervisor in
the foreground, ``start`` a detached ``run``, and main.py is always its child.
"""

from __future__ import annotations

if __name__ == "__main__":
    # Before the imports: Ctrl-C during them is as quiet as later.
    import entry

    entry.begin()

import sys

from supervisor.handover import FLAG, receive


def main(arguments: list[str]) -> int:
    """Return the exit code: LSB's for ``status``, sysexits' otherwise (73 CACHE_DIR, 75 running, 78 settings)."""
    if FLAG in arguments:
        # Before argparse and config are imported: this process lives for months and stays small.
        from supervisor.loop import Supervisor

        return Supervisor(receive(int(arguments[arguments.index(FLAG) + 1]))).run()

    from pathlib import Path

    from supervisor.commands import command

    return command(Path(__file__).resolve().parent, arguments)


if __name__ == "__main__":
    sys.exit(entry.run(main))
