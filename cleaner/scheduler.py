"""``python -m cleaner.scheduler``: cleans every day at a given time, for those who do not run the daemon."""

from __future__ import annotations

if __name__ == "__main__":
    # Before the imports: Ctrl-C during them is as quiet as later.
    import entry

    entry.begin()

import argparse
import logging
import re
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType

import config
from cleaner.__main__ import days_number, exit_code, recording
from cleaner.configured import ROOT, aged, boundaries_of, configured_targets
from cleaner.recorded import Sweeper
from cleaner.report import SweepReport
from cleaner.scheduled import is_due, run_scheduled
from cleaner.show import report_lines, stopped_line
from cleaner.stamp import read_clock
from cleaner.sweep import Run, sweep
from core.errors import ConfigError
from core.setting_phrases import NO_CLOCK_TIME
from core.targets import Target, TargetKind

log = logging.getLogger("cleaner")
# The wall clock is looked at this often: a clock that was set, or a machine that slept, is noticed soon.
_LOOK_SECONDS = 20.0


class CacheScheduler:
    """Cleans the configured targets once a day.

    >>> CacheScheduler(clean_days=1, schedule_time="02:00").start_scheduler()

    ``clean_days`` is the age of the image cache, None as configured; other targets keep their own. Raises
    ValueError for a time that is none and ConfigError for settings that cannot be used.
    """

    def __init__(
        self,
        clean_days: float | None = 1,
        schedule_time: str = "02:00",
        *,
        dry_run: bool = False,
        targets: Sequence[Target] | None = None,
        run: Run | None = None,
        sweeper: Sweeper = sweep,
    ) -> None:
        if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", schedule_time):
            raise ValueError(NO_CLOCK_TIME(text=schedule_time))
        self.schedule_time = schedule_time
        if targets is None or run is None:
            settings = config.load(ROOT)
            targets = configured_targets(settings) if targets is None else targets
            run = run or Run(
                boundaries_of(settings), 0.0, log_max_bytes=settings.log_max_bytes, log_backups=settings.log_backups
            )
        self._targets = [
            aged(target, clean_days) if clean_days is not None and target.kind is TargetKind.IMAGES else target
            for target in targets
        ]
        self._sweeper = sweeper
        self._run = replace(run, dry_run=dry_run, progress=self._go_on)
        self._stopping = threading.Event()

    def run_once(self) -> list[SweepReport]:
        """Clean now; return one report per cleaned directory."""
        return run_scheduled(self._targets, self._run, read_clock(), self._sweeper)

    def start_scheduler(self) -> None:
        """Clean every day at the scheduled time until ``stop`` is called; a missed time is made up for."""
        started = time.time()
        log.info("scheduler started daily_time=%s targets=%d", self.schedule_time, len(self._targets))
        while not self._stopping.is_set():
            if is_due(self._run.boundaries.state_dir, read_clock(), self.schedule_time, None, started):
                try:
                    self.run_once()
                except Exception:  # one bad night must not end all nights
                    log.exception("cleaning failed; the next attempt is at the next scheduled time")
                # A dry run leaves no stamp, so its next turn is counted from here.
                started = time.time()
            self._stopping.wait(_LOOK_SECONDS)

    def stop(self) -> None:
        """End ``start_scheduler``, also from a signal handler or another thread; a running sweep ends early."""
        self._stopping.set()

    def _go_on(self, _: SweepReport) -> bool:
        return not self._stopping.is_set()


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(
        prog="python -m cleaner.scheduler",
        description="Cleans the caches every day at a given time. 每天定时清理缓存。",
    )
    add = cli.add_argument
    add("--days", type=days_number, metavar="N", help="age in days; default: as configured / 保留天数；默认按配置")
    add("--time", default=None, metavar="HH:MM", help="time of day; default: as configured / 每天执行时间；默认按配置")
    add("--run-once", action="store_true", help="clean now and exit / 立即执行一次后退出")
    add(
        "--dry-run", action="store_true", help="only say what would be deleted; implies --run-once / 试运行，只执行一次"
    )
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: as ``python -m cleaner``."""
    cli = parser()
    options = cli.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    try:
        settings = config.load(ROOT)
        daily_time = options.time or settings.clean_time or "02:00"
        sweeper = recording(settings, scheduled=True)
        scheduler = CacheScheduler(options.days, daily_time, dry_run=options.dry_run, sweeper=sweeper)
    except ConfigError as error:
        print(config.told(error), file=sys.stderr)
        return config.EXIT_CONFIG
    except ValueError as error:
        cli.error(config.told(error))
    heard: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        heard.append(number)
        scheduler.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if not (options.run_once or options.dry_run):
        scheduler.start_scheduler()
        return 0
    reports = scheduler.run_once()
    for report in reports:
        print("\n".join(report_lines(report, chinese=config.prefers_chinese())))
    if heard and any(report.stopped for report in reports):
        if not options.dry_run:
            print(stopped_line(reports, chinese=config.prefers_chinese()), file=sys.stderr)
        return 128 + heard[0]
    return exit_code(reports)


if __name__ == "__main__":
    sys.exit(entry.run(main))
