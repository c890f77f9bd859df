"""Which models go, and why; which revisions and partial downloads nothing uses."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

FUTURE_SLACK_SECONDS = 3600.0


class Reason(Enum):
    ASKED = "asked"
    OLD = "old"
    OVER_LIMIT = "over limit"
    PINNED = "pinned"
    READ_ONLY = "read-only"
    IN_USE = "in use"
    RECENT = "recent"
    WITHIN_LIMIT = "within limit"
    FUTURE_TIME = "future time"


_DELETING = (Reason.ASKED, Reason.OLD, Reason.OVER_LIMIT)


@dataclass(frozen=True)
class Candidate:
    """A model that could go: bytes on disk, when it was last used (epoch seconds), and what protects it."""

    key: str
    disk_bytes: int
    last_used: float
    pinned: bool = False
    read_only: bool = False
    in_use: str | None = None


@dataclass(frozen=True)
class CleanPolicy:
    """Without any rule, what was named goes: naming it (or nothing, for all) is the rule."""

    older_than_seconds: float | None = None
    keep_under_bytes: int | None = None


@dataclass(frozen=True)
class Verdict:
    candidate: Candidate
    reason: Reason

    @property
    def deletes(self) -> bool:
        return self.reason in _DELETING


def plan(candidates: Iterable[Candidate], policy: CleanPolicy, now: float) -> list[Verdict]:
    """Given models, return a verdict for each, in the order given.

    Pins, read-only places and use outrank every rule. The size limit counts all of the candidates, also those
    that must stay, and takes the least recently used first. An age is compared strictly.
    """
    candidates = list(candidates)
    reasons = {each.key: _protection(each, policy, now) for each in candidates}
    free = [each for each in candidates if reasons[each.key] is None]
    if policy.older_than_seconds is None and policy.keep_under_bytes is None:
        reasons.update({each.key: Reason.ASKED for each in free})
    if policy.older_than_seconds is not None:
        for each in free:
            reasons[each.key] = Reason.OLD if now - each.last_used > policy.older_than_seconds else Reason.RECENT
    if policy.keep_under_bytes is not None:
        stays = [each for each in candidates if reasons[each.key] is not Reason.OLD]
        total = sum(each.disk_bytes for each in stays)
        for each in sorted(stays, key=lambda each: each.last_used):
            if reasons[each.key] in (None, Reason.RECENT):
                over = total > policy.keep_under_bytes
                reasons[each.key] = Reason.OVER_LIMIT if over else Reason.WITHIN_LIMIT
                total -= each.disk_bytes if over else 0
    return [Verdict(each, reasons[each.key] or Reason.ASKED) for each in candidates]


def _protection(candidate: Candidate, policy: CleanPolicy, now: float) -> Reason | None:
    if candidate.read_only:
        return Reason.READ_ONLY
    if candidate.pinned:
        return Reason.PINNED
    if candidate.in_use is not None:
        return Reason.IN_USE
    ruled = policy.older_than_seconds is not None or policy.keep_under_bytes is not None
    # Its order among the others is unknown; without a rule nobody asks for its order.
    if ruled and candidate.last_used > now + FUTURE_SLACK_SECONDS:
        return Reason.FUTURE_TIME
    return None


def unreferenced(
    refs: Mapping[str, str], snapshots: Mapping[str, Collection[str]], blobs: Collection[str]
) -> tuple[list[str], list[str]]:
    """Given a hub cache's refs (name to commit), snapshots (commit to blobs) and blobs, return what nothing uses.

    Snapshots that no ref names, and blobs that no remaining snapshot links to. Without any ref nothing is known
    to be superseded, and every snapshot stays.
    """
    named = set(refs.values())
    kept = {commit for commit in snapshots if not refs or commit in named}
    used = {blob for commit in kept for blob in snapshots[commit]}
    return sorted(set(snapshots) - kept), sorted(set(blobs) - used)
