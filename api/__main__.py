"""``python -m api``: an entry point that wires, as main.py does. The API itself is served by the daemon."""

from __future__ import annotations

if __name__ == "__main__":
    # Before the imports: Ctrl-C during them is as quiet as later.
    import entry

    entry.begin()

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import config
from api import token_cli
from api.keys import FileKeys
from core.error_words import error_text
from core.errors import CacheKeeperError, ConfigError
from core.printable import printable
from operations.auditing import Auditor, LazyAuditLog
from operations.callers import command_caller
from runtime.access import open_keys, open_tokens

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code; see the parser's epilog."""
    options = token_cli.parser().parse_args(arguments)
    try:
        settings = config.load(ROOT, serving=True)
        settings.cache_dir.mkdir(parents=True, exist_ok=True)
        tokens, register = open_tokens(settings)
        keys, log = open_keys(settings), LazyAuditLog(settings)
        desk = token_cli.TokenDesk(
            tokens, register, keys if isinstance(keys, FileKeys) else None, Auditor(log), command_caller(), sys.stdout,
            sys.stderr, chinese=config.prefers_chinese(),
        )  # fmt: skip
        try:
            return desk.run(options, time.time())
        finally:
            log.close()
            register.close()
    except ConfigError as error:
        print(error_text(error, chinese=config.prefers_chinese()), file=sys.stderr)
        return config.EXIT_CONFIG
    except (CacheKeeperError, OSError) as error:
        chinese = config.prefers_chinese()
        told = printable(error_text(error, chinese=chinese))
        print(f"操作失败：{told}" if chinese else f"cannot do that: {told}", file=sys.stderr)
        return token_cli.EXIT_TROUBLE
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(entry.run(main))
