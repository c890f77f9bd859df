"""Whether the program makes progress: each lane of work says so itself, and one that is stuck silences the heart.

A heartbeat that a helper thread sends proves only that the thread lives. Here the main loop beats, and only
while no lane that has work in hand has been silent for longer than its allowance.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Lane:
    """One kind of work. ``allowance_seconds`` is the longest silence that is normal while it works."""

    allowance_seconds: float
    working: int = 0
    progress_at: float = 0.0


@dataclass
class Lanes:
    """The lanes by name; times are monotonic seconds handed in. Safe to call from any thread."""

    lanes: dict[str, Lane] = field(default_factory=dict)

    def add(self, name: str, allowance_seconds: float) -> None:
        self.lanes[name] = Lane(allowance_seconds)

    def begin(self, name: str, now: float) -> None:
        lane = self.lanes[name]
        lane.progress_at, lane.working = now, lane.working + 1

    def progress(self, name: str, now: float) -> None:
        self.lanes[name].progress_at = now

    def end(self, name: str, now: float) -> None:
        lane = self.lanes[name]
        lane.progress_at, lane.working = now, lane.working - 1

    def is_working(self, name: str) -> bool:
        return self.lanes[name].working > 0

    def stuck(self, now: float) -> list[str]:
        """Return the lanes that have work in hand and have been silent for too long."""
        return [
            name
            for name, lane in self.lanes.items()
            if lane.working > 0 and now - lane.progress_at > lane.allowance_seconds
        ]
