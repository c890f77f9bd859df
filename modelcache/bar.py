"""The progress bar on a terminal: what is done, how fast, and how long it will take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as RichProgress

from modelcache.check import Progress

_LABELS = {"verify": ("hashing", "校验"), "fetch": ("downloading", "下载"), "upload": ("uploading", "上传")}


@contextmanager
def progress_bar(*, chinese: bool) -> Iterator[Progress]:
    """Yield a Progress that shows itself on stderr and disappears at the end."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(_LABELS[what][chinese])
            bar.update(tasks[what], completed=done, total=total)

        yield show
