"""Targets on file systems, of every kind: a sweep of the cleaner behind the protocol of all backends."""

from __future__ import annotations

import queue
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from cleaner.report import SweepReport, Troubles
from cleaner.roots import Boundaries, resolve_root
from cleaner.sweep import Run, sweep
from core.effects import Effect, Trouble
from core.entries import KEPT_REASONS
from core.errors import BackendError, RefusedTarget, TaskCancelled
from core.listing import Availability, EntryType, Family, ListedEntry, Pulse
from core.printable import printable
from core.retention import DAY_SECONDS, RetentionPolicy
from core.targets import Target, TargetKind
from operations.backends.tally import refusal_of_age
from operations.backends.tree import TreeReader

_HEALTH_SECONDS = 4.0


class FileBackend:
    """One target of ``.env`` or ``fleet.toml``. All of the cleaner's rules hold: refusals, locks, pins, open files."""

    def __init__(
        self, target: Target, boundaries: Boundaries, *, log_max_bytes: int = 10 << 20, log_backups: int = 5
    ) -> None:
        self._target = target
        self._boundaries = boundaries
        self._log = (log_max_bytes, log_backups)

    @property
    def name(self) -> str:
        return self._target.name

    @property
    def type(self) -> EntryType:
        return EntryType(self._target.kind.value)

    @property
    def family(self) -> Family:
        return Family.PYTHON if self._target.kind is TargetKind.PYTHON else Family.FILE

    def health(self) -> Availability:
        roots = ", ".join(printable(root) for root in self._target.roots)
        detail = {"roots": roots, "unit": self._target.unit.value}
        # A network file system whose server is gone keeps whoever asks; it must not keep the one who asks us.
        error = _within(_HEALTH_SECONDS, lambda: self._refusal(detail))
        return Availability(not error, error, dict(detail))

    def _refusal(self, detail: dict[str, str]) -> str:
        try:
            for root in self._target.roots:
                real = resolve_root(root, self._target, self._boundaries)
                if real is not None and "disk_free_bytes" not in detail:
                    disk = shutil.disk_usage(root)
                    detail |= {"disk_free_bytes": str(disk.free), "disk_total_bytes": str(disk.total)}
        except (RefusedTarget, OSError) as refusal:
            return str(refusal)
        return ""

    def entries(self, pulse: Pulse) -> Iterator[list[ListedEntry]]:
        reader = TreeReader(self._target, pulse)
        several = len(self._target.roots) > 1
        try:
            for root in self._target.roots:
                real = resolve_root(root, self._target, self._boundaries)
                if real is not None:
                    yield from reader.read(real, f"{root.rstrip('/')}/" if several else "")
        except (RefusedTarget, OSError) as error:
            raise BackendError(str(error)) from None
        reader.raise_troubles()

    def expire(self, older_than_seconds: float | None, *, now: float, dry_run: bool, pulse: Pulse) -> Effect:
        if refusal := refusal_of_age(self.name, older_than_seconds):
            return Effect(self.name, self.type.value, dry_run, refused=refusal)
        target = self._target
        if older_than_seconds is not None:
            target = replace(target, policy=replace(target.policy, older_than_seconds=older_than_seconds))
        return self._sweep(target, now, dry_run, pulse, if_meant=self._if_meant(older_than_seconds))

    def clear(self, *, now: float, dry_run: bool, pulse: Pulse) -> Effect:
        policy = self._target.policy
        everything = RetentionPolicy(pinned=policy.pinned, keep_file=policy.keep_file, everything=True)
        return self._sweep(replace(self._target, policy=everything), now, dry_run, pulse)

    def _if_meant(self, older_than_seconds: float | None) -> str:
        """How to take nearly all of the target: nobody does so from afar, or by a box that was ticked in passing."""
        days = "" if older_than_seconds is None else f" --days {older_than_seconds / DAY_SECONDS:.10g}"
        # In no language: it is part of a sentence in either.
        command = f"python -m cleaner --target {shlex.quote(self.name)}{days} --allow-most"
        return f"{command} (fleet.toml: largest_share = 1.0)"

    def _sweep(self, target: Target, now: float, dry_run: bool, pulse: Pulse, *, if_meant: str | None = None) -> Effect:
        """Sweep each root. Without ``if_meant`` everything may go; with it, nearly everything is refused with these
        words on what to do.
        """
        cancelled: list[TaskCancelled] = []
        before = 0

        def progress(report: SweepReport) -> bool:
            try:
                pulse(before + report.plan.entries)
            except TaskCancelled as error:
                # The sweep ends by itself, and writes down what it has done.
                cancelled.append(error)
                return False
            return True

        reports = []
        for root in target.roots:
            log_max_bytes, log_backups = self._log
            run = Run(
                self._boundaries, now, dry_run, if_meant is None, if_meant or "", progress=progress,
                log_max_bytes=log_max_bytes, log_backups=log_backups,
            )  # fmt: skip
            reports += sweep(replace(target, roots=(root,)), run)
            if cancelled:
                cancelled[0].effect = effect_of(reports, self.name, self.type.value, dry_run)
                raise cancelled[0]
            before += reports[-1].plan.entries
        return effect_of(reports, self.name, self.type.value, dry_run)


def effect_of(reports: list[SweepReport], target: str, backend: str, dry_run: bool) -> Effect:
    """Given the reports of a target's roots, return them as one effect. Purged trash counts as freed."""
    total = SweepReport(target, "", reports[0].started if reports else 0.0, dry_run)
    for report in reports:
        total.merge(report)
        total.duration_seconds += report.duration_seconds
    reasons = {
        reason.value: {"entries": tally.entries, "bytes": tally.measured_bytes}
        for reason, tally in total.plan.tallies.items()
    }
    first = [
        {"name": printable(line.name), "reason": line.reason.value, "modified": line.modified,
         "bytes": line.allocated_bytes}
        for line in total.plan.first if line.reason not in KEPT_REASONS
    ]  # fmt: skip
    # A root that a run would refuse is judged and listed, and adds nothing to what the run would do.
    does = [report for report in reports if not report.would_refuse]
    return Effect(
        target, backend, dry_run, sum(each.deleted_units for each in does), sum(each.deleted_files for each in does),
        sum(each.deleted_dirs for each in does), sum(each.freed_bytes + each.purged_bytes for each in does),
        round(total.duration_seconds, 3), reasons, first,
        _trouble(total.skipped), _trouble(total.failed), [printable(warning) for warning in total.warnings],
        "; ".join(report.refused for report in reports if report.refused),
        "; ".join(report.busy for report in reports if report.busy),
        "; ".join(report.would_refuse for report in reports if report.would_refuse),
    )  # fmt: skip


def _trouble(troubles: Troubles) -> Trouble:
    counts = {str(reason): count for reason, count in troubles.counts.items()}
    first = [{"path": printable(path), "reason": str(reason)} for path, reason in troubles.first]
    return Trouble(troubles.total, counts, first)


def _within(seconds: float, look: Callable[[], str]) -> str:
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(look()), daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return f"the file system did not answer within {seconds:g} seconds"
