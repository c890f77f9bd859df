"""Unattended cleaning: what the daemon, ``python -m cleaner.scheduler`` and auto-clean all run."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cleaner.log import LOG_NAME, CleanerLog
from cleaner.recorded import Sweeper
from cleaner.report import SweepReport
from cleaner.stamp import STAMP_NAME, read_stamp, write_stamp
from cleaner.sweep import Run, sweep
from core.clean_schedule import ClockReading, clock_refusal, should_run
from core.targets import Target

log = logging.getLogger("cleaner")


def is_due(
    state_dir: Path,
    clock: ClockReading,
    daily_time: str | None,
    interval_seconds: float | None,
    watching_since: float | None = None,
) -> bool:
    """Given the clock now, return whether the stamp in ``state_dir`` says that a cleaning is due."""
    last = read_stamp(state_dir / STAMP_NAME)
    return should_run(
        _local(clock.wall),
        None if last is None else _local(last.wall),
        daily_time,
        interval_seconds,
        watching_since=None if watching_since is None else _local(watching_since),
    )


def run_scheduled(
    targets: Iterable[Target], run: Run, clock: ClockReading, sweeper: Sweeper = sweep
) -> list[SweepReport]:
    """Given all targets, clean them unattended and stamp the run; a clock that jumped refuses once.

    One report per root. Without a human to ask, ``run.allow_most`` is never honoured here: a target that may
    lose everything says so itself (``largest_share``). ``sweeper`` is one that leaves records, where they are kept.
    """
    stamp = run.boundaries.state_dir / STAMP_NAME
    refusal = clock_refusal(read_stamp(stamp), clock)
    run = replace(run, now=clock.wall, allow_most=False)
    # Before the work: a run that is killed has still been today's run, and the next one finishes it.
    if not run.dry_run:
        write_stamp(stamp, clock)
    if refusal is not None:
        log.warning("cleaning refused: %s", refusal)
        with CleanerLog(run.boundaries.state_dir / LOG_NAME, run.log_max_bytes, run.log_backups) as file:
            file.line(f"clean refused: {refusal}")
        return [
            SweepReport(target.name, root, clock.wall, run.dry_run, refused=refusal)
            for target in targets
            for root in target.roots
        ]
    reports = []
    for target in targets:
        for report in sweeper(target, run):
            _tell(report)
            reports.append(report)
    return reports


def _tell(report: SweepReport) -> None:
    if report.refused or report.busy:
        log.warning("cleaning %s: %s", report.target, report.refused or report.busy)
        return
    if report.would_refuse:
        log.warning("cleaning %s would be refused: %s", report.target, report.would_refuse)
    log.info(
        "%s target=%s units=%d files=%d freed_bytes=%d skipped=%d failed=%d seconds=%.1f",
        "planned" if report.dry_run else "cleaned",
        report.target,
        report.deleted_units,
        report.deleted_files,
        report.freed_bytes,
        report.skipped.total,
        report.failed.total,
        report.duration_seconds,
    )


def _local(wall: float) -> datetime:
    return datetime.fromtimestamp(wall).astimezone()
