"""``python -m checker``: an entry point that wires, as main.py does, and therefore knows every part."""

from __future__ import annotations

if __name__ == "__main__":
    # Before the imports: Ctrl-C during them is as quiet as later.
    import entry

    entry.begin()

import argparse
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import config
from checker import cli
from checker.show import Words
from core.errors import CacheKeeperError, ConfigError

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 all loaded, 1 something is not, 2 bad usage, 78 settings that cannot be used."""
    options = cli.parser().parse_args(arguments)
    try:
        return _command(options)
    except ConfigError as error:
        print(config.told(error), file=sys.stderr)
        return config.EXIT_CONFIG
    except cli.UsageError as error:
        print(config.told(error), file=sys.stderr)
        return cli.EXIT_USAGE
    except CacheKeeperError as error:
        print(config.told(error), file=sys.stderr)
        return cli.EXIT_NOT_LOADED
    except OSError as error:
        print(("无法运行：" if config.prefers_chinese() else "cannot run: ") + config.told(error), file=sys.stderr)
        return cli.EXIT_NOT_LOADED
    except KeyboardInterrupt:
        return 130


def _command(options: argparse.Namespace) -> int:
    if options.command == "workflow" and options.on is None:
        return cli.lint_file(options.file, sys.stdout, _words(), as_json=options.json)
    settings = config.load(ROOT)
    if options.command == "workflow":
        from runtime.own_fleet import ask_about

        name = cli.the_one(settings.servers, options.on)
        return cli.lint_file(options.file, sys.stdout, _words(), as_json=options.json, ask=ask_about(settings, name))
    return _run(options, settings)


def _run(options: argparse.Namespace, settings: config.Settings) -> int:
    from runtime.daemon_fleet import connect
    from store.journal import Journal

    if options.command in ("pause", "resume", "why"):
        settings.cache_dir.mkdir(parents=True, exist_ok=True)
        journal = Journal(settings.database)
        if options.command == "why":
            name = cli.the_one(settings.servers, options.server)
            at = cli.moment(options.at, time.time())
            return cli.why(journal, name, at, options.last, sys.stdout, _words(), as_json=options.json)
        with _on_record(settings, options, {"for": getattr(options, "duration", None)}):
            if options.command == "pause":
                print(cli.pause(journal, settings.servers, options.servers, options.duration, time.time(), _words()))
            else:
                print(cli.resume(journal, settings.servers, options.servers, time.time(), _words()))
        return cli.EXIT_OK
    names = cli.chosen(settings.servers, options.servers)
    dry_run = getattr(options, "dry_run", False)
    with connect(settings, names, acting=options.command != "status", dry_run=dry_run) as (fleet, remark):
        if remark:
            print(config.told(remark), file=sys.stderr)
        if options.command == "status":
            return cli.show_status(fleet, names, sys.stdout, _words(), as_json=options.json)
        # The daemon puts on record what it is asked for; what this process does itself, it does.
        with _on_record(settings, options, {}) if remark else nullcontext():
            if options.command == "check":
                return cli.check(fleet, names, sys.stdout, _words(), as_json=options.json)
            from runtime.follow import follow

            # A warm-up of this process's own ends with it, so it is followed to its end either way.
            waits = (options.wait or bool(remark)) and not dry_run
            return cli.warm(
                fleet, names, sys.stdout, _words(), set_name=options.set, force=options.force, as_json=options.json,
                follow=(lambda: follow(fleet, names, options.set, options.timeout)) if waits else None,
            )  # fmt: skip


def _words() -> Words:
    return Words(chinese=config.prefers_chinese())


def _on_record(
    settings: config.Settings, options: argparse.Namespace, parameters: dict[str, object]
) -> AbstractContextManager[object]:
    from operations.auditing import Auditor, LazyAuditLog
    from operations.callers import command_caller

    target = ", ".join(options.servers) or "all"
    return Auditor(LazyAuditLog(settings)).operation(command_caller(), f"fleet.{options.command}", target, parameters)


if __name__ == "__main__":
    sys.exit(entry.run(main))
