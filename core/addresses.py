"""Names and addresses of a request: what is this machine's own, and who really asks behind a proxy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

FORWARDING_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""A request with one of these came through somebody; nothing that this machine's own programs send has any."""


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    if host.lower() == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def name_in(host_header: str) -> str:
    """Given a Host header, return its name or address in lower case, without port, brackets and user."""
    host = host_header.rsplit("@", 1)[-1].strip().lower()
    if host.startswith("["):
        return host[1:].split("]", 1)[0]
    return host.rsplit(":", 1)[0] if host.count(":") == 1 else host


@dataclass(frozen=True)
class TrustedProxies:
    """The reverse proxies whose word about their clients is believed."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, networks: Sequence[str]) -> TrustedProxies:
        """Given addresses or networks (10.0.0.0/8), return them; raises ValueError."""
        return cls(tuple(ip_network(each) for each in networks))

    def trusts(self, host: str) -> bool:
        address = _address(host)
        return address is not None and any(address in network for network in self.networks)

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """Given the peer's address and the X-Forwarded-For headers in their order, return who asked.

        Each proxy appends whom it saw, so only the right end is a proxy's own word: the first address from the right
        that is no trusted proxy is the client, and whatever stands left of it the client may have made up.
        """
        asked = peer
        hops = [hop.strip() for header in forwarded_for for hop in header.split(",")]
        while self.trusts(asked) and hops:
            hop = _address(_without_port(hops.pop()))
            if hop is None:
                break
            asked = str(hop)
        return asked


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].split("]", 1)[0]
    return hop.split(":", 1)[0] if hop.count(":") == 1 else hop


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return None
    # A listener on :: sees IPv4 as ::ffff:127.0.0.1, which Python before 3.13 does not call loopback.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
