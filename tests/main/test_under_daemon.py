"""The whole thing once, as a user drives it: daemon.py, main.py, a server that restarts, the page."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from examples.fake_comfyui import FakeServer
from tests.workspace import Workspace, wait_for


def status(workspace: Workspace) -> dict[str, Any]:
    found = json.loads(workspace.run("daemon.py", "status", "--json").stdout)
    assert isinstance(found, dict)
    return found


def test_from_start_to_stop_a_server_is_warmed_again_after_its_restart_and_ours(workspace: Workspace) -> None:
    with FakeServer() as fake:
        fake.set_loader(seconds=0.1)
        workspace.settings |= {"SERVERS": fake.url, "CACHE_DIR": "cache"}
        try:
            started = workspace.run("daemon.py", "start")
            assert started.returncode == 0, started.stdout + started.stderr
            assert f"{workspace.page}/status" in started.stdout

            seen: list[str] = []

            def is_loaded() -> bool:
                # The page answers from the moment at which `start` has said where it is.
                state = workspace.states().get(fake.url, "")
                seen.append(state)
                return state == "loaded"

            wait_for(is_loaded)
            assert set(seen) <= {"unknown", "needs_submission", "queued", "warming", "loaded"}
            assert {"queued", "warming"} & set(seen)
            now = wait_for(lambda: (found := status(workspace))["last_poll"] and found)
            assert now["page"] == f"{workspace.page}/status"
            assert now["main_state"] == "RUNNING"
            assert now["last_poll_summary"]
            first_main = now["main_pid"]

            submitted = len(fake.prompts)
            fake.restart()
            wait_for(lambda: len(fake.prompts) == submitted + 5 and is_loaded())
            assert submitted == 5

            again = workspace.run("daemon.py", "restart")
            assert again.returncode == 0, again.stdout + again.stderr
            wait_for(is_loaded)
            assert status(workspace)["main_pid"] != first_main
            # It remembers, and it looks before it acts.
            assert len(fake.prompts) == submitted + 5
            told = workspace.checker("why", fake.url, "--last", "100").stdout
            assert "the server restarted" in told, told
        finally:
            stopped = workspace.run("daemon.py", "stop")
        assert stopped.returncode == 0
        assert status(workspace)["running"] is False
        log = (workspace.root / "cache" / "daemon.log").read_text()
        assert "Traceback" not in log
        assert " ERROR " not in log
        assert log.count("Daemon stopped") == 2
        assert_nothing_lives_in(workspace.root)


def assert_nothing_lives_in(root: Path) -> None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            assert f"{root}/" not in command, command
