"""What an operation did to a cache, in one shape for every backend. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True)
class Trouble:
    """Things that were skipped or failed: counted by reason, with the first ones by name."""

    total: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    first: Sequence[Mapping[str, str]] = ()
    """Each ``{"path": …, "reason": …}``."""


@dataclass(frozen=True)
class Effect:
    """One target, cleaned or planned. In a dry run the numbers are what a run would do.

    An *entry* is what expires as one thing: a task's images, a file, a key, a document, a model. ``freed_bytes`` was
    measured where the backend can measure (disk blocks, MEMORY USAGE), and is 0 where it cannot.
    ``reasons`` counts entries and bytes by why they went or stayed, None for bytes that were not measured; ``first``
    lists some of what goes, each ``{"name", "reason", "modified", "bytes"}``. ``refused`` and ``busy`` say why nothing
    was done, ``would_refuse`` why a run would do nothing: ``reasons`` and ``first`` are then what it would judge.
    """

    target: str
    backend: str
    dry_run: bool
    deleted_entries: int = 0
    deleted_files: int = 0
    deleted_dirs: int = 0
    freed_bytes: int = 0
    duration_seconds: float = 0.0
    reasons: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    first: Sequence[Mapping[str, Any]] = ()
    skipped: Trouble = Trouble()
    failed: Trouble = Trouble()
    warnings: Sequence[str] = ()
    refused: str = ""
    busy: str = ""
    would_refuse: str = ""

    @property
    def ok(self) -> bool:
        """Whether all of it was done; of a plan: whether all of it would be."""
        return not (self.failed.total or self.refused or self.busy or self.would_refuse)

    def numbers(self) -> dict[str, int | str]:
        """Return what the audit log keeps of it: a plan's numbers under names that no sum of deletions counts."""
        entries, files, size = ("would_delete_entries", "would_delete_files", "would_free_bytes")
        if not self.dry_run:
            entries, files, size = ("entries", "files", "bytes")
        refusal = {"would_refuse": self.would_refuse} if self.would_refuse else {}
        return {
            entries: self.deleted_entries, files: self.deleted_files, size: self.freed_bytes,
            "skipped": self.skipped.total, "failed": self.failed.total,
            **refusal,
        }  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "ok": self.ok}


class Shortfall(StrEnum):
    """What a task left undone although it ran to its end."""

    REFUSED = "refused"
    PARTLY = "partly"


def shortfall(result: object) -> Shortfall | None:
    """Given what a task returned, say what it left undone: REFUSED where each target refused, None where nothing.

    The one judgement behind ``success`` in answers and the marks on tasks. Of a plan: what a run would leave undone.
    """
    if not isinstance(result, Mapping):
        return None
    effects = result.get("effects") or ()
    wanting = [each for each in effects if not each.get("ok", True)]
    if wanting and len(wanting) == len(effects) and all(_refused(each) for each in wanting):
        return Shortfall.REFUSED
    return Shortfall.PARTLY if wanting or result.get("errors") else None


def _refused(effect: Mapping[str, Any]) -> bool:
    stands_still = effect.get("refused") or effect.get("busy") or effect.get("would_refuse")
    return bool(stands_still) and not effect.get("deleted_entries")
