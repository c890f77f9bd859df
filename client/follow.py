"""Follows one prompt from the queue to its entry in the history, through busy spells and short outages."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from client.blocking_server import BlockingServer
from core import reason_phrases
from core import workflow_phrases as say
from core.answers import parse_history
from core.errors import Busy, GenerationFailed, PromptLost, ServerError, StillRunning

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 1.0
LOST_AFTER_SECONDS = 1.0
"""How long a prompt must be in neither queue nor history; the two are read one after the other."""
PATIENCE_SECONDS = 30.0
"""How long a server may be unreachable: its queue does not survive a restart, so this is for networks."""


class Step(StrEnum):
    """Where a generation stands. BUSY: the server is connected and does not answer, as while loading a model."""

    QUEUED = "queued"
    RUNNING = "running"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    STORING = "storing"
    DONE = "done"


@dataclass(frozen=True)
class Progress:
    """One report to the caller of ``wait``: prompts ``ahead`` in the queue, images ``stored`` of ``images``."""

    step: Step
    elapsed_seconds: float
    ahead: int = 0
    stored: int = 0
    images: int = 0


Report = Callable[[Progress], None]


def follow(server: BlockingServer, prompt_id: str, timeout_seconds: float, report: Report) -> object:
    """Given a submitted prompt, return the JSON of its history once it has succeeded.

    Raises GenerationFailed with the server's words, PromptLost, StillRunning after ``timeout_seconds``, and
    the ServerError that has lasted longer than PATIENCE_SECONDS.
    """
    began = time.monotonic()
    pause_seconds = FIRST_PAUSE_SECONDS
    absent_since: float | None = None
    failing_since: float | None = None
    while True:
        now = time.monotonic()
        try:
            # Queue first: in the other order a prompt that finishes in between is seen in neither.
            prompts = server.queue().prompts
            ids = [prompt.prompt_id for prompt in prompts]
            if prompt_id in ids:
                absent_since = None
                ahead = ids.index(prompt_id)
                step = Step.RUNNING if prompts[ahead].running else Step.QUEUED
            else:
                document = server.history(prompt_id)
                if (run := parse_history(document, prompt_id)) is not None:
                    if not run.succeeded:
                        raise GenerationFailed(
                            reason_phrases.FAILED_ON(prompt=prompt_id, url=server.url, reason=run.detail), prompt_id
                        )
                    return document
                absent_since = absent_since or now
                ahead, step = 0, Step.QUEUED
                if now - absent_since >= LOST_AFTER_SECONDS:
                    raise PromptLost(say.PROMPT_GONE(prompt=prompt_id, url=server.url), prompt_id)
            failing_since = None
        except Busy:
            # Alive, and loading a model for minutes perhaps: only the caller's own time ends this.
            ahead, step = 0, Step.BUSY
        except ServerError:
            failing_since = failing_since or now
            if now - failing_since >= min(PATIENCE_SECONDS, timeout_seconds):
                raise
            ahead, step = 0, Step.UNREACHABLE
        elapsed_seconds = time.monotonic() - began
        report(Progress(step, elapsed_seconds, ahead))
        if elapsed_seconds >= timeout_seconds:
            said = say.NOT_FINISHED(prompt=prompt_id, seconds=timeout_seconds, step=step, url=server.url)
            raise StillRunning(said, prompt_id)
        time.sleep(min(pause_seconds, max(timeout_seconds - elapsed_seconds, 0.0)))
        pause_seconds = min(pause_seconds * 1.5, LONGEST_PAUSE_SECONDS)
