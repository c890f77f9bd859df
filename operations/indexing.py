"""Brings the index up to date with what a backend holds: one walk, and only the differences are written."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from core.errors import BackendError
from core.listing import Backend, EntryType, Pulse
from store.index import EntryIndex

_BATCH = 8192
# Redis tells idle times in whole seconds, counted by a clock of its own that ticks once a second.
_TOLERANCE_SECONDS = {EntryType.REDIS: 2.5}


@dataclass(frozen=True)
class Refreshed:
    """What one walk found. ``error`` is why it was not complete; nothing was removed from the index then."""

    target: str
    entries: int
    added: int
    changed: int
    removed: int
    duration_seconds: float
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def refresh(index: EntryIndex, backend: Backend, pulse: Pulse, now: float) -> Refreshed:
    """Walk a backend and reconcile the index with it; never raises for the backend's trouble.

    ``now`` is the wall clock as the walk begins. Raises StoreError when the index cannot be written, and lets
    TaskCancelled pass: the index is then as it was.
    """
    began = time.monotonic()
    walk = index.walk(backend.name, backend.type, tolerance_seconds=_TOLERANCE_SECONDS.get(backend.type, 0.0))
    error = ""
    try:
        for batch in backend.entries(pulse):
            entries = iter(batch)
            while portion := list(islice(entries, _BATCH)):
                walk.put(portion)
    except BackendError as failure:
        error = str(failure)
        walk.fail(error)
    else:
        walk.finish(now + time.monotonic() - began)
    seconds = round(time.monotonic() - began, 3)
    return Refreshed(backend.name, walk.seen, walk.added, walk.changed, walk.removed, seconds, error)
