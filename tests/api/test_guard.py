"""Who may ask what: names of this service, pages of other sites, other machines; and the headers on every answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.access import Role
from core.addresses import is_loopback
from examples.fake_comfyui import FakeServer
from tests.api.serving import Service, serving

OPEN = {
    "HOST": "0.0.0.0",
    "API_SECRET": "q0Zr7vN2xK8mW4tJ6yB1cF5hD9gL3pSaEuRiOeXz",
    "ALLOWED_HOSTS": "fleet.example",
    "TRUSTED_PROXIES": "127.0.0.1",
}


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
    with serving(tmp_path_factory.mktemp("open"), [fake.url], host="0.0.0.0", **OPEN) as service:
        yield service


def request(service: Service, method: str, path: str, host: str | None, **headers: str) -> bytes:
    named = {"Host": f"{host}:{service.port}"} if host is not None else {}
    named["Authorization"] = f"Bearer {service.token(Role.OPERATOR)}"
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
    assert "this service is not called" in text
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
    assert service.ask(path, "POST", role=Role.OPERATOR, Sec_Fetch_Site=site).status == 403
    assert len(fake.requests) == asked


def test_our_own_page_and_programs_may(service: Service) -> None:
    for site in ("same-origin", "none"):
        assert service.ask("/check/0", "POST", role=Role.OPERATOR, Sec_Fetch_Site=site).status == 200
    assert service.ask("/check/0", "POST", role=Role.OPERATOR).status == 200


@pytest.mark.skipif(own_address() is None, reason="this machine has only loopback addresses")
def test_another_machine_needs_a_token_to_look_and_to_touch(open_service: Service, fake: FakeServer) -> None:
    address = own_address()
    asked = len(fake.requests)
    for method, path in (("GET", "/api/status"), ("GET", "/api/servers"), ("POST", "/check/0")):
        # A name of this machine does not make the other one this one.
        status, text = open_service.raw(
            request(open_service, method, path, "127.0.0.1", Authorization=""), source=address
        )
        assert status == 401, path
        assert "\r\nwww-authenticate: bearer\r\n" in text.lower()
    assert len(fake.requests) == asked
    health = request(open_service, "GET", "/healthz", "127.0.0.1", Authorization="")
    assert open_service.raw(health, source=address)[0] in (200, 503), "whether it lives is nobody's secret"
    assert open_service.raw(request(open_service, "POST", "/check/0", "127.0.0.1"), source=address)[0] == 200


@pytest.mark.skipif(own_address() is None, reason="this machine has only loopback addresses")
def test_where_every_address_is_listened_on_it_is_called_by_the_one_connected_to(open_service: Service) -> None:
    address = own_address()
    assert address is not None
    assert open_service.raw(request(open_service, "POST", "/check/0", address), to=address)[0] == 200
    assert open_service.raw(request(open_service, "GET", "/api/status", "203.0.113.1"), to=address)[0] == 421


def test_only_allowed_names_are_served_where_every_address_is_listened_on(open_service: Service) -> None:
    assert open_service.raw(request(open_service, "GET", "/api/status", "fleet.example"))[0] == 200
    assert open_service.raw(request(open_service, "GET", "/api/status", "FLEET.example"))[0] == 200
    for host in ("evil.example", "fleet.example.evil.example", "x.fleet.example"):
        # A browser takes a page of evil.example that has been rebound to 127.0.0.1 for the same origin.
        for method, path in (("GET", "/api/status"), ("POST", "/check/0")):
            status, text = open_service.raw(request(open_service, method, path, host, Sec_Fetch_Site="same-origin"))
            assert status == 421, host
            assert "ALLOWED_HOSTS" in text


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Via: 1.1 proxy", "Forwarded: for=127.0.0.1"]
)
def test_what_a_proxy_of_this_machine_passes_on_is_not_local(service: Service, header: str) -> None:
    name, _, value = header.partition(": ")
    passed_on = request(service, "GET", "/api/status", "127.0.0.1", Authorization="", **{name: value})
    assert service.raw(passed_on)[0] == 401
    assert service.raw(request(service, "GET", "/api/status", "127.0.0.1", Authorization=""))[0] == 200


def test_every_answer_names_its_request_and_only_a_trusted_proxy_may_choose_the_name(
    service: Service, open_service: Service
) -> None:
    def named(service: Service, **headers: str) -> str:
        head = service.raw(request(service, "GET", "/api/status", "127.0.0.1", **headers))[1].partition("\r\n\r\n")[0]
        (line,) = [line for line in head.lower().split("\r\n") if line.startswith("x-request-id: ")]
        return line.removeprefix("x-request-id: ")

    assert named(service) != named(service)
    assert named(service, X_Request_Id="chosen-by-a-stranger") != "chosen-by-a-stranger"
    assert named(open_service, X_Request_Id="chosen-by-the-proxy") == "chosen-by-the-proxy"
    assert named(open_service, X_Request_Id="short") != "short"
    assert named(open_service, X_Request_Id="x" * 65) != "x" * 65


def test_a_body_that_is_too_large_or_has_no_length_is_not_read(service: Service) -> None:
    large = request(service, "POST", "/check/0", "127.0.0.1", Content_Length=str((1 << 20) + 1))
    assert service.raw(large)[0] == 413
    chunked = request(service, "POST", "/check/0", "127.0.0.1", Transfer_Encoding="chunked") + b"0\r\n\r\n"
    assert service.raw(chunked)[0] == 411


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/status", 200),
        ("GET", "/", 307),
        ("GET", "/api/status", 200),
        ("GET", "/static/base.css", 200),
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
            assert service.ask("/check/0", "POST", role=Role.OPERATOR).status == 200
    except AssertionError as error:
        if "no page and no API" in str(error):
            pytest.skip("no IPv6 on this machine")
        raise
