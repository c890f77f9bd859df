"""Finds what two nearly equal sequences of names have in common, for much less than a dictionary of them costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_STEP = 64
_SIGHT = 16
"""How far to look for the place where both go on alike; whoever comes in greater numbers is somebody else's task."""


def matching_blocks(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield (position in the first, position in the second, length) of stretches that are the same, in order.

    Not all that could be found: an end is left out where they have nothing in common for long.
    """
    here = there = 0
    while here < len(first) and there < len(second):
        length = _common(first, here, second, there)
        if length:
            yield here, there, length
            here, there = here + length, there + length
            continue
        for away in range(1, _SIGHT):
            ours, theirs = first[here + away : here + away + 1], second[there + away : there + away + 1]
            if ours == second[there : there + 1]:
                here += away
            elif theirs == first[here : here + 1]:
                there += away
            elif ours and ours == theirs:
                here, there = here + away, there + away
            else:
                continue
            break
        else:
            return


def _common(first: Sequence[str], here: int, second: Sequence[str], there: int) -> int:
    """Return how many are the same from here and there on."""
    length = 0
    while True:
        ours, theirs = first[here + length : here + length + _STEP], second[there + length : there + length + _STEP]
        if ours != theirs or not ours:
            break
        length += len(ours)
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            break
        length += 1
    return length
