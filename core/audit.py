"""The audit log's records, what may stand in them, and what a log that keeps them can do. Times are UTC seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from core.access import Caller

GENESIS = "0" * 64
"""What the first record's hash is chained to."""

LONGEST_TEXT = 500
_MOST_ITEMS, _DEEPEST = 50, 4


class Stage(StrEnum):
    """``intent`` is written before anything is done, ``result`` after it; ``read`` is a look, ``checkpoint`` stands for
    pruned records.
    """

    INTENT = "intent"
    RESULT = "result"
    READ = "read"
    CHECKPOINT = "checkpoint"


class AuditOutcome(StrEnum):
    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    REFUSED = "refused"


@dataclass(frozen=True)
class AuditRecord:
    """One record. ``seq`` and the hashes are given by the log that keeps it.

    ``action`` is a verb with its object, e.g. ``cache.cleanup``; a dry run of it is ``cache.cleanup.plan``. ``effect``
    holds numbers such as files and bytes.
    ``parameters`` has secrets redacted before it comes here. ``intent_seq`` is, in a result, the ``seq`` of its intent,
    0 where there is none.
    """

    at: float
    request_id: str
    stage: Stage
    actor: str
    role: str
    token_id: str
    address: str
    channel: str
    action: str
    target: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outcome: AuditOutcome = AuditOutcome.PENDING
    duration_seconds: float | None = None
    effect: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    intent_seq: int = 0
    seq: int = 0
    previous_hash: str = ""
    hash: str = ""

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing was to be changed; also of records from before ``.plan``, whose action does not tell."""
        return is_dry_run(self.parameters)


def is_dry_run(parameters: Mapping[str, Any]) -> bool:
    """Whether the parameters of an operation ask for a plan alone."""
    return parameters.get("dry_run") is True


def recorded_action(action: str, parameters: Mapping[str, Any]) -> str:
    """Return the name that an operation goes by in the log: a plan's must not be taken for a deletion's."""
    return f"{action}.plan" if is_dry_run(parameters) else action


@dataclass(frozen=True)
class Head:
    """The last record of a log, as it is published: whoever cuts the log behind it is found out."""

    seq: int
    hash: str


@dataclass(frozen=True)
class AuditQuery:
    """Which records: an empty filter matches everything. ``since`` ≤ at < ``until``."""

    actor: str = ""
    action: str = ""
    target: str = ""
    request_id: str = ""
    stage: Stage | None = None
    outcome: AuditOutcome | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True)
class AuditPage:
    """Records, newest first. ``next_cursor`` continues after the last one, empty at the end.

    ``unfinished`` are the intents among them that have no result: what they tell of is under way, or was killed.
    """

    records: tuple[AuditRecord, ...]
    next_cursor: str = ""
    unfinished: frozenset[int] = frozenset()


class AuditLog(Protocol):
    """Keeps records for good. Every log passes the contract suite in ``tests/operations/``.

    Methods raise StoreError when the log cannot be read or written; a record is then not in it, or whole.
    """

    def append(self, record: AuditRecord) -> AuditRecord:
        """Chain a record to the last one; when this returns it is durable. Several processes may append at once."""

    def page(self, query: AuditQuery, *, cursor: str = "", limit: int = 50) -> AuditPage:
        """Return a page of what matches; raises BadCursor for a cursor that is none."""

    def records(self, query: AuditQuery) -> Iterator[AuditRecord]:
        """Yield everything that matches, oldest first."""

    def rows(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield what is kept, as it is kept, by ``seq``: the columns of ``core.audit_chain.COLUMNS``."""

    def head(self) -> Head | None:
        """Return the last record as the log itself remembers it, None when there has been none."""

    def checkpoint(self) -> Head | None:
        """Return the last record that was pruned, None when none ever was."""

    def prune(self, before: float, now: float) -> int:
        """Delete the records older than ``before``, leave a checkpoint that carries the chain on; return how many."""

    def close(self) -> None: ...


class Operation(Protocol):
    """An operation under way; its body says what came of it."""

    effect: Mapping[str, Any]
    """Numbers: files, bytes."""
    refused: str
    """Why it was not done, empty when it was."""
    failed: str
    """What went wrong though nothing was raised, empty when nothing did."""


class Records(Protocol):
    """Where operations are put on record; see operations/auditing.py."""

    def operation(
        self,
        caller: Caller,
        action: str,
        target: str,
        parameters: Mapping[str, Any],
        *,
        destructive: bool = False,
    ) -> AbstractContextManager[Operation]:
        """Write the intent before the body and the result after it.

        Raises StoreError before the body when the operation is destructive and its intent cannot be written.
        """

    def read(self, caller: Caller, action: str, target: str = "", parameters: Mapping[str, Any] = {}) -> None:
        """Write down a look, at most once a minute for the same caller, action and target. Never raises."""

    def refused(self, caller: Caller, action: str, target: str, reason: str) -> None:
        """Write down what was not allowed, as seldom as a look. Never raises."""


# -- what may stand in a record ------------------------------------------------------------------------------

_SECRET_NAME = re.compile(
    r"token(?!_?id)|secret|passw|passphrase|authorization|api_?key|private_?key|credential|cookie|signature",
    re.IGNORECASE,
)
_SECRETS_IN_TEXT = (
    # scheme://user:password@host
    (re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s/@]*@", re.IGNORECASE), r"\1***@"),
    (re.compile(r"\b(bearer|basic|digest)\s+[\w.~+/=-]{6,}", re.IGNORECASE), r"\1 ***"),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*"), "***"),
    (
        re.compile(
            r"((?:token|secret|passw\w*|api_?key|signature|sig|credential)\s*[=:]\s*)[^\s&,;'\"]+", re.IGNORECASE
        ),
        r"\1***",
    ),
)


def redact(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Given an operation's parameters, return them fit to be kept: no secrets, nothing endless, valid JSON."""
    return {
        redact_text(str(name)): "***" if _SECRET_NAME.search(_plain(str(name))) and value else _fit(value, _DEEPEST)
        for name, value in _first(parameters.items())
    }


def redact_text(text: str) -> str:
    """Return a text without the secrets that texts have in them, printable in UTF-8 and not endless."""
    # Half a surrogate pair is a str that no database takes.
    text = text.encode("utf-8", "backslashreplace").decode()
    for pattern, replacement in _SECRETS_IN_TEXT:
        text = pattern.sub(replacement, text)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _fit(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str) or depth == 0:
        return redact_text(str(value))
    if isinstance(value, Mapping):
        return {
            redact_text(str(name)): "***" if _SECRET_NAME.search(_plain(str(name))) and each else _fit(each, depth - 1)
            for name, each in _first(value.items())
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_fit(each, depth - 1) for each in _first(value)]
    return redact_text(str(value))


def _first(items: Iterable[Any]) -> Iterator[Any]:
    for number, item in enumerate(items):
        if number == _MOST_ITEMS:
            return
        yield item


def _plain(name: str) -> str:
    return name.replace("-", "_").replace(" ", "_")
