"""The places for warm-ups at the same time: who holds one, who waits for one, when the next may start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from checker.tracks import ServerTrack, SetTrack
from core.model import Room, State

ROOM_RULES = frozenset({"fleet_cap", "group_cap", "start_gap", "one_at_a_time"})
"""The rules by which a set waits for a place."""


@dataclass(frozen=True)
class Limits:
    """The fleet-wide numbers that are not a set's policy; seconds."""

    check_interval_seconds: float = 30.0
    max_concurrent_warmups: int = 4
    warmup_start_gap_seconds: float = 1.0
    concurrent_probes: int = 500


class Places:
    """Who warms and who waits, by server name. All times are monotonic seconds."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._warming: dict[str, str] = {}
        self._waiting: dict[str, None] = {}
        self._next_start_at = 0.0

    def reset(self, limits: Limits, tracks: Mapping[str, ServerTrack]) -> None:
        """Take a new configuration: places belong to the servers that are in it and have a submission open."""
        self.limits = limits
        self._warming = {name: track.server.group.name for name, track in tracks.items() if track.open_set is not None}
        self._waiting = {name: None for name in self._waiting if name in tracks}

    def room(self, track: ServerTrack, each: SetTrack) -> Room:
        """Return how much of the fleet's, the group's and the server's capacity others have taken."""
        name, group, opened = track.server.name, track.server.group, track.open_set
        return Room(
            server_open=opened is not None and opened is not each,
            fleet_open=len(self._warming) - (name in self._warming),
            fleet_cap=self.limits.max_concurrent_warmups,
            group_open=sum(1 for other, where in self._warming.items() if where == group.name and other != name),
            group_cap=group.max_concurrent_warmups,
            # The next key of a set that is being warmed is no new start.
            next_start_at=0.0 if name in self._warming else self._next_start_at,
        )

    def take(self, track: ServerTrack, now: float) -> None:
        """Give a server a place. Before the first await: other servers must see it as gone."""
        if track.server.name not in self._warming:
            self._next_start_at = now + self.limits.warmup_start_gap_seconds
        self._warming[track.server.name] = track.server.group.name

    def settle(self, track: ServerTrack) -> None:
        """Keep or free a server's place, and note whether it waits for one, as its poll has left it."""
        name, opened = track.server.name, track.open_set
        # A server that went away, or whose worker died, in the middle of a warm-up must hold no place for ever.
        if opened is not None and opened.memory.state in (State.QUEUED, State.WARMING):
            self._warming[name] = track.server.group.name
        else:
            self._warming.pop(name, None)
        if any(each.decision.rule in ROOM_RULES for each in track.sets):
            self._waiting.setdefault(name)
        else:
            self._waiting.pop(name, None)

    def leave(self, name: str) -> None:
        """Free what a server holds that is paused or no longer configured."""
        self._warming.pop(name, None)
        self._waiting.pop(name, None)

    def anybody_waits(self) -> bool:
        return bool(self._waiting)

    def next_start_in(self, now: float) -> float:
        """Return seconds until another warm-up may start, as far as that is known."""
        return max(self._next_start_at - now, 0.0)

    def called(self, tracks: Mapping[str, ServerTrack], besides: Iterable[str], now: float) -> list[ServerTrack]:
        """Return those that wait and may have a place now, in the order they came: as many as are free, not all."""
        if now < self._next_start_at:
            return []
        free = self.limits.max_concurrent_warmups - len(self._warming)
        if self.limits.warmup_start_gap_seconds > 0:
            free = min(free, 1)
        chosen = set(besides)
        called: list[ServerTrack] = []
        for name in self._waiting:
            if len(called) >= free:
                break
            track = tracks[name]
            if name not in chosen and not track.in_flight and self._group_has_room(track):
                called.append(track)
        return called

    def _group_has_room(self, track: ServerTrack) -> bool:
        cap = track.server.group.max_concurrent_warmups
        return cap is None or list(self._warming.values()).count(track.server.group.name) < cap
