"""The contract of an audit log, which SQLite and MongoDB keep alike: order, filters, the chain and its end."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.audit import AuditLog, AuditOutcome, AuditQuery, Head, Stage
from core.audit_chain import COLUMNS, hash_of, verify
from core.errors import BadCursor, StoreError
from core.secret import Secret
from store.mongo_audit import MongoAuditLog
from tests.mongo_double import MongoDouble
from tests.operations.audit_logs import MongoPlace, Place, SqlitePlace, judged, record
from tests.workspace import SOURCE, free_port


class Forger:
    """Changes a row and gives it the hash that belongs to it, as somebody who has read our source would."""

    def __init__(self, row: dict[str, Any]) -> None:
        self._row = row

    def with_values(self, **values: Any) -> dict[str, Any]:
        row = {**self._row, **values}
        row["hash"] = hash_of(tuple(row[name] for name in COLUMNS))
        return row


@pytest.fixture(scope="module")
def double() -> Iterator[MongoDouble]:
    double = MongoDouble()
    double.start()
    yield double
    double.stop()


@pytest.fixture(params=["sqlite", "mongodb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return SqlitePlace(tmp_path / "audit.sqlite3")
    return MongoPlace(request.getfixturevalue("double"), f"test_{uuid.uuid4().hex}")


@pytest.fixture
def log(place: Place) -> Iterator[AuditLog]:
    log = place.open()
    yield log
    log.close()


def filled(log: AuditLog, count: int) -> None:
    for number in range(count):
        log.append(record(number))


def kinds(log: AuditLog) -> list[tuple[str, int]]:
    return [(each.kind, each.seq) for each in judged(log).findings]


def test_a_record_comes_back_as_it_was_given_with_its_number_and_its_chain(log: AuditLog) -> None:
    first, second = log.append(record(1)), log.append(record(2, duration_seconds=None, at=7))
    assert (first.seq, second.seq) == (1, 2)
    assert second.previous_hash == first.hash != second.hash
    page = log.page(AuditQuery())
    assert page.records == (second, first)
    assert page.records[1].effect == {"files": 1, "bytes": 2**62}
    assert page.records[1].parameters == {"days": 7, "名": "值"}
    assert list(log.records(AuditQuery())) == [first, second]
    assert log.head() == Head(2, second.hash)
    assert judged(log).ok


def test_an_empty_log_is_whole(log: AuditLog) -> None:
    assert log.page(AuditQuery()).records == ()
    assert (log.head(), log.checkpoint()) == (None, None)
    verdict = judged(log)
    assert (verdict.ok, verdict.records, verdict.head) == (True, 0, None)


def test_pages_go_on_where_the_last_one_ended_though_records_come_in(log: AuditLog) -> None:
    filled(log, 7)
    seen, cursor = [], ""
    while True:
        page = log.page(AuditQuery(), cursor=cursor, limit=3)
        seen += [each.seq for each in page.records]
        log.append(record(99))
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "٣", "9" * 19, " 1", "1;DROP TABLE audit"])
def test_a_cursor_that_is_none_is_refused(log: AuditLog, cursor: str) -> None:
    with pytest.raises(BadCursor):
        log.page(AuditQuery(), cursor=cursor)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (AuditQuery(actor="bob"), [2]),
        (AuditQuery(action="cache.clear"), [3, 2]),
        (AuditQuery(actor="bob", action="cache.clear"), [2]),
        (AuditQuery(target="proxy"), [3]),
        (AuditQuery(request_id="request-1"), [1]),
        (AuditQuery(stage=Stage.READ), [4]),
        (AuditQuery(outcome=AuditOutcome.FAILURE), [3]),
        (AuditQuery(since=1_700_000_002), [4, 3, 2]),
        (AuditQuery(until=1_700_000_002), [1]),
        (AuditQuery(since=1_700_000_002, until=1_700_000_004), [3, 2]),
        (AuditQuery(actor="' OR 1=1 --"), []),
        (AuditQuery(actor="$ne"), []),
    ],
    ids=str,
)
def test_filters_leave_what_matches(log: AuditLog, query: AuditQuery, expected: list[int]) -> None:
    log.append(record(1))
    log.append(record(2, actor="bob", action="cache.clear"))
    log.append(record(3, action="cache.clear", target="proxy", outcome=AuditOutcome.FAILURE))
    log.append(record(4, stage=Stage.READ))
    assert [each.seq for each in log.page(query).records] == expected
    assert [each.seq for each in log.records(query)] == expected[::-1]


def test_an_intent_without_a_result_is_unfinished(log: AuditLog) -> None:
    intent = log.append(record(1, stage=Stage.INTENT, outcome=AuditOutcome.PENDING))
    killed = log.append(record(1, stage=Stage.INTENT, outcome=AuditOutcome.PENDING))
    log.append(record(1, intent_seq=intent.seq))
    assert log.page(AuditQuery()).unfinished == {killed.seq}
    # Also where the result is on another page.
    assert log.page(AuditQuery(stage=Stage.INTENT)).unfinished == {killed.seq}


def test_a_changed_record_is_found_whatever_was_changed(log: AuditLog, place: Place) -> None:
    filled(log, 5)
    for name, value in {
        "at": 1.0, "actor": "mallory", "role": "admin", "address": "127.0.0.1", "action": "cache.look", "target": "x",
        "parameters": "{}", "outcome": "failure", "effect": '{"files":0}', "error": "x", "request_id": "y",
        "duration_seconds": None, "stage": "read", "intent_seq": 3, "token_id": "", "channel": "cli",
    }.items():  # fmt: skip
        before = place.row(3)
        place.change(3, **{name: value})
        assert kinds(log) == [("changed", 3)], name
        place.change(3, **{name: before[name]})
    assert judged(log).ok


def test_a_record_that_was_changed_together_with_its_hash_is_found(log: AuditLog, place: Place) -> None:
    filled(log, 5)
    forged = Forger(place.row(3))
    place.change(3, **forged.with_values(actor="mallory"))
    assert kinds(log) == [("replaced", 3)]


def test_removed_records_are_found_in_the_middle_and_at_the_start(log: AuditLog, place: Place) -> None:
    filled(log, 6)
    place.remove(1, 3, 4)
    assert kinds(log) == [("removed", 1), ("removed", 3)]


def test_a_record_put_in_is_found(log: AuditLog, place: Place) -> None:
    filled(log, 5)
    place.remove(3)
    place.put(Forger(place.row(2)).with_values(seq=3, previous_hash=place.row(2)["hash"], actor="mallory"))
    assert kinds(log) == [("replaced", 3)]


def test_two_records_that_changed_places_are_found(log: AuditLog, place: Place) -> None:
    filled(log, 5)
    second, third = place.row(2), place.row(3)
    place.remove(2, 3)
    place.put({**second, "seq": 3})
    place.put({**third, "seq": 2})
    found = judged(log).findings
    assert {(each.kind, each.seq) for each in found} >= {("changed", 2), ("changed", 3)}


def test_a_cut_tail_is_found_by_what_the_log_remembers_and_stays_found(log: AuditLog, place: Place) -> None:
    filled(log, 6)
    place.remove(5, 6)
    assert kinds(log) == [("cut", 5)]
    log.append(record(7))
    assert kinds(log) == [("removed", 5)]


def test_a_log_that_was_emptied_is_found(log: AuditLog, place: Place) -> None:
    filled(log, 3)
    place.remove(1, 2, 3)
    assert kinds(log) == [("cut", 1)]


def test_a_tail_that_was_cut_with_the_logs_memory_is_found_by_a_published_head(log: AuditLog, place: Place) -> None:
    filled(log, 6)
    published = log.head()
    assert published is not None
    place.remove(5, 6)
    place.forget_head()
    assert judged(log).ok, "nothing in the log itself tells of it any more"
    verdict = verify(log.rows(), None, [published])
    assert [(each.kind, each.seq) for each in verdict.findings] == [("cut", 5)]
    # New records take the places, and the chain is whole again: only the published hash tells.
    log.append(record(7))
    log.append(record(8))
    assert judged(log).ok
    verdict = verify(log.rows(), None, [published])
    assert [(each.kind, each.seq) for each in verdict.findings] == [("rewritten", 6)]


def test_pruning_leaves_a_checkpoint_that_carries_the_chain_on(log: AuditLog, place: Place) -> None:
    filled(log, 6)
    old = place.row(4)["hash"]
    assert log.prune(before=1_700_000_004.0, now=1_700_000_010.0) == 4
    assert log.checkpoint() == Head(4, old)
    verdict = judged(log)
    assert (verdict.ok, verdict.records) == (True, 3)
    (checkpoint,) = log.page(AuditQuery(stage=Stage.CHECKPOINT)).records
    assert (checkpoint.seq, checkpoint.effect, checkpoint.action) == (7, {"records": 4}, "audit.prune")
    assert log.prune(before=1_700_000_004.0, now=1_700_000_011.0) == 0
    # What is removed by hand behind the checkpoint is still found.
    place.remove(5)
    assert kinds(log) == [("removed", 5)]


def test_pruning_everything_leaves_the_checkpoint_and_pruning_again_nothing_more(log: AuditLog) -> None:
    filled(log, 3)
    assert log.prune(before=2e9, now=2e9) == 3
    assert log.prune(before=3e9, now=3e9) == 0
    assert judged(log).ok
    assert log.append(record(1)).seq == 5
    assert judged(log).ok
    assert log.prune(before=3e9, now=3e9) == 2
    assert judged(log).ok


def test_what_stands_before_the_checkpoint_is_told_and_goes_with_the_next_pruning(log: AuditLog, place: Place) -> None:
    filled(log, 4)
    second = place.row(2)
    log.prune(before=1_700_000_003.0, now=1_700_000_009.0)
    place.put(second)
    assert kinds(log) == [("leftover", 2)]
    assert log.prune(before=1_700_000_003.0, now=1_700_000_010.0) == 0
    assert judged(log).ok
    assert [each.seq for each in log.records(AuditQuery())] == [4, 5]


def test_a_start_that_was_cut_without_a_checkpoint_is_no_pruning(log: AuditLog, place: Place) -> None:
    filled(log, 4)
    place.remove(1, 2)
    assert kinds(log) == [("removed", 1)]


def test_records_of_a_clock_that_jumped_are_pruned_only_up_to_the_first_young_one(log: AuditLog) -> None:
    for at in (10.0, 5000.0, 20.0, 6000.0):
        log.append(record(1, at=at))
    assert log.prune(before=1000.0, now=7000.0) == 1
    assert judged(log).ok


def test_what_another_process_appends_is_seen(log: AuditLog, place: Place) -> None:
    other = place.open()
    for number in range(3):
        log.append(record(number))
        other.append(record(number))
    assert [each.seq for each in log.page(AuditQuery()).records] == [6, 5, 4, 3, 2, 1]
    assert judged(log).ok
    other.close()


def test_a_mongodb_that_is_not_there_is_told_without_its_password() -> None:
    url = Secret(f"mongodb://keeper:pa55word@127.0.0.1:{free_port()}/audit")
    with pytest.raises(StoreError, match="audit log in MongoDB") as error:
        MongoAuditLog(url, patience_seconds=0.2)
    assert "pa55word" not in str(error.value)


def test_a_mongodb_that_went_away_is_an_error_and_works_again_when_it_is_back() -> None:
    double = MongoDouble()
    double.start()
    log = MongoAuditLog(Secret(double.client_url("audit")), patience_seconds=2)
    log.append(record(1))
    double.stop()
    with pytest.raises(StoreError):
        log.append(record(2))
    double.start()
    assert log.append(record(3)).seq == 2
    assert judged(log).ok
    log.close()
    double.stop()


APPEND = """
import sys
from core.secret import Secret
from store.audit_log import SqliteAuditLog
from store.mongo_audit import MongoAuditLog
from tests.operations.audit_logs import record
from pathlib import Path
where = sys.argv[1]
log = MongoAuditLog(Secret(where)) if "://" in where else SqliteAuditLog(Path(where), patience_seconds=30)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    log.append(record(number, actor=sys.argv[2]))
"""


def test_four_processes_that_append_at_once_keep_one_chain(place: Place, log: AuditLog) -> None:
    each = 40 if isinstance(place, SqlitePlace) else 15
    where = str(place.path) if isinstance(place, SqlitePlace) else address(place)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", APPEND, where, f"writer-{number}", str(each)],
            cwd=SOURCE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    found = list(log.records(AuditQuery()))
    assert [record.seq for record in found] == list(range(1, 4 * each + 1))
    for number in range(4):
        own = [record.effect["files"] for record in found if record.actor == f"writer-{number}"]
        assert own == list(range(each)), "each one's own records are in its own order"
    assert judged(log).ok


def address(place: Place) -> str:
    assert isinstance(place, MongoPlace)
    return place.url
