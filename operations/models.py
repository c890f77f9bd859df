"""The model cache as tasks see it: plain values of what is there, what is whole, what was removed."""

from __future__ import annotations

from typing import Any

from config import Settings
from core import reason_phrases as say
from core.errors import TaskError
from core.models.removal import CleanPolicy
from core.operation_phrases import STAYS, STAYS_FOR
from core.printable import printable
from core.tasks import TaskContext
from modelcache.check import check_place
from modelcache.clean import clean, plan_clean
from modelcache.configured import configured_roots
from modelcache.listing import Listing, find
from modelcache.listing import list_models as read_models
from modelcache.show import check_as_json, model_as_json


def listed(settings: Settings, now: float) -> dict[str, Any]:
    """Return the models with their states, and the disks they lie on."""
    listing = _read(settings, now)
    return {
        "models": [model_as_json(each) for each in listing.models],
        "disk_bytes": listing.usage.disk_bytes,
        "disks": [
            {"path": printable(str(path)), "free_bytes": free, "total_bytes": total}
            for path, (free, total) in listing.disks.items()
        ],
        "skipped": [{"path": printable(path), "reason": why} for path, why in listing.skipped],
    }


def verified(settings: Settings, name: str, *, full: bool, ctx: TaskContext, now: float) -> dict[str, Any]:
    """Check the models that ``name`` means (all without one); raises TaskError when there is none."""
    models = find(_read(settings, now).models, name or None)
    if name and not models:
        raise TaskError(say.NO_MODEL(model=name))
    rows = []
    for number, each in enumerate(models):

        def tell(file: str, done: int, total: int, number: int = number, name: str = each.name) -> None:
            within = done / total if total else 0.0
            ctx.progress(100 * (number + within) / len(models), printable(name), printable(file))

        tell("", 0, 0)
        check = check_place(each.place, full=True, progress=tell) if full else each.check
        rows.append({**model_as_json(each), **check_as_json(check), "whole": bool(check)})
    return {"full": full, "models": rows, "not_whole": sum(not row["whole"] for row in rows)}


def removed(settings: Settings, name: str, now: float) -> dict[str, Any]:
    """Remove the one model of that exact name; raises TaskError with what kept it."""
    # The name alone, or with its directory where two directories have one of that name.
    models = [each for each in _read(settings, now).models if name in (printable(each.name), printable(each.key))]
    models = [each for each in models if not each.place.root.read_only]
    if not models:
        raise TaskError(say.NO_SUCH_MODEL(model=name))
    if len(models) > 1:
        raise TaskError(say.SEVERAL_MODELS(model=name, names=", ".join(printable(each.key) for each in models)))
    planned = plan_clean(models, CleanPolicy(None, None), now)
    if not planned.doomed:
        verdict = planned.verdicts[0][1]
        kept, why = verdict.reason.value, verdict.candidate.in_use
        raise TaskError(STAYS_FOR(model=name, kept=kept, words=why) if why else STAYS(model=name, kept=kept))
    (outcome,) = clean(planned, (settings.root, settings.cache_dir))
    if not outcome.deleted:
        raise TaskError(STAYS(model=name, kept=outcome.trouble))
    return {"name": name, "freed_bytes": outcome.freed_bytes, "trouble": outcome.trouble}


def _read(settings: Settings, now: float) -> Listing:
    return read_models(configured_roots(settings), now=now, fresh=True)
