"""The audit log in MongoDB, by plain inserts, finds and deletes: it works on a single server without transactions.

A record's ``_id`` is its ``seq``, so the index that every collection has keeps the chain straight: of two processes
that append at once one is told that the number is taken, and chains its record to the other's.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core import store_phrases as say
from core.audit import AuditPage, AuditQuery, AuditRecord, Head
from core.audit_chain import COLUMNS, Row, chained, checkpoint_record, parse_head, record_of
from core.errors import BadCursor, StoreError
from core.secret import Secret

COLLECTION = "cache_keeper_audit"
_DATABASE = "cache_keeper"
_MOST_TRIES = 200
_FIELDS = COLUMNS[1:]


class MongoAuditLog:
    """Implements ``core.audit.AuditLog``. Raises StoreError without the driver or a server that answers."""

    def __init__(self, url: Secret, *, patience_seconds: float = 5.0) -> None:
        try:
            import pymongo
            from pymongo.errors import PyMongoError
        except ImportError:
            raise StoreError(say.NO_PYMONGO()) from None
        self._url, self._problem = url, PyMongoError
        with self._talking():
            self._client: Any = pymongo.MongoClient(
                url.reveal(), serverSelectionTimeoutMS=round(patience_seconds * 1000), w="majority", journal=True,
                appname="cache-keeper",
            )  # fmt: skip
            database = self._client.get_default_database(_DATABASE)
            self._audit, self._heads = database[COLLECTION], database[f"{COLLECTION}_head"]
            # Each with _id behind it, so that a filtered page comes in order and is not sorted.
            for name in ("actor", "action", "target", "outcome", "request_id", "intent_seq", "stage", "at"):
                self._audit.create_index([(name, 1), ("_id", 1)])

    def close(self) -> None:
        self._client.close()

    def append(self, record: AuditRecord) -> AuditRecord:
        with self._talking():
            return record_of(self._append(record))

    def _append(self, record: AuditRecord) -> Row:
        from pymongo.errors import DuplicateKeyError

        for attempt in range(_MOST_TRIES):
            row = chained(record, self._last())
            try:
                self._audit.insert_one({"_id": row[0], **dict(zip(_FIELDS, row[1:], strict=True))})
            except DuplicateKeyError:
                # Not all at the same time again.
                time.sleep(random.uniform(0, min(0.001 * 2**attempt, 0.05)))
                continue
            self._remember(Head(row[0], row[-1]))
            return row
        raise StoreError(say.OTHERS_QUICKER(tries=_MOST_TRIES))

    def _remember(self, head: Head) -> None:
        """Note the end of the log. A kill before it leaves the note behind by some records, never before them."""
        from pymongo.errors import DuplicateKeyError

        try:
            older = {"_id": 1, "seq": {"$lt": head.seq}}
            self._heads.update_one(older, {"$set": {"seq": head.seq, "hash": head.hash}}, upsert=True)
        except DuplicateKeyError:
            # Another process has noted a later one.
            return

    def _last(self) -> Head | None:
        last = next(iter(self._audit.find({}, {"hash": 1}).sort("_id", -1).limit(1)), None)
        remembered = self._heads.find_one({"_id": 1})
        found = [Head(last["_id"], last["hash"])] if last else []
        found += [Head(remembered["seq"], remembered["hash"])] if remembered else []
        return max(found, key=lambda head: head.seq, default=None)

    def page(self, query: AuditQuery, *, cursor: str = "", limit: int = 50) -> AuditPage:
        conditions = _conditions(query)
        if cursor:
            if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 18):
                raise BadCursor(say.NO_CURSOR(cursor=cursor[:50]))
            conditions["_id"] = {"$lt": int(cursor)}
        with self._talking():
            found = list(self._audit.find(conditions).sort("_id", -1).limit(limit + 1))
            shown = tuple(record_of(_row(each)) for each in found[:limit])
            intents = [each.seq for each in shown if each.stage == "intent"]
            ended = {
                each["intent_seq"] for each in self._audit.find({"intent_seq": {"$in": intents}}, {"intent_seq": 1})
            }
        return AuditPage(shown, str(shown[-1].seq) if len(found) > limit else "", frozenset(intents) - ended)

    def records(self, query: AuditQuery) -> Iterator[AuditRecord]:
        with self._talking():
            yield from (record_of(_row(each)) for each in self._audit.find(_conditions(query)).sort("_id", 1))

    def rows(self, after: int = 0) -> Iterator[Row]:
        with self._talking():
            yield from (_row(each) for each in self._audit.find({"_id": {"$gt": after}}).sort("_id", 1))

    def head(self) -> Head | None:
        with self._talking():
            found = self._heads.find_one({"_id": 1})
        return Head(found["seq"], found["hash"]) if found else None

    def checkpoint(self) -> Head | None:
        with self._talking():
            found = next(iter(self._audit.find({"stage": "checkpoint"}).sort("_id", -1).limit(1)), None)
        return parse_head(found["target"]) if found else None

    def prune(self, before: float, now: float) -> int:
        done = self.checkpoint()
        with self._talking():
            if done is not None:
                # What a pruning that was killed has left behind.
                self._audit.delete_many({"_id": {"$lte": done.seq}})
            young = next(iter(self._audit.find({"at": {"$gte": before}}, {"_id": 1}).sort("_id", 1).limit(1)), None)
            old = {} if young is None else {"_id": {"$lt": young["_id"]}}
            last = next(iter(self._audit.find(old, {"hash": 1}).sort("_id", -1).limit(1)), None)
            if last is None or not self._audit.find_one({**old, "stage": {"$ne": "checkpoint"}}):
                return 0
            pruned = {"_id": {"$lte": last["_id"]}}
            count = int(self._audit.count_documents(pruned))
            # The checkpoint first: a kill in between leaves records behind it, which the next pruning takes.
            self._append(checkpoint_record(Head(last["_id"], last["hash"]), count, now))
            self._audit.delete_many(pruned)
            return count

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except (self._problem, OverflowError) as error:
            raise StoreError(say.AUDIT_IN_MONGODB(words=self._url.masked_in(str(error))[:300])) from None


def _row(document: dict[str, Any]) -> Row:
    return (document["_id"], *(document.get(name) for name in _FIELDS))


def _conditions(query: AuditQuery) -> dict[str, Any]:
    wanted = {
        "actor": query.actor, "action": query.action, "target": query.target, "request_id": query.request_id,
        "stage": query.stage and query.stage.value, "outcome": query.outcome and query.outcome.value,
    }  # fmt: skip
    found: dict[str, Any] = {name: value for name, value in wanted.items() if value}
    bounds = {"$gte": query.since, "$lt": query.until}
    at = {sign: value for sign, value in bounds.items() if value is not None}
    return {**found, "at": at} if at else found
