"""The fleet as configured: groups, servers, warm-up sets and how their keys are detected."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from urllib.parse import urlsplit

from core.secret import Secret as Secret
from core.workflow import Graph, Key, StoredKey, stored_keys

Priority = Literal["wait", "queue", "front"]
DetectorKind = Literal["auto", "list", "determine", "history", "custom"]


@dataclass(frozen=True)
class Expectation:
    """What a custom detector's answer must contain: a text, a regular expression, or a JSON path's value."""

    text: str | None = None
    regex: str | None = None
    json_path: str | None = None
    json_value: object = None


@dataclass(frozen=True)
class Detector:
    """How a set's keys are looked up. ``auto`` takes what the server offers; the others insist."""

    kind: DetectorKind = "auto"
    url: str = ""
    expect: Expectation = Expectation()
    time_to_live_seconds: float = 3600.0


@dataclass(frozen=True)
class WarmupSet:
    """One warm-up workflow and the backend-cache keys that it is meant to store.

    ``graph`` is None when no workflow is configured: the set is watched and nothing is submitted.
    """

    name: str
    graph: Graph | None
    keys: tuple[Key, ...]
    priority: Priority = "wait"
    patience_seconds: float = 600.0
    timeout_seconds: float = 600.0
    detector: Detector = Detector()
    workflow_path: str = ""

    @cached_property
    def stored(self) -> tuple[StoredKey, ...]:
        """The keys that the workflow stores, with their tags; kept, since thousands of servers share one set."""
        return tuple(stored_keys(self.graph)) if self.graph else ()

    @cached_property
    def storable(self) -> frozenset[Key]:
        return frozenset(stored.key for stored in self.stored)


@dataclass(frozen=True)
class Group:
    """Servers that share headers, an interval and a cap on warm-ups at the same time.

    ``secrets`` are the headers' values that came from the environment: what servers say is shown without them.
    """

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, Secret], ...] = ()
    secrets: tuple[Secret, ...] = ()
    check_interval_seconds: float = 30.0
    max_concurrent_warmups: int | None = None
    verify_tls: bool = True


@dataclass(frozen=True)
class Server:
    """One ComfyUI process: its name for people, its address, its group and the sets that it keeps warm."""

    name: str
    url: str
    group: Group
    sets: tuple[WarmupSet, ...]


def server_name(url: str) -> str:
    """Given a normalised address, return the short name that people see: host, port and path."""
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path}"
