"""The geometry of the charts: numbers in, coordinates out. The templates draw them as inline SVG."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Band:
    """Some cells of a strip in one state; ``x`` and ``width`` in cells."""

    state: str
    x: int
    width: int
    begins_at: float


def bands(stretches: Iterable[Mapping[str, Any]]) -> list[Band]:
    """Given the last 24 hours of a server, return its bands, one unit of x a cell; nothing where nothing is known."""
    found, x = [], 0
    for each in stretches:
        if each["state"] is not None:
            found.append(Band(each["state"], x, each["cells"], each["begins_at"]))
        x += each["cells"]
    return found


def shares(found: Iterable[Band]) -> dict[str, float]:
    """Return each state's share of the time of which something is known, the largest first."""
    found = list(found)
    known = sum(band.width for band in found)
    totals: dict[str, float] = {}
    for band in found:
        totals[band.state] = totals.get(band.state, 0.0) + band.width / known
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class LatencyChart:
    """Latencies as lines in a drawing of ``width`` by ``height``; ``lines`` are broken where no answer came.

    ``missed`` are the x of polls without an answer; ``ticks`` the horizontal lines, each (y, seconds).
    """

    width: int
    height: int
    lines: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]
    missed: tuple[float, ...]
    ticks: tuple[tuple[float, float], ...]
    median: float | None
    slowest: float | None


def latency_chart(values: Sequence[float | None], *, width: int = 640, height: int = 150) -> LatencyChart:
    """Given the last polls' latencies, oldest first, return their chart; the newest is at the right edge."""
    answered = [value for value in values if value is not None]
    top = nice(max(answered, default=0.0))
    step = width / max(len(values) - 1, 1)
    lines: list[list[tuple[float, float]]] = [[]]
    missed = []
    for place, value in enumerate(values):
        x = round(place * step, 1)
        if value is None:
            missed.append(x)
            lines.append([])
        else:
            lines[-1].append((x, round(height - value / top * height, 1)))
    return LatencyChart(
        width,
        height,
        tuple(" ".join(f"{x},{y}" for x, y in line) for line in lines if len(line) > 1),
        tuple(line[0] for line in lines if len(line) == 1),
        tuple(missed),
        tuple((round(height - share * height, 1), share * top) for share in (0.0, 0.5, 1.0)),
        statistics.median(answered) if answered else None,
        max(answered, default=None),
    )


def nice(value: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten that is not below ``value``; for nothing, a hundredth."""
    if value <= 0:
        return 0.01
    power = 10.0 ** math.floor(math.log10(value))
    return next((power * step for step in (1, 2, 5, 10) if power * step >= value * 0.999999), power * 10)


@dataclass(frozen=True)
class LineChart:
    """Values over days as an area below a line; ``ticks`` are (y, value), ``days`` from the first to the last."""

    width: int
    height: int
    line: str
    area: str
    ticks: tuple[tuple[float, float], ...]
    first: float
    last: float
    first_day: int
    last_day: int


def line_chart(points: Sequence[tuple[int, float]], *, width: int = 640, height: int = 150) -> LineChart:
    """Given at least two (day, value) in order, return their chart."""
    first_day, last_day = points[0][0], points[-1][0]
    top = nice(max(value for _, value in points))
    places = [
        (round((day - first_day) / (last_day - first_day) * width, 1), round(height - value / top * height, 1))
        for day, value in points
    ]
    line = " ".join(f"{x},{y}" for x, y in places)
    return LineChart(
        width,
        height,
        line,
        f"0,{height} {line} {width},{height}",
        tuple((round(height - share * height, 1), share * top) for share in (0.0, 0.5, 1.0)),
        points[0][1],
        points[-1][1],
        first_day,
        last_day,
    )
