"""``python -m operations``: cache operations, tasks and workers from the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import config
from core.errors import CacheKeeperError, ConfigError
from operations.parser import parser

ROOT = Path(__file__).resolve().parent.parent

EXIT_OK, EXIT_FAILED = 0, 1


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 done, 1 not possible, 2 not understood, 78 settings that cannot be used."""
    options = parser().parse_args(arguments)
    try:
        settings = config.load(ROOT)
        if options.command == "worker":
            from operations import worker

            worker.main(
                settings, host=options.host_queue, queues=options.queue, modules=options.tasks, leash=options.leash,
                lease_seconds=options.lease, retry_seconds=options.retry_after,
            )  # fmt: skip
            return EXIT_OK
        from operations.task_commands import run

        return run(options, settings, sys.stdout)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return config.EXIT_CONFIG
    except BrokenPipeError:
        # ``tasks | head``: the reader has enough. Python would complain again while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_OK
    except (CacheKeeperError, OSError) as error:
        print(f"cannot do that 操作失败: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
