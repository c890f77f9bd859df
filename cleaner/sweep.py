"""Sweeps one target: check the root, lock, survey, refuse what is too much, walk, report.

resolve ──▶ open ──▶ lock ──▶ survey ──▶ too much? ──▶ walk ──▶ purge trash ──▶ SweepReport
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cleaner.glance import count_by_directory, surely_within
from cleaner.judge import Judge, Progress, Stopped
from cleaner.layout import Layout, layout_of
from cleaner.lock import MAX_WORKERS, Note, TargetLock, interrupted_units
from cleaner.log import LOG_NAME, CleanerLog
from cleaner.mounts import Mounts
from cleaner.report import SweepReport
from cleaner.roots import Boundaries, open_root, resolve_root
from cleaner.trash import Trash, purge
from cleaner.walk import Walk
from core import cleaning_phrases as say
from core.errors import RefusedTarget, TargetBusy
from core.printable import printable
from core.retention import DiskSpace, RetentionPolicy, Rules, Survey
from core.targets import Target

DEFAULT_TRASH_HOURS = 24.0
ALLOW_MOST = "--allow-most (in Python allow_most=True, in fleet.toml largest_share = 1.0)"


@dataclass(frozen=True)
class Run:
    """How to sweep. ``now`` is the wall clock in seconds since the epoch.

    ``allow_most`` permits taking nearly all of a target, and an age of 0 days; ``if_meant`` says how whoever asked
    gives that leave. ``measure_all`` reads young entries too (exact statistics). ``progress`` is called a few times
    a second; answering False stops the run.
    """

    boundaries: Boundaries
    now: float
    dry_run: bool = False
    allow_most: bool = False
    if_meant: str = ALLOW_MOST
    measure_all: bool = False
    progress: Progress | None = None
    log_max_bytes: int = 10 << 20
    log_backups: int = 5
    shown: int = 20


def sweep(target: Target, run: Run) -> list[SweepReport]:
    """Given a target, clean each of its roots; never raises for one bad root: the report says what happened."""
    return [_sweep_root(target, given, run) for given in target.roots]


def count_units(target: Target, run: Run) -> tuple[int, int]:
    """Given a target of directory units, return how many there are and how many look expired, without reading them.

    Fast statistics: a fifth of what ``find`` needs. Raises RefusedTarget.
    """
    layout = layout_of(target)
    if not layout.unit_depth:
        raise RefusedTarget(say.TARGET(target=target.name, reason=say.NO_FAST_STATISTICS()))
    total = old = 0
    for given in target.roots:
        real = resolve_root(given, target, run.boundaries)
        if real is None:
            continue
        root, mounts = open_root(real), Mounts(real)
        try:
            found = count_by_directory(root, layout, Rules(target.policy, run.now), mounts)
        finally:
            mounts.close()
            os.close(root)
        total, old = total + found[0], old + found[1]
    return total, old


def _sweep_root(target: Target, given: str, run: Run) -> SweepReport:
    report = SweepReport(target.name, given, run.now, run.dry_run)
    report.plan.shown = run.shown
    began = time.monotonic()
    try:
        _check_policy(target, run)
        real = resolve_root(given, target, run.boundaries)
        if real is None:
            report.missing = True
            report.warnings.append(say.NOTHING_THERE(path=printable(given)))
        else:
            report.root = str(real)
            _sweep_open(target, real, run, report)
    except RefusedTarget as refusal:
        report.refused = str(refusal)
    except TargetBusy as busy:
        report.busy = str(busy)
    except Stopped:
        report.stopped = True
    except OSError as error:
        report.failed.add("", error.strerror or str(error))
    except KeyboardInterrupt:
        report.stopped = True
        raise
    finally:
        # Also of an interrupted run: what went before is gone.
        report.duration_seconds = time.monotonic() - began
        if not run.dry_run and not report.missing:
            with _log(run) as log:
                log.finished(report)
    return report


def _check_policy(target: Target, run: Run) -> None:
    days = target.policy.older_than_seconds
    # "not >" instead of "<=": nan must be refused too.
    if days is not None and (not days >= 0 or (days == 0 and not run.allow_most)):
        reason = say.NEGATIVE_AGE(seconds=days) if days else say.ALL_EXPIRED(seconds=days, words=run.if_meant)
        raise RefusedTarget(say.TARGET(target=target.name, reason=reason))


def _sweep_open(target: Target, real: Path, run: Run, report: SweepReport) -> None:
    """Sweep a root that was found safe; the locks, descriptors and the log end with it."""
    with ExitStack() as stack:
        root = open_root(real)
        stack.callback(os.close, root)
        mounts = Mounts(real)
        stack.callback(mounts.close)
        lock: TargetLock | None = None
        if run.dry_run:
            interrupted = interrupted_units(run.boundaries.state_dir, real)
        else:
            since = datetime.fromtimestamp(run.now).astimezone().isoformat(timespec="seconds")
            lock = stack.enter_context(TargetLock(run.boundaries.state_dir, real, root, since=since))
            interrupted = lock.interrupted
            if lock.warning:
                report.warnings.append(lock.warning)
        layout = layout_of(target)
        rules = _rules(target.policy, layout, root, mounts, run, report)
        judge = Judge(rules, report, mounts, run.dry_run, progress=run.progress)
        walk = Walk(
            layout,
            judge,
            target.policy.keep_file,
            remove_empty=target.remove_empty,
            measure_all=run.measure_all,
            interrupted=interrupted,
        )
        if not run.dry_run and not run.allow_most:
            _refuse_too_much(target, walk, root, run)
        if lock is not None:
            judge.log = log = stack.enter_context(_log(run))
            log.started(report)
            judge.note = Note(lock.descriptor)
            judge.trash = _trash(target, rules, root, run, report, stack)
        workers = min(target.workers, MAX_WORKERS) if layout.unit_depth else 1
        if workers > 1 and judge.trash is None:
            from cleaner.workers import run_shared

            run_shared(target, walk, root, lock, workers, run)
        else:
            walk.run(root)
        if run.dry_run and not run.allow_most and not report.stopped:
            report.would_refuse = _too_much(target, report, run)
        if lock is not None:
            purge(root, report, run.now, DEFAULT_TRASH_HOURS if target.trash_hours is None else target.trash_hours)
            if not report.stopped:
                lock.clear_notes()


def _rules(policy: RetentionPolicy, layout: Layout, root: int, mounts: Mounts, run: Run, report: SweepReport) -> Rules:
    survey = Survey(policy, run.now)
    if policy.needs_survey:
        # What cannot be read is reported by the walk that follows, not twice.
        unread = SweepReport(report.target, report.root, run.now, dry_run=True)
        reader = Judge(Rules(policy, run.now), unread, mounts, dry_run=True, survey=survey)
        reader.progress = None if run.progress is None else lambda _: run.progress and run.progress(report)
        Walk(layout, reader, policy.keep_file).run(root)
        if unread.stopped:
            raise Stopped  # rules from half a survey would protect and delete the wrong things
    return survey.rules(_disk(root))


def _disk(root: int) -> DiskSpace:
    disk = os.statvfs(root)
    return DiskSpace(disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize, disk.f_files, disk.f_favail)


def _refuse_too_much(target: Target, walk: Walk, root: int, run: Run) -> None:
    """Raise RefusedTarget when the walk would take more of the target than it may unasked."""
    judge = walk.judge
    if surely_within(root, walk, target.largest_share):
        return
    planned = SweepReport(target.name, judge.report.root, judge.rules.now, dry_run=True)
    replace(walk, judge=replace(judge, report=planned, dry_run=True)).run(root)
    if planned.stopped:
        raise Stopped
    if refusal := _too_much(target, planned, run):
        raise RefusedTarget(refusal)


def _too_much(target: Target, planned: SweepReport, run: Run) -> str | None:
    """Return why a run that does what was planned is refused, None when it is not."""
    going, total = planned.plan.deleted.entries, planned.plan.entries
    if going <= target.largest_share * total:
        return None
    reason = say.TOO_MUCH(
        going=going,
        total=total,
        share=f"{going / total:.0%}",
        limit=f"{target.largest_share:.0%}",
        words=run.if_meant,
    )
    return say.TARGET(target=target.name, reason=reason)


def _trash(target: Target, rules: Rules, root: int, run: Run, report: SweepReport, stack: ExitStack) -> Trash | None:
    if not target.trash_hours:
        return None
    if rules.min_free_before_key > float("-inf"):
        report.warnings.append(say.TRASH_USELESS())
        return None
    try:
        trash = Trash(root, run.now)
    except OSError as error:
        report.warnings.append(say.NO_TRASH(why=error.strerror))
        return None
    stack.callback(trash.close)
    return trash


def _log(run: Run) -> CleanerLog:
    return CleanerLog(run.boundaries.state_dir / LOG_NAME, run.log_max_bytes, run.log_backups)
