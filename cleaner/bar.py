"""The progress display on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as RichProgress
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from cleaner.judge import Progress
from cleaner.report import SweepReport
from cleaner.show import size_text


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Yield a callback that shows a sweep's counters on stderr; it disappears at the end.

    A sweep streams and does not know how much is left, so this shows what is done, not a share of the whole.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")

        def show(report: SweepReport) -> None:
            seen, going = report.plan.entries, report.plan.deleted
            bar.update(
                task,
                description=f"{report.target}: {seen:,} read / 已检查, {going.entries:,} expired / 已过期, "
                f"{size_text(going.allocated_bytes)}",
            )

        yield show
