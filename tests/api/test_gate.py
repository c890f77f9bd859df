"""Who may use a route: 401, 403 and 429 before anything is judged, and every refusal on record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel

from api.gate import Gate, GatedRoute
from api.guard import Guard
from api.rate import Kind, RateLimiter
from core.access import Caller, Role
from core.audit import AuditOutcome, AuditQuery, Stage
from examples.fake_comfyui import FakeServer
from runtime.web import WebThread
from tests.api.serving import Service, serving
from tests.workspace import free_port


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture(scope="module")
def service(fake: FakeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    fleet = f'[[group]]\nname = "gpu"\nservers = [{{ name = "first", url = "{fake.url}" }}]\n'
    with serving(tmp_path_factory.mktemp("gated"), [], fleet=fleet) as service:
        yield service


# Waited for, so that nothing of one test is under way in the next.
ACTING = (
    "/check/all?wait=20", "/check/0?wait=20", "/execute/0?wait=20", "/api/pause/0", "/api/resume/0", "/check/99",
    "/check/0?wait=x",
)  # fmt: skip
LOOKING = ("/api/status", "/api/detailed_status", "/api/submission_status", "/status")


@pytest.mark.parametrize("path", ACTING)
def test_who_wants_something_done_needs_the_role_before_anything_else_is_judged(
    service: Service, fake: FakeServer, path: str
) -> None:
    asked = len(fake.requests)
    nobody = service.ask(path, "POST")
    assert (nobody.status, nobody.headers["www-authenticate"]) == (401, "Bearer")
    forged = service.ask(path, "POST", Authorization="Bearer x.y.z")
    assert forged.status == 401
    assert forged.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
    viewer = service.ask(path, "POST", role=Role.VIEWER)
    assert (viewer.status, viewer.json()["detail"]) == (403, "this needs the role operator; the token's is viewer")
    assert len(fake.requests) == asked
    for role in (Role.OPERATOR, Role.ADMIN):
        assert service.ask(path, "POST", role=role).status in (200, 404, 422)


@pytest.mark.parametrize("path", LOOKING)
def test_looking_is_open_on_this_machine_and_a_bad_token_is_bad_there_too(service: Service, path: str) -> None:
    assert service.ask(path).status == 200
    for role in Role:
        assert service.ask(path, role=role).status == 200
    assert service.ask(path, Authorization="Bearer x.y.z").status == 401


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "bearer", "Basic YTpi", "Token x", "x" * 5000, "", "Bearer\tx"]
)
def test_what_is_no_bearer_token_is_none(service: Service, header: str) -> None:
    assert service.ask("/check/0", "POST", Authorization=header).status == 401


def test_a_pause_by_server_and_by_group_holds_until_it_is_resumed(service: Service) -> None:
    def states() -> list[str]:
        return [row["state"] for row in service.ask("/api/status").json()["servers"]]

    for which in ("first", "gpu", "0"):
        before = time.time()
        answer = service.ask(f"/api/pause/{which}?seconds=600", "POST", role=Role.OPERATOR).json()
        assert (answer["success"], answer["paused"], answer["message"]) == (True, True, "已暂停")
        assert answer["name"] == ("gpu" if which == "gpu" else "first")
        assert before + 599 <= time.mktime(time.strptime(answer["until"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
        assert states() == ["paused"]
        answer = service.ask(f"/api/resume/{which}", "POST", role=Role.OPERATOR).json()
        assert (answer["paused"], answer["message"]) == (False, "已恢复")
        assert states() != ["paused"]
    assert service.ask("/api/resume/first", "POST", role=Role.OPERATOR).json()["message"] == "没有暂停"
    assert service.ask("/api/pause/first", "POST", role=Role.OPERATOR).json()["until"] is None
    assert states() == ["paused"]
    assert service.ask("/api/resume/first", "POST", role=Role.OPERATOR).status == 200
    assert service.ask("/api/pause/nowhere", "POST", role=Role.OPERATOR).status == 404
    for seconds in ("0", "-1", "nan", "inf", "x", "1e300", str(2**63)):
        assert service.ask(f"/api/pause/0?seconds={seconds}", "POST", role=Role.OPERATOR).status == 422, seconds
    assert states() != ["paused"]


def test_what_is_done_through_the_api_is_on_record_with_its_request(service: Service) -> None:
    answer = service.ask("/execute/first?force=true&wait=20", "POST", role=Role.OPERATOR, User_Agent="x")
    intent, result = service.auditor.log.records(AuditQuery(request_id=answer.headers["x-request-id"]))
    assert (intent.stage, result.stage, result.outcome) == (Stage.INTENT, Stage.RESULT, AuditOutcome.SUCCESS)
    assert (intent.action, intent.target, intent.actor, intent.role) == (
        "fleet.warm",
        "first",
        "the-operator",
        "operator",
    )
    assert (intent.address, intent.channel) == ("127.0.0.1", "api")
    assert intent.parameters == {"set": None, "force": True}
    assert intent.token_id


def test_a_look_with_a_token_is_on_record_and_a_hundred_of_them_are_one(service: Service) -> None:
    token, issued = service.tokens.issue("reader", Role.VIEWER, 60, time.time())
    for _ in range(100):
        assert service.ask("/api/status", Authorization=f"Bearer {token}").status == 200
    (record,) = service.auditor.log.records(AuditQuery(actor="reader"))
    assert (record.stage, record.action, record.token_id) == (Stage.READ, "fleet.status", issued.id)


def test_a_refusal_is_on_record_with_its_reason_and_not_believed_addresses(service: Service) -> None:
    token, _ = service.tokens.issue("climber", Role.VIEWER, 60, time.time())
    service.ask("/check/0", "POST", Authorization=f"Bearer {token}", X_Forwarded_For="203.0.113.9")
    (record,) = service.auditor.log.records(AuditQuery(actor="climber"))
    assert (record.outcome, record.action, record.error) == (AuditOutcome.REFUSED, "access", "needs the role operator")
    assert record.target == "POST /check/{which:path}"
    assert record.address == "127.0.0.1", "X-Forwarded-For of somebody who is no trusted proxy"


def test_the_address_on_record_is_the_one_that_a_trusted_proxy_saw(fake: FakeServer, tmp_path: Path) -> None:
    with serving(tmp_path, [fake.url], TRUSTED_PROXIES="127.0.0.0/8") as service:
        answer = service.ask("/check/0", "POST", role=Role.OPERATOR, X_Forwarded_For="1.2.3.4, 203.0.113.9")
        records = list(service.auditor.log.records(AuditQuery(request_id=answer.headers["x-request-id"])))
        assert [each.address for each in records] == ["203.0.113.9"] * 2


class Wish(BaseModel):
    days: int


def test_a_stranger_learns_nothing_about_what_a_route_takes(service: Service) -> None:
    """Not even by JSON that is none, which FastAPI judges before it asks any dependency."""
    gate = Gate(service.tokens, RateLimiter(dict.fromkeys(Kind, 10**6)))
    admin = Depends(gate.needs(Role.ADMIN))
    router = APIRouter(route_class=GatedRoute)

    @router.post("/wish/{number}")
    def wish(number: int, wish: Wish, caller: Caller = admin) -> str:
        return f"{caller.user} {number} {wish.days}"

    app = FastAPI()
    app.include_router(router)
    port = free_port()
    web = WebThread(Guard(app, "127.0.0.1"), "127.0.0.1", port)
    assert web.start() == ""
    other = Service(service.settings, service.checker, service.loop, port, service.tokens, service.auditor)

    def sent(body: bytes, authorization: str = "") -> int:
        lines = [b"POST /wish/x HTTP/1.1", b"Host: 127.0.0.1", b"Content-Type: application/json", b"Connection: close",
                 f"Content-Length: {len(body)}\r\nAuthorization: {authorization}".encode()]  # fmt: skip
        return other.raw(b"\r\n".join([*lines, b"", body]))[0]

    try:
        for body in (b"{", b"{}", b'{"days": "x"}', b'{"days": 1}', b"", b"\xff"):
            assert sent(body) == 401
            assert sent(body, f"Bearer {service.token(Role.OPERATOR)}") == 403
            assert sent(body, f"Bearer {service.token(Role.ADMIN)}") in (400, 422)
    finally:
        web.stop()


def test_too_many_requests_are_told_when_to_come_back(fake: FakeServer, tmp_path: Path) -> None:
    limits = {"RATE_LIMIT_READS_PER_MINUTE": "5", "RATE_LIMIT_WRITES_PER_MINUTE": "3"}
    with serving(tmp_path, [fake.url], **limits) as service:
        for path, method, allowed in (("/api/status", "GET", 5), ("/api/resume/0", "POST", 3)):
            got = [service.ask(path, method, role=Role.OPERATOR) for _ in range(allowed + 2)]
            assert [each.status for each in got] == [200] * allowed + [429] * 2
            assert 1 <= int(got[-1].headers["retry-after"]) <= 60
        # Another caller has a bucket of its own, and the health of the daemon is always told.
        assert service.ask("/api/status", role=Role.ADMIN).status == 200
        assert service.ask("/healthz").status in (200, 503)


def test_failed_sign_ins_are_counted_by_address_and_lock_out_nobody_with_a_good_token(
    fake: FakeServer, tmp_path: Path
) -> None:
    with serving(tmp_path, [fake.url], FAILED_SIGN_INS="4") as service:
        tries = [service.ask("/check/0", "POST", Authorization="Bearer x.y.z").status for _ in range(6)]
        assert tries == [401] * 4 + [429] * 2
        assert service.ask("/check/0", "POST", role=Role.OPERATOR).status == 200


def test_a_bucket_fills_up_steadily_and_holds_no_more_than_a_minutes_worth() -> None:
    limiter = RateLimiter({Kind.READ: 60})
    assert [limiter.take(Kind.READ, "a", 0.0) for _ in range(60)] == [0.0] * 60
    assert limiter.take(Kind.READ, "a", 0.0) == pytest.approx(1.0)
    assert limiter.take(Kind.READ, "a", 0.5) == pytest.approx(0.5)
    assert limiter.take(Kind.READ, "a", 1.0) == 0.0
    assert [limiter.take(Kind.READ, "a", 1e6) for _ in range(61)][-1] > 0
    assert limiter.take(Kind.READ, "b", 0.0) == 0.0


def test_a_million_callers_take_no_more_memory_than_a_few() -> None:
    limiter = RateLimiter({Kind.READ: 1}, most_buckets=100)
    assert limiter.take(Kind.READ, "steady", 0.0) == 0.0
    for number in range(100_000):
        limiter.take(Kind.READ, f"made-up-{number}", 0.0)
        if number % 50 == 0:
            assert limiter.take(Kind.READ, "steady", 0.0) > 0, "who asks often is not forgotten"
    assert len(limiter._buckets) <= 100


def test_the_gate_that_cannot_judge_lets_nobody_in(fake: FakeServer, tmp_path: Path) -> None:
    with serving(tmp_path, [fake.url]) as service:
        token = service.token(Role.OPERATOR)
        (tmp_path / "api_keys.json").chmod(0o644)
        answer = service.ask("/check/0", "POST", Authorization=f"Bearer {token}")
        assert (answer.status, answer.json()["detail"]) == (503, "tokens cannot be judged now; the log says why")
        assert str(tmp_path) not in answer.text
        (tmp_path / "api_keys.json").chmod(0o600)
        assert service.ask("/check/0", "POST", Authorization=f"Bearer {token}").status == 200


def test_there_are_no_cookies_and_no_cors(service: Service) -> None:
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{service.port}"):
        answer = service.ask("/api/status", Origin=origin)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert "set-cookie" not in answer.headers
    assert service.ask("/check/0", "POST", Cookie=f"token={service.token(Role.ADMIN)}").status == 401
