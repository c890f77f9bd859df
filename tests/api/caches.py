"""The whole program at work on caches: main.py with a worker, files to clean, and a token for each role."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.access import Role
from tests.workspace import Answer, Program, Workspace, ask, wait_for, workspace_in

DAY_SECONDS = 86400
API = "/api/cache"

FLEET = """
[[group]]
name = "room-1"
servers = [{ name = "gpu-7", url = "http://127.0.0.1:9" }]

[[target]]
name = "previews"
kind = "directory"
roots = ["previews"]
unit = "file"
older_than = "36h"
"""


class Caches:
    """A running program; ``call`` asks its API with a role's token."""

    def __init__(self, workspace: Workspace, program: Program) -> None:
        self.workspace = workspace
        self.program = program

    def token(self, role: Role) -> str:
        """Return a token as the machine's own commands have them: new each time, since it does not last."""
        return self.workspace.token(role)

    def call(
        self, method: str, path: str, role: Role | None = Role.ADMIN, body: object = None, **headers: str
    ) -> Answer:
        """Send one request; ``path`` without a slash is one under ``/api/cache``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if role is not None:
            named["Authorization"] = f"Bearer {self.token(role)}"
        sent = None
        if body is not None:
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            named.setdefault("Content-Type", "application/json")
        url = self.workspace.page + (path if path.startswith("/") else f"{API}/{path}")
        return ask(url, method, named, timeout=70, body=sent)

    def get(self, path: str, role: Role = Role.VIEWER, **headers: str) -> Any:
        """Return the data of a reading route."""
        answer = self.call("GET", path, role, **headers)
        assert answer.status == 200, answer.text
        return answer.json()["data"]

    def over(self, task_id: str) -> dict[str, Any]:
        """Return a task once it is over."""

        def look() -> dict[str, Any] | None:
            task: dict[str, Any] = self.get(f"operations/{task_id}")
            return task if task["state"] in ("done", "failed", "cancelled") else None

        found = wait_for(look)
        assert found is not None
        return found

    def fill(self, target: str, *ages_days: float) -> list[Path]:
        """Make a file of each age in a target; return them."""
        files = []
        for number, age in enumerate(ages_days):
            if target == "images":
                path = self.workspace.root / "resources" / "img" / "11" / f"task-{number}" / "0.png"
            else:
                path = self.workspace.root / target / f"file-{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 5000)
            at = time.time() - age * DAY_SECONDS
            os.utime(path, (at, at))
            os.utime(path.parent, (at, at))
            files.append(path)
        return files

    def refresh(self) -> None:
        answer = self.call("POST", "refresh?wait=30", body={})
        assert answer.status == 200, answer.text
        assert answer.json()["data"]["state"] == "done", answer.text


@contextmanager
def running_caches(directory: Path, **settings: str) -> Iterator[Caches]:
    """Run main.py with one worker over a fleet of one server that does not answer."""
    settings = {
        "TASK_WORKERS": "1",
        "CHECK_INTERVAL_SECONDS": "600",
        "RATE_LIMIT_READS_PER_MINUTE": "100000",
        "RATE_LIMIT_WRITES_PER_MINUTE": "100000",
        **settings,
    }
    with workspace_in(directory, **settings) as workspace:
        workspace.write("fleet.toml", FLEET)
        (workspace.root / "previews").mkdir()
        caches = Caches(workspace, workspace.running())
        wait_for(lambda: settings["TASK_WORKERS"] == "0" or caches.get("workers"), 30)
        yield caches
