"""The few names that a script needs: ``CacheCleaner``, ``clean_cache`` and ``show_cache_info``."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from cleaner.configured import ROOT, aged, boundaries_of, configured_targets, load_settings
from cleaner.judge import Progress
from cleaner.report import SweepReport
from cleaner.roots import Boundaries
from cleaner.scheduled import is_due, run_scheduled
from cleaner.stamp import read_clock
from cleaner.sweep import Run, sweep
from core.errors import CacheKeeperError, RefusedTarget, TargetBusy
from core.retention import HOUR_SECONDS, RetentionPolicy
from core.targets import Target, images_target


class CacheCleaner:
    """Cleans one target: the configured image cache, an image cache elsewhere, or any Target.

    >>> CacheCleaner().clean_old_cache(days_threshold=1, dry_run=True)
    {'deleted_files': 0, 'deleted_dirs': 0, 'freed_space': 0}

    ``root`` is a directory laid out as ``<month>/<task-id>/…``, absolute or below the project.
    ``state_dir`` holds locks and the log (default:
    CACHE_DIR of the settings). ``report`` is what the last call measured, in full.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        target: Target | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.report: SweepReport | None = None
        self._progress = progress
        settings = None if state_dir is not None and (root is not None or target is not None) else load_settings()
        if target is None and root is None and settings is not None:
            target = next(each for each in configured_targets(settings) if each.name == "images")
        if target is None:
            target = images_target(os.fspath(root or ""), RetentionPolicy())
        self.target = target
        if settings is None:
            self._boundaries = Boundaries(ROOT, Path(os.fspath(state_dir or ROOT)).absolute())
            self._log = (10 << 20, 5)
        else:
            own = settings.cache_dir if state_dir is None else Path(os.fspath(state_dir)).absolute()
            self._boundaries = replace(boundaries_of(settings), state_dir=own)
            self._log = (settings.log_max_bytes, settings.log_backups)

    def get_cache_info(self, days_threshold: float = 1) -> dict[str, int]:
        """Return totals and what is older than ``days_threshold`` days; sizes in bytes, as ``ls`` counts them.

        Raises RefusedTarget where the directory may not be cleaned at all.
        """
        return self._sweep(days_threshold, dry_run=True, measure_all=True).info()

    def clean_old_cache(
        self, days_threshold: float = 1, dry_run: bool = False, *, allow_most: bool = False
    ) -> dict[str, int]:
        """Delete what is older than ``days_threshold`` days; return what went, or in a dry run what would.

        ``freed_space`` is measured: disk blocks of files without another hard link. Raises RefusedTarget (also
        for a run that would take more than 90 % of the target, unless ``allow_most``) and TargetBusy. What
        could not be removed is in ``report.failed``. A dry run raises nothing for most of a target going:
        ``report.would_refuse`` says why the run would.
        """
        return self._sweep(days_threshold, dry_run=dry_run, allow_most=allow_most).result()

    def auto_clean_cache(self, days_threshold: float = 1, check_interval_hours: float = 24) -> dict[str, int] | None:
        """Clean if the last unattended cleaning is at least ``check_interval_hours`` ago, else return None.

        The stamp in CACHE_DIR survives restarts and is the daemon's own. Refusals are raised, as above.
        """
        clock = read_clock()
        if not is_due(self._boundaries.state_dir, clock, None, check_interval_hours * HOUR_SECONDS):
            return None
        (self.report, *_) = run_scheduled([aged(self.target, days_threshold)], self._run(clock.wall), clock)
        _raise_refusal(self.report)
        return self.report.result()

    def _sweep(self, days: float, *, dry_run: bool, allow_most: bool = False, measure_all: bool = False) -> SweepReport:
        run = replace(self._run(time.time()), dry_run=dry_run, allow_most=allow_most, measure_all=measure_all)
        (self.report, *_) = sweep(aged(self.target, days), run)
        _raise_refusal(self.report)
        return self.report

    def _run(self, now: float) -> Run:
        max_bytes, backups = self._log
        return Run(self._boundaries, now, progress=self._progress, log_max_bytes=max_bytes, log_backups=backups)


def _raise_refusal(report: SweepReport) -> None:
    refusals: tuple[tuple[str | None, type[CacheKeeperError]], ...]
    refusals = ((report.refused, RefusedTarget), (report.busy, TargetBusy))
    for text, kind in refusals:
        if text is not None:
            raise kind(text)


def clean_cache(days: float = 1, dry_run: bool = False, *, allow_most: bool = False) -> dict[str, int]:
    """Clean the configured image cache; see ``CacheCleaner.clean_old_cache``."""
    return CacheCleaner().clean_old_cache(days, dry_run, allow_most=allow_most)


def show_cache_info(days: float = 1) -> dict[str, int]:
    """Print what is in the configured image cache and what of it is older than ``days`` days; return the numbers."""
    import config
    from cleaner.show import info_lines

    cleaner = CacheCleaner()
    info = cleaner.get_cache_info(days)
    for line in info_lines(info, cleaner.report, days, chinese=config.prefers_chinese()):
        print(line)
    return info
