"""``python -m operations``: cache operations, tasks and workers from the command line."""

from __future__ import annotations

if __name__ == "__main__":
    # Before the imports: Ctrl-C during them is as quiet as later.
    import entry

    entry.begin()

import argparse
import sys
from pathlib import Path

import config
from core.error_words import error_text
from core.errors import BadRequest, CacheKeeperError, ConfigError
from core.operation_phrases import WORKER_IS_LOCAL
from core.printable import printable
from operations.parser import parser

ROOT = Path(__file__).resolve().parent.parent

EXIT_DONE, EXIT_TROUBLE = 0, 1


def main(arguments: list[str]) -> int:
    """Return the exit code; see the parser's epilog."""
    options = parser().parse_args(arguments)
    try:
        settings = config.load(ROOT)
        if options.command == "worker":
            if options.url is not None:
                raise BadRequest("url", WORKER_IS_LOCAL())
            return _worker(options, settings)
        if options.command == "audit":
            from operations import audit_cli

            return audit_cli.run(options, settings)
        return _command(options, settings)
    except ConfigError as error:
        print(error_text(error, chinese=config.prefers_chinese()), file=sys.stderr)
        return config.EXIT_CONFIG
    except (CacheKeeperError, OSError) as error:
        chinese = config.prefers_chinese()
        told = printable(error_text(error, chinese=chinese))
        print(f"操作失败：{told}" if chinese else f"cannot do that: {told}", file=sys.stderr)
        if not isinstance(error, CacheKeeperError):
            return EXIT_TROUBLE
        from operations.cli import exit_code_of

        return exit_code_of(error)
    except KeyboardInterrupt:
        return 130


def _worker(options: argparse.Namespace, settings: config.Settings) -> int:
    from operations import worker

    worker.main(
        settings, host=options.host_queue, queues=options.queue, modules=options.tasks, only=options.only,
        leash=options.leash,         lease_seconds=options.lease, retry_seconds=options.retry_after,
    )  # fmt: skip
    return EXIT_DONE


def _command(options: argparse.Namespace, settings: config.Settings) -> int:
    from operations.cli import Commands
    from operations.show import Say
    from operations.surface import Surface

    surface: Surface
    if options.url is not None:
        from operations.remote import RemoteOperations

        surface = RemoteOperations(options.url, settings.api_token)
    else:
        from operations.local import LocalOperations

        surface = LocalOperations(settings)
    try:
        return Commands(options, surface, Say(chinese=config.prefers_chinese()), sys.stdout).run()
    finally:
        surface.close()


if __name__ == "__main__":
    sys.exit(entry.run(main))
