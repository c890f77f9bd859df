"""What can be said of a target without reading its units: how many there are, and how many look old."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

from cleaner.layout import Layout
from cleaner.mounts import Mounts
from cleaner.roots import OPEN_DIRECTORY, reopened
from cleaner.unit import chunks
from cleaner.walk import BEAT_EVERY, Walk
from core.retention import Rules


def surely_within(root: int, walk: Walk, largest_share: float) -> bool:
    """Whether enough units look young by their directory alone; False means that only a full plan can tell.

    Counting names costs a tenth of reading them, and the second loop ends as soon as it has seen enough: this
    keeps the check to a few percent of a deletion.
    """
    if largest_share >= 1:
        return True
    layout, judge = walk.layout, walk.judge
    if not layout.unit_depth:
        return False
    try:
        total = sum(len(portion) for portion in _units(root, layout, judge.mounts))
        missing = math.ceil((1 - largest_share) * total)
        for portion in _units(root, layout, judge.mounts):
            for number, each in enumerate(portion):
                if number % BEAT_EVERY == 0:
                    judge.beat()
                if missing <= 0:
                    return True
                missing -= _modified(each) >= judge.rules.young_from
        return missing <= 0
    except OSError:  # the full plan reports what cannot be read
        return False


def count_by_directory(root: int, layout: Layout, rules: Rules, mounts: Mounts) -> tuple[int, int]:
    """Return how many directory units there are and how many look expired by their directory's own time."""
    total = old = 0
    young_from = rules.young_from
    for portion in _units(root, layout, mounts):
        total += len(portion)
        old += sum(_modified(each) < young_from for each in portion)
    return total, old


def _modified(each: os.DirEntry[str]) -> float:
    try:
        return each.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:  # just now; whoever removes things here takes no young ones
        return -math.inf


def _units(root: int, layout: Layout, mounts: Mounts) -> Iterator[list[os.DirEntry[str]]]:
    """Yield the directory units of a target in bounded portions."""
    with reopened(root) as own:
        yield from _units_below(own, layout, mounts, "", 1)


def _units_below(
    descriptor: int, layout: Layout, mounts: Mounts, prefix: str, level: int
) -> Iterator[list[os.DirEntry[str]]]:
    owns = layout.owns
    for portion in chunks(descriptor, stable=mounts.listing_is_stable):
        directories = [each for each in portion if each.is_dir(follow_symlinks=False)]
        if level == layout.unit_depth:
            yield directories if owns is None else [each for each in directories if owns(prefix + each.name)]
            continue
        for each in directories:
            path = prefix + each.name
            if layout.passes(path) and path not in mounts.beneath:
                child = os.open(each.name, OPEN_DIRECTORY, dir_fd=descriptor)
                try:
                    yield from _units_below(child, layout, mounts, path + "/", level + 1)
                finally:
                    os.close(child)
