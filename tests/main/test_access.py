"""Before the daemon listens: a key that others know is no key, and the audit log's head is published."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

import config
from core.audit import AuditQuery
from core.errors import ConfigError
from store.audit_log import SqliteAuditLog
from tests.operations.audit_logs import judged, record
from tests.workspace import Workspace, wait_for

GOOD = "q0Zr7vN2xK8mW4tJ6yB1cF5hD9gL3pSaEuRiOeXz"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "fleet.example", "[2001:db8::1]"])
@pytest.mark.parametrize("secret", ["", "changeme", "x" * 64, GOOD[:31], f"{GOOD},changeme", f"{GOOD},{GOOD}1,{GOOD}2"])
def test_an_api_for_other_machines_needs_a_secret_that_nobody_knows(tmp_path: Path, host: str, secret: str) -> None:
    environment = {"HOST": host, "API_SECRET": secret}
    with pytest.raises(ConfigError, match="API_SECRET") as refused:
        config.load(tmp_path, environment, serving=True)
    assert "token_urlsafe" in str(refused.value) or "at most two" in str(refused.value)
    assert not secret or secret not in str(refused.value)
    # A cleaning by hand opens nothing to anybody.
    assert config.load(tmp_path, environment).host == host
    assert config.load(tmp_path, {**environment, "API_SECRET": GOOD}, serving=True).api_secret is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.2"])
def test_on_loopback_no_secret_is_needed_and_a_bad_one_is_bad_all_the_same(tmp_path: Path, host: str) -> None:
    assert config.load(tmp_path, {"HOST": host}, serving=True).api_secret is None
    with pytest.raises(ConfigError, match="API_SECRET"):
        config.load(tmp_path, {"HOST": host, "API_SECRET": "changeme"}, serving=True)


@pytest.mark.parametrize("command", [("main.py",), ("daemon.py", "start")], ids=" ".join)
def test_a_known_secret_ends_the_start_with_78_before_anything_listens(
    workspace: Workspace, command: tuple[str, ...]
) -> None:
    workspace.settings |= {"SERVERS": "http://127.0.0.1:1", "HOST": "0.0.0.0", "API_SECRET": "changeme" * 4}
    result = workspace.run(*command)
    assert result.returncode == 78
    assert "API_SECRET='***': is one that everybody knows" in result.stderr
    assert "changeme" not in result.stderr + result.stdout
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", workspace.port)) != 0


def test_a_key_file_that_others_may_read_ends_the_start_with_78(workspace: Workspace) -> None:
    workspace.settings["SERVERS"] = "http://127.0.0.1:1"
    program = workspace.running()
    keys = workspace.root / "api_keys.json"
    assert keys.stat().st_mode & 0o777 == 0o600
    program.signal(15)
    program.wait()
    keys.chmod(0o644)
    result = workspace.run("main.py")
    assert result.returncode == 78
    assert "chmod 600" in result.stderr


def test_the_head_of_the_audit_log_is_in_the_daemons_log_whatever_its_level(workspace: Workspace) -> None:
    log = SqliteAuditLog(workspace.root / "audit.sqlite3")
    last = log.append(record(1, at=time.time()))
    log.close()
    workspace.settings |= {
        "SERVERS": "http://127.0.0.1:1",
        "LOG_LEVEL": "ERROR",
    }
    workspace.start().wait_for_output(f"audit head seq=1 hash={last.hash}")


def test_records_past_their_retention_go_and_leave_a_whole_chain(workspace: Workspace) -> None:
    log = SqliteAuditLog(workspace.root / "audit.sqlite3")
    log.append(record(1, at=time.time() - 3 * 86400))
    kept = log.append(record(2, at=time.time() - 86400))
    workspace.settings |= {"SERVERS": "http://127.0.0.1:1", "AUDIT_RETENTION_DAYS": "2"}
    workspace.start().wait_for_output("audit pruned records=1 older_than_days=2")
    assert [each.seq for each in log.records(AuditQuery())] == [kept.seq, 3]
    assert judged(log).ok
    log.close()


def test_the_fleet_is_polled_though_the_audit_log_cannot_be_opened(workspace: Workspace) -> None:
    (workspace.root / "audit.sqlite3").mkdir()
    workspace.settings["SERVERS"] = "http://127.0.0.1:1"
    program = workspace.running()
    wait_for(lambda: workspace.states() == {"http://127.0.0.1:1": "unreachable"})
    assert "audit" in program.output()
