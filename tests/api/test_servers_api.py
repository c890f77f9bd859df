"""GET /api/servers and /api/servers/{name}: filters, orders, pages and a server's past, without a probe."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.access import Role
from core.model import Event
from examples.fake_comfyui import FakeFleet
from store.journal import Journal
from tests.api.serving import Service, serving
from tests.workspace import SOURCE, wait_for

KEYS = ("pulid_eva_clip", "pulid_face_analysis", "pulid_model", "ben2_base", "sam3")


@pytest.fixture(scope="module")
def fakes() -> Iterator[FakeFleet]:
    with FakeFleet(4) as fakes:
        fakes[0].store(*KEYS)
        fakes[1].store(*KEYS)
        fakes[2].set_loader(fail=True)
        fakes[3].stop()
        yield fakes


@pytest.fixture(scope="module")
def service(fakes: FakeFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    servers = [f'{{ name = "{name}", url = "{url}" }}' for name, url in zip(NAMES, fakes.urls, strict=True)]
    fleet = (
        f'[[set]]\nname = "faces"\nworkflow = "{SOURCE}/examples/warmup.json"\n'
        f'[[group]]\nname = "east"\nlabels = {{ site = "Xiamen" }}\nservers = [{", ".join(servers[:3])}]\n'
        f'[[group]]\nname = "west"\nservers = [{servers[3]}]\n'
    )
    with serving(tmp_path_factory.mktemp("servers"), [], fleet=fleet) as service:

        def settled() -> bool:
            service.poll()
            return [row["state"] for row in service.ask("/api/status").json()["servers"]] == STATES

        wait_for(settled)
        yield service


NAMES = ["gpu-10", "gpu-9", "gpu-2", "edge"]
STATES = ["loaded", "loaded", "failed", "unreachable"]


def found(service: Service, query: str) -> list[str]:
    return [server["name"] for server in service.ask(f"/api/servers?{query}").json()["servers"]]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["gpu-2", "edge", "gpu-10", "gpu-9"]),
        ("sort=-state", ["gpu-10", "gpu-9", "edge", "gpu-2"]),
        ("sort=name", ["edge", "gpu-2", "gpu-9", "gpu-10"]),
        ("sort=-name", ["gpu-10", "gpu-9", "gpu-2", "edge"]),
        ("sort=group&state=loaded", ["gpu-10", "gpu-9"]),
        ("sort=-missing", ["gpu-2", "gpu-10", "gpu-9", "edge"]),
        ("sort=-warmed", ["gpu-2", "gpu-10", "gpu-9", "edge"]),
        ("state=failed&state=unreachable", ["gpu-2", "edge"]),
        ("group=west", ["edge"]),
        ("q=xiamen+GPU-", ["gpu-2", "gpu-10", "gpu-9"]),
        ("q=error+while", ["gpu-2"]),
        ("q=nothing", []),
        ("q=%00%25", []),
    ],
)
def test_the_fleet_is_filtered_and_sorted(service: Service, query: str, names: list[str]) -> None:
    assert found(service, query) == names


def test_pages_cover_the_fleet_once_and_one_beyond_the_end_is_the_last(service: Service) -> None:
    pages: list[Any] = [service.ask(f"/api/servers?sort=name&page_size=3&page={page}").json() for page in (1, 2, 99)]
    assert [[server["name"] for server in page["servers"]] for page in pages] == [
        ["edge", "gpu-2", "gpu-9"], ["gpu-10"], ["gpu-10"],
    ]  # fmt: skip
    assert [page["page"] for page in pages] == [1, 2, 2]
    assert {(page["total"], page["fleet"], page["pages"]) for page in pages} == {(4, 4, 2)}


def test_counts_are_of_what_text_and_group_let_through_whatever_the_state(service: Service) -> None:
    page = service.ask("/api/servers?group=east&state=failed").json()
    assert (page["total"], page["counts"], page["groups"]) == (1, {"failed": 1, "loaded": 2}, ["east", "west"])


@pytest.mark.parametrize(
    "query",
    [
        "state=fine",
        "sort=colour",
        "page=0",
        "page=x",
        "page_size=0",
        "page_size=1001",
        f"q={'x' * 201}",
        f"page={2**70}",
    ],
)
def test_a_question_that_cannot_be_meant_is_a_422(service: Service, query: str) -> None:
    assert service.ask(f"/api/servers?{query}").status == 422


def test_each_row_has_its_last_day_which_ends_with_its_state(service: Service) -> None:
    for server in service.ask("/api/servers").json()["servers"]:
        day = server["last_24_hours"]
        assert sum(each["cells"] for each in day) == 48
        assert day[-1]["state"] in (server["state"], "failed", "needs_submission")
        assert day[0]["state"] is None


def test_polled_since_counts_the_polls_after_a_moment(service: Service) -> None:
    now = service.ask("/api/servers?since=0").json()
    assert now["polled_since"] == 4
    later = now["now"]
    assert service.ask(f"/api/servers?since={later}").json()["polled_since"] == 0
    assert service.ask("/check/gpu-9", "POST", role=Role.OPERATOR).status == 200
    assert service.ask(f"/api/servers?since={later}").json()["polled_since"] == 1


def test_one_server_has_its_latencies_its_decision_and_its_past(service: Service) -> None:
    known = service.ask("/api/servers/gpu-2?events=3").json()
    assert known["server"]["name"] == "gpu-2"
    assert known["server"]["latencies"]
    assert known["server"]["sets"][0]["rule"] in ("backing_off", "failed")
    assert known["server"]["sets"][0]["action"] == "wait"
    assert {each["outcome"] for each in known["submissions"]} == {"failed"}
    assert all("Error while loading the model" in each["reason"] for each in known["submissions"])
    assert len(known["events"]) == 3
    older = service.ask(f"/api/servers/gpu-2?events=3&cursor={known['next_cursor']}").json()
    assert older["events"]
    assert older["events"][0]["at"] <= known["events"][-1]["at"]
    assert service.ask("/api/servers/edge").json()["server"]["latencies"][-1] is None
    assert service.ask("/api/servers/nowhere").status == 404
    assert service.ask("/api/servers/gpu-2?cursor=x").status == 422


def test_looking_asks_no_server(service: Service, fakes: FakeFleet) -> None:
    asked = [len(fake.requests) for fake in fakes]
    for path in ("/api/servers", "/api/servers/0", "/status", "/status/gpu-2", "/api/me"):
        assert service.ask(path).status == 200
    assert [len(fake.requests) for fake in fakes] == asked


def test_me_tells_whose_token_it_is(service: Service) -> None:
    assert service.ask("/api/me", role=Role.ADMIN).json()["user"] == "the-admin"
    assert service.ask("/api/me").json()["role"] == "viewer"
    assert service.ask("/api/me", Authorization="Bearer nonsense").status == 401


def test_the_last_day_is_drawn_from_the_event_log_by_a_daemon_that_has_just_started(tmp_path: Path) -> None:
    now = time.time()
    with contextlib.closing(Journal(tmp_path / "cache_keeper.sqlite3")) as journal:
        journal.record(
            [
                Event(now - hours * 3600, "127.0.0.1:9", "default", "state", before, after, "rule", "reason")
                for hours, before, after in (
                    (30, "unknown", "loaded"), (10, "loaded", "unreachable"), (8, "unreachable", "loaded"),
                )
            ]
        )  # fmt: skip
    with serving(tmp_path, ["http://127.0.0.1:9"]) as service:
        (server,) = service.ask("/api/servers").json()["servers"]
    day = server["last_24_hours"]
    assert [each["state"] for each in day] == ["loaded", "unreachable", "loaded"]
    assert sum(each["cells"] for each in day) == 48
    # Two hours lie in four half hours, or in five of which two are only begun.
    assert day[1]["cells"] == 5
    assert abs(day[1]["begins_at"] - (now - 10 * 3600)) <= 1800
