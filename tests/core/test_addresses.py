"""Who asks: names of this machine, and addresses behind proxies, believed only where the proxy is trusted."""

from __future__ import annotations

import pytest

from core.addresses import TrustedProxies, name_in

TRUSTED = TrustedProxies.of(["10.0.0.0/8", "::1/128"])


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["127.0.0.1"], "203.0.113.7"),
        ("203.0.113.7", ["10.0.0.1"], "203.0.113.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["1.2.3.4, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["1.2.3.4", "203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["1.2.3.4, 203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        ("10.0.0.1", ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ("10.0.0.1", ["203.0.113.7:51234"], "203.0.113.7"),
        ("10.0.0.1", ["[2001:db8::7]:51234"], "2001:db8::7"),
        ("10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["203.0.113.7, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["", ",,"], "10.0.0.1"),
        ("::1", ["203.0.113.7"], "203.0.113.7"),
        ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("", ["203.0.113.7"], ""),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_trusted_proxy(
    peer: str, headers: list[str], client: str
) -> None:
    assert TRUSTED.client(peer, headers) == client


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert TrustedProxies().client("127.0.0.1", ["203.0.113.7"]) == "127.0.0.1"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Fleet.Example:8000", "fleet.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("::1", "::1"),
        ("127.0.0.1@evil.example:80", "evil.example"),
        ("", ""),
    ],
)
def test_a_host_header_is_a_name_and_perhaps_a_port(header: str, name: str) -> None:
    assert name_in(header) == name
