"""Submits one warm-up: recorded before it is sent, withdrawn when somebody else is already at it."""

from __future__ import annotations

from dataclasses import replace

from checker.tracks import Journal, ServerTrack, SetTrack
from core import reason_phrases as say
from core.errors import PromptRejected, ServerError, StoreError, Unreachable
from core.model import Decision, DetectorUsed, Event, OpenSubmission, Outcome, Submission
from core.warmup import rival_ahead
from core.workflow import subgraph_for, with_nonce


async def submit(
    track: ServerTrack,
    each: SetTrack,
    decision: Decision,
    journal: Journal,
    *,
    prompt_id: str,
    client_id: str,
    forced: bool,
    now: float,
    wall: float,
) -> tuple[Submission | None, Outcome | None, str]:
    """Given a decision to submit, do it; return (the open submission, None, reason) or (None, outcome, reason).

    ``(None, None, reason)`` means that nothing was sent and nothing has failed. The record comes before the
    POST, so that a kill at any moment leaves a submission that the next start looks up, never one that nobody
    knows of. Raises nothing for a server that refuses, hangs or goes away.
    """
    graph = each.warmup.graph
    assert graph is not None, "decide() submits only with a workflow"
    smallest = subgraph_for(graph, decision.key) if decision.key is not None else graph
    wanted = {decision.key} if decision.key is not None else set(each.missing or each.warmup.keys)
    try:
        # Read once more at the last moment: another keeper may have decided the same just now.
        queue = await track.client.queue()
        if any(prompt.keys & wanted for prompt in queue.prompts):
            return None, None, say.JUST_QUEUED()
        if await _has_come(track, each, decision, forced):
            return None, None, say.JUST_STORED()
        record = OpenSubmission(track.server.name, each.warmup.name, prompt_id, decision.key, wall, False)
        event = Event(
            wall, record.server, record.set_name, "submitted", rule=decision.rule,
            reason=say.also(say.SUBMITTING(part=say.part(decision.key)), decision.reason), prompt_id=prompt_id,
        )  # fmt: skip
        try:
            if not journal.open_submission(record, event):
                return _adopt(track, journal, now, wall)
        except StoreError:
            # A full disk must not keep the fleet cold. After a crash the prompt is still found in the queue.
            journal.record([event])
    except ServerError as error:
        return None, None, say.NOT_SENT(reason=error)
    submission = Submission(prompt_id, decision.key, now, forced=forced)
    try:
        await track.client.submit(
            with_nonce(smallest, prompt_id), prompt_id=prompt_id, client_id=client_id, front=decision.front
        )
    except PromptRejected as rejected:
        return None, Outcome.REJECTED, str(rejected)
    except Unreachable as error:
        return None, Outcome.LOST, say.NOT_SENT(reason=error)
    except ServerError as error:
        # ComfyUI executes what it has received, whatever became of the answer: keep it open, look it up.
        return submission, None, say.NOT_ANSWERED(reason=error)
    return await _unless_rivalled(track, replace(submission, confirmed=True))


async def _has_come(track: ServerTrack, each: SetTrack, decision: Decision, forced: bool) -> bool:
    """Whether the key is in the cache by now: read after the queue, so that a run which ended in between shows."""
    cache = each.observation.cache
    if forced or decision.key is None or cache is None or cache.detector is not DetectorUsed.LIST:
        return False
    return (await track.client.cache_list()).holds(decision.key, each.tag_of(decision.key))


async def _unless_rivalled(
    track: ServerTrack, submission: Submission
) -> tuple[Submission | None, Outcome | None, str]:  # fmt: skip
    """Take a prompt back at once when another keeper posted the same in the same moment and came first."""
    try:
        rival = rival_ahead(await track.client.queue(), submission.prompt_id)
        if rival is None:
            return submission, None, say.ACCEPTED()
        await track.client.withdraw(submission.prompt_id)
    except ServerError:
        # It was accepted all the same; the next poll looks again.
        return submission, None, say.ACCEPTED()
    return None, Outcome.WITHDRAWN, say.WITHDRAWN(prompt=rival.prompt_id)


def _adopt(
    track: ServerTrack, journal: Journal, now: float, wall: float
) -> tuple[Submission | None, Outcome | None, str]:
    """Follow the open submission of another process of this machine, which may have died over it."""
    found = journal.open_submission_of(track.server.name)
    if found is None:
        return None, None, say.JUST_WARMED()
    posted_at = now - max(wall - found.posted_at, 0.0)
    following = Submission(found.prompt_id, found.key, posted_at, found.confirmed)
    return following, None, say.OTHER_PROCESS(id=found.prompt_id)
