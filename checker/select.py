"""Finds the servers that somebody wants to see: filters, sorts and pages the fleet, from memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any

from checker import view
from checker.tracks import ServerTrack
from core.fleet_query import ServerPage, ServerQuery
from core.reason_phrases import in_chinese
from core.recent import RANKS

_FIRST = float("-inf")


def select(tracks: Collection[ServerTrack], query: ServerQuery, now: float, wall: float) -> ServerPage:
    """Given the fleet, return the page asked for; ``now`` is monotonic, ``wall`` UTC seconds.

    Only the servers of that page are described in full: the rest of a large fleet costs a look at its state.
    """
    words = query.text.casefold().split()
    found = [
        track
        for track in tracks
        if (not query.group or track.server.group.name == query.group) and _has_all(track, words)
    ]
    counts = view.counts(found)
    if query.states:
        found = [track for track in found if track.state in query.states]
    order = query.sort.removeprefix("-")
    found.sort(key=_ORDERS[order], reverse=query.sort.startswith("-"))
    pages = max(-(-len(found) // query.page_size), 1)
    page = min(query.page, pages)
    shown = found[(page - 1) * query.page_size : page * query.page_size]
    return ServerPage(
        servers=tuple(view.row(track, now, wall) for track in shown),
        total=len(found),
        fleet=len(tracks),
        page=page,
        pages=pages,
        counts=counts,
        groups=tuple(dict.fromkeys(track.server.group.name for track in tracks)),
    )


def _has_all(track: ServerTrack, words: list[str]) -> bool:
    if not words:
        return True
    server = track.server
    labels = (f"{name}={value}" for name, value in server.group.labels)
    sets = [f"{each.warmup.name} {each.decision.rule} {each.decision.reason}" for each in track.sets]
    if not all(map(str.isascii, words)):
        # What the page in 中文 shows must be found there.
        sets += [in_chinese(each.decision.reason) for each in track.sets]
    text = " ".join((server.name, server.url, server.group.name, *labels, *sets)).casefold()
    return all(word in text for word in words)


@lru_cache(maxsize=20_000)
def _natural(text: str) -> list[tuple[bool, int, str]]:
    """Numbers within a name by their value: gpu-9 before gpu-10."""
    parts = re.findall(r"(\d{1,18})|(\D+)", text.casefold())
    return [(not number, int(number or 0), letters) for number, letters in parts]


def _missing(track: ServerTrack) -> float:
    return sum(len(each.missing) for each in track.sets)


def _warmed(track: ServerTrack) -> float:
    return max((each.last_submitted_at for each in track.sets if each.last_submitted_at), default=_FIRST)


def _youth(track: ServerTrack) -> float:
    # The state shown is the worst set's; monotonic seconds, so the youngest has the largest.
    return -max((each.memory.since for each in track.sets if each.memory.state is track.state), default=0.0)


_ORDERS: dict[str, Callable[[ServerTrack], Any]] = {
    "state": lambda track: RANKS[track.state],
    "name": lambda track: _natural(track.server.name),
    "group": lambda track: _natural(track.server.group.name),
    "age": _youth,
    "missing": _missing,
    "queue": lambda track: track.queue_length if track.queue_length is not None else _FIRST,
    "warmed": _warmed,
}
