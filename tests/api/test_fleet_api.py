"""The JSON about servers, as programs read it: shapes, words, and that reading never probes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from checker.places import Limits
from core.access import Role
from core.model import Policy
from examples.fake_comfyui import FakeFleet, FakeServer
from tests.api.serving import Service, serving
from tests.workspace import wait_for

KEYS = ("pulid_eva_clip", "pulid_face_analysis", "pulid_model", "ben2_base", "sam3")


@pytest.fixture(scope="module")
def fakes() -> Iterator[FakeFleet]:
    """Three servers: loaded, loading (slowly, what it was given by the test below), not loaded and not to be."""
    with FakeFleet(3) as fleet:
        fleet[0].store(*KEYS)
        fleet[1].set_loader(seconds=600)
        fleet[2].set_loader(fail=True)
        yield fleet


@pytest.fixture(scope="module")
def service(fakes: FakeFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service"), fakes.urls) as service:
        settle(service)
        yield service


def settle(service: Service) -> None:
    """Poll until the servers are what they are meant to be: a poll may begin another try of the last one."""

    def settled() -> bool:
        service.poll()
        states = [row["state"] for row in service.ask("/api/status").json()["servers"]]
        return states == ["loaded", "warming", "failed"]

    wait_for(settled)


def test_status_has_the_users_four_fields_and_their_three_texts(service: Service, fakes: FakeFleet) -> None:
    settle(service)
    document = service.ask("/api/status").json()
    rows = document["servers"]
    assert [(row["server"], row["cache_loaded"], row["auto_executing"], row["status"]) for row in rows] == [
        (fakes[0].url, True, False, "缓存已加载"),
        (fakes[1].url, False, True, "后台执行中"),
        (fakes[2].url, False, False, "缓存未加载"),
    ]
    assert [row["state"] for row in rows] == ["loaded", "warming", "failed"]
    assert document["counts"] == {"failed": 1, "warming": 1, "loaded": 1}
    assert datetime.fromisoformat(document["last_poll"]).utcoffset() is not None
    assert 0 <= document["age_seconds"] < 60


def test_detailed_status_gives_reason_rule_age_and_keys_of_each_set(service: Service, fakes: FakeFleet) -> None:
    settle(service)
    document = service.ask("/api/detailed_status").json()
    assert document["check_interval_seconds"] == 30
    loaded, warming, failed = document["servers"]
    assert [each["group"] for each in (loaded, warming, failed)] == ["default"] * 3
    (one,) = loaded["sets"]
    assert (one["set"], one["state"], one["rule"], one["detector"]) == ("default", "loaded", "loaded", "list")
    assert one["wanted_keys"] == list(KEYS)
    assert one["missing_keys"] == []
    assert warming["sets"][0]["prompt_id"] == fakes[1].queue()[0][0]
    assert warming["queue_length"] == 1
    assert warming["sets"][0]["missing_keys"] == list(KEYS)
    assert "Error while loading the model" in failed["sets"][0]["reason"]
    assert failed["sets"][0]["failures"] >= 1
    assert 0 < failed["sets"][0]["next_try_in_seconds"] <= 5 * 2 ** (failed["sets"][0]["failures"] - 1)
    assert all(each["sets"][0]["age_seconds"] >= 0 for each in document["servers"])


def test_submission_status_has_the_origins_fields(service: Service, fakes: FakeFleet) -> None:
    settle(service)
    document = service.ask("/api/submission_status").json()
    assert document["is_submitting"] is True
    assert datetime.fromisoformat(document["last_submission_time"]).utcoffset() is not None
    assert document["can_submit"] is True
    assert document["next_submission_allowed_in"] == 0
    of = document["servers"]
    assert list(of) == fakes.urls
    assert of[fakes[0].url] == {
        "is_submitting": False, "last_submission_time": None, "can_submit": True, "next_submission_allowed_in": 0,
    }  # fmt: skip
    assert (of[fakes[1].url]["is_submitting"], of[fakes[1].url]["can_submit"]) == (True, False)
    assert of[fakes[2].url]["can_submit"] is False
    assert of[fakes[2].url]["next_submission_allowed_in"] > 0


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_reading_ever_asks_a_server_anything(service: Service, fakes: FakeFleet, method: str) -> None:
    asked = [len(fake.requests) for fake in fakes]
    for path in (
        "/", "/status", "/status?state=loaded&lang=zh", "/api/status", "/api/detailed_status",
        "/api/submission_status", "/healthz", "/static/main.js", "/openapi.json", "/nowhere",
    ):  # fmt: skip
        answer = service.ask(path, method)
        assert answer.status in (200, 307, 404), path
        assert (answer.body == b"") is (method == "HEAD" or path == "/"), path
    assert [len(fake.requests) for fake in fakes] == asked


def test_healthz_says_503_before_the_first_poll_and_200_after(tmp_path: Path) -> None:
    with FakeServer() as fake, serving(tmp_path, [fake.url]) as service:
        before = service.ask("/healthz")
        assert (before.status, before.json()) == (503, {"status": "stale", "last_poll": None, "age_seconds": None})
        service.poll()
        after = service.ask("/healthz")
        assert (after.status, after.json()["status"]) == (200, "ok")


def test_check_all_is_not_taken_for_an_index(service: Service, fakes: FakeFleet) -> None:
    asked = [len(fake.requests) for fake in fakes]
    answer = service.ask("/check/all?wait=20", "POST", role=Role.OPERATOR)
    assert answer.status == 200
    document = answer.json()
    assert (document["success"], document["finished"]) == (True, True)
    assert document["message"] == "已开始缓存检测"
    assert [row["server"] for row in document["servers"]] == fakes.urls
    assert all(len(fake.requests) > before for fake, before in zip(fakes, asked, strict=True))


def test_a_server_is_found_by_index_name_and_address_in_any_spelling(service: Service, fakes: FakeFleet) -> None:
    url = fakes[0].url
    name = url.removeprefix("http://")
    others = len(fakes[2].requests)
    for which in (
        "0", name, quote(name, safe=""), url, quote(url, safe=""), url.replace("//", "/"), url + "/", f"{name}/",
    ):  # fmt: skip
        asked = len(fakes[0].requests)
        answer = service.ask(f"/check/{which}", "POST", role=Role.OPERATOR)
        assert answer.status == 200, which
        assert [row["name"] for row in answer.json()["servers"]] == [name]
        assert len(fakes[0].requests) > asked, which
    assert len(fakes[2].requests) == others


@pytest.mark.parametrize("prefix", ["/check/", "/execute/"])
@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("3", "there is no server 3; the last one has index 2"),
        ("-1", "there is no server '-1'; GET /api/status lists them"),
        ("99999999999999999999", "there is no server '99999999999999999999'"),
        (str(2**63), f"there is no server '{2**63}'"),
        ("nowhere", "there is no server 'nowhere'"),
        ("%E6%9C%BA%E5%99%A8", "there is no server '机器'"),
        ("%00", "there is no server '\\x00'"),
        ("%FF", "there is no server"),
        ("x" * 10_000, "there is no server 'xxx"),
        ("../api/status", "there is no server"),
        ("", "there is no server ''"),
    ],
)
def test_a_server_that_is_not_there_is_a_404_in_words(service: Service, prefix: str, which: str, words: str) -> None:
    answer = service.ask(prefix + which, "POST", role=Role.OPERATOR)
    assert answer.status == 404
    assert answer.json()["detail"].startswith(words)
    assert len(answer.body) < 500


@pytest.mark.parametrize(
    "query",
    ["wait=-1", "wait=61", "wait=nan", "wait=inf", "wait=x", f"wait={2**63}", f"set={'x' * 10_000}", "force=perhaps"],
)
def test_a_wish_that_cannot_be_meant_is_a_422_and_nothing_happens(
    service: Service, fakes: FakeFleet, query: str
) -> None:
    asked = len(fakes[0].requests)
    answer = service.ask(f"/execute/0?{query}", "POST", role=Role.OPERATOR)
    assert answer.status == 422
    assert answer.json()["fields"][0]["place"] == "query"
    assert answer.json()["fields"][0]["field"] == query.partition("=")[0]
    assert len(fakes[0].requests) == asked


def test_a_set_that_is_not_there_is_a_404_that_names_those_that_are(service: Service) -> None:
    answer = service.ask("/execute/0?set=%00flux", "POST", role=Role.OPERATOR)
    assert answer.status == 404
    assert answer.json()["detail"].endswith("has no warm-up set '\\x00flux'; it has default")


def test_execute_warms_what_is_missing_and_with_force_what_is_loaded(tmp_path: Path) -> None:
    with FakeServer() as fake, serving(tmp_path, [fake.url]) as service:
        fake.store(*KEYS)
        loaded = service.ask("/execute/0?wait=20", "POST", role=Role.OPERATOR).json()
        assert (loaded["message"], loaded["finished"]) == ("已开始执行缓存工作流", True)
        assert loaded["servers"][0]["status"] == "缓存已加载"
        assert fake.prompts == []
        assert service.ask("/execute/0?force=true&wait=20", "POST", role=Role.OPERATOR).status == 200
        assert len(fake.prompts) == 1
        fake.wait_idle()
        service.poll()
        fake.evict("sam3")
        assert (
            service.ask(f"/execute/{quote(fake.url, safe='')}?set=default&wait=20", "POST", role=Role.OPERATOR).status
            == 200
        )
        fake.wait_until(lambda server: len(server.keys()) == len(KEYS))
        assert len(fake.prompts) == 2


def test_an_answer_that_does_not_wait_says_that_it_has_not_finished(tmp_path: Path) -> None:
    with FakeServer() as fake, serving(tmp_path, [fake.url]) as service:
        fake.busy(0.8)
        answer = service.ask("/check/0?wait=0", "POST", role=Role.OPERATOR).json()
        assert (answer["success"], answer["finished"]) == (True, False)
        assert answer["servers"][0]["state"] == "unknown"
        # Somebody else's poll is under way: the answer is not given before it has ended.
        later = service.ask("/check/0?wait=20", "POST", role=Role.OPERATOR).json()
        assert later["finished"] is True
        assert later["servers"][0]["state"] != "unknown"


def test_reading_goes_on_while_reloads_replace_the_fleet_over_and_over(tmp_path: Path) -> None:
    names = [f"http://127.0.0.1:{port}" for port in range(1, 301)]
    with serving(tmp_path, names) as service:
        servers = [track.server for track in service.checker.tracks.values()]
        over = threading.Event()

        async def replace_on_and_on() -> None:
            policy, limits = Policy(), Limits()
            while not over.is_set():
                service.checker.replace_servers(servers[:50], policy, limits)
                await asyncio.sleep(0.001)
                service.checker.replace_servers(servers, policy, limits)
                await asyncio.sleep(0.001)

        done = asyncio.run_coroutine_threadsafe(replace_on_and_on(), service.loop)
        wrong: dict[str, str] = {}
        for _ in range(40):
            for path in ("/api/status", "/api/detailed_status", "/api/submission_status", "/status"):
                answer = service.ask(path)
                if answer.status != 200:
                    wrong[path] = answer.text
            answer = service.ask("/execute/299?wait=0", "POST", role=Role.OPERATOR)
            if answer.status not in (200, 404):
                wrong["/execute/299"] = answer.text
        over.set()
        done.result(10)
        assert wrong == {}
