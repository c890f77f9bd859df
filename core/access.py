"""Who may do what: roles, permissions and the caller of an operation.

viewer    may look
operator  may also clean what has expired, warm, check, pause, re-index, cancel and retry
admin     may also clear, issue tokens and export the audit log
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, needed: Role) -> bool:
        """Whether this role may do what ``needed`` may."""
        return _ORDER[self] >= _ORDER[needed]


_ORDER = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


class Channel(StrEnum):
    """By which way an operation came."""

    API = "api"
    CLI = "cli"
    WORKER = "worker"
    SCHEDULE = "schedule"


@dataclass(frozen=True)
class IssuedToken:
    """A token that was given out, without the token itself. Times are seconds since 1970 UTC."""

    id: str
    user: str
    role: Role
    issued_at: float
    expires_at: float
    revoked_at: float | None = None

    def state(self, now: float) -> str:
        """Return ``revoked``, ``expired`` or ``live``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if now >= self.expires_at else "live"


@dataclass(frozen=True)
class Caller:
    """Who asks for an operation, by which way; the audit log keeps all of it.

    ``user`` is a token's subject, or ``local:<login>`` for a person at the machine's own terminal. ``token_id`` is
    the token's ``jti``, empty without one. ``address`` is the peer's address, empty where there is none.
    ``request_id`` ties the records of one request together: its acceptance, its task, its result.
    """

    user: str
    role: Role
    channel: Channel
    request_id: str
    token_id: str = ""
    address: str = ""

    def values(self) -> dict[str, str]:
        """Return plain values, as a queued task carries them to its worker."""
        return {name: str(value) for name, value in asdict(self).items()}


def caller_at_work(values: Mapping[str, str]) -> Caller:
    """Given what ``Caller.values`` returned, return the caller on whose behalf a worker works."""
    caller = Caller(
        values.get("user", ""), Role(values.get("role", Role.VIEWER)), Channel(values.get("channel", Channel.WORKER)),
        values.get("request_id", ""), values.get("token_id", ""), values.get("address", ""),
    )  # fmt: skip
    return replace(caller, channel=Channel.WORKER)
