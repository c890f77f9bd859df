"""What the journal remembers of one server, as readers see it. Times are seconds since 1970 UTC."""

from __future__ import annotations

from dataclasses import dataclass

from core.model import Event
from core.workflow import Key


@dataclass(frozen=True, slots=True)
class SubmissionRecord:
    """One submission from its POST to its end; ``outcome`` is empty while it is open.

    ``reason`` is how it ended, in the server's own words where it failed: node, class, message. ``run_seconds`` is
    None for one that was never seen running.
    """

    prompt_id: str
    set_name: str
    key: Key | None
    posted_at: float
    confirmed: bool
    closed_at: float | None
    outcome: str
    reason: str
    run_seconds: float | None


@dataclass(frozen=True, slots=True)
class ServerHistory:
    """Events and submissions, newest first. ``next_cursor`` continues after the last event, empty at the end."""

    events: tuple[Event, ...]
    submissions: tuple[SubmissionRecord, ...]
    next_cursor: str
