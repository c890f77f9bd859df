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
from core.model import Pause
from store.history import History
from store.journal import Journal


class RunningFleet:
    """Implements ``api.fleet.Fleet``. Reads touch plain attributes, so they need no lock."""

    def __init__(
        self, checker: Checker, journal: Journal, loop: asyncio.AbstractEventLoop, check_interval_seconds: float
    ) -> None:
        self._checker = checker
        self._journal = journal
        self._history = History(journal.path)
        self._loop = loop
        self.check_interval_seconds = check_interval_seconds

    def names(self) -> Sequence[str]:
        return list(self._checker.tracks)

    def groups(self) -> Sequence[str]:
        return list(dict.fromkeys(track.server.group.name for track in list(self._checker.tracks.values())))

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

    def pause(self, name: str, until: float | None) -> Future[object]:
        """Leave a server or group alone until a time (UTC), or until resumed; the future raises StoreError."""
        return asyncio.run_coroutine_threadsafe(self._pause(name, until), self._loop)

    def resume(self, name: str) -> Future[bool]:
        """End a pause; the future's result tells whether there was one, and it raises StoreError."""
        return asyncio.run_coroutine_threadsafe(self._resume(name), self._loop)

    # On the checker's loop: the journal's connection is that thread's.
    async def _pause(self, name: str, until: float | None) -> None:
        self._journal.pause(Pause(name, until))
        await self._checker.poll_cycle(self._meant_by(name))

    async def _resume(self, name: str) -> bool:
        ended = self._journal.resume(name)
        await self._checker.poll_cycle(self._meant_by(name))
        return ended

    def _meant_by(self, name: str) -> list[str]:
        return [
            each.server.name
            for each in self._checker.tracks.values()
            if name in (each.server.name, each.server.group.name)
        ]
