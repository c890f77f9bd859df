"""The running checker as the web thread sees it: reads from memory, wishes carried out by the checker's loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from checker import view
from checker.poll import Checker
from checker.select import select
from core.fleet_query import ServerPage, ServerQuery
from core.history import ServerHistory
from store.history import History


class RunningFleet:
    """Implements ``api.fleet.Fleet``. Reads touch plain attributes, so they need no lock."""

    def __init__(
        self, checker: Checker, loop: asyncio.AbstractEventLoop, history: History, check_interval_seconds: float
    ) -> None:
        self._checker = checker
        self._history = history
        self._loop = loop
        self.check_interval_seconds = check_interval_seconds

    def names(self) -> Sequence[str]:
        return list(self._checker.tracks)

    def brief(self, name: str) -> dict[str, Any] | None:
        track = self._checker.tracks.get(name)
        return view.brief(track) if track is not None else None

    def detail(self, name: str) -> dict[str, Any] | None:
        track = self._checker.tracks.get(name)
        return view.detail(track, time.monotonic()) if track is not None else None

    def row(self, name: str) -> dict[str, Any] | None:
        track = self._checker.tracks.get(name)
        return view.row(track, time.monotonic(), time.time()) if track is not None else None

    def full(self, name: str) -> dict[str, Any] | None:
        track = self._checker.tracks.get(name)
        return view.full(track, time.monotonic(), time.time()) if track is not None else None

    def select(self, query: ServerQuery) -> ServerPage:
        return select(list(self._checker.tracks.values()), query, time.monotonic(), time.time())

    def history(self, name: str, *, cursor: str, events: int) -> ServerHistory:
        """Return what the journal remembers of a server; raises StoreError."""
        return self._history.of(name, cursor=cursor, events=events)

    def polled_since(self, at: float) -> int:
        """Return how many servers have been polled after ``at`` (UTC seconds), or are paused."""
        tracks = list(self._checker.tracks.values())
        return sum(1 for track in tracks if track.paused is not None or (track.polled_at or 0.0) >= at)

    def counts(self) -> dict[str, int]:
        return view.counts(list(self._checker.tracks.values()))

    def polled_at(self) -> float | None:
        return self._checker.polled_at

    def submission(self, name: str) -> tuple[bool, float | None, float] | None:
        """Return whether a submission is open, when the last was (UTC), and seconds until a retry is due."""
        track = self._checker.tracks.get(name)
        return view.submission(track, time.monotonic()) if track is not None else None

    def next_submission_in(self) -> float:
        return self._checker.next_submission_in(time.monotonic())

    def check(self, names: Sequence[str]) -> Future[object]:
        return asyncio.run_coroutine_threadsafe(self._checker.poll_cycle(list(names)), self._loop)

    def warm(self, name: str, set_name: str | None, *, force: bool) -> Future[object]:
        return asyncio.run_coroutine_threadsafe(self._checker.warm([name], set_name, force=force), self._loop)
