"""The daemon's side of the operations: what a reload changes, and what the fleet does not have to suffer for."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import config
from core.access import Role
from core.tasks import TaskRequest, host_queue
from examples.fake_comfyui import FakeServer
from operations.opening import Opened
from store.task_claims import TaskClaims
from store.task_queue import TaskQueue
from tests.workspace import Workspace, ask, wait_for

TARGET = """
[[target]]
name = "previews"
roots = ["previews"]
older_than = "7d"
"""


def asked(workspace: Workspace, path: str) -> Any:
    return workspace.ask(path, Authorization=f"Bearer {workspace.token(Role.VIEWER)}")


def test_a_target_that_a_reload_brings_is_known_to_the_api_at_once(workspace: Workspace) -> None:
    workspace.settings |= {"SERVERS": "http://127.0.0.1:9", "CACHE_DIR": "state"}
    daemon = workspace.running()
    assert asked(workspace, "/api/cache/details?target=previews").status == 404
    workspace.write("fleet.toml", TARGET)
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_output("Reloaded")
    assert asked(workspace, "/api/cache/details?target=previews").status == 200
    names = [each["name"] for each in asked(workspace, "/api/cache/backend-info").json()["data"]["backends"]]
    assert "previews" in names


def indexed(workspace: Workspace) -> dict[str, bool]:
    """Return each target's name, and whether a walk has counted it."""
    backends = asked(workspace, "/api/cache/stats").json()["data"]["backends"]
    return {each["target"]: each["indexed_at"] is not None for each in backends}


def test_a_target_that_a_reload_brings_and_an_index_that_was_damaged_are_walked_at_once(workspace: Workspace) -> None:
    workspace.settings |= {"SERVERS": "http://127.0.0.1:9", "CACHE_DIR": "state", "TASK_WORKERS": "1"}
    daemon = workspace.running()
    wait_for(lambda: (found := indexed(workspace)) and all(found.values()), 30)
    workspace.write("fleet.toml", TARGET)
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: indexed(workspace).get("previews"), 30)
    daemon.signal(signal.SIGTERM)
    daemon.wait()
    for leftover in (workspace.root / "state").glob("index.sqlite3-*"):
        leftover.unlink()
    workspace.write("state/index.sqlite3", "no database" * 1000)
    again = workspace.running()
    again.wait_for_output("a damaged index was set aside")
    wait_for(lambda: (found := indexed(workspace)) and all(found.values()), 30)
    assert "previews" in indexed(workspace)


def test_a_damaged_register_of_tokens_is_told_to_who_brings_one_and_costs_the_fleet_nothing(
    workspace: Workspace,
) -> None:
    with FakeServer() as fake:
        workspace.settings |= {"SERVERS": fake.url, "CACHE_DIR": "state"}
        (workspace.root / "state").mkdir()
        workspace.write("state/tokens.sqlite3", "no database" * 1000)
        daemon = workspace.running()
        wait_for(lambda: workspace.states().get(fake.url) == "loaded")
        answer = asked(workspace, "/api/cache/stats")
        assert answer.status == 503
        assert "tokens cannot be judged" in answer.text
        daemon.wait_for_output("tokens.sqlite3 cannot be opened")


def test_on_a_queue_of_many_machines_each_shows_its_own_models(tmp_path: Path) -> None:
    settings = config.load(tmp_path, {"CACHE_DIR": str(tmp_path / "state"), "HOST_QUEUE": "a"})
    settings.cache_dir.mkdir()
    with closing(TaskQueue(settings.tasks_database)) as queue, closing(Opened(settings)) as opened:
        for machine in ("a", "b"):
            queue.submit(TaskRequest("list_models", {}, "schedule", queue=host_queue(machine)))
            with closing(TaskClaims(settings.tasks_database, (host_queue(machine),), per_user=1)) as claims:
                task = claims.claim()
                assert task is not None
                claims.finish(task, {"models": [machine]})
        found, looked_at = opened.operations.models()
        assert found == {"models": ["a"]}, "b's is the newer one"
        assert looked_at is not None


def test_whoever_starts_the_daemon_is_told_what_it_will_not_be_able_to_do(workspace: Workspace) -> None:
    workspace.settings |= {"SERVERS": "http://127.0.0.1:9", "CACHE_DIR": "state"}
    (workspace.root / "state").mkdir()
    for name in ("audit", "tasks", "tokens"):
        workspace.write(f"state/{name}.sqlite3", "no database" * 1000)
    started = workspace.run("daemon.py", "start")
    try:
        assert started.returncode == 0
        warnings = [line for line in started.stderr.splitlines() if line.startswith("Warning: ")]
        for words, file in (("will be deleted", "audit"), ("be carried out", "tasks"), ("be refused", "tokens")):
            assert any(words in line and f"{file}.sqlite3" in line for line in warnings), started.stderr
    finally:
        workspace.run("daemon.py", "stop")


def test_a_stop_leaves_every_database_whole_in_its_one_file(workspace: Workspace) -> None:
    # Whoever copies *.sqlite3 as a backup would otherwise get an empty audit log.
    state = workspace.root / "state"
    workspace.settings |= {"SERVERS": "http://127.0.0.1:9", "CACHE_DIR": "state", "TASK_WORKERS": "1"}
    daemon = workspace.running()
    made = workspace.run("-m", "api", "token", "create", "--user", "li", "--role", "operator", "--ttl", "1h")
    token = {"Authorization": f"Bearer {made.stdout.split()[0]}"}
    token["Content-Type"] = "application/json"
    assert ask(f"{workspace.page}/api/cache/refresh", "POST", token, body=b"{}").status == 202
    wait_for(lambda: asked(workspace, "/api/cache/operations").json()["data"]["counts"]["done"] >= 1, 30)
    assert asked(workspace, "/api/cache/stats").status == 200
    for name in ("audit", "tasks", "tokens", "cache_keeper"):
        assert (state / f"{name}.sqlite3-wal").exists()
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(30) == 0
    assert [*state.glob("*-wal"), *state.glob("*-shm")] == []
    assert workspace.run("-m", "operations", "audit", "verify").returncode == 0
    for command in (
        ["-m", "cleaner", "--yes"], ["-m", "operations", "stats"], ["-m", "checker", "pause", "127.0.0.1:9"],
        ["-m", "modelcache", "clean", "--force"], ["main.py", "--once"],
    ):  # fmt: skip
        workspace.run(*command)
        assert [*state.glob("*-wal"), *state.glob("*-shm")] == [], command
