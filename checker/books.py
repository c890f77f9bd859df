"""Keeps the books of what happens: events and the ends of submissions, in the log and in the journal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from checker.events import closing_event, describe, events_of, level_of
from checker.tracks import Journal, ServerTrack, SetTrack
from core.errors import StoreError
from core.model import Event, Memory, Outcome, Pause, State, Submission

log = logging.getLogger("checker")


class Books:
    """Writes to the journal, and again later what could not be written. A dry run writes nothing."""

    def __init__(self, journal: Journal, *, dry_run: bool) -> None:
        self.journal = journal
        self._dry_run = dry_run
        self._unclosed: list[tuple[str, Outcome, str, float, float | None, Event]] = []

    def record(self, track: ServerTrack, each: SetTrack, before: Memory, now: float) -> None:
        """Write down what the last poll or act changed; ``now`` is monotonic."""
        events = events_of(track.server.name, each.warmup.name, before, each.memory, each.decision, now, time.time())
        if not self._dry_run:
            self.journal.record(events)
        for event in events:
            log.log(level_of(event), "%s", describe(event))
        if each.memory.state is State.LOADED:
            if each.warming_from is not None:
                each.last_warm_seconds = now - each.warming_from
            each.warming_from = None
        elif each.memory.submission is not None and each.warming_from is None:
            each.warming_from = now

    def close(
        self, track: ServerTrack, each: SetTrack, submission: Submission, outcome: Outcome, reason: str
    ) -> None:  # fmt: skip
        """Write down how a submission ended, together with the event that tells it."""
        now, wall = time.monotonic(), time.time()
        event = closing_event(track.server.name, each.warmup.name, submission, outcome, reason, now, wall)
        run = now - submission.running_since if submission.running_since is not None else None
        log.log(level_of(event), "%s", describe(event))
        if self._dry_run:
            return
        self._unclosed.append((submission.prompt_id, outcome, reason, wall, run, event))
        self.catch_up()

    def confirm(self, prompt_id: str) -> None:
        """Write down that the server has the prompt."""
        self._written(lambda: self.journal.confirm_submission(prompt_id))

    def catch_up(self) -> None:
        """Write what could not be written before."""
        while self._unclosed and self._written(lambda: self.journal.close_submission(*self._unclosed[0])):
            self._unclosed.pop(0)

    def pauses(self) -> dict[str, Pause] | None:
        """Return the pauses in force by name, None when they cannot be read."""
        try:
            return self.journal.pauses(time.time())
        except StoreError as error:
            log.warning("pauses not read: %s", error)
            return None

    def _written(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except StoreError as error:
            log.warning("journal not written: %s", error)
            return False
        return True
