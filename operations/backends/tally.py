"""Counts what a backend does entry by entry, and makes an Effect of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from core.cleaning_phrases import CLEAR_IT, TARGET
from core.effects import Effect, Trouble
from core.errors import TaskCancelled
from core.listing import Pulse
from core.printable import printable

SHOWN = 20
_PULSE_SECONDS = 0.2


@dataclass
class Tally:
    """One run over one target. Call ``goes`` or ``stays`` for each entry, then ``effect``."""

    target: str
    backend: str
    dry_run: bool
    pulse: Pulse
    deleted_entries: int = 0
    deleted_files: int = 0
    freed_bytes: int = 0
    done: int = 0
    total: int | None = None
    warnings: list[str] = field(default_factory=list)
    _reasons: dict[str, dict[str, int | None]] = field(default_factory=dict)
    _first: list[dict[str, Any]] = field(default_factory=list)
    _skipped: dict[str, int] = field(default_factory=dict)
    _failed: dict[str, int] = field(default_factory=dict)
    _skipped_first: list[dict[str, str]] = field(default_factory=list)
    _failed_first: list[dict[str, str]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _pulsed: float = 0.0

    def goes(self, name: str, reason: str, modified: float | None, size_bytes: int, *, files: int = 0) -> None:
        """Count an entry that was deleted, or would be in a dry run."""
        self.deleted_entries += 1
        self.deleted_files += files
        self.freed_bytes += size_bytes
        self._count(reason, 1, size_bytes)
        if len(self._first) < SHOWN:
            line = {"name": printable(name), "reason": reason, "modified": modified, "bytes": size_bytes}
            self._first.append(line)

    def stays(self, reason: str, entries: int = 1, size_bytes: int | None = None) -> None:
        """Count entries that stay as they should; without a size they were not measured."""
        if entries:
            self._count(reason, entries, size_bytes)

    def skips(self, name: str, reason: str, *, counted_as: str) -> None:
        """Note an entry that stays for a reason that somebody may want to do something about."""
        _note(name, reason, counted_as, self._skipped, self._skipped_first)

    def fails(self, name: str, reason: str) -> None:
        _note(name, reason, reason, self._failed, self._failed_first)

    def beat(self, entries: int = 0) -> None:
        """Count entries as looked at; report progress when the last report is a moment ago. May raise TaskCancelled."""
        self.done += entries
        if time.monotonic() - self._pulsed > _PULSE_SECONDS:
            self._pulsed = time.monotonic()
            try:
                self.pulse(self.done, self.total)
            except TaskCancelled as cancelled:
                cancelled.effect = self.effect()
                raise

    def effect(self, *, refused: str = "") -> Effect:
        return Effect(
            self.target, self.backend, self.dry_run, self.deleted_entries, self.deleted_files, 0, self.freed_bytes,
            round(time.monotonic() - self._began, 3), self._reasons, self._first,
            Trouble(sum(self._skipped.values()), self._skipped, self._skipped_first),
            Trouble(sum(self._failed.values()), self._failed, self._failed_first), self.warnings, refused,
        )  # fmt: skip

    def _count(self, reason: str, entries: int, size_bytes: int | None) -> None:
        sums = self._reasons.get(reason, {"entries": 0, "bytes": 0})
        before, size_before = sums["entries"] or 0, sums["bytes"]
        # One that was not measured leaves the sum unknown.
        size = None if size_before is None or size_bytes is None else size_before + size_bytes
        self._reasons[reason] = {"entries": before + entries, "bytes": size}


def _note(name: str, reason: str, key: str, counts: dict[str, int], first: list[dict[str, str]]) -> None:
    counts[key] = counts.get(key, 0) + 1
    if len(first) < SHOWN:
        first.append({"path": printable(name), "reason": reason})


def refusal_of_age(target: str, older_than_seconds: float | None) -> str:
    """Return why an age must not be used, empty when it may."""
    # "not >" instead of "<=": nan must be refused too.
    if older_than_seconds is not None and not older_than_seconds > 0:
        return TARGET(target=target, reason=CLEAR_IT(seconds=older_than_seconds))
    return ""
