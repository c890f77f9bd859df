"""The audit log's records, and the chain that ties each to the one before. Times are UTC seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

GENESIS = "0" * 64
"""What the first record's hash is chained to."""


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

    ``action`` is a verb with its object, e.g. ``cache.cleanup``. ``effect`` holds numbers such as files and bytes.
    ``parameters`` has secrets redacted before it comes here.
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
    seq: int = 0
    previous_hash: str = ""
    hash: str = ""
