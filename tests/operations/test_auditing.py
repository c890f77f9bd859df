"""Operations on record: the intent first, what came of it after, and nothing deleted that cannot be put on record."""

from __future__ import annotations

import json
import logging
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.access import Caller, Channel, Role
from core.audit import AuditOutcome, AuditQuery, AuditRecord, Stage
from core.effects import Effect
from core.errors import BackendError, RefusedTarget, StoreError
from operations.auditing import Auditor
from store.audit_log import SqliteAuditLog
from tests.operations.audit_logs import judged
from tests.small_disk import SmallDisk
from tests.workspace import SOURCE

ALICE = Caller("alice", Role.OPERATOR, Channel.API, "request-1", "t1", "203.0.113.7")


@pytest.fixture
def auditor(tmp_path: Path) -> Iterator[Auditor]:
    log = SqliteAuditLog(tmp_path / "audit.sqlite3", patience_seconds=0.1)
    yield Auditor(log)
    log.close()


def kept(auditor: Auditor) -> list[AuditRecord]:
    return list(auditor.log.records(AuditQuery()))


def test_an_operation_leaves_who_what_when_and_what_came_of_it(auditor: Auditor) -> None:
    with auditor.operation(ALICE, "cache.cleanup", "images", {"days": 7, "token": "x"}, destructive=True) as operation:
        (intent,) = kept(auditor)
        operation.effect = {"files": 3, "bytes": 4096}
    assert (intent.stage, intent.outcome) == (Stage.INTENT, AuditOutcome.PENDING)
    _, result = kept(auditor)
    for each in (intent, result):
        assert (each.actor, each.role, each.token_id, each.address) == ("alice", "operator", "t1", "203.0.113.7")
        assert (each.channel, each.action, each.target, each.request_id) == (
            "api",
            "cache.cleanup",
            "images",
            "request-1",
        )
        assert each.parameters == {"days": 7, "token": "***"}
    assert (result.stage, result.outcome, result.intent_seq) == (Stage.RESULT, AuditOutcome.SUCCESS, intent.seq)
    assert result.effect == {"files": 3, "bytes": 4096}
    assert result.duration_seconds is not None
    assert 0 <= result.duration_seconds < 10
    assert judged(auditor.log).ok


def test_a_dry_run_goes_by_another_name_than_what_it_is_a_plan_of(auditor: Auditor) -> None:
    for dry_run in (True, False):
        with auditor.operation(ALICE, "cache.clear", "images", {"dry_run": dry_run}) as operation:
            operation.effect = Effect("images", "images", dry_run, 182, 1823, 4, 31_293_440).numbers()
    *_, planned, _, cleared = kept(auditor)
    assert [each.action for each in kept(auditor)] == ["cache.clear.plan"] * 2 + ["cache.clear"] * 2
    assert (planned.is_dry_run, cleared.is_dry_run) == (True, False)
    assert (cleared.effect["entries"], cleared.effect["files"], cleared.effect["bytes"]) == (182, 1823, 31_293_440)
    assert not {"entries", "files", "bytes"} & set(planned.effect)
    assert planned.effect["would_free_bytes"] == 31_293_440
    assert judged(auditor.log).ok


@pytest.mark.parametrize(
    ("error", "outcome", "words"),
    [
        (BackendError("redis://a:secret@host is gone"), AuditOutcome.FAILURE, "redis://***@host is gone"),
        (RefusedTarget("that is /"), AuditOutcome.REFUSED, "that is /"),
        (ZeroDivisionError("division"), AuditOutcome.FAILURE, "ZeroDivisionError: division"),
        (KeyboardInterrupt(), AuditOutcome.FAILURE, "interrupted"),
        (SystemExit(3), AuditOutcome.FAILURE, "SystemExit: 3"),
    ],
    ids=repr,
)
def test_what_went_wrong_is_on_record_and_goes_on(
    auditor: Auditor, error: BaseException, outcome: AuditOutcome, words: str
) -> None:
    with pytest.raises(type(error)), auditor.operation(ALICE, "a", "t", {}):
        raise error
    _, result = kept(auditor)
    assert (result.outcome, result.error) == (outcome, words)


def test_a_body_may_say_that_it_was_refused_or_failed(auditor: Auditor) -> None:
    with auditor.operation(ALICE, "a", "t", {}) as operation:
        operation.refused = "90 % of it would go"
    with auditor.operation(ALICE, "a", "t", {}) as operation:
        operation.failed = "3 files could not be deleted"
    refused, failed = (each for each in kept(auditor) if each.stage is Stage.RESULT)
    assert (refused.outcome, refused.error) == (AuditOutcome.REFUSED, "90 % of it would go")
    assert (failed.outcome, failed.error) == (AuditOutcome.FAILURE, "3 files could not be deleted")


def test_looks_are_on_record_once_a_minute_for_each_caller_and_thing(auditor: Auditor) -> None:
    bob = Caller("bob", Role.VIEWER, Channel.API, "request-2")
    for _ in range(50):
        auditor.read(ALICE, "cache.stats")
        auditor.read(ALICE, "cache.details", "images")
        auditor.read(bob, "cache.stats")
        auditor.refused(bob, "access", "DELETE /api/cache/clear", "needs the role admin")
    found = [(each.actor, each.action, each.stage, each.outcome) for each in kept(auditor)]
    assert found == [
        ("alice", "cache.stats", Stage.READ, AuditOutcome.SUCCESS),
        ("alice", "cache.details", Stage.READ, AuditOutcome.SUCCESS),
        ("bob", "cache.stats", Stage.READ, AuditOutcome.SUCCESS),
        ("bob", "access", Stage.RESULT, AuditOutcome.REFUSED),
    ]


def test_names_that_no_database_takes_are_put_on_record_all_the_same(auditor: Auditor) -> None:
    with auditor.operation(Caller("a\ud800", Role.VIEWER, Channel.CLI, "r"), "a", "t\udfff", {"\ud800": "\x00"}):
        pass
    assert len(kept(auditor)) == 2
    assert judged(auditor.log).ok


def destroy(auditor: Auditor, victim: Path) -> None:
    with auditor.operation(ALICE, "cache.clear", "images", {}, destructive=True):
        victim.unlink()


def test_nothing_is_deleted_while_the_disk_is_full(small_disk: SmallDisk, tmp_path: Path) -> None:
    log = SqliteAuditLog(small_disk.path / "audit.sqlite3")
    auditor, victim = Auditor(log), tmp_path / "victim"
    victim.touch()
    small_disk.fill()
    refused = ""
    for _ in range(100):
        # What the last page has room for is not refused yet.
        victim.touch()
        try:
            destroy(auditor, victim)
        except StoreError as error:
            refused = str(error)
            break
    assert refused.startswith("nothing was done: cache.clear of images cannot be put on record")
    assert victim.exists()
    small_disk.free()
    destroy(auditor, victim)
    assert not victim.exists()
    assert judged(log).ok
    log.close()


def test_nothing_is_deleted_while_the_log_is_locked(auditor: Auditor, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    other = sqlite3.connect(tmp_path / "audit.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="nothing was done"):
        destroy(auditor, victim)
    assert victim.exists()
    other.execute("ROLLBACK")
    other.close()
    destroy(auditor, victim)
    assert not victim.exists()


def test_what_deletes_nothing_goes_on_without_the_log_and_the_daemons_log_has_it(
    auditor: Auditor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = sqlite3.connect(tmp_path / "audit.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    done = []
    with caplog.at_level(logging.ERROR):
        with auditor.operation(ALICE, "fleet.check", "all", {}):
            done.append("checked")
        auditor.read(ALICE, "cache.stats")
    assert done == ["checked"]
    lost = [
        json.loads(each.getMessage().partition("{")[1] + each.getMessage().partition("{")[2]) for each in caplog.records
    ]
    assert [(each["action"], each["stage"]) for each in lost] == [
        ("fleet.check", "intent"), ("fleet.check", "result"), ("cache.stats", "read"),
    ]  # fmt: skip
    other.execute("ROLLBACK")
    other.close()


KILLED = """
import sys, time
from pathlib import Path
from core.access import Caller, Channel, Role
from operations.auditing import Auditor
from store.audit_log import SqliteAuditLog
auditor = Auditor(SqliteAuditLog(Path(sys.argv[1])))
with auditor.operation(Caller("eve", Role.ADMIN, Channel.CLI, "r"), "cache.clear", "images", {}, destructive=True):
    print("at it", flush=True)
    time.sleep(60)
"""


def test_an_operation_that_was_killed_leaves_an_intent_that_shows_as_unfinished(
    auditor: Auditor, tmp_path: Path
) -> None:
    with auditor.operation(ALICE, "cache.clear", "images", {}, destructive=True):
        pass
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "audit.sqlite3")], cwd=SOURCE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at it\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    page = auditor.log.page(AuditQuery())
    assert [(each.actor, each.stage) for each in page.records if each.seq in page.unfinished] == [("eve", Stage.INTENT)]
    assert judged(auditor.log).ok
    with auditor.operation(ALICE, "cache.clear", "images", {}, destructive=True):
        pass
    assert judged(auditor.log).ok
