"""A server's past, read page by page from a journal that is being written."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import StoreError
from core.model import Event, OpenSubmission, Outcome, State
from store.history import History
from store.journal import Journal


def change(at: float, server: str = "one", before: str = "loaded", after: str = "failed") -> Event:
    return Event(at, server, "models", "state", before, after, "rule", f"at {at}")


def test_events_come_newest_first_and_page_by_page_without_gap_or_repetition(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    # Several at the same moment, and those of another server in between.
    journal.record([change(float(number // 3)) for number in range(20)] + [change(3.0, "other")])
    history = History(journal.path)
    seen: list[Event] = []
    cursor = ""
    while True:
        page = history.of("one", cursor=cursor, events=6)
        seen += page.events
        journal.record([change(100.0)])
        if not page.next_cursor:
            break
        cursor = page.next_cursor
    journal.close()
    assert [event.at for event in seen] == [float(number // 3) for number in reversed(range(20))]
    assert {event.server for event in seen} == {"one"}


def test_submissions_tell_how_they_ended_and_which_is_open(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for prompt, at in (("first", 1.0), ("second", 5.0)):
        record = OpenSubmission("one", "models", prompt, "key", at, confirmed=False)
        assert journal.open_submission(record, change(at))
        if prompt == "first":
            journal.close_submission(prompt, Outcome.FAILED, "node 3: out of memory", 4.0, 2.5, change(4.0))
    second, first = History(journal.path).of("one").submissions
    journal.close()
    assert (second.prompt_id, second.outcome, second.closed_at) == ("second", "", None)
    assert (first.outcome, first.reason, first.run_seconds, first.key) == (
        "failed",
        "node 3: out of memory",
        2.5,
        "key",
    )


@pytest.mark.parametrize("cursor", ["", "0-0", "1e308-9999999999999999999", "5.5-1"])
def test_any_cursor_finds_at_most_what_is_there(tmp_path: Path, cursor: str) -> None:
    journal = Journal(tmp_path / "journal")
    journal.record([change(5.0)])
    found = History(journal.path).of("one", cursor=cursor)
    journal.close()
    assert found.events in ((), (change(5.0),))
    assert found.next_cursor == ""


def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        History(tmp_path / "nothing").of("one")


def test_changes_of_state_are_found_by_time_oldest_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.record(
        [change(1.0), change(9.0), change(5.0), Event(6.0, "one", "models", "restart"), change(7.0, after="loaded")]
    )
    assert journal.state_changes(5.0) == [
        (5.0, "one", "models", State.LOADED, State.FAILED),
        (9.0, "one", "models", State.LOADED, State.FAILED),
    ]
    journal.close()
