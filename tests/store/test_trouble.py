"""What is said of a database that cannot be used: advice for what is the matter, and none that costs a healthy file."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from core.audit import AuditQuery
from core.errors import StoreError, StoreUnavailable
from store.audit_log import SqliteAuditLog
from store.database import connect
from store.issued_tokens import IssuedTokens
from store.journal import Journal
from store.task_queue import TaskQueue
from tests.small_disk import SmallDisk
from tests.workspace import SOURCE

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def test_a_damaged_file_is_to_be_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"not a database, but long enough to be read as one " * 100)
    with pytest.raises(StoreError, match="move it aside") as caught:
        Journal(path)
    assert not isinstance(caught.value, StoreUnavailable)


@pytest.mark.parametrize("new", [True, False])
def test_a_full_disk_is_called_so_and_no_file_is_to_be_moved(small_disk: SmallDisk, new: bool) -> None:
    path = small_disk.path / "audit.sqlite3"
    if not new:
        SqliteAuditLog(path).close()
    small_disk.fill()
    with pytest.raises(StoreUnavailable, match="the disk is full") as caught:
        SqliteAuditLog(path)
    assert "move it aside" not in str(caught.value)
    small_disk.free()
    SqliteAuditLog(path).close()


def opened_by_nobody(path: Path) -> str:
    """What somebody else is told who opens the file; a process of its own, since one cannot come back from there."""
    script = f"""
import os, sys
from pathlib import Path
from store.journal import Journal
os.setgid({NOBODY})
os.setuid({NOBODY})
try:
    Journal(Path(sys.argv[1])).resume("a server")
except Exception as error:
    print(type(error).__name__, error)
"""
    return subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=SOURCE, capture_output=True, text=True, check=True, timeout=30
    ).stdout


@root_only
@pytest.mark.parametrize("directory_mode", [0o755, 0o777])
def test_somebody_else_is_told_whose_the_file_is(directory_mode: int) -> None:
    # Not in pytest's own directory, which is closed to everybody else.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(directory_mode)
        path = directory / "cache_keeper.sqlite3"
        Journal(path).close()
        told = opened_by_nobody(path)
        path.chmod(0o644)
        readable = opened_by_nobody(path)
    for each in (told, readable):
        assert each.startswith("StoreUnavailable")
        assert "no permission: it belongs to root" in each
        assert "move it aside" not in each


def test_a_database_is_for_its_owner_alone_and_so_is_one_that_was_not(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        log, queue = SqliteAuditLog(tmp_path / "audit.sqlite3"), TaskQueue(tmp_path / "tasks.sqlite3")
        tokens = IssuedTokens(tmp_path / "tokens.sqlite3")
        tokens.forget_before(0)
        log.page(AuditQuery())
        assert {path.name: mode_of(path) for path in tmp_path.glob("*.sqlite3*") if mode_of(path) != 0o600} == {}
        assert len([*tmp_path.glob("*-wal")]) == 3
        for path in tmp_path.glob("*.sqlite3*"):
            path.chmod(0o644)
        again = SqliteAuditLog(tmp_path / "audit.sqlite3")
        assert {mode_of(path) for path in tmp_path.glob("audit.sqlite3*")} == {0o600}
        for each in (log, queue, tokens, again):
            each.close()
    finally:
        os.umask(old)


@root_only
def test_what_root_makes_in_somebodys_directory_is_that_bodys(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    connect(tmp_path / "cache_keeper.sqlite3").close()
    assert (tmp_path / "cache_keeper.sqlite3").stat().st_uid == NOBODY


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
