"""What the last walk over a target saw, in its order: nearly all that the next one sees is known from this alone.

To look up a million entries costs as much as to walk over them. A walk sees them in nearly the same order as the
one before, so their names and marks are kept in that order, thousands in a row of SQLite. What is not found here is
looked up: a memory that is out of step with the walk is slow, and never wrong.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, count
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from store.index_align import matching_blocks

if TYPE_CHECKING:
    from store.index import EntryIndex

_BETWEEN = "\0"
_WINDOW = 32_768
"""Entries that may be ahead of the walk; some 6 MB."""
_LAST = 16
"""As many of the last names of a batch tell whether the memory has come as far: one of them alone may be new."""
_ROWS = 4096

_LAST_ACCESSED = itemgetter(2)

Facts = tuple[int, float, float | None, int]
"""All of an entry but its name: size, created_at, last_accessed, files."""


class Run(NamedTuple):
    """Names and marks of entries that a walk saw one after the other."""

    names: str
    marks: bytes

    @classmethod
    def of(cls, names: Sequence[str], marks: Sequence[int]) -> Run:
        return cls(_BETWEEN.join(names), array("q", marks).tobytes())

    def faithful(self, length: int) -> bool:
        """Whether as many names can be told apart again."""
        return self.names.count(_BETWEEN) == length - 1

    def entries(self) -> Iterator[tuple[str, int]]:
        return zip(self.names.split(_BETWEEN), array("q", self.marks), strict=True)


def marks_of(facts: Sequence[Facts]) -> list[int]:
    """Return what stands for each entry's facts, the same in every process."""
    # Every process hashes numbers alike, and None otherwise.
    if None in map(_LAST_ACCESSED, facts):
        return [hash(each if each[2] is not None else (each[0], each[1], each[3])) for each in facts]
    return list(map(hash, facts))


class Memory:
    """What is known of a target's entries as a walk begins. It speaks of ``revision``, and of no other."""

    def __init__(self, index: EntryIndex, target: int) -> None:
        self._index = index
        self._target = target
        with index.reading() as connection:
            self.revision, remembered = connection.execute(
                "SELECT revision, remembered FROM targets WHERE id = ?", (target,)
            ).fetchone()
        # A walk that did not end, or two at the same time: what it was is in the rows, in the order of names.
        self._runs = self._remembered() if remembered == self.revision else self._from_rows()
        self._next = next(self._runs, None)
        self._ahead: dict[str, int] = {}
        self._passed: dict[str, int] = {}

    def passes(self, position: int, run: Run) -> bool:
        """Whether a run is there as it was, at the same position; it is then done with."""
        if self._next != (position, run):
            return False
        self._next = next(self._runs, None)
        return True

    def unlike(self, run: Run, names: list[str]) -> tuple[list[int], list[int]]:
        """Return the positions of entries that are remembered otherwise, and of those not remembered hereabouts.

        Given a run and its names, which are thereby done with.
        """
        marks = array("q", run.marks)
        otherwise, left = self._set_against_next(names, marks) if self._room() else ([], range(len(names)))
        if 2 * len(left) > len(names):
            last = [names[each] for each in left[-_LAST:]]
            while self._room() and not any(map(self._ahead.__contains__, last)):
                self._ahead.update(self._following().entries())
        strange = []
        for position in left:
            known = self._ahead.pop(names[position], None)
            if known is None:
                strange.append(position)
            elif known != marks[position]:
                otherwise.append(position)
        return otherwise, strange

    def _set_against_next(self, names: list[str], marks: array[int]) -> tuple[list[int], Sequence[int]]:
        """Compare with the next run, nearly always the same but for a few; what only that one has is then ahead."""
        otherwise: list[int] = []
        left: list[int] = []
        before = self._following()
        old_names, old_marks = before.names.split(_BETWEEN), array("q", before.marks)
        new = old = 0
        end = (len(names), len(old_names), 0)
        for here, there, length in chain(matching_blocks(names, old_names), [end]):
            left.extend(range(new, here))
            self._ahead.update(zip(old_names[old:there], old_marks[old:there], strict=True))
            new, old = here + length, there + length
            if marks[here:new] != old_marks[there:old]:
                pairs = zip(count(here), marks[here:new], old_marks[there:old])
                otherwise.extend(position for position, mark, known in pairs if mark != known)
        return otherwise, left

    def _room(self) -> bool:
        return self._next is not None and len(self._ahead) < _WINDOW

    def _following(self) -> Run:
        assert self._next is not None
        _, run = self._next
        self._next = next(self._runs, None)
        return run

    def catch_up(self) -> None:
        """Pass over what is ahead: the walk has left it behind."""
        self._passed.update(self._ahead)
        self._ahead.clear()

    def rest(self) -> Iterator[tuple[str, int]]:
        """Yield names and marks of all that was not told."""
        yield from self._passed.items()
        yield from self._ahead.items()
        if self._next:
            yield from self._next[1].entries()
        for _, run in self._runs:
            yield from run.entries()

    def still_true(self, connection: sqlite3.Connection) -> bool:
        """Whether nobody else has changed the target's entries meanwhile. Given a connection that may write."""
        row = connection.execute("SELECT revision FROM targets WHERE id = ?", (self._target,)).fetchone()
        return bool(row == (self.revision,))

    def _remembered(self) -> Iterator[tuple[int, Run]]:
        for position in count():
            rows = self._read("SELECT names, marks FROM runs WHERE target = ? AND position = ?", position)
            if not rows:
                return
            yield position, Run(*rows[0])

    def _from_rows(self) -> Iterator[tuple[int, Run]]:
        after, beyond = "", ">="
        while rows := self._read(
            "SELECT name, size, created_at, last_accessed, files FROM entries"
            f" WHERE target = ? AND name {beyond} ? ORDER BY name LIMIT {_ROWS}",
            after,
        ):
            after, beyond = rows[-1][0], ">"
            yield -1, Run.of([row[0] for row in rows], marks_of([row[1:] for row in rows]))

    def _read(self, query: str, value: str | int) -> list[tuple[Any, ...]]:
        with self._index.reading() as connection:
            return connection.execute(query, (self._target, value)).fetchall()


def remember(connection: sqlite3.Connection, target: int, runs: dict[int, Run], length: int) -> None:
    """Given what has changed among ``length`` runs that name every row once, keep it with the revision it speaks of."""
    connection.executemany("DELETE FROM runs WHERE target = ? AND position = ?", [(target, each) for each in runs])
    connection.execute("DELETE FROM runs WHERE target = ? AND position >= ?", (target, length))
    connection.executemany(
        "INSERT OR ROLLBACK INTO runs VALUES (?, ?, ?, ?)", [(target, position, *run) for position, run in runs.items()]
    )
    # One further, so that a walk that read half of the old runs does not take the new ones for their other half.
    connection.execute("UPDATE targets SET revision = revision + 1, remembered = revision + 1 WHERE id = ?", (target,))


def forget(connection: sqlite3.Connection, target: int) -> None:
    """Leave the next walk with the rows alone."""
    connection.execute("UPDATE targets SET revision = revision + 1, remembered = NULL WHERE id = ?", (target,))
    connection.execute("DELETE FROM runs WHERE target = ?", (target,))
