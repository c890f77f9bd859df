"""Models on disk behind the protocol of all backends: one entry a model, by its last use, with modelcache's safety."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from core import cleaning_phrases as say
from core.effects import Effect
from core.errors import BackendError
from core.listing import Availability, EntryType, Family, ListedEntry, Pulse
from core.models.removal import CleanPolicy, Reason
from core.printable import printable
from modelcache.clean import CleanPlan, clean, plan_clean
from modelcache.listing import Listing, list_models
from modelcache.model import Model
from modelcache.roots import CacheRoot
from operations.backends.tally import Tally, refusal_of_age

_WORTH_TELLING = (Reason.IN_USE, Reason.FUTURE_TIME)


class ModelBackend:
    """All directories of MODEL_CACHE_DIRS and MODEL_VIEW_DIRS; those of the latter are shown and never changed.

    It has no policy of its own: without an age nothing expires. ``protected`` are directories that no cleaned
    root may contain.
    """

    type = EntryType.MODEL
    family = Family.MODEL

    def __init__(
        self, name: str, roots: tuple[CacheRoot, ...], protected: tuple[Path, ...], index_file: Path | None = None
    ) -> None:
        self.name = name
        self._roots = roots
        self._protected = protected
        self._index_file = index_file

    def health(self) -> Availability:
        there = [root.path for root in self._roots if root.path.exists()]
        bad = [f"{printable(str(path))} is not a directory" for path in there if not path.is_dir()]
        return Availability(not bad, "; ".join(bad), {"roots": ", ".join(printable(str(path)) for path in there)})

    def entries(self, pulse: Pulse) -> Iterator[list[ListedEntry]]:
        listing = list_models(self._roots, now=time.time(), index_file=self._index_file)
        self._raise_unreadable(listing)
        names = self._names(listing)
        yield [
            ListedEntry(
                self.name, self.type, names[model.key], model.usage.disk_bytes, model.modified, model.last_used,
                model.check.files,
            )
            for model in listing.models
        ]  # fmt: skip
        pulse(len(listing.models), len(listing.models))

    def expire(self, older_than_seconds: float | None, *, now: float, dry_run: bool, pulse: Pulse) -> Effect:
        tally = Tally(self.name, self.type, dry_run, pulse)
        if refusal := refusal_of_age(self.name, older_than_seconds):
            return tally.effect(refused=refusal)
        if older_than_seconds is None:
            # An empty policy means "all" to modelcache, and "nothing" to everybody who asks for no age here.
            tally.stays("empty_policy", len(list_models(self._roots, now=now, index_file=self._index_file).models))
            return tally.effect()
        return self._clean(CleanPolicy(older_than_seconds=older_than_seconds), now, tally)

    def clear(self, *, now: float, dry_run: bool, pulse: Pulse) -> Effect:
        return self._clean(CleanPolicy(), now, Tally(self.name, self.type, dry_run, pulse))

    def _clean(self, policy: CleanPolicy, now: float, tally: Tally) -> Effect:
        # Read anew: what decides must not come from an index.
        listing = list_models(self._roots, now=now, fresh=True)
        self._raise_unreadable(listing)
        names = self._names(listing)
        planned = plan_clean(listing.models, policy, now)
        tally.total = len(planned.verdicts)
        for path, reason in listing.skipped:
            tally.skips(path, reason, counted_as=reason)
        freed_bytes = 0
        for model, verdict in planned.verdicts:
            name, size = names[model.key], model.usage.disk_bytes
            if not verdict.deletes:
                tally.stays(_word(verdict.reason), 1, size)
                if verdict.reason in _WORTH_TELLING:
                    reason = verdict.candidate.in_use or verdict.reason.value
                    tally.skips(name, reason, counted_as=_word(verdict.reason))
            elif tally.dry_run:
                tally.goes(name, _word(verdict.reason), model.last_used, size, files=model.check.files)
            else:
                # One at a time, so that it can be watched and stopped between two models.
                outcome = clean(CleanPlan(((model, verdict),), 0), self._protected)[0]
                if outcome.deleted:
                    tally.goes(name, _word(verdict.reason), model.last_used, size, files=model.check.files)
                    freed_bytes += outcome.freed_bytes
                    if outcome.trouble:
                        tally.fails(name, outcome.trouble)
                elif outcome.busy:
                    tally.stays("in_use", 1, size)
                    tally.skips(name, outcome.trouble or "in use", counted_as="in_use")
                else:
                    tally.fails(name, outcome.trouble or "could not be removed")
            tally.beat(1)
        # Models share files: what all of them free together is not the sum of what each one takes.
        return replace(tally.effect(), freed_bytes=planned.freeable_bytes if tally.dry_run else freed_bytes)

    def _raise_unreadable(self, listing: Listing) -> None:
        """A directory whose models cannot even be listed is a trouble; one model that cannot be read is a line."""
        roots = {str(root.path) for root in self._roots}
        for path, reason in listing.skipped:
            if path in roots:
                raise BackendError(say.TARGET(target=self.name, reason=f"{printable(path)}: {reason}"))

    def _names(self, listing: Listing) -> dict[str, str]:
        """A name for each model, with its directory where two have the same."""
        names: dict[str, str] = {}
        taken: set[str] = set()
        model: Model
        for model in listing.models:
            name = printable(model.name)
            if name in taken:
                name = printable(model.key)
            taken.add(name)
            names[model.key] = name
        return names


def _word(reason: Reason) -> str:
    """The reason as the other backends would name it."""
    words = {Reason.ASKED: "cleared", Reason.OLD: "older_than", Reason.RECENT: "young"}
    return words.get(reason, reason.value.replace(" ", "_").replace("-", "_"))
