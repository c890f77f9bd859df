"""What a test can make a server do wrong on one route, and the request log that tests assert on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RecordedRequest:
    """``path`` without ``/api``, with its query; ``at``: time.monotonic() seconds at arrival."""

    method: str
    path: str
    at: float
    client_id: str | None = None
    body: bytes = b""


@dataclass
class Misbehaviour:
    """One fault. With ``status`` None the true answer follows after ``delay_seconds``.

    ``declared_length``: a Content-Length larger than the body; the connection closes after the body.
    ``drop``: close the connection without any answer.
    ``executes``: do what was asked first, then misbehave (a POST that worked, and whose answer got lost).
    ``times``: how many requests it hits; None hits all.
    """

    status: int | None = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    declared_length: int | None = None
    drop: bool = False
    executes: bool = False
    times: int | None = None

    @property
    def replaces_answer(self) -> bool:
        return self.drop or self.status is not None


class Faults:
    """The misbehaviours of one server: route -> fault."""

    def __init__(self) -> None:
        self._by_route: dict[tuple[str | None, str], Misbehaviour] = {}

    def set(self, route: str, fault: Misbehaviour) -> None:
        """``route``: ``"/queue"``, ``"POST /prompt"``, ``"*"`` for all; a trailing ``*`` matches any rest."""
        self._by_route[_parse(route)] = fault

    def clear(self, route: str | None) -> None:
        if route is None:
            self._by_route.clear()
        else:
            self._by_route.pop(_parse(route), None)

    def take(self, method: str, path: str) -> Misbehaviour | None:
        """The fault for a request, counted as used; an exact route wins over one with ``*``."""
        for key, fault in sorted(self._by_route.items(), key=lambda item: item[0][1].endswith("*")):
            wanted_method, pattern = key
            if wanted_method not in (None, method):
                continue
            if pattern != path and not (pattern.endswith("*") and path.startswith(pattern[:-1])):
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    del self._by_route[key]
            return fault
        return None

    def __bool__(self) -> bool:
        return bool(self._by_route)


def _parse(route: str) -> tuple[str | None, str]:
    match = re.fullmatch(r"(?:([A-Z]+) )?(\S+)", route)
    if match is None:
        raise ValueError(f"{route!r} is no route: '/queue', 'POST /prompt' or '*' is")
    return match[1], match[2]
