"""The daemon's cleaning: the same sweep as by hand, over the configured targets, in a thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

from cleaner.configured import boundaries_of, configured_targets
from cleaner.recorded import sweep_on_record
from cleaner.report import SweepReport
from cleaner.scheduled import is_due, run_scheduled
from cleaner.stamp import read_clock
from cleaner.sweep import Run, sweep
from config import Settings
from core.audit import Records
from core.clean_schedule import ClockReading
from core.retention import HOUR_SECONDS
from operations.callers import schedule_caller

log = logging.getLogger("cleaner")


class Cleaning:
    """One configuration's cleaning. ``progress`` is called a few times a second while it works.

    ``stopping`` tells that the program ends; a cleaning under way then ends after the entry in hand, also one of
    settings that a reload has replaced. ``watching_since`` is when the daemon began: the first daily cleaning is
    the next one after it.
    """

    def __init__(
        self,
        settings: Settings,
        progress: Callable[[], None],
        watching_since: ClockReading,
        *,
        stopping: Callable[[], bool],
        dry_run: bool,
        records: Records,
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._watching_since = watching_since
        self._dry_run = dry_run
        self._stopping = stopping
        self._records = records
        self._has_run = False

    def is_due(self) -> bool:
        """Whether the stamp in CACHE_DIR says that the daily or the interval cleaning is due."""
        if self._dry_run and self._has_run:
            # A dry run leaves no stamp, so once is enough.
            return False
        settings = self._settings
        hours = settings.clean_interval_hours
        return is_due(
            settings.cache_dir,
            read_clock(),
            settings.clean_time,
            None if hours is None else hours * HOUR_SECONDS,
            watching_since=self._watching_since.wall,
        )

    def run(self) -> list[SweepReport]:
        """Clean all targets and stamp the run; return one report a root."""
        self._has_run = True
        clock = read_clock()
        sweeper = sweep_on_record(self._records, schedule_caller())
        return run_scheduled(configured_targets(self._settings), self._run(clock.wall), clock, sweeper)

    def plan(self) -> Iterator[str]:
        """Yield a line a target: what a cleaning now would take, or why it would not."""
        run = replace(self._run(read_clock().wall), dry_run=True)
        for target in configured_targets(self._settings):
            for report in sweep(target, run):
                problem = report.refused or report.busy or (report.warnings[0] if report.missing else "")
                if report.would_refuse:
                    problem = f"would be refused: {report.would_refuse}"
                yield f"{target.name} {report.root}: " + (
                    problem
                    or f"would delete {report.deleted_units} entries, {report.deleted_files} files, "
                    f"{report.freed_bytes} bytes"
                )

    def _run(self, now: float) -> Run:
        settings = self._settings
        return Run(
            boundaries_of(settings), now, dry_run=self._dry_run, progress=self._pulse,
            log_max_bytes=settings.log_max_bytes, log_backups=settings.log_backups,
        )  # fmt: skip

    def _pulse(self, _: SweepReport) -> bool:
        self._progress()
        return not self._stopping()
