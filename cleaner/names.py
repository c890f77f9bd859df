"""Names from a directory, matched against the patterns of a target."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate


def matcher(patterns: tuple[str, ...]) -> Callable[[str], bool] | None:
    """Given shell patterns, return a test for a path below the root, or None when there are no patterns.

    A pattern with a ``/`` is matched against the whole path, any other against the last name.
    """
    if not patterns:
        return None
    by_path = [translate(pattern.lstrip("/")) for pattern in patterns if "/" in pattern]
    by_name = [translate(pattern) for pattern in patterns if "/" not in pattern]
    # (?!) matches nothing: an alternation of no patterns must not match everything.
    path_matches = re.compile("|".join(by_path) or "(?!)").match
    name_matches = re.compile("|".join(by_name) or "(?!)").match
    return lambda path: bool(name_matches(path.rpartition("/")[2]) or path_matches(path))
