"""The API about caches on the running program: real files, a real worker, every answer over a real socket."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from core.access import Role
from tests.api.caches import Caches, running_caches

ENVELOPE = {"success", "data", "message", "timestamp"}
ERROR = {*ENVELOPE, "detail", "fields", "request_id"}
TOO_MUCH = ["99999999999999999999", str(2**63), str(2**63 - 1), str(2**64), str(-(2**63) - 1), "-1", "0", "1e400"]


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caches]:
    with running_caches(tmp_path_factory.mktemp("caches"), MAX_CACHE_SIZE="500GB") as caches:
        yield caches


@contextmanager
def stopped_worker(caches: Caches) -> Iterator[None]:
    """While this lasts, no task gets any further: a target that is slow, in the extreme."""
    (worker,) = caches.get("workers")
    os.kill(worker["pid"], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker["pid"], signal.SIGCONT)


def problem(answer: Any, status: int, field: str | None = None) -> dict[str, Any]:
    """Check that an answer is an error of our one shape; return it."""
    assert answer.status == status, answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) == ERROR
    assert (body["success"], body["data"]) == (False, None)
    assert body["message"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert datetime.fromisoformat(body["timestamp"]).utcoffset() is not None
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
    if field is not None:
        assert field in [each["field"] for each in body["fields"]], body
    return body


# -- looking -----------------------------------------------------------------------------------------------------


def test_statistics_have_the_guides_fields_and_message(caches: Caches) -> None:
    caches.fill("images", 0.1, 0.2, 0.3)
    caches.refresh()
    answer = caches.call("GET", "stats", Role.VIEWER)
    document = answer.json()
    assert set(document) == ENVELOPE
    assert (answer.status, document["success"], document["message"]) == (200, True, "获取缓存统计成功")
    assert datetime.fromisoformat(document["timestamp"]).utcoffset() is not None
    data = document["data"]
    assert data["totalFiles"] >= 3
    assert data["totalSize"] >= 15000
    assert data["maxSize"] == 500 * 10**9
    assert data["counts"]["images"] == 3
    (images,) = [each for each in data["backends"] if each["target"] == "images"]
    assert (images["type"], images["entries"], images["files"], images["error"]) == ("images", 3, 3, "")
    assert datetime.fromisoformat(images["indexed_at"]) <= datetime.fromisoformat(document["timestamp"])


@pytest.mark.parametrize(
    ("accepted", "message"),
    [
        ("", "获取缓存统计成功"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "获取缓存统计成功"),
        ("de", "获取缓存统计成功"),
        ("en-GB,en;q=0.9", "cache statistics"),
    ],
)
def test_messages_are_chinese_unless_english_is_preferred(caches: Caches, accepted: str, message: str) -> None:
    assert caches.call("GET", "stats", Role.VIEWER, Accept_Language=accepted).json()["message"] == message


def test_details_come_by_page_and_by_cursor_and_filtered(caches: Caches) -> None:
    caches.fill("previews", *[0.01 * number for number in range(1, 8)])
    caches.fill("images", 0.01)
    caches.refresh()
    first = caches.get("details?target=previews&page_size=3&sort=created_at")
    assert (first["total"], first["page"], first["page_size"], len(first["items"])) == (7, 1, 3, 3)
    assert set(first["items"][0]) == {"target", "type", "name", "size", "files", "created_at", "last_accessed"}
    by_number = caches.get("details?target=previews&page_size=3&sort=created_at&page=2")
    by_cursor = caches.get(f"details?target=previews&page_size=3&sort=created_at&cursor={first['next_cursor']}")
    assert by_cursor["items"] == by_number["items"] != first["items"]
    assert (by_number["page"], by_cursor["page"]) == (2, None)
    last = caches.get(f"details?target=previews&page_size=3&sort=created_at&cursor={by_cursor['next_cursor']}")
    assert (len(last["items"]), last["next_cursor"]) == (1, "")
    assert {each["type"] for each in caches.get("details?type=images")["items"]} == {"images"}
    assert caches.get("details?page=1000000000&page_size=100")["items"] == []
    assert caches.get("details")["indexed_at"] is not None


def test_backends_say_whether_they_can_be_used(caches: Caches) -> None:
    data = caches.get("backend-info")
    assert data["primary_backend"] == "file"
    assert (data["fallback_enabled"], data["mongodb_available"], data["redis_available"]) == (True, False, False)
    assert {(each["name"], each["available"], each["error"]) for each in data["backends"]} >= {
        ("images", True, ""),
        ("previews", True, ""),
    }


def test_models_are_shown_as_they_were_last_seen(caches: Caches) -> None:
    task = caches.call("POST", "operations", Role.OPERATOR, {"name": "list_models"}).json()["data"]
    assert caches.over(task["id"])["state"] == "done"
    data = caches.get("/api/models")
    assert data["looked_at"] is not None
    assert data["models"] == []


# -- acting ------------------------------------------------------------------------------------------------------


def test_a_cleanup_deletes_what_is_old_and_says_what_it_did(caches: Caches) -> None:
    old, young = caches.fill("images", 9, 1)
    plan = caches.call("DELETE", "cleanup?days=7&type=file&target=images&dry_run=true")
    assert plan.json()["message"] == "试运行：将清理 7 天前的缓存"
    assert old.exists()
    done = caches.call("DELETE", "cleanup?days=7&type=file&target=images")
    assert (done.status, done.json()["message"], done.json()["success"]) == (200, "已清理 7 天前的缓存", True)
    assert (old.exists(), young.exists()) == (False, True)
    data = done.json()["data"]
    assert (data["state"], data["deleted_files"], data["dry_run"]) == ("done", 1, False)
    assert data["freed_bytes"] >= 5000
    assert data["failed"] == {"total": 0, "counts": {}, "first": []}
    planned = plan.json()["data"]
    assert (planned["deleted_files"], planned["freed_bytes"]) == (data["deleted_files"], data["freed_bytes"])
    assert done.headers["location"] == data["address"] == f"/api/cache/operations/{data['task_id']}"
    task = caches.get(data["address"])
    assert (task["state"], task["result"]["deleted_files"]) == ("done", 1)
    assert task["progress"]["percent"] in (None, 100) or task["progress"]["percent"] >= 99


def test_a_cleanup_that_is_refused_deletes_nothing_and_says_why(caches: Caches) -> None:
    caches.call("DELETE", "clear?target=previews&confirm=previews")
    files = caches.fill("previews", *[30] * 20)
    plan = caches.call("DELETE", "cleanup?days=7&target=previews&dry_run=true").json()
    assert (plan["success"], plan["message"]) == (False, "试运行：部分目标会被拒绝，原因见 effects")
    answer = caches.call("DELETE", "cleanup?days=7&target=previews")
    document = answer.json()
    assert (answer.status, document["success"]) == (200, False)
    assert document["message"] == "部分目标未完成，原因见 effects"
    assert "more than 90%" in document["data"]["effects"][0]["refused"]
    assert plan["data"]["effects"][0]["would_refuse"] == document["data"]["effects"][0]["refused"]
    assert plan["data"]["deleted_entries"] == 0
    assert all(file.exists() for file in files)
    caches.call("DELETE", "clear?target=previews&confirm=previews")


def test_what_takes_longer_than_the_wait_is_accepted_with_its_address(caches: Caches) -> None:
    old, *_ = caches.fill("previews", 30, 1, 1)
    with stopped_worker(caches):
        answer = caches.call("DELETE", "cleanup?days=20&target=previews&wait=0.3")
        assert (answer.status, answer.json()["success"]) == (202, True)
        data = answer.json()["data"]
        assert (data["state"], data["deleted_files"], data["effects"]) == ("queued", None, [])
        assert answer.headers["location"] == data["address"]
        assert old.exists()
    assert caches.over(data["task_id"])["result"]["deleted_files"] == 1
    assert not old.exists()


def test_forty_callers_who_wait_leave_the_api_free(caches: Caches) -> None:
    statuses: list[int] = []
    with stopped_worker(caches):

        def wait_long() -> None:
            statuses.append(caches.call("POST", "refresh?wait=60", body={"target": "previews"}).status)

        threads = [threading.Thread(target=wait_long) for _ in range(45)]
        for thread in threads:
            thread.start()
        # All of them are in, and none has its answer.
        tasks = caches.get("operations?state=queued&name=refresh&limit=100")["items"]
        while len(tasks) < 45:
            tasks = caches.get("operations?state=queued&name=refresh&limit=100")["items"]
        assert caches.get("stats")["totalFiles"] >= 0
        assert statuses == []
        for task in tasks:
            assert caches.call("POST", f"operations/{task['id']}/cancel").status == 200
    for thread in threads:
        thread.join(20)
    assert statuses == [200] * 45


@pytest.mark.parametrize("query", ["target=previews", "target=previews&confirm=images", "confirm=previews", ""])
def test_a_clear_without_the_targets_own_name_clears_nothing(caches: Caches, query: str) -> None:
    (kept,) = caches.fill("previews", 0.1)
    body = problem(caches.call("DELETE", f"clear?{query}"), 409, "confirm")
    assert "confirm must be" in body["detail"]
    assert kept.exists()


def test_a_clear_takes_everything_in_its_target_and_nothing_beside_it(caches: Caches) -> None:
    (image,) = caches.fill("images", 0.1)
    caches.fill("previews", 0.1, 5)
    beside = caches.workspace.write("beside.txt", "stays")
    plan = caches.call("DELETE", "clear?target=previews&dry_run=true").json()["data"]
    assert plan["deleted_files"] >= 2
    done = caches.call("DELETE", "clear?target=previews&confirm=previews")
    assert (done.status, done.json()["message"]) == (200, "缓存 previews 已清空"), done.text
    assert done.json()["data"]["deleted_files"] == plan["deleted_files"]
    assert list((caches.workspace.root / "previews").iterdir()) == []
    assert image.exists()
    assert beside.exists()
    assert caches.call("DELETE", "clear?confirm=all").json()["message"] == "所有缓存已清空"
    assert not image.exists()
    assert caches.get("stats")["counts"].get("images", 0) == 0


def test_a_warm_up_is_a_task_that_tells_what_became_of_it(caches: Caches) -> None:
    answer = caches.call("POST", "warmup", Role.OPERATOR, {"servers": ["gpu-7"]})
    assert answer.status == 202
    data = answer.json()["data"]
    assert (data["name"], data["arguments"]["servers"]) == ("warmup", ["gpu-7"])
    assert caches.call("POST", f"operations/{data['id']}/cancel").status == 200
    problem(caches.call("POST", "warmup", body={"servers": ["nobody"]}), 404)


def test_a_warm_up_or_a_refresh_without_a_body_is_one_of_everything(caches: Caches) -> None:
    warmup, refresh = caches.call("POST", "warmup"), caches.call("POST", "refresh?wait=10")
    assert (warmup.status, refresh.status) == (202, 200)
    assert warmup.json()["data"]["arguments"]["servers"] == []
    assert caches.over(warmup.json()["data"]["id"])["error"].startswith("1 of 1 not loaded: gpu-7")
    assert {"images", "previews"} <= set(refresh.json()["data"]["result"]["targets"])


def test_a_batch_has_one_progress_and_comes_whole_or_not_at_all(caches: Caches) -> None:
    refresh = {"name": "refresh", "arguments": {"target": "images"}}
    problem(
        caches.call(
            "POST",
            "batches",
            body={"batch": "half", "operations": [refresh, {**refresh, "arguments": {"target": "no"}}]},
        ),
        404,
    )
    problem(caches.call("GET", "batches/half"), 404)
    accepted = caches.call("POST", "batches", body={"batch": "a/b 批", "operations": [refresh, refresh]})
    assert (accepted.status, accepted.json()["data"]["total"]) == (202, 2)
    for item in accepted.json()["data"]["items"]:
        caches.over(item["id"])
    data = caches.get(accepted.headers["location"])
    assert (data["batch"], data["percent"], data["is_over"], data["counts"]["done"]) == ("a/b 批", 100, True, 2)


def test_tasks_can_be_listed_cancelled_and_tried_again(caches: Caches) -> None:
    with stopped_worker(caches):
        task = caches.call("POST", "refresh", body={}).json()["data"]
        assert task["id"] in caches.get("queue/global:pending")
        cancelled = caches.call("POST", f"operations/{task['id']}/cancel").json()["data"]
        assert cancelled["state"] == "cancelled"
        ids = [each["id"] for each in caches.get("operations?state=cancelled&state=failed&name=refresh")["items"]]
        assert task["id"] in ids
        again = caches.call("POST", f"operations/{task['id']}/retry").json()["data"]
        assert (again["id"], again["state"]) == (task["id"], "queued")
        problem(caches.call("POST", f"operations/{task['id']}/retry"), 409)
    assert caches.over(task["id"])["state"] == "done"
    assert caches.get(f"queue/task:{task['id']}:progress")["status"] == "done"
    page = caches.get("operations?limit=2")
    assert len(page["items"]) == 2
    assert caches.get(f"operations?limit=2&cursor={page['next_cursor']}")["items"][0]["id"] != page["items"][0]["id"]


# -- what cannot be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", TOO_MUCH)
@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "details", "page"),
        ("GET", "details", "page_size"),
        ("GET", "operations", "limit"),
        ("GET", "batches/b", "limit"),
        ("GET", "/api/audit", "limit"),
        ("DELETE", "cleanup", "days"),
    ],
)
def test_numbers_that_fit_no_database_are_refused_by_name(
    caches: Caches, method: str, path: str, name: str, value: str
) -> None:
    problem(caches.call(method, f"{path}?{name}={value}"), 422, name)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("cleanup?days=100&dryrun=true", "dryrun"),
        ("cleanup?day=1.5", "day"),
        ("clear?confirm=previews&Target=p", "Target"),
    ],
)
def test_a_misspelt_parameter_deletes_nothing_and_is_named(caches: Caches, path: str, field: str) -> None:
    files = caches.fill("previews", 200, 200, 0.1, 0.2)
    operation = path.partition("?")[0]
    before = caches.get(f"operations?limit=1&name={operation}")["counts"]
    body = problem(caches.call("DELETE", path), 422, field)
    assert f"{field}: is no parameter of this; there are: " in body["detail"]
    assert "dry_run" in body["detail"]
    assert all(file.exists() for file in files)
    assert caches.get(f"operations?limit=1&name={operation}")["counts"] == before
    # A stranger does not learn what there is.
    problem(caches.call("DELETE", path, None), 401)
    problem(caches.call("DELETE", path, Role.VIEWER), 403)


def test_every_route_refuses_a_parameter_that_it_does_not_know_but_those_for_monitors(caches: Caches) -> None:
    document = caches.call("GET", "/openapi.json").json()
    for path, methods in document["paths"].items():
        for method in methods:
            if path in ("/healthz", "/metrics"):
                assert caches.call("GET", f"{path}?no_such=1").status != 422
                continue
            body = None if method == "get" else b"{}"
            answer = caches.call(method.upper(), re.sub(r"{[^}]*}", "x", path) + "?no_such=1", body=body)
            problem(answer, 422, "no_such")


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "61", "1e400", "99999999999999999999", "x", ""])
def test_a_wait_that_cannot_be_meant_is_refused(caches: Caches, value: str) -> None:
    before = caches.get("operations?limit=1")["counts"]
    problem(caches.call("DELETE", f"cleanup?wait={value}"), 422, "wait")
    assert caches.get("operations?limit=1")["counts"] == before


@pytest.mark.parametrize("path", ["details", "operations", "/api/audit"])
@pytest.mark.parametrize("cursor", ["x", "-1", "9" * 30, str(2**64), "%00", "%F0%9F%90%8D", "AAAA", "W10", "e30", "é"])
def test_a_cursor_that_we_never_gave_out_is_refused_by_name(caches: Caches, path: str, cursor: str) -> None:
    problem(caches.call("GET", f"{path}?cursor={cursor.replace('é', '%C3%A9')}"), 422, "cursor")


BODIES: list[tuple[str, Any, str | None]] = [
    ("operations", b"{", "body"),
    ("operations", b"", "body"),
    ("operations", b"[" * 20_000, None),
    ("operations", b'"\xff"', None),
    ("operations", {"name": "reboot"}, "body"),
    ("operations", {"name": "cleanup", "arguments": {"days": 0}}, "cleanup.arguments.days"),
    ("operations", {"name": "cleanup", "arguments": {"days": 2**70}}, "cleanup.arguments.days"),
    ("operations", b'{"name": "cleanup", "arguments": {"days": NaN}}', "cleanup.arguments.days"),
    ("operations", b'{"name": "cleanup", "arguments": {"days": 1e999}}', "cleanup.arguments.days"),
    ("operations", {"name": "cleanup", "arguments": {"days": "7"}}, "cleanup.arguments.days"),
    ("operations", {"name": "cleanup", "arguments": {"dry_run": 0}}, "cleanup.arguments.dry_run"),
    ("operations", {"name": "cleanup", "arguments": {"dryrun": True}}, "cleanup.arguments.dryrun"),
    ("operations", b'{"name": "refresh", "arguments": {"target": "\\ud800"}}', "refresh.arguments.target"),
    ("operations?priority=urgent", {"name": "refresh"}, "priority"),
    ("warmup", {"servers": "gpu-7"}, "servers"),
    ("warmup", {"set": "flux"}, "set"),
    ("refresh", {"target": ["images"]}, "target"),
    ("batches", {"batch": "b", "operations": []}, "operations"),
    ("batches", {"batch": "", "operations": [{"name": "refresh"}]}, "batch"),
]


@pytest.mark.parametrize(("path", "body", "field"), BODIES, ids=lambda value: str(value)[:50])
def test_a_body_that_cannot_be_meant_is_refused_by_its_field(
    caches: Caches, path: str, body: Any, field: str | None
) -> None:
    problem(caches.call("POST", path, body=body), 422 if field else 400, field)


WRONG = (
    "details?page=0", "details?page=x", "details?page=1.5", f"details?page={'9' * 5000}", "details?page_size=101",
    "details?type=nothing", "details?sort=x", "details?target=nothing", f"details?target={'x' * 300}",
    "details?cursor=x", "details?pagesize=3", "operations?state=x", "operations?cursor=x", "operations/0",
    "operations?limit=nan", "queue/flushdb", "batches/none", "workers?x=1", "nothing", "../audit?cursor=x",
    "../audit?since=yesterday", "../audit?since=2026-11-23T00:00:00", "../audit?since=2026-11-23Tx", "../audit?stage=x",
    "../servers/999", "../servers/nothing", "../servers?since=inf", "../servers?since=-1", "../servers/0?cursor=x",
    "../servers?" + "&".join(["state=loaded"] * 21),
)  # fmt: skip
CHINESE = re.compile("[\u4e00-\u9fff]")


def assert_told(answer: Any, *, chinese: bool) -> None:
    body = answer.json()
    for words in (body["detail"], *(each["problem"] for each in body["fields"])):
        for sentence in words.split("；") if chinese else [words]:
            assert bool(CHINESE.search(sentence)) is chinese, body
    assert not chinese or "; " not in body["detail"], "nothing is left in English"


def test_what_is_wrong_is_told_in_chinese_to_whoever_prefers_it_and_else_in_english(caches: Caches) -> None:
    requests: list[tuple[str, str, Any]] = [("GET", path, None) for path in WRONG]
    requests += [("POST", path, body) for path, body, _ in BODIES]
    requests += [("DELETE", f"cleanup?days={days}", None) for days in ("0", "366", "x", "nan", "inf")]
    requests += [
        ("DELETE", "cleanup?dry_run=perhaps", None), ("DELETE", "clear?target=images", None),
        ("PUT", "operations", None), ("DELETE", "cleanup?wait=61&type=x", None), ("DELETE", "clear?target=", None),
    ]  # fmt: skip
    for method, path, body in requests:
        for language, chinese in (
            ("", False),
            ("de", False),
            ("en,zh;q=0.5", False),
            ("zh-CN,zh;q=0.9,en;q=0.8", True),
        ):
            answer = caches.call(method, path, body=body, Accept_Language=language)
            assert answer.status in (400, 404, 405, 409, 422), (path, answer.text)
            assert_told(answer, chinese=chinese)
    assert_told(caches.workspace.ask("/api/cache/stats", **{"Accept-Language": "zh"}), chinese=True)
    for header in ({"Host": "evil.example"}, {"Authorization": "Bearer x"}):
        assert_told(caches.workspace.ask("/api/cache/stats", **header, **{"Accept-Language": "zh"}), chinese=True)
    forbidden = caches.call("DELETE", "clear?target=all", Role.VIEWER, Accept_Language="zh")
    assert forbidden.json()["detail"] == "此操作需要角色 admin；令牌的角色是 viewer"


def test_a_browser_whose_address_leads_nowhere_gets_a_page_and_a_program_the_error(caches: Caches) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    for path in ("/nosuch", "/static/nosuch.js", "/apiary", "/%22%3E%3Cb%3Ex"):
        english = caches.workspace.ask(path, **browser)
        assert (english.status, english.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "There is no page at this address" in english.text
        assert "<b>" not in english.text
        assert '<a href="/cache">Caches</a>' in english.text
        assert "script-src 'self'" in english.headers["content-security-policy"]
        assert all(" src=" in script for script in re.findall("<script[^>]*>", english.text))
        chinese = caches.workspace.ask(path, **browser, **{"Accept-Language": "zh-CN"})
        assert "此地址没有页面" in chinese.text
        assert 'lang="zh-CN"' in chinese.text
        assert '<a href="/cache?lang=zh">缓存</a>' in caches.workspace.ask(f"{path}?lang=zh", **browser).text
    for path in ("/api", "/api/nosuch", "/api/cache/nosuch"):
        problem(caches.workspace.ask(path, **browser), 404)
    problem(caches.workspace.ask("/nosuch", "POST", **browser, **{"Content-Length": "0"}), 404)
    problem(caches.workspace.ask("/nosuch", Accept="application/json"), 404)


@pytest.mark.parametrize("path", ["//evil.example/", "/%5Cevil.example/", "///evil.example"])
def test_no_link_of_that_page_leads_to_another_site(caches: Caches, path: str) -> None:
    shown = caches.workspace.ask(path, Accept="text/html")
    assert shown.status == 404
    links = re.findall('href="([^"]*)"', shown.text)
    assert len(links) > 6
    assert [link for link in links if not re.match(r"(/[^/\\]|#)", link)] == []


def test_what_is_not_there_is_a_404_that_says_what_is(caches: Caches) -> None:
    assert "previews" in problem(caches.call("DELETE", "cleanup?target=nothing"), 404)["detail"]
    assert "previews" in problem(caches.call("GET", "details?target=nothing"), 404)["detail"]
    for path in ("operations/0", f"operations/{2**70}", "operations/x", "queue/flushdb", "batches/none", "nothing"):
        problem(caches.call("GET", path), 404)
    problem(caches.workspace.ask("/nowhere"), 404)


def test_another_method_is_a_405_that_says_which_there_are(caches: Caches) -> None:
    answer = caches.call("PUT", "operations")
    problem(answer, 405)
    assert answer.headers["allow"] == "GET, POST"


def test_refusals_of_the_guard_have_the_same_shape(caches: Caches) -> None:
    problem(caches.call("DELETE", "cleanup", Sec_Fetch_Site="cross-site"), 403)
    problem(caches.call("GET", "stats", Host="evil.example"), 421)


# -- the record --------------------------------------------------------------------------------------------------


def test_a_cleanup_is_on_record_from_the_wish_to_the_result_under_one_request_id(caches: Caches) -> None:
    caches.fill("images", 40, 1, 1)
    answer = caches.call("DELETE", "cleanup?days=30&target=images", Role.OPERATOR)
    found = caches.get(f"/api/audit?request_id={answer.headers['x-request-id']}")["items"]
    story = [(each["action"], each["stage"], each["outcome"], each["channel"]) for each in reversed(found)]
    assert story[0] == ("cleanup.request", "intent", "pending", "api")
    # A worker may have begun before the queue's answer is on record.
    assert sorted(story[1:3]) == [
        ("cache.cleanup", "intent", "pending", "worker"),
        ("cleanup.request", "result", "success", "api"),
    ]
    assert story[3:] == [("cache.cleanup", "result", "success", "worker")]
    assert {each["role"] for each in found} == {"operator"}
    assert found[0]["effect"]["files"] == 1
    assert found[0]["duration_seconds"] is not None
    assert caches.get("/api/audit?action=cache.cleanup&outcome=success&limit=1")["items"][0]["seq"] == found[0]["seq"]
    assert caches.get("/api/audit?since=2999-01-01T00:00:00Z")["items"] == []
    problem(caches.call("GET", "/api/audit?since=1"), 422, "since")


def test_looks_are_on_record_once_a_minute(caches: Caches) -> None:
    bearer = f"Bearer {caches.token(Role.OPERATOR)}"
    for _ in range(3):
        assert caches.call("GET", "backend-info", None, Authorization=bearer).status == 200
    found = caches.get("/api/audit?action=cache.backend-info&stage=read")["items"]
    assert len([each for each in found if each["role"] == "operator"]) == 1


def test_the_log_is_exported_whole_as_json_lines_and_as_csv(caches: Caches) -> None:
    assert caches.call("DELETE", "cleanup?days=30&target=images", Role.OPERATOR).status == 200
    lines = caches.call("GET", "/api/audit/export?format=jsonl")
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert lines.headers["content-disposition"].startswith('attachment; filename="audit-')
    records = [json.loads(line) for line in lines.text.splitlines()]
    assert [each["seq"] for each in records] == list(range(1, len(records) + 1))
    table = caches.call("GET", "/api/audit/export?format=csv&action=cleanup.request")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert rows[0].keys() == records[0].keys() - {"previous_hash"}
    assert {row["action"] for row in rows} == {"cleanup.request"}
    wanted = [each for each in records if each["action"] == "cleanup.request"]
    assert [row["hash"] for row in rows] == [each["hash"] for each in wanted]
    assert json.loads(rows[0]["parameters"]) == wanted[0]["parameters"]
