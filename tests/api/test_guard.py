"""Who may ask what: names of this service, pages of other sites, other machines; and the headers on every answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.guard import is_loopback
from examples.fake_comfyui import FakeServer
from tests.api.serving import Service, serving

UNSAFE = ("POST", "PUT", "DELETE", "PATCH", "BREW", "PROPFIND")


def own_address() -> str | None:
    """Return an address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return None
        address = str(probe.getsockname()[0])
        return None if address.startswith(("127.", "0.")) else address


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture(scope="module")
def service(fake: FakeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("guarded"), [fake.url]) as service:
        yield service


@pytest.fixture(scope="module")
def open_service(fake: FakeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("open"), [fake.url], host="0.0.0.0") as service:
        yield service


def request(service: Service, method: str, path: str, host: str | None, **headers: str) -> bytes:
    named = {"Host": f"{host}:{service.port}"} if host is not None else {}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items()), "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost", "[::1]", "127.0.0.2"])
def test_names_of_this_machine_are_served(service: Service, host: str) -> None:
    assert service.raw(request(service, "GET", "/api/status", host))[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "localhost.evil.example", "10.0.0.1"]
)
def test_another_name_for_this_address_is_refused_as_dns_rebinding_would_use_it(service: Service, host: str) -> None:
    status, text = service.raw(request(service, "GET", "/api/status", host))
    assert status == 421
    assert "this service listens on 127.0.0.1 and is not called" in text
    assert service.raw(request(service, "POST", "/check/all", host))[0] == 421


def test_a_request_without_a_host_or_with_two_is_refused(service: Service) -> None:
    assert service.raw(request(service, "GET", "/api/status", None))[0] in (400, 421)
    assert service.raw(b"GET /api/status HTTP/1.0\r\n\r\n")[0] == 421
    two = request(service, "GET", "/api/status", "localhost").replace(b"\r\n\r\n", b"\r\nHost: evil.example\r\n\r\n")
    assert service.raw(two)[0] in (400, 421)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
@pytest.mark.parametrize("path", ["/check/all", "/check/0", "/execute/0?force=true"])
def test_a_page_of_another_site_cannot_make_a_browser_change_anything(
    service: Service, fake: FakeServer, site: str, path: str
) -> None:
    asked = len(fake.requests)
    assert service.ask(path, "POST", Sec_Fetch_Site=site).status == 403
    assert len(fake.requests) == asked


def test_our_own_page_and_programs_may(service: Service) -> None:
    for site in ("same-origin", "none"):
        assert service.ask("/check/0", "POST", Sec_Fetch_Site=site).status == 200
    assert service.ask("/check/0", "POST").status == 200


@pytest.mark.skipif(own_address() is None, reason="this machine has only loopback addresses")
def test_another_machine_may_look_and_not_touch(open_service: Service, fake: FakeServer) -> None:
    address = own_address()
    asked = len(fake.requests)
    look = request(open_service, "GET", "/api/status", "fleet.example")
    assert open_service.raw(look, source=address)[0] == 200
    for method in UNSAFE:
        status, text = open_service.raw(request(open_service, method, "/check/all", "127.0.0.1"), source=address)
        assert status == 403, method
        assert "only taken from this machine" in text
    assert len(fake.requests) == asked


@pytest.mark.skipif(own_address() is None, reason="this machine has only loopback addresses")
def test_this_machine_may_touch_by_its_own_address(open_service: Service) -> None:
    address = own_address()
    assert address is not None
    assert open_service.raw(request(open_service, "POST", "/check/0", address), to=address)[0] == 200


def test_a_rebound_name_cannot_touch_even_where_every_name_may_look(open_service: Service, fake: FakeServer) -> None:
    asked = len(fake.requests)
    look = request(open_service, "GET", "/api/status", "fleet.example")
    assert open_service.raw(look)[0] == 200
    # A browser takes a page of evil.example that has been rebound to 127.0.0.1 for the same origin.
    touch = request(open_service, "POST", "/check/0", "evil.example", Sec_Fetch_Site="same-origin")
    assert open_service.raw(touch)[0] == 403
    assert len(fake.requests) == asked


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/status", 200),
        ("GET", "/", 307),
        ("GET", "/api/status", 200),
        ("GET", "/static/status.css", 200),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e/app.py", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/check/all", 405),
        ("POST", "/api/status", 405),
        ("POST", "/check/9", 404),
        ("POST", "/check/all?wait=x", 422),
        ("HEAD", "/status", 200),
        ("OPTIONS", "/status", 405),
        ("BREW", "/status", 405),
        ("TRACE", "/status", 405),
    ],
)
def test_every_answer_has_the_security_headers(service: Service, method: str, path: str, status: int) -> None:
    got, text = service.raw(request(service, method, path, "127.0.0.1"))
    assert got == status
    assert_secured(text)
    if method == "HEAD":
        assert text.endswith("\r\n\r\n"), "a HEAD has no body"
        assert "content-length: 0" not in text.lower()


def test_refusals_have_the_security_headers_too(service: Service) -> None:
    assert_secured(service.raw(request(service, "GET", "/status", "evil.example"))[1])
    assert_secured(service.raw(request(service, "POST", "/check/0", "localhost", Sec_Fetch_Site="cross-site"))[1])


def assert_secured(answer: str) -> None:
    head = answer.partition("\r\n\r\n")[0].lower().split("\r\n")
    assert head.count("x-content-type-options: nosniff") == 1
    assert head.count("x-frame-options: deny") == 1
    assert head.count("referrer-policy: no-referrer") == 1
    (policy,) = [line for line in head if line.startswith("content-security-policy:")]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert not [line for line in head if line.startswith("server:")]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"POST /check/all HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /\x00\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"\r\n" * 100,
    ],
    ids=["TLS", "long path", "long header", "bad length", "bad path", "blank lines"],
)
def test_garbage_is_refused_and_the_service_goes_on(service: Service, garbage: bytes) -> None:
    try:
        status, _ = service.raw(garbage, half_close=True)
    except OSError:
        status = 0
    assert status in (0, 400, 404, 413, 414, 431)
    assert service.ask("/api/status").status == 200


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("127.0.0.1.evil", False),
        ("2130706433", False),
    ],
)
def test_what_counts_as_this_machine(address: str, ours: bool) -> None:
    assert is_loopback(address) is ours


def test_a_dual_stack_listener_takes_wishes_from_this_machine_by_ipv4(fake: FakeServer, tmp_path: Path) -> None:
    try:
        with serving(tmp_path, [fake.url], host="::") as service:
            assert service.ask("/check/0", "POST").status == 200
    except AssertionError as error:
        if "no page and no API" in str(error):
            pytest.skip("no IPv6 on this machine")
        raise
