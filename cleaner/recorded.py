"""Cleans a target with an audit record before and after; what cannot be put on record is not cleaned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from cleaner.report import SweepReport
from cleaner.sweep import Run, sweep
from core import cleaning_phrases as say
from core.errors import StoreError
from core.targets import Target

if TYPE_CHECKING:
    # A dry run leaves no record, and starts sooner without them.
    from core.access import Caller
    from core.audit import Records

Sweeper = Callable[[Target, Run], list[SweepReport]]


def sweep_on_record(records: Records, caller: Caller) -> Sweeper:
    """Given where operations are put on record and who cleans, return a ``sweep`` that leaves its records there.

    A dry run leaves none: it deletes nothing.
    """

    def recorded(target: Target, run: Run) -> list[SweepReport]:
        if run.dry_run:
            return sweep(target, run)
        limits = {name: value for name, value in asdict(target.policy).items() if value is not None}
        parameters = {"kind": target.kind.value, "roots": list(target.roots), **limits, "allow_most": run.allow_most}
        try:
            with records.operation(caller, "cache.cleanup", target.name, parameters, destructive=True) as operation:
                reports = sweep(target, run)
                operation.effect = _effect(reports)
                operation.refused = "; ".join(filter(None, (each.refused or each.busy for each in reports)))
                failed = sum(each.failed.total for each in reports)
                stopped = say.STOPPED() if any(each.stopped for each in reports) else ""
                operation.failed = "; ".join(filter(None, (stopped, say.NOT_DELETED(count=failed) if failed else "")))
        except StoreError as error:
            return [SweepReport(target.name, root, run.now, run.dry_run, refused=str(error)) for root in target.roots]
        return reports

    return recorded


def _effect(reports: list[SweepReport]) -> dict[str, int]:
    """The numbers of ``core.effects.Effect.numbers``, under the same names: one action has one shape on record."""
    return {
        "entries": sum(each.deleted_units for each in reports),
        "files": sum(each.deleted_files for each in reports),
        "bytes": sum(each.freed_bytes for each in reports),
        "skipped": sum(each.skipped.total for each in reports),
        "failed": sum(each.failed.total for each in reports),
    }
