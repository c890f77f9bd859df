"""Pages of the index: by cursor in constant time, by number inside an index, in every order."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from core import store_phrases as say
from core.errors import BadCursor
from core.listing import MAX_PAGE_SIZE, EntryQuery, EntryType, ListedEntry, ListingPage, Sort

_COLUMNS = {
    Sort.NEWEST: ("created_at", True), Sort.OLDEST: ("created_at", False), Sort.LARGEST: ("size", True),
    Sort.SMALLEST: ("size", False), Sort.NAME: ("name", False),
}  # fmt: skip


class _Order(NamedTuple):
    column: str
    descending: bool

    @property
    def direction(self) -> str:
        return "DESC" if self.descending else "ASC"

    def reversed(self) -> _Order:
        return _Order(self.column, not self.descending)


def read_page(
    connection: sqlite3.Connection, query: EntryQuery, *, cursor: str, page: int, page_size: int
) -> ListingPage:
    """Given a connection inside a transaction, return a page; raises BadCursor."""
    types, target = query.types, query.target
    order = _Order(*_COLUMNS[query.sort])
    after = _read_cursor(cursor, query.sort) if cursor else None
    size = min(max(page_size, 1), MAX_PAGE_SIZE)
    skipped = (max(page, 1) - 1) * size
    targets = connection.execute("SELECT id, name, type, entries FROM targets").fetchall()
    chosen = [row for row in targets if (not types or row[2] in types) and (not target or row[1] == target) and row[3]]
    total = sum(row[3] for row in chosen)
    # All of them are one order without a target, which the smaller indexes keep.
    only = [] if len(chosen) == sum(1 for row in targets if row[3]) else [row[0] for row in chosen]
    if not total or (after is None and skipped >= total):
        return ListingPage((), total, "")
    if after is not None:
        rows = _rows(connection, only, order, size + 1, after=after)
        more, rows = len(rows) > size, rows[:size]
    else:
        count = min(size, total - skipped)
        from_end = total - skipped - count
        # What is passed over is read, so it is counted from the nearer end.
        if from_end < skipped:
            rows = _rows(connection, only, order.reversed(), count, offset=from_end)[::-1]
        else:
            rows = _rows(connection, only, order, count, offset=skipped)
        more = from_end > 0
    following = _write_cursor(query.sort, rows[-1]) if more and rows else ""
    return ListingPage(tuple(_entry(row) for row in rows), total, following)


def _rows(
    connection: sqlite3.Connection,
    targets: Sequence[int],
    order: _Order,
    limit: int,
    *,
    offset: int = 0,
    after: tuple[float | int | str, int] | None = None,
) -> list[tuple[Any, ...]]:
    """Return full rows of a page. The inner statement touches one index a target and no row; SQLite merges several."""
    values: list[Any] = []
    parts = []
    beyond = "<" if order.descending else ">"
    chosen: Sequence[int | None] = targets or [None]
    for target in chosen:
        # Two ranges instead of one comparison of pairs, of which SQLite uses only the first half: a page in the middle
        # of a million entries of the same size would read half of them.
        ranges = [f"{order.column} = ? AND id {beyond} ?", f"{order.column} {beyond} ?"] if after else [""]
        for number, each in enumerate(ranges):
            conditions = [each] if each else []
            if target is not None:
                conditions.insert(0, "target = ?")
                values.append(target)
            if after is not None:
                values += after if number == 0 else after[:1]
            where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
            parts.append(f"SELECT id, {order.column} AS key FROM entries {where}")
    inner = f"{' UNION ALL '.join(parts)} ORDER BY key {order.direction}, id {order.direction} LIMIT ? OFFSET ?"
    return connection.execute(
        f"""
        SELECT targets.name, targets.type, entries.name, entries.size, entries.created_at, entries.last_accessed,
            entries.files, entries.id
        FROM ({inner}) AS page JOIN entries ON entries.id = page.id JOIN targets ON targets.id = entries.target
        ORDER BY page.key {order.direction}, page.id {order.direction}
        """,
        (*values, limit, offset),
    ).fetchall()


def _entry(row: tuple[Any, ...]) -> ListedEntry:
    return ListedEntry(row[0], EntryType(row[1]), *row[2:7])


def _write_cursor(sort: Sort, row: tuple[Any, ...]) -> str:
    key = {"created_at": row[4], "size": row[3], "name": row[2]}[_COLUMNS[sort][0]]
    return base64.urlsafe_b64encode(json.dumps([sort, key, row[7]]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, sort: Sort) -> tuple[float | int | str, int]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        of, key, number = json.loads(text)
    # A list of another length, text of another encoding and nested brackets without end are all the same to us.
    except (ValueError, TypeError, RecursionError):
        raise BadCursor(say.FOREIGN_CURSOR()) from None
    if of != sort:
        raise BadCursor(say.OTHER_ORDER(sort=sort.value))
    kinds = {"created_at": (float,), "size": (int,), "name": (str,)}[_COLUMNS[sort][0]]
    if type(key) not in kinds or type(number) is not int or not _fits(key) or not 0 < number < 1 << 63:
        raise BadCursor(say.FOREIGN_CURSOR())
    return key, number


def _fits(key: float | int | str) -> bool:
    if isinstance(key, str):
        return key.isascii() or not any("\ud800" <= each <= "\udfff" for each in key)
    return -(1 << 63) <= key < 1 << 63  # nan is not either
