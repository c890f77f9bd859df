"""Removes whole models by a plan that was shown before: one lock per model, skipped with its reason when in use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import CacheKeeperError, ModelBusy
from core.models import words as say
from core.models.removal import Candidate, CleanPolicy, Reason, Verdict, plan
from modelcache.lock import ModelLock, holder_of
from modelcache.model import Model
from modelcache.reading import reading
from modelcache.remove import purge_leftovers, remove_model, why_in_use
from modelcache.roots import CacheRoot, refuse_unsafe
from modelcache.tree import Usage


@dataclass(frozen=True)
class CleanPlan:
    """A verdict for each model, and what removing the doomed would free, shared files counted once, in bytes."""

    verdicts: tuple[tuple[Model, Verdict], ...]
    freeable_bytes: int

    @property
    def doomed(self) -> list[tuple[Model, Verdict]]:
        return [each for each in self.verdicts if each[1].deletes]


@dataclass(frozen=True)
class Outcome:
    """What became of one model. ``freed_bytes`` were measured; ``trouble`` is why something stayed."""

    model: Model
    deleted: bool
    freed_bytes: int = 0
    trouble: str | None = None
    busy: bool = False


def plan_clean(models: Iterable[Model], policy: CleanPolicy, now: float) -> CleanPlan:
    """Given models, return what would go and why. Looks into each for processes that use it; changes nothing."""
    models = list(models)
    verdicts = plan((_candidate(each) for each in models), policy, now)
    # Asked only of those that would go: it opens every file of a model.
    reasons = {each.candidate.key: _in_use(model) for model, each in zip(models, verdicts, strict=True) if each.deletes}
    if any(reasons.values()):
        verdicts = plan((_candidate(each, reasons.get(each.key)) for each in models), policy, now)
    usage = Usage()
    for model, verdict in zip(models, verdicts, strict=True):
        if verdict.deletes:
            usage.merge(model.usage)
    return CleanPlan(tuple(zip(models, verdicts, strict=True)), usage.freeable_bytes)


def clean(planned: CleanPlan, protected: Iterable[Path] = ()) -> list[Outcome]:
    """Remove what the plan says; what has changed since (used, pinned, locked, opened) stays and says so.

    One model's trouble is its own: the others go on. What an interrupted run left behind is purged first.
    """
    protected = tuple(protected)
    for root in {model.place.root for model, _ in planned.doomed}:
        if not _refusal(root, protected):
            purge_leftovers(root)
    return [_remove(model, verdict, protected) for model, verdict in planned.doomed]


def _remove(model: Model, verdict: Verdict, protected: tuple[Path, ...]) -> Outcome:
    if refusal := _refusal(model.place.root, protected):
        return Outcome(model, deleted=False, trouble=refusal)
    ruled = verdict.reason is not Reason.ASKED
    try:
        with ModelLock(model.place.root, model.name, "clean"):
            removed = remove_model(model.place, still_wanted=model.last_used if ruled else None)
    except ModelBusy as busy:
        return Outcome(model, deleted=False, trouble=str(busy), busy=True)
    except (CacheKeeperError, OSError) as error:
        gone = isinstance(error, FileNotFoundError)
        return Outcome(model, deleted=False, trouble=say.REMOVED() if gone else str(error), busy=gone)
    first = f"{removed.failed[0][0]}: {removed.failed[0][1]}" if removed.failed else None
    return Outcome(model, deleted=True, freed_bytes=removed.freed_bytes, trouble=first)


def _refusal(root: CacheRoot, protected: tuple[Path, ...]) -> str | None:
    try:
        refuse_unsafe(root, protected)
    except CacheKeeperError as refusal:
        return str(refusal)
    return None


def _candidate(model: Model, in_use: str | None = None) -> Candidate:
    return Candidate(
        model.key, model.usage.disk_bytes, model.last_used, model.pinned, model.place.root.read_only, in_use
    )


def _in_use(model: Model) -> str | None:
    holder = holder_of(model.place.root, model.name)
    if holder is not None:
        return say.LOCKED(holder=holder)
    try:
        with reading(model.place) as found:
            return why_in_use(found)
    except OSError:
        return None
