"""/metrics: what is known of the fleet, the caches and the tasks, for Prometheus. From memory and the index.

Labels are servers, groups, targets and states: what an operator configured. Never a user, a task, a path or a model,
of which there may be any number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Response

from api.fleet import OPEN_HERE, Fleet, details
from api.gate import LOCAL_VIEWER, Gate, GatedRoute
from api.ports import Operations
from core.access import Caller, Role
from core.errors import CacheKeeperError
from core.model import State
from core.tasks import TaskState

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain"
SERVER = ("server", "group")


def metrics_routes(fleet: Fleet, operations: Operations, gate: Gate) -> APIRouter:
    """Given the running checker, the operations and who may look, return the route."""
    router = APIRouter(route_class=GatedRoute)
    looks = Depends(gate.needs(Role.VIEWER, open_here=True))

    @router.get(
        "/metrics",
        openapi_extra=OPEN_HERE,
        summary="监控指标 · For Prometheus",
        response_class=Response,
        responses={200: {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}, "description": "metrics"}},
    )
    def metrics(caller: Caller = looks) -> Response:
        """监控指标 · Servers, and to whoever brings a token also caches and tasks, as Prometheus reads them."""
        # Here: 55 ms of imports that only a machine with Prometheus is to pay for.
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
        from prometheus_client.registry import Collector

        operations.auditor.read(caller, "metrics.read")

        class Everything(Collector):
            def collect(self) -> Iterable[Metric]:
                yield from _of_fleet(fleet)
                if caller.user != LOCAL_VIEWER:
                    yield from _of_caches_and_tasks(operations)

        registry = CollectorRegistry(auto_describe=False)
        registry.register(Everything())
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


def _of_fleet(fleet: Fleet) -> Iterator[Metric]:
    rows = details(fleet, fleet.names())
    states = Counter((row["group"], row["state"]) for row in rows)
    groups = sorted({row["group"] for row in rows})
    yield _gauge(
        "servers", "Servers in each state.", ("group", "state"),
        {(group, state.value): states[group, state.value] for group in groups for state in State},
    )  # fmt: skip
    yield _of_servers(rows, "server_loaded", "1 while every wanted key is seen in the cache.", "cache_loaded")
    yield _of_servers(rows, "server_queue_length", "Prompts that run or wait, as last seen.", "queue_length")
    yield _of_servers(rows, "server_poll_latency_seconds", "How long the last poll took.", "latency_seconds")
    yield _of_servers(rows, "server_polled_timestamp_seconds", "When the server was polled last.", "polled_at")
    yield _gauge(
        "server_missing_keys", "Wanted keys that are not in the cache.", (*SERVER, "set"),
        {
            (row["name"], row["group"], each["set"]): len(each["missing_keys"])
            for row in rows for each in row["sets"] if each["missing_keys"] is not None
        },
    )  # fmt: skip
    yield _gauge(
        "server_warmup_failures", "Warm-ups that failed in a row.", (*SERVER, "set"),
        {(row["name"], row["group"], each["set"]): each["failures"] for row in rows for each in row["sets"]},
    )  # fmt: skip
    yield _gauge(
        "server_last_warmup_seconds", "How long the last warm-up that was verified took.", (*SERVER, "set"),
        {
            (row["name"], row["group"], each["set"]): each["last_warm_seconds"]
            for row in rows for each in row["sets"] if each["last_warm_seconds"] is not None
        },
    )  # fmt: skip


def _of_caches_and_tasks(operations: Operations) -> Iterator[Metric]:
    errors = {"caches": 0, "tasks": 0}
    try:
        targets = [each for each in operations.stats().targets if each.indexed_at is not None]
        labels = ("target", "type")
        yield _gauge("cache_entries", "Entries.", labels, {(each.target, each.type): each.entries for each in targets})
        yield _gauge("cache_bytes", "Size.", labels, {(each.target, each.type): each.size_bytes for each in targets})
        yield _gauge(
            "cache_indexed_timestamp_seconds", "When the last walk that counted it ended.", labels,
            {(each.target, each.type): each.indexed_at or 0.0 for each in targets},
        )  # fmt: skip
    except CacheKeeperError:
        errors["caches"] = 1
    try:
        counts = operations.engine.tasks(limit=1).counts
        workers = len(operations.engine.workers())
        yield _gauge("tasks", "Tasks in each state.", ("state",), {(state,): counts[state] for state in TaskState})
        yield _gauge("workers", "Workers with a live heartbeat.", (), {(): workers})
    except CacheKeeperError:
        errors["tasks"] = 1
    yield _gauge(
        "read_error", "1 where a part could not be read; the log says why.", ("part",),
        {(part,): count for part, count in errors.items()},
    )  # fmt: skip


def _of_servers(rows: Sequence[Mapping[str, Any]], name: str, help: str, field: str) -> Metric:
    values: dict[tuple[str, ...], float] = {
        (row["name"], row["group"]): row[field] for row in rows if row[field] is not None
    }
    return _gauge(name, help, SERVER, values)


def _gauge(name: str, help: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"cache_keeper_{name}", help, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family
