"""compose.yaml shows what README says, and its commands are understood."""

from __future__ import annotations

import importlib
import shlex
from typing import Any

from core import settings
from operations.parser import parser
from tests.workspace import SOURCE


def services() -> dict[str, Any]:
    # A dependency of a test dependency, without types.
    yaml = importlib.import_module("yaml")
    found = yaml.safe_load((SOURCE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert isinstance(found, dict)
    return found


def test_redis_keeps_what_it_has_accepted() -> None:
    redis = services()["redis"]
    options = shlex.split(redis["command"])
    assert redis["image"] == "redis:7"
    assert options[options.index("--appendonly") + 1] == "yes"
    assert options[options.index("--appendfsync") + 1] == "always"
    assert [volume.partition(":")[2] for volume in redis["volumes"]] == ["/data"]
    assert redis["healthcheck"]["test"]
    assert "ports" not in redis, "nobody but the workers reaches it unless somebody wants it so"


def test_two_workers_with_queues_of_their_own_wait_for_redis() -> None:
    workers = {name: service for name, service in services().items() if name.startswith("worker")}
    assert len(workers) == 2
    hosts = set()
    for worker in workers.values():
        python, m, operations, *arguments = shlex.split(worker["command"])
        assert (python, m, operations) == ("python", "-m", "operations")
        options = parser().parse_args(arguments)
        assert options.command == "worker"
        hosts.add(options.host_queue)
        values, problems = settings.parse(worker["environment"])
        assert problems == []
        assert values["queue_url"].reveal() == "redis://redis:6379/0"
        assert worker["depends_on"]["redis"]["condition"] == "service_healthy"
    assert len(hosts) == 2
