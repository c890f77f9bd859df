"""The chain through the audit log: how a record is written as bytes, what its hash covers, and what breaks it.

Each record's hash covers everything in it, its number and the hash of the one before. So a record that was changed,
taken out or put in is found by reading the log once; that the *end* was cut is only found by a head that was
published before (in the daemon's log, every hour) or that the log itself remembers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from core import operation_phrases as say
from core.audit import GENESIS, AuditOutcome, AuditRecord, Head, Stage

COLUMNS = (
    "seq", "previous_hash", "at", "request_id", "stage", "actor", "role", "token_id", "address", "channel", "action",
    "target", "parameters", "outcome", "duration_seconds", "effect", "error", "intent_seq", "hash",
)  # fmt: skip
"""A record as a log keeps it. ``parameters`` and ``effect`` are JSON texts, kept as they were hashed."""

Row = tuple[Any, ...]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, sort_keys=True).encode

MOST_FINDINGS = 100


def chained(record: AuditRecord, last: Head | None) -> Row:
    """Given a record and the head of the log, return the row that follows it."""
    row = (
        last.seq + 1 if last else 1,
        last.hash if last else GENESIS,
        # A database's column of real numbers gives back 7 as 7.0, and the hash must not depend on it.
        float(record.at),
        record.request_id, record.stage.value, record.actor, record.role, record.token_id, record.address,
        record.channel, record.action, record.target, _encode(record.parameters), record.outcome.value,
        None if record.duration_seconds is None else float(record.duration_seconds),
        _encode(record.effect), record.error, record.intent_seq,
    )  # fmt: skip
    return (*row, hash_of(row))


def hash_of(row: Row) -> str:
    """Return the hash that belongs to a row, with or without its own at the end."""
    # A JSON list: where one text ends and the next begins is in the bytes, so no two rows have the same.
    return sha256(_encode(row[: len(COLUMNS) - 1]).encode()).hexdigest()


def head_of(row: Row) -> Head:
    return Head(row[0], row[-1])


def record_of(row: Row) -> AuditRecord:
    """Return the record of a row."""
    named = dict(zip(COLUMNS, row, strict=True))
    named["stage"], named["outcome"] = Stage(named["stage"]), AuditOutcome(named["outcome"])
    named["parameters"], named["effect"] = json.loads(named["parameters"]), json.loads(named["effect"])
    return AuditRecord(**named)


def checkpoint_record(pruned: Head, count: int, now: float) -> AuditRecord:
    """Return the record that stands for what was pruned; it is appended like any other, so it cannot be slipped in."""
    return AuditRecord(
        now, "", Stage.CHECKPOINT, "audit", "", "", "", "schedule", "audit.prune", f"{pruned.seq}:{pruned.hash}",
        outcome=AuditOutcome.SUCCESS, effect={"records": count},
    )  # fmt: skip


def parse_head(text: str) -> Head:
    """Given SEQ:HASH, return it; raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text.strip())
    if not match:
        raise ValueError(say.NO_HEAD(text=text[:100]))
    return Head(int(match[1]), match[2])


def head_line(head: Head) -> str:
    """Return what the daemon's log says of a head; ``heads_in`` finds it there again."""
    return f"audit head seq={head.seq} hash={head.hash}"


def heads_in(log: str) -> list[Head]:
    """Return every head that a log tells of."""
    found = re.findall(r"audit head seq=([0-9]{1,18}) hash=([0-9a-f]{64})\b", log)
    return [Head(int(seq), digest) for seq, digest in found]


# -- verification --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """What is wrong, and with which record; ``kind`` is changed, replaced, removed, misplaced, leftover, cut or
    rewritten.
    """

    kind: str
    seq: int
    words: str


@dataclass(frozen=True)
class Verdict:
    """What a reading of the whole log has found; ``records`` are those behind the checkpoint."""

    records: int
    head: Head | None
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.findings


def verify(rows: Iterable[Row], checkpoint: Head | None, heads: Sequence[Head] = ()) -> Verdict:
    """Given all rows by ``seq``, the last pruned record and heads that were published, return the verdict.

    The first hundred findings are given: after a change of many records, more tell nothing new.
    """
    findings: list[Finding] = []
    published: dict[int, set[str]] = {}
    for head in heads:
        published.setdefault(head.seq, set()).add(head.hash)
    start = checkpoint or Head(0, GENESIS)
    before, count = start, 0
    for row in rows:
        head = head_of(row)
        if head.seq <= start.seq and not count:
            # They could be anybody's: nothing ties them to what is left.
            if not findings:
                findings.append(Finding("leftover", head.seq, say.LEFTOVER(seq=head.seq)))
            continue
        count += 1
        if len(findings) < MOST_FINDINGS:
            findings += _wrong_with(row, before, published.get(head.seq, set()))
        before = head
    if published and max(published) > before.seq:
        first, last = before.seq + 1, max(published)
        findings.append(Finding("cut", first, say.CUT_OFF(first=first, last=last)))
    return Verdict(count, before if count else None, tuple(findings[:MOST_FINDINGS]))


def _wrong_with(row: Row, before: Head, published: set[str]) -> list[Finding]:
    seq, previous, digest = row[0], row[1], row[-1]
    found = []
    if seq <= before.seq:
        found.append(Finding("misplaced", seq, say.MISPLACED(seq=seq, before=before.seq)))
    elif seq > before.seq + 1:
        first, last = before.seq + 1, seq - 1
        words = say.REMOVED(seq=first) if first == last else say.ALL_REMOVED(first=first, last=last)
        found.append(Finding("removed", first, words))
    elif previous != before.hash:
        found.append(Finding("replaced", before.seq, say.REPLACED(seq=seq, before=before.seq)))
    if _hash_or_none(row) != digest:
        found.append(Finding("changed", seq, say.CHANGED(seq=seq)))
    if published and digest not in published:
        found.append(Finding("rewritten", seq, say.REWRITTEN(seq=seq)))
    return found


def _hash_or_none(row: Row) -> str | None:
    try:
        return hash_of(row)
    except (TypeError, ValueError):
        # Somebody has put in what no record of ours has: bytes, or a number that is none.
        return None


# -- export --------------------------------------------------------------------------------------------------


def as_dict(record: AuditRecord) -> dict[str, Any]:
    """Return a record as plain values for JSON, the time in ISO 8601."""
    return {name: getattr(record, name) for name in COLUMNS} | {"at": iso(record.at)}


def iso(at: float) -> str:
    """Given UTC seconds, return ISO 8601 to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def json_line(record: AuditRecord) -> str:
    """Return a record as one line of JSONL, with its line end."""
    return json.dumps(as_dict(record), ensure_ascii=False, sort_keys=False) + "\n"


CSV_FIELDS = tuple(name for name in COLUMNS if name != "previous_hash")


def csv_line(cells: Iterable[Any]) -> str:
    """Return cells as one line of CSV, with its line end (RFC 4180).

    A text that a spreadsheet would take for a formula gets an apostrophe before it: names in the log come from outside.
    """
    return ",".join(_cell(cell) for cell in cells) + "\r\n"


def csv_row(record: AuditRecord) -> str:
    """Return a record as one line of CSV; the columns are ``CSV_FIELDS``."""
    values = as_dict(record)
    return csv_line(_encode(values[name]) if name in ("parameters", "effect") else values[name] for name in CSV_FIELDS)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    if text.lstrip(" \t\r\n")[:1] in ("=", "+", "-", "@") or text[:1] in ("\t", "\r", "\n"):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\r\n') else text
