"""Two machines on one queue in Redis: a cleanup reaches the one whose disk it is, and its own records tell of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.redis_server import running_redis
from tests.workspace import Workspace, wait_for, workspace_in

TEN_DAYS = 10 * 86400.0


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Workspace, Workspace]]:
    """Machines a and b, each with an old and a young task of images; a worker runs on b alone."""
    with running_redis() as redis, workspace_in(tmp_path / "a") as a, workspace_in(tmp_path / "b") as b:
        for name, machine in (("a", a), ("b", b)):
            machine.settings |= {"QUEUE_URL": redis.url(0), "HOST_QUEUE": name, "CACHE_DIR": "state"}
            for task, age in (("old", TEN_DAYS), ("young", 0.0)):
                image = machine.root / "resources" / "img" / "11" / task / "0.png"
                image.parent.mkdir(parents=True)
                image.write_bytes(b"x" * 1000)
                os.utime(image, (time.time() - age,) * 2)
                os.utime(image.parent, (time.time() - age,) * 2)
        b.start("worker", module="operations").wait_for_output("Ready")
        yield a, b


def images(machine: Workspace) -> set[str]:
    return {path.name for path in (machine.root / "resources" / "img" / "11").iterdir()}


def ask_json(machine: Workspace, *arguments: str) -> Any:
    ran = machine.run("-m", "operations", *arguments, "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


def test_a_cleanup_asked_for_on_one_machine_cleans_the_disk_of_the_other(
    machines: tuple[Workspace, Workspace],
) -> None:
    a, b = machines
    wait_for(lambda: ask_json(a, "workers"))
    done = ask_json(a, "cleanup", "--days", "7", "--type", "file", "--host", "b")
    assert (done["queue"], done["state"], done["result"]["deleted_files"]) == ("host:b", "done", 1)
    assert images(a) == {"old", "young"}
    assert images(b) == {"young"}
    # Who asked is on record on both machines, under one request.
    asked = ask_json(a, "audit", "list", "--action", "cleanup.request")["records"]
    did = ask_json(b, "audit", "list", "--action", "cache.cleanup")["records"]
    assert {each["stage"] for each in did} == {"intent", "result"}
    assert {each["request_id"] for each in asked} == {each["request_id"] for each in did}
    ran = a.run("-m", "operations", "cleanup", "--days", "7", "--host", "c")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "no worker serves the machine 'c'; there are: b" in ran.stderr
    # On a itself no worker runs, so the command brings one along, and only a's disk is cleaned.
    here = ask_json(a, "cleanup", "--days", "7", "--type", "file")
    assert (here["queue"], here["result"]["deleted_files"]) == ("host:a", 1)
    assert images(a) == {"young"}
