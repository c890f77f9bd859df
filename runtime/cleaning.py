"""The daemon's cleaning: the same sweep as by hand, over the configured targets, in a thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable

from config import Settings

log = logging.getLogger("cleaner")


class Cleaning:
    """One configuration's cleaning. ``progress`` is called at each unit of work."""

    def __init__(self, settings: Settings, progress: Callable[[], None], *, dry_run: bool) -> None:
        self._settings = settings
        self._progress = progress
        self._dry_run = dry_run
        self.running = False

    def run(self) -> None:
        return

    def plan(self) -> list[str]:
        return []

    def stop(self) -> None:
        return
