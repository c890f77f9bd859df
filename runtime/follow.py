"""Waits for warm-ups to come to an end, with a progress bar where somebody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from checker.cli import Fleet, settled


def follow(fleet: Fleet, names: Sequence[str], set_name: str | None, timeout_seconds: float) -> None:
    """Return when every named server's warm-up has ended, or after ``timeout_seconds``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    wanted = set(names)
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    deadline = time.monotonic() + timeout_seconds
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("Warming 预热", total=None)
        while True:
            rows = [row for row in fleet.details() if row["name"] in wanted]
            sets = [each for row in rows for each in row["sets"] if set_name in (None, each["set"])]
            total = sum(max(len(each["wanted_keys"]), 1) for each in sets)
            progress.update(bar, total=total, completed=total - sum(len(each["missing_keys"] or ()) for each in sets))
            if all(settled(row, set_name) for row in rows) or time.monotonic() > deadline:
                return
            time.sleep(0.3)
