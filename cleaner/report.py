"""What a sweep did, as measured: one object that the CLI, the API and the logs render."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.entries import Line, Reason, SweepPlan
from core.printable import printable

SHOWN_TROUBLES = 50


@dataclass
class Troubles:
    """Things that were skipped or failed: counted by reason, with the first ones by name."""

    counts: dict[str, int] = field(default_factory=dict)
    first: list[tuple[str, str]] = field(default_factory=list)

    def add(self, path: str, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        if len(self.first) < SHOWN_TROUBLES:
            self.first.append((path, reason))

    def merge(self, other: Troubles) -> None:
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
        self.first = (self.first + other.first)[:SHOWN_TROUBLES]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass
class SweepReport:
    """One run over one root of a target. Sizes are bytes, times seconds since the epoch.

    In a dry run ``deleted_*`` and ``freed_bytes`` are what a real run would do. ``freed_bytes`` counts the blocks
    of deleted files that had no other hard link; ``apparent_bytes`` is their length as ``ls`` shows it.
    ``trashed_units`` were moved aside and free their bytes only when the trash is purged (``purged_bytes``).
    ``arrived_lately`` of the expired units came here within the last hour and brought old times along (unpacked,
    or copied with ``cp -p``). ``refused`` and ``busy`` say why nothing was done; ``would_refuse`` says in a dry run
    why a real one would do nothing, and the numbers are then what it would do if it were let.
    """

    target: str
    root: str
    started: float
    dry_run: bool
    duration_seconds: float = 0.0
    plan: SweepPlan = field(default_factory=SweepPlan)
    deleted_units: int = 0
    deleted_files: int = 0
    deleted_dirs: int = 0
    freed_bytes: int = 0
    apparent_bytes: int = 0
    trashed_units: int = 0
    purged_bytes: int = 0
    arrived_lately: int = 0
    skipped: Troubles = field(default_factory=Troubles)
    failed: Troubles = field(default_factory=Troubles)
    warnings: list[str] = field(default_factory=list)
    refused: str | None = None
    busy: str | None = None
    would_refuse: str | None = None
    missing: bool = False
    stopped: bool = False

    @property
    def ok(self) -> bool:
        return not (self.failed.total or self.refused or self.busy)

    def info(self) -> dict[str, int]:
        """The six numbers of ``get_cache_info``; complete only for a run that measured everything."""
        kept, old = self.plan.kept, self.plan.deleted
        return {
            "total_size": kept.apparent_bytes + old.apparent_bytes,
            "total_dirs": kept.directories + old.directories,
            "total_files": kept.files + old.files,
            "old_dirs": old.directories,
            "old_files": old.files,
            "old_size": old.apparent_bytes,
        }

    def result(self) -> dict[str, int]:
        """The three numbers of ``clean_old_cache``."""
        return {
            "deleted_files": self.deleted_files,
            "deleted_dirs": self.deleted_dirs,
            "freed_space": self.freed_bytes,
        }

    def merge(self, other: SweepReport) -> None:
        """Add what another worker did on the same root."""
        self.plan.merge(other.plan)
        for name in ("deleted_units", "deleted_files", "deleted_dirs", "freed_bytes", "apparent_bytes",
                     "trashed_units", "purged_bytes", "arrived_lately"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.skipped.merge(other.skipped)
        self.failed.merge(other.failed)
        self.warnings += other.warnings
        self.stopped = self.stopped or other.stopped

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; names with undecodable bytes are escaped."""

        def lines(of: list[Line]) -> list[dict[str, Any]]:
            return [
                {"name": printable(line.name), "reason": line.reason.value, "modified": line.modified,
                 "bytes": line.allocated_bytes}
                for line in of
            ]  # fmt: skip

        def troubles(of: Troubles) -> dict[str, Any]:
            return {"total": of.total, "counts": of.counts,
                    "first": [{"path": printable(path), "reason": reason} for path, reason in of.first]}  # fmt: skip

        return {
            "target": self.target,
            "root": printable(self.root),
            "started": self.started,
            "duration_seconds": round(self.duration_seconds, 3),
            "dry_run": self.dry_run,
            "deleted_units": self.deleted_units,
            "deleted_files": self.deleted_files,
            "deleted_dirs": self.deleted_dirs,
            "freed_space": self.freed_bytes,
            "apparent_bytes": self.apparent_bytes,
            "trashed_units": self.trashed_units,
            "purged_bytes": self.purged_bytes,
            "arrived_lately": self.arrived_lately,
            "reasons": {
                reason.value: {"entries": tally.entries, "bytes": tally.measured_bytes}
                for reason, tally in sorted(self.plan.tallies.items(), key=lambda item: list(Reason).index(item[0]))
            },
            "first": lines(self.plan.first),
            "biggest": lines(self.plan.biggest),
            "oldest": lines(self.plan.oldest),
            "skipped": troubles(self.skipped),
            "failed": troubles(self.failed),
            "warnings": [printable(warning) for warning in self.warnings],
            "refused": self.refused,
            "busy": self.busy,
            "would_refuse": self.would_refuse,
            "missing": self.missing,
            "stopped": self.stopped,
        }  # fmt: skip
