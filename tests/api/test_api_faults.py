"""When something of ours is broken: the guide's words, a request id, nothing half accepted, and no stack."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from api.errors import install_errors
from api.guard import Guard
from core.access import Role
from core.errors import StoreError, StoreUnavailable, TargetBusy
from runtime.web import WebThread
from tests.api.serving import serving
from tests.small_disk import mounted
from tests.workspace import Answer, ask, free_port

NOWHERE = ["http://127.0.0.1:9"]


def problem(answer: Answer, status: int, message: str) -> dict[str, Any]:
    assert answer.status == status, answer.text
    body: dict[str, Any] = answer.json()
    assert (body["success"], body["data"], body["message"]) == (False, None, message)
    assert re.fullmatch(r"[0-9a-f]{16}", body["request_id"])
    assert body["request_id"] == answer.headers["x-request-id"]
    for sign in ("Traceback", 'File "', ".py", "line "):
        assert sign not in answer.text
    return body


def test_an_index_that_cannot_be_read_is_a_500_in_the_guides_words_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite3").mkdir()
    with serving(tmp_path, NOWHERE) as service:
        problem(service.ask("/api/cache/stats", role=Role.VIEWER), 500, "获取缓存统计失败")
        problem(service.ask("/api/cache/details", role=Role.VIEWER), 500, "获取缓存详情失败")
        assert service.ask("/api/cache/backend-info", role=Role.VIEWER).status == 200
        assert service.ask("/api/cache/operations", role=Role.VIEWER).status == 200
        assert service.ask("/api/status").status == 200


def test_a_full_disk_is_a_503_and_nothing_is_half_accepted(tmp_path: Path) -> None:
    with (
        mounted(tmp_path / "disk", "4m") as disk,
        serving(tmp_path, NOWHERE, CACHE_DIR=str(disk.path)) as service,
    ):
        # Everything is opened while there is room.
        assert service.ask("/api/cache/refresh", "POST", role=Role.OPERATOR, body={}).status == 202
        assert service.ask("/api/cache/cleanup?wait=0", "DELETE", role=Role.OPERATOR).status == 202
        before = service.ask("/api/cache/operations", role=Role.VIEWER).json()["data"]
        disk.fill()
        wishes = [
            ("DELETE", "/api/cache/cleanup?wait=0", None),
            ("POST", "/api/cache/refresh", {}),
            ("POST", "/api/cache/batches", {"batch": "b", "operations": [{"name": "refresh"}] * 50}),
        ]
        for method, path, body in wishes:
            refused = service.ask(path, method, role=Role.OPERATOR, body=body)
            problem(refused, 503, "服务暂时不可用")
            assert int(refused.headers["retry-after"]) > 0
        # Not opened yet.
        assert not (disk.path / "index.sqlite3").exists()
        refused = service.ask("/api/cache/stats", role=Role.VIEWER)
        assert "the disk is full" in problem(refused, 503, "服务暂时不可用")["detail"]
        disk.free()
        after = service.ask("/api/cache/operations", role=Role.VIEWER).json()["data"]
        assert after["counts"] == before["counts"]
        assert service.ask("/api/cache/batches/b", role=Role.VIEWER).status == 404
        for method, path, body in wishes:
            assert service.ask(path, method, role=Role.OPERATOR, body=body).status == 202


@pytest.mark.parametrize(
    ("method", "error", "status", "message"),
    [
        ("DELETE", RuntimeError("the s3cret in /etc/keys"), 500, "清理缓存失败"),
        ("GET", StoreError("tasks cannot be read"), 500, "清理缓存失败"),
        ("GET", StoreUnavailable("the disk is full"), 503, "服务暂时不可用"),
        ("DELETE", StoreError("tasks cannot be written"), 503, "服务暂时不可用"),
        ("DELETE", TargetBusy("another cleaner is at work"), 409, "与当前状态冲突"),
    ],
    ids=["unexpected", "reading", "full", "accepting", "busy"],
)
def test_whatever_breaks_answers_in_the_one_shape_without_secrets(
    method: str, error: Exception, status: int, message: str
) -> None:
    app = FastAPI()
    install_errors(app)

    @app.api_route("/api/cache/cleanup", methods=[method])
    def cleanup() -> None:
        raise error

    port = free_port()
    web = WebThread(Guard(app, "127.0.0.1"), "127.0.0.1", port)
    assert web.start() == ""
    try:
        answer = ask(f"http://127.0.0.1:{port}/api/cache/cleanup", method)
    finally:
        web.stop()
    body = problem(answer, status, message)
    assert "s3cret" not in answer.text
    assert body["request_id"] in body["detail"] or str(error) in body["detail"]
