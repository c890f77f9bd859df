"""A cache in MongoDB: one collection whose documents have a field with their time.

The time is a date, or a number of seconds since the epoch; a document without a readable time is never judged by
age, so it stays. Documents are removed in batches by their ``_id``, and the condition on the time is part of the
removal: one that was renewed after it was planned stays. Sizes are those of the documents as BSON, reckoned by the
server (``$bsonSize``, MongoDB 4.4), not what the storage engine makes of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from core import cleaning_phrases as say
from core.entries import OLDEST_CREDIBLE_TIME
from core.errors import BackendError
from core.secret import Secret

if TYPE_CHECKING:
    from pymongo.collection import Collection

BATCH = 1000
DEFAULT_DATABASE = "cache_keeper"
_PATIENCE = {"serverSelectionTimeoutMS": 3000, "connectTimeoutMS": 3000, "socketTimeoutMS": 30_000}


class MongoDocument(NamedTuple):
    """One document as seen. ``at`` is UTC seconds, None where the field is absent or no time."""

    id: Any
    size_bytes: int
    at: float | None


class MongoCache:
    """The documents of one collection. Methods raise BackendError, whose text never has the password."""

    def __init__(self, url: Secret, collection: str, time_field: str) -> None:
        self._url = url
        self._collection = collection
        self._field = time_field

    @property
    def address(self) -> str:
        """The server without user, password and options."""
        return re.sub(r"//.*@", "//", self._url.reveal()).partition("?")[0]

    def info(self) -> dict[str, str]:
        """Return what the server is; answers or raises within five seconds."""
        with self._connected(socketTimeoutMS=1500) as collection:
            version = collection.database.client.server_info()["version"]
        return {
            "address": self.address, "collection": self._collection, "time_field": self._field, "version": str(version),
        }  # fmt: skip

    def documents(self, *, before: float | None = None) -> Iterator[list[MongoDocument]]:
        """Yield documents in batches, those older than a time (UTC seconds) or all."""
        stages: list[dict[str, Any]] = [] if before is None else [{"$match": self._older(before)}]
        stages.append({"$project": {"at": f"${self._field}", "size": {"$bsonSize": "$$ROOT"}}})
        with self._connected() as collection, collection.aggregate(stages, batchSize=BATCH) as cursor:
            batch = []
            for each in cursor:
                batch.append(MongoDocument(each["_id"], int(each["size"]), seconds_of(each.get("at"))))
                if len(batch) == BATCH:
                    yield batch
                    batch = []
            if batch:
                yield batch

    def count(self) -> int:
        """Return about how many documents there are, without reading them."""
        with self._connected() as collection:
            return int(collection.estimated_document_count())

    def count_since(self, moment: float) -> int:
        """Return how many documents have a time at or after this one (UTC seconds)."""
        with self._connected() as collection:
            return int(collection.count_documents({"$or": self._conditions("$gte", moment)}))

    def delete(self, ids: Sequence[Any], *, before: float | None) -> int:
        """Remove these documents, only those still older than ``before`` unless that is None; return how many went."""
        condition: dict[str, Any] = {"_id": {"$in": list(ids)}}
        with self._connected() as collection:
            return int(
                collection.delete_many(condition | ({} if before is None else self._older(before))).deleted_count
            )

    def _older(self, before: float) -> dict[str, Any]:
        return {"$or": self._conditions("$lt", before)}

    def _conditions(self, operator: str, moment: float) -> list[dict[str, Any]]:
        # MongoDB compares within a type: one condition for dates, one for numbers.
        return [
            {self._field: {operator: datetime.fromtimestamp(moment, UTC)}},
            {self._field: {operator: moment}},
        ]

    @contextmanager
    def _connected(self, **options: int) -> Iterator[Collection[dict[str, Any]]]:
        try:
            import pymongo
            from pymongo.errors import PyMongoError
        except ImportError:
            raise BackendError(say.NO_CLIENT(server="MongoDB")) from None
        given = self._url.reveal()
        wished: dict[str, Any] = {
            # Dates that Python cannot hold come as a type of their own instead of ending the whole batch.
            "datetime_conversion": "DATETIME_AUTO",
            **{name: value for name, value in (_PATIENCE | options).items() if name.lower() not in given.lower()},
        }
        try:
            with pymongo.MongoClient[dict[str, Any]](given, **wished) as client:
                yield client.get_default_database(DEFAULT_DATABASE)[self._collection]
        except (PyMongoError, OSError, ValueError, TypeError) as error:
            # A driver's text can be pages long: the state of the whole topology comes after the reason.
            text = " ".join(str(error).split())[:300].partition(", Timeout:")[0]
            raise BackendError(say.MONGODB(address=self.address, words=self._url.masked_in(text))) from None


def seconds_of(value: object) -> float | None:
    """Given a document's time as stored, return UTC seconds, None when it is no time that can be believed."""
    if isinstance(value, datetime):
        at = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            at = float(value)
        except OverflowError:
            return None
    else:
        return None
    return at if math.isfinite(at) and at >= OLDEST_CREDIBLE_TIME else None
