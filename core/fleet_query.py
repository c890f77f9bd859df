"""What somebody wants to see of the fleet: a filter, an order and a page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_PAGE_SIZE = 1000


class ServerSort(StrEnum):
    """Orders of the fleet; ``-`` is descending. Ties keep the order of the configuration."""

    STATE = "state"
    STATE_BEST = "-state"
    NAME = "name"
    NAME_BACKWARDS = "-name"
    GROUP = "group"
    GROUP_BACKWARDS = "-group"
    YOUNGEST = "age"
    OLDEST = "-age"
    MISSING_FEWEST = "missing"
    MISSING = "-missing"
    QUEUE_SHORTEST = "queue"
    QUEUE = "-queue"
    WARMED_LONGEST_AGO = "warmed"
    WARMED = "-warmed"


@dataclass(frozen=True)
class ServerQuery:
    """What to show of the fleet; ``states`` and ``group`` empty: all.

    ``text`` is looked for in name, address, group, labels, sets and reasons; the latter in either language.
    """

    states: frozenset[str] = frozenset()
    group: str = ""
    text: str = ""
    sort: ServerSort = ServerSort.STATE
    page: int = 1
    page_size: int = 50


@dataclass(frozen=True)
class ServerPage:
    """One page of servers. ``counts`` are by state, of what group and text let through, whatever the states asked for.

    ``total`` counts what matches, ``fleet`` all servers. ``page`` is the page shown: the last one where the one asked
    for is beyond the end.
    """

    servers: tuple[Mapping[str, Any], ...]
    total: int
    fleet: int
    page: int
    pages: int
    counts: Mapping[str, int]
    groups: tuple[str, ...]
