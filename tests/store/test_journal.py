"""The checker's memory on disk: what is kept, once and for how long, whichever process writes it."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from core.errors import StoreError
from core.model import Event, OpenSubmission, Outcome, Pause, State
from core.workflow import Key
from store.journal import Journal
from tests.small_disk import SmallDisk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


def opened(
    prompt_id: str, server: str = "s", key: Key | None = "vae", at: float = 100.0
) -> tuple[OpenSubmission, Event]:
    return OpenSubmission(server, "models", prompt_id, key, at, False), Event(
        at, server, "models", "submitted", prompt_id=prompt_id
    )


def ended(prompt_id: str, at: float, outcome: Outcome = Outcome.VERIFIED, server: str = "s") -> Event:
    return Event(at, server, "models", outcome.value, prompt_id=prompt_id, seconds=5.0)


def close(
    journal: Journal, prompt_id: str, at: float, outcome: Outcome = Outcome.VERIFIED, run: float | None = 3.0
) -> None:
    journal.close_submission(prompt_id, outcome, "why", at, run, ended(prompt_id, at, outcome))


def state(at: float, to: State, server: str = "s") -> Event:
    return Event(at, server, "models", "state", to_state=to.value, rule="rule", reason="reason")


def test_what_is_written_is_there_for_the_next_process(path: Path) -> None:
    first = Journal(path)
    first.record([state(1.0, State.UNKNOWN), state(2.0, State.LOADED)])
    first.open_submission(*opened("p", key=7))
    first.close()
    second = Journal(path)
    assert [event.to_state for event in second.events() if event.kind == "state"] == ["unknown", "loaded"]
    assert second.states() == {("s", "models"): (State.LOADED, "rule", "reason", 2.0)}
    assert second.open_submissions() == [OpenSubmission("s", "models", "p", 7, 100.0, False)]
    assert second.open_submission_of("s") == second.open_submissions()[0]
    assert second.open_submission_of("other") is None


@pytest.mark.parametrize("key", [None, "", "a:b\n缓存", 7, "7"])
def test_a_key_keeps_its_kind(path: Path, key: Key | None) -> None:
    journal = Journal(path)
    journal.open_submission(*opened("p", key=key))
    (found,) = journal.open_submissions()
    assert (found.key, type(found.key)) == (key, type(key))


def test_a_server_has_one_open_submission_whichever_process_asks(path: Path) -> None:
    one, two = Journal(path), Journal(path)
    assert one.open_submission(*opened("p1"))
    assert not two.open_submission(*opened("p2"))
    assert two.open_submission(*opened("p3", server="another"))
    assert [event.prompt_id for event in one.events(server="s")] == ["p1"], "what was refused left no trace"
    close(one, "p1", 105.0)
    assert two.open_submission(*opened("p2"))


def test_of_many_that_ask_at_once_one_is_let_through(path: Path) -> None:
    Journal(path)
    let_through: list[int] = []
    barrier = threading.Barrier(8)

    def ask(number: int) -> None:
        journal = Journal(path)
        barrier.wait(10)
        if journal.open_submission(*opened(f"p{number}")):
            let_through.append(number)
        journal.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(let_through) == 1
    assert len(Journal(path).events()) == 1


def test_the_end_of_a_submission_is_told_once_by_whoever_comes_first(path: Path) -> None:
    one, two = Journal(path), Journal(path)
    one.open_submission(*opened("p"))
    close(one, "p", 105.0)
    close(two, "p", 106.0, Outcome.LOST)
    assert [event.kind for event in one.events()] == ["submitted", "verified"]
    assert one.last_verified() == {("s", "models"): ("p", 105.0)}


def test_a_submission_that_could_not_be_written_down_is_so_at_its_end(path: Path) -> None:
    journal = Journal(path)
    close(journal, "p", 105.0)
    assert [event.kind for event in journal.events()] == ["verified"]
    assert journal.last_verified() == {("s", "models"): ("p", 105.0)}
    assert journal.last_submissions() == {"s": 100.0}
    assert journal.open_submissions() == []


def test_a_confirmed_submission_is_known_as_one(path: Path) -> None:
    journal = Journal(path)
    journal.open_submission(*opened("p"))
    journal.confirm_submission("p")
    assert journal.open_submissions()[0].confirmed


def test_the_newest_verified_runs_tell_how_long_a_set_takes(path: Path) -> None:
    journal = Journal(path)
    for number in range(12):
        journal.open_submission(*opened(f"p{number}", at=float(number)))
        close(journal, f"p{number}", number + 0.5, run=float(number))
    journal.open_submission(*opened("failed", at=20.0))
    close(journal, "failed", 21.0, Outcome.FAILED, run=99.0)
    journal.open_submission(*opened("unseen", at=22.0))
    close(journal, "unseen", 23.0, run=None)
    assert sorted(journal.run_seconds()["s", "models"]) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert journal.run_seconds(newest=2) == {("s", "models"): (11.0, 10.0)}
    assert journal.last_verified() == {("s", "models"): ("unseen", 23.0)}


def test_events_are_found_by_server_and_time_newest_last(path: Path) -> None:
    journal = Journal(path)
    journal.record([state(float(at), State.LOADED, server) for at in range(5) for server in ("a", "b")])
    assert [event.at for event in journal.events(server="a")] == [0, 1, 2, 3, 4]
    assert [event.at for event in journal.events(server="a", since=1, until=3)] == [1, 2, 3]
    assert [event.at for event in journal.events(server="a", newest=2)] == [3, 4]
    assert [event.server for event in journal.events(newest=2)] == ["a", "b"]
    assert journal.events(server="no such") == []


def test_old_events_go_and_what_is_still_needed_stays(path: Path) -> None:
    journal = Journal(path)
    journal.record([state(1.0, State.LOADED), state(50.0, State.LOADED)])
    for prompt_id, at in (("older", 1.0), ("old", 2.0), ("new", 60.0)):
        journal.open_submission(*opened(prompt_id, at=at))
        close(journal, prompt_id, at + 1)
    journal.open_submission(*opened("open", at=4.0))
    other = opened("only", server="idle", at=3.0)
    journal.open_submission(*other)
    journal.close_submission("only", Outcome.VERIFIED, "", 4.0, 1.0, ended("only", 4.0, server="idle"))
    assert journal.forget_before(40.0) > 0
    assert {event.at >= 40.0 for event in journal.events()} == {True}
    assert [each.prompt_id for each in journal.open_submissions()] == ["open"]
    assert journal.last_verified() == {("s", "models"): ("new", 61.0), ("idle", "models"): ("only", 4.0)}
    assert journal.states()["s", "models"][0] is State.LOADED
    assert journal.forget_before(40.0) == 0


def test_pauses_hold_until_their_time_and_in_every_process(path: Path) -> None:
    one, two = Journal(path), Journal(path)
    one.pause(Pause("s", None))
    one.pause(Pause("g", 200.0))
    assert two.pauses(100.0) == {"s": Pause("s", None), "g": Pause("g", 200.0)}
    assert two.pauses(200.0) == {"s": Pause("s", None)}
    one.pause(Pause("s", 300.0))
    assert two.pauses(100.0)["s"] == Pause("s", 300.0)
    assert two.resume("s")
    assert not one.resume("s")


def test_a_state_that_a_newer_version_wrote_is_passed_over(path: Path) -> None:
    journal = Journal(path)
    journal.record([Event(1.0, "s", "models", "state", to_state="hovering")])
    assert journal.states() == {}
    assert len(journal.events()) == 1


# -- files that cannot be used


def test_a_file_that_is_no_database_says_so_and_what_to_do(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be read as one " * 100)
    with pytest.raises(StoreError, match="move it aside") as caught:
        Journal(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Journal(tmp_path / "absent" / "journal.sqlite3")


def test_a_database_of_a_newer_program_is_not_touched(path: Path) -> None:
    Journal(path).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version=99")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer version"):
        Journal(path)
    assert path.read_bytes() == before


def test_many_that_open_an_empty_file_at_once_make_one_database(path: Path) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(8)

    def make() -> None:
        barrier.wait(10)
        try:
            Journal(path).close()
        except StoreError as failure:
            failures.append(failure)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert Journal(path).events() == []


@pytest.mark.needs_root
def test_events_wait_for_a_full_disk_and_are_written_when_there_is_room(small_disk: SmallDisk) -> None:
    journal = Journal(small_disk.path / "journal.sqlite3")
    journal.record([state(0.0, State.UNKNOWN)])
    small_disk.fill()
    kept = [state(float(number), State.LOADED) for number in range(1, 300)]
    for event in kept:
        journal.record([event])
    assert "full" in journal.unwritten_reason
    with pytest.raises(StoreError, match="full"):
        journal.open_submission(*opened("p" * 30_000))
    small_disk.free()
    journal.record([])
    assert journal.unwritten_reason == ""
    assert [event.at for event in journal.events(server="s", newest=1000)] == [float(number) for number in range(300)]
    journal.close()
