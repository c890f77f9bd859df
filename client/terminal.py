"""A line on the terminal that shows where a generation stands; on anything but a terminal there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from client.follow import Progress, Report, Step

_TEXTS = {
    Step.QUEUED: ("queued, {ahead} ahead", "排队中，前面 {ahead} 个"),
    Step.RUNNING: ("running", "生成中"),
    Step.BUSY: ("the server is busy", "服务器繁忙"),
    Step.UNREACHABLE: ("no connection", "无法连接服务器"),
    Step.STORING: ("storing images", "保存图片"),
    Step.DONE: ("done", "完成"),
}


@contextmanager
def shown_on_terminal(chinese: bool) -> Iterator[Report]:
    """Return a report that draws on standard error, which leaves standard output to the caller's results."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    # Here, since rich costs a tenth of a second that a script without a terminal need not pay.
    from rich import progress
    from rich.console import Console

    columns = (progress.SpinnerColumn(), progress.TextColumn("{task.description}"), progress.BarColumn(bar_width=24))
    with progress.Progress(*columns, progress.TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)

        def show(now: Progress) -> None:
            text = _TEXTS[now.step][chinese].format(ahead=now.ahead)
            if now.images:
                text = f"{text} {now.stored}/{now.images}"
            bar.update(task, description=text, total=now.images or None, completed=now.stored)

        yield show
