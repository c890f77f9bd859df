"""The cache in MongoDB behind the protocol of all backends."""

from __future__ import annotations

from collections.abc import Iterator

from core.effects import Effect
from core.errors import BackendError
from core.listing import Availability, EntryType, Family, ListedEntry, Pulse
from core.printable import printable
from operations.backends.tally import Tally, refusal_of_age
from store.mongo_cache import MongoCache, MongoDocument


class MongoBackend:
    """One collection. It has no policy of its own: without an age nothing expires."""

    type = EntryType.MONGODB
    family = Family.DATABASE

    def __init__(self, name: str, cache: MongoCache) -> None:
        self.name = name
        self._cache = cache

    def health(self) -> Availability:
        try:
            return Availability(True, detail=self._cache.info())
        except BackendError as error:
            return Availability(False, str(error), {"address": self._cache.address})

    def entries(self, pulse: Pulse) -> Iterator[list[ListedEntry]]:
        done, total = 0, self._cache.count()
        for documents in self._cache.documents():
            yield [
                # 0 is "not known" for a listing; nothing is ever judged by it.
                ListedEntry(self.name, self.type, shown(each), each.size_bytes, each.at or 0.0, None, 0)
                for each in documents
            ]
            done += len(documents)
            pulse(done, max(total, done))

    def expire(self, older_than_seconds: float | None, *, now: float, dry_run: bool, pulse: Pulse) -> Effect:
        tally = Tally(self.name, self.type, dry_run, pulse)
        if refusal := refusal_of_age(self.name, older_than_seconds):
            return tally.effect(refused=refusal)
        total = tally.total = self._cache.count()
        if older_than_seconds is None:
            tally.stays("empty_policy", total)
            return tally.effect()
        before = now - older_than_seconds
        young = self._cache.count_since(before)
        tally.stays("young", young)
        judged = 0
        for documents in self._cache.documents(before=before):
            judged += len(documents)
            # A list with an old date among others, or a number that is no time, matches too.
            going = [each for each in documents if each.at is not None and each.at < before]
            self._no_time(tally, len(documents) - len(going))
            self._remove(going, tally, "older_than", before)
            tally.beat(len(documents))
        self._no_time(tally, max(total - young - judged, 0))
        return tally.effect()

    def clear(self, *, now: float, dry_run: bool, pulse: Pulse) -> Effect:  # noqa: ARG002
        tally = Tally(self.name, self.type, dry_run, pulse)
        tally.total = self._cache.count()
        for documents in self._cache.documents():
            self._remove(documents, tally, "cleared", None)
            tally.beat(len(documents))
        return tally.effect()

    def _no_time(self, tally: Tally, documents: int) -> None:
        tally.stays("no_time", documents)
        if documents:
            tally.warnings[:] = [f"target {self.name}: documents without a readable time were kept"]

    def _remove(self, documents: list[MongoDocument], tally: Tally, reason: str, before: float | None) -> None:
        if not documents:
            return
        stayed = 0
        if not tally.dry_run:
            stayed = len(documents) - self._cache.delete([each.id for each in documents], before=before)
        # Which ones stayed the server does not say; that some did (renewed, or gone by other hands) it does.
        tally.stays("used_meanwhile", stayed)
        for each in documents[: len(documents) - stayed]:
            tally.goes(shown(each), reason, each.at, each.size_bytes)


def shown(document: MongoDocument) -> str:
    return printable(str(document.id))
