"""Puts operations on record: the intent before anything is done, the result after it.

What deletes does not begin when its intent cannot be written. Everything else goes on, and the daemon's log has what
the audit log could not take: a full disk must not keep the fleet cold.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from config import Settings
from core.access import Caller, Channel
from core.audit import (
    AuditLog,
    AuditOutcome,
    AuditPage,
    AuditQuery,
    AuditRecord,
    Head,
    Stage,
    recorded_action,
    redact,
    redact_text,
)
from core.audit_chain import json_line
from core.errors import AccessDenied, CacheKeeperError, RefusedTarget, StoreError
from core.operation_phrases import INTERRUPTED, NOT_ON_RECORD
from core.store_phrases import AUDIT_UNOPENED
from operations.late import Late

READ_SECONDS, NAMELESS_READ_SECONDS = 60.0, 3600.0
"""A look is put on record so often; more seldom where no token tells who looks, as pages on this machine do all day."""
_MOST_READERS = 10_000

log = logging.getLogger("audit")


def open_audit_log(settings: Settings, *, patience_seconds: float = 5.0) -> AuditLog:
    """Return the audit log that the settings ask for: MongoDB with MONGODB_URL, otherwise SQLite.

    Raises StoreError. ``patience_seconds`` is how long a write waits for another process's.
    """
    if settings.mongodb_url is not None:
        from store.mongo_audit import MongoAuditLog

        return MongoAuditLog(settings.mongodb_url, patience_seconds=patience_seconds)
    from store.audit_log import SqliteAuditLog

    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    return SqliteAuditLog(settings.audit_database, patience_seconds=patience_seconds)


class LazyAuditLog:
    """The audit log of the settings, opened at its first use and tried again at the next where that fails.

    A command that deletes nothing never opens it, and a daemon whose log cannot be opened goes on without deleting.
    """

    def __init__(self, settings: Settings, *, patience_seconds: float = 5.0) -> None:
        self._log = Late(AUDIT_UNOPENED, lambda: open_audit_log(settings, patience_seconds=patience_seconds))

    def append(self, record: AuditRecord) -> AuditRecord:
        return self._log.get().append(record)

    def page(self, query: AuditQuery, *, cursor: str = "", limit: int = 50) -> AuditPage:
        return self._log.get().page(query, cursor=cursor, limit=limit)

    def records(self, query: AuditQuery) -> Iterator[AuditRecord]:
        return self._log.get().records(query)

    def rows(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        return self._log.get().rows(after)

    def head(self) -> Head | None:
        return self._log.get().head()

    def checkpoint(self) -> Head | None:
        return self._log.get().checkpoint()

    def prune(self, before: float, now: float) -> int:
        return self._log.get().prune(before, now)

    def close(self) -> None:
        self._log.close()


@dataclass
class Underway:
    """An operation under way; implements ``core.audit.Operation``."""

    effect: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    failed: str = ""


class Auditor:
    """Implements ``core.audit.Records`` over an audit log. Any thread may call."""

    def __init__(self, audit_log: AuditLog) -> None:
        self.log = audit_log
        self._lock = Lock()
        self._seen: OrderedDict[tuple[str, ...], float] = OrderedDict()

    @contextmanager
    def operation(
        self, caller: Caller, action: str, target: str, parameters: Mapping[str, Any], *, destructive: bool = False
    ) -> Iterator[Underway]:
        """Write the intent, let the body do it, write the result; what the body raises is written and raised on.

        With ``dry_run`` among the parameters the action is recorded as ``<action>.plan``. Raises StoreError before the
        body when the operation is destructive and its intent cannot be written.
        """
        intent = _record(caller, Stage.INTENT, recorded_action(action, parameters), target, parameters)
        try:
            intent = self.log.append(intent)
        except StoreError as error:
            if destructive:
                raise StoreError(NOT_ON_RECORD(action=action, item=target or "everything", reason=error)) from None
            self._lost(intent, error)
        began, underway = time.monotonic(), Underway()
        outcome, words = AuditOutcome.SUCCESS, ""
        try:
            yield underway
        except (RefusedTarget, AccessDenied) as error:
            outcome, words = AuditOutcome.REFUSED, str(error)
            raise
        except BaseException as error:
            outcome, words = AuditOutcome.FAILURE, _words(error)
            raise
        else:
            if underway.refused:
                outcome, words = AuditOutcome.REFUSED, underway.refused
            elif underway.failed:
                outcome, words = AuditOutcome.FAILURE, underway.failed
        finally:
            self._append(
                replace(
                    intent, at=time.time(), stage=Stage.RESULT, outcome=outcome, error=redact_text(words),
                    duration_seconds=time.monotonic() - began, effect=redact(underway.effect), intent_seq=intent.seq,
                )
            )  # fmt: skip

    def read(self, caller: Caller, action: str, target: str = "", parameters: Mapping[str, Any] | None = None) -> None:
        """Write down a look, at most once a minute for the same caller, action and target. Never raises."""
        if self._is_new(caller, action, target):
            record = _record(caller, Stage.READ, action, target, parameters or {})
            self._append(replace(record, outcome=AuditOutcome.SUCCESS))

    def refused(self, caller: Caller, action: str, target: str, reason: str) -> None:
        """Write down what was not allowed, as seldom as a look: it costs a stranger nothing to ask. Never raises."""
        if self._is_new(caller, action, target):
            record = _record(caller, Stage.RESULT, action, target, {})
            self._append(replace(record, outcome=AuditOutcome.REFUSED, error=redact_text(reason)))

    def _is_new(self, caller: Caller, action: str, target: str) -> bool:
        key, now = (caller.user, caller.token_id, caller.address, action, target), time.monotonic()
        with self._lock:
            seen_at = self._seen.get(key)
            if seen_at is not None and now - seen_at < (
                READ_SECONDS if caller.token_id or caller.channel is not Channel.API else NAMELESS_READ_SECONDS
            ):
                return False
            self._seen[key] = now
            self._seen.move_to_end(key)
            if len(self._seen) > _MOST_READERS:
                self._seen.popitem(last=False)
            return True

    def _append(self, record: AuditRecord) -> None:
        try:
            self.log.append(record)
        except StoreError as error:
            self._lost(record, error)

    def _lost(self, record: AuditRecord, error: StoreError) -> None:
        # Once more in full: where the disk of the database is full, that of the log may not be.
        log.error("not put on record: %s: %s", error, json_line(record).strip())


def _record(caller: Caller, stage: Stage, action: str, target: str, parameters: Mapping[str, Any]) -> AuditRecord:
    return AuditRecord(
        at=time.time(), request_id=redact_text(caller.request_id), stage=stage, actor=redact_text(caller.user),
        role=caller.role.value, token_id=redact_text(caller.token_id), address=redact_text(caller.address),
        channel=caller.channel.value, action=action, target=redact_text(target), parameters=redact(parameters),
    )  # fmt: skip


def _words(error: BaseException) -> str:
    """An error's own words are for people; anything else is a fault, and its kind says more than its text alone."""
    if isinstance(error, CacheKeeperError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED()
    return f"{type(error).__name__}: {error}"
