"""Who may call what: every route of the API with no token, and with a token of each role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from core.access import Role
from tests.api.caches import Caches, running_caches

CLEAR: dict[str, Any] = {"name": "clear", "arguments": {"target": "images", "dry_run": True}}
REMOVE: dict[str, Any] = {"name": "remove_model", "arguments": {"name": "none", "confirm": "none"}}
REFRESH: dict[str, Any] = {"name": "refresh"}

TABLE: list[tuple[str, str, Any, Role]] = [
    ("GET", "/api/cache/stats", None, Role.VIEWER),
    ("GET", "/api/cache/details", None, Role.VIEWER),
    ("GET", "/api/cache/backend-info", None, Role.VIEWER),
    ("GET", "/api/models", None, Role.VIEWER),
    ("DELETE", "/api/cache/cleanup?dry_run=true&wait=0", None, Role.OPERATOR),
    ("DELETE", "/api/cache/clear?target=images&dry_run=true&wait=0", None, Role.ADMIN),
    ("POST", "/api/cache/warmup", {"servers": ["nowhere"]}, Role.OPERATOR),
    ("POST", "/api/cache/refresh", {"target": "images"}, Role.OPERATOR),
    ("POST", "/api/cache/operations", REFRESH, Role.OPERATOR),
    ("POST", "/api/cache/operations", CLEAR, Role.ADMIN),
    ("POST", "/api/cache/operations", REMOVE, Role.ADMIN),
    ("GET", "/api/cache/operations", None, Role.VIEWER),
    ("GET", "/api/cache/operations/{task_id}", None, Role.VIEWER),
    ("POST", "/api/cache/operations/{task_id}/cancel", None, Role.OPERATOR),
    ("POST", "/api/cache/operations/{task_id}/retry", None, Role.OPERATOR),
    ("POST", "/api/cache/batches", {"batch": "b", "operations": [REFRESH]}, Role.OPERATOR),
    ("POST", "/api/cache/batches", {"batch": "b", "operations": [REFRESH, CLEAR]}, Role.ADMIN),
    ("GET", "/api/cache/batches/{batch}", None, Role.VIEWER),
    ("GET", "/api/cache/queue/{key}", None, Role.VIEWER),
    ("GET", "/api/cache/workers", None, Role.VIEWER),
    ("GET", "/api/audit", None, Role.VIEWER),
    ("GET", "/api/audit/export", None, Role.ADMIN),
    ("POST", "/check/all", None, Role.OPERATOR),
    ("POST", "/check/{which}", None, Role.OPERATOR),
    ("POST", "/execute/{which}", None, Role.OPERATOR),
    ("POST", "/api/pause/{which}", None, Role.OPERATOR),
    ("POST", "/api/resume/{which}", None, Role.OPERATOR),
]
OPEN_HERE = {
    "/api/status", "/api/detailed_status", "/api/submission_status", "/api/servers", "/api/servers/{which}", "/api/me",
    "/metrics",
}  # fmt: skip
"""Reading about servers needs no token on this machine."""


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caches]:
    with running_caches(tmp_path_factory.mktemp("roles"), TASK_WORKERS="0") as caches:
        yield caches


@pytest.mark.parametrize(("method", "path", "body", "needed"), TABLE, ids=lambda value: str(value)[:60])
def test_each_route_asks_for_its_role(caches: Caches, method: str, path: str, body: Any, needed: Role) -> None:
    path = re.sub(r"\{\w+\}", "nothing-of-that-name", path)
    nobody = caches.call(method, path, None, body)
    # Strangers are also counted, and told to come back later when there are too many of them.
    assert nobody.status in (401, 429), nobody.text
    for role in Role:
        answer = caches.call(method, path, role, body)
        if role.includes(needed):
            assert answer.status not in (401, 403, 405, 422, 500), answer.text
        else:
            assert answer.status == 403, answer.text
            assert answer.json()["message"] == "权限不足"
            assert "needs the role" in answer.json()["detail"]


def test_the_table_has_every_route_there_is(caches: Caches) -> None:
    document = caches.workspace.ask("/openapi.json").json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    listed = {(method, path.partition("?")[0]) for method, path, _, _ in TABLE}
    assert described == listed | {("GET", path) for path in {*OPEN_HERE, "/healthz"}}
    for path in OPEN_HERE:
        assert caches.workspace.ask(path.replace("{which}", "0")).status == 200, path


def test_a_stranger_is_told_nothing_of_what_a_route_takes(caches: Caches) -> None:
    for body in (b"{", b"[]", b'{"days": 0}'):
        assert caches.call("POST", "operations", None, body).status in (401, 429)
    answer = caches.call("DELETE", "cleanup?days=0", None)
    assert answer.status in (401, 429)
    assert answer.json()["fields"] == []


def test_an_operator_cannot_bring_back_what_only_an_admin_may_ask_for(caches: Caches) -> None:
    task = caches.call("POST", "operations", Role.ADMIN, CLEAR).json()["data"]
    assert caches.call("POST", f"operations/{task['id']}/cancel", Role.OPERATOR).status == 200
    refused = caches.call("POST", f"operations/{task['id']}/retry", Role.OPERATOR)
    assert (refused.status, caches.get(f"operations/{task['id']}")["state"]) == (403, "cancelled")
    assert caches.call("POST", f"operations/{task['id']}/retry", Role.ADMIN).json()["data"]["state"] == "queued"
    assert caches.call("POST", f"operations/{task['id']}/cancel", Role.ADMIN).status == 200
    (record,) = caches.get("/api/audit?outcome=refused&target=clear&limit=1")["items"]
    assert record["role"] == "operator"
