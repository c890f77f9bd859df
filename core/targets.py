"""What a sweep covers: cleaning targets, and how one is read from a ``[[target]]`` table of fleet.toml.

    [[target]]
    name = "previews"
    kind = "directory"            # images | comfyui-output | api-proxy | python | directory
    roots = ["/srv/previews"]
    unit = "directory"            # what expires as one: a file or a directory
    older_than = "36h"            # "90m", "36h", "7d", or a number of days
    keep_last = 20
    max_size = "50GB"
    min_free = "10%"              # or "20GB"; deletes until free_until
    free_until = "15%"

Paths stay as they were written; whoever opens them decides whether they are safe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from core import setting_phrases as say
from core.amounts import amount, parse_age_seconds, parse_size_bytes
from core.errors import Problem
from core.retention import HOUR_SECONDS, FreeSpace, RetentionPolicy

DEFAULT_LARGEST_SHARE = 0.9


class TargetKind(StrEnum):
    IMAGES = "images"
    COMFYUI_OUTPUT = "comfyui-output"
    API_PROXY = "api-proxy"
    PYTHON = "python"
    DIRECTORY = "directory"


class Unit(StrEnum):
    """What expires as one thing."""

    FILE = "file"
    DIRECTORY = "directory"


@dataclass(frozen=True)
class Target:
    """One thing to clean.

    ``roots`` are absolute, or relative to the project's root. ``depth`` is the level below the root at which
    directory units stand (1 = directly below). ``include`` and ``exclude`` are shell patterns; one with a ``/``
    is matched against the path below the root, any other against the last name. ``trash_hours`` moves units
    aside for that long instead of deleting them. ``largest_share`` is the part of the target (0–1) that one
    run may take without being told to. ``workers`` > 1 shares the work between processes.
    """

    name: str
    kind: TargetKind
    roots: tuple[str, ...]
    policy: RetentionPolicy = field(default_factory=RetentionPolicy)
    unit: Unit = Unit.DIRECTORY
    depth: int = 1
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    remove_empty: bool = False
    workers: int = 1
    trash_hours: float | None = None
    largest_share: float = DEFAULT_LARGEST_SHARE
    allow_mount_point: bool = False


def default_largest_share(kind: TargetKind) -> float:
    """The part of a target that one run may take unasked. All bytecode may go: Python writes it anew."""
    return 1.0 if kind is TargetKind.PYTHON else DEFAULT_LARGEST_SHARE


def images_target(root: str, policy: RetentionPolicy, *, name: str = "images") -> Target:
    """Given the image cache's root, return the target for ``<month 01–12>/<task-id>/``."""
    return Target(name, TargetKind.IMAGES, (root,), policy, Unit.DIRECTORY, depth=2, remove_empty=True)


def target_from_table(table: Mapping[str, object], *, key: str) -> tuple[Target | None, list[Problem]]:
    """Given one ``[[target]]`` table and the key to blame, return the target, or None and all that is wrong."""
    reader = _Reader(table, key)
    kind = reader.choice("kind", TargetKind, TargetKind.DIRECTORY)
    name = reader.text("name", kind.value)
    roots = reader.texts("roots") or reader.texts("root")
    if not roots:
        reader.blame("roots", say.NO_ROOTS())
    for root in roots:
        if root.strip() in {"", ".", "/"} or root.startswith("~"):
            reader.blame("roots", say.ROOT(), root)
    target = Target(
        name=name,
        kind=kind,
        roots=roots,
        policy=_policy(reader),
        unit=_unit(reader, kind),
        depth=2 if kind is TargetKind.IMAGES else reader.whole("depth", 1, smallest=1, largest=16),
        include=reader.texts("include"),
        exclude=reader.texts("exclude"),
        remove_empty=reader.flag("remove_empty", kind is TargetKind.IMAGES),
        workers=reader.whole("workers", 1, smallest=1, largest=16),
        trash_hours=reader.number("trash_hours", smallest=0.0),
        largest_share=reader.number("largest_share", smallest=0.0, largest=1.0) or default_largest_share(kind),
        allow_mount_point=reader.flag("allow_mount_point", False),
    )
    reader.blame_unknown()
    return (None if reader.problems else target), reader.problems


def _unit(reader: _Reader, kind: TargetKind) -> Unit:
    if kind is TargetKind.DIRECTORY:
        return reader.choice("unit", Unit, Unit.FILE)
    fixed = Unit.DIRECTORY if kind in {TargetKind.IMAGES, TargetKind.PYTHON} else Unit.FILE
    if reader.choice("unit", Unit, fixed) is not fixed:
        reader.blame("unit", say.FIXED_UNIT(target_kind=kind.value, unit=fixed.value))
    return fixed


def _policy(reader: _Reader) -> RetentionPolicy:
    policy = RetentionPolicy(
        older_than_seconds=reader.parsed("older_than", parse_age_seconds, say.AGE(examples="90m, 36h, 7d")),
        keep_last=reader.whole("keep_last", 0, smallest=0),
        max_size_bytes=reader.parsed("max_size", parse_size_bytes, say.SIZE_OR_BYTES()),
        min_free=reader.parsed("min_free", parse_free_space, say.FREE_SPACE(percent="10%", example="20GB")),
        free_until=reader.parsed("free_until", parse_free_space, say.FREE_SPACE(percent="15%", example="30GB")),
        pinned=reader.texts("pinned"),
        keep_file=reader.text("keep_file", ".keep"),
        grace_seconds=reader.parsed("grace", parse_age_seconds, say.AGE(examples="90m, 2h")) or HOUR_SECONDS,
    )
    low, high = policy.min_free, policy.free_until
    if high is not None and low is None:
        reader.blame("free_until", say.NEEDS_MIN_FREE())
    if high is not None and low is not None:
        if bool(high.fraction) != bool(low.fraction):
            reader.blame("free_until", say.AS_MIN_FREE())
        elif (high.fraction, high.amount_bytes) < (low.fraction, low.amount_bytes):
            reader.blame("free_until", say.BELOW_MIN_FREE())
    return policy


def parse_free_space(value: object) -> FreeSpace:
    """Given "10%" or a size, return the amount of disk; ValueError when it is 0 or not below the whole disk."""
    if isinstance(value, str) and value.strip().endswith("%"):
        fraction = amount(value.strip()[:-1], {"": 1.0}) / 100
        if not 0 < fraction < 1:
            raise ValueError(value)
        return FreeSpace(fraction=fraction)
    amount_bytes = parse_size_bytes(value)
    if amount_bytes <= 0:
        raise ValueError(value)
    return FreeSpace(amount_bytes=amount_bytes)


_Value = TypeVar("_Value")
_Choice = TypeVar("_Choice", bound=StrEnum)


class _Reader:
    """Reads typed values of one table and collects everything that is wrong with them."""

    def __init__(self, table: Mapping[str, object], key: str) -> None:
        self._table = table
        self._key = key
        self._known: set[str] = set()
        self.problems: list[Problem] = []

    def blame(self, name: str, allowed: str, value: object = None) -> None:
        shown = self._table.get(name, "") if value is None else value
        self.problems.append(Problem(f"{self._key}.{name}", str(shown), allowed))

    def blame_unknown(self) -> None:
        for name in sorted(set(self._table) - self._known):
            self.blame(name, say.NO_SUCH_SETTING(words=", ".join(sorted(self._known))))

    def _get(self, name: str) -> object:
        self._known.add(name)
        return self._table.get(name)

    def parsed(self, name: str, parse: Callable[[object], _Value], allowed: str) -> _Value | None:
        value = self._get(name)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError:
            self.blame(name, allowed)
            return None

    def choice(self, name: str, choices: type[_Choice], default: _Choice) -> _Choice:
        found = self.parsed(name, choices, say.ONE_OF(words=", ".join(choice.value for choice in choices)))
        return default if found is None else found

    def text(self, name: str, default: str) -> str:
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip():
            self.blame(name, say.TEXT())
            return default
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._get(name)
        if value is None:
            return ()
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
            self.blame(name, say.TEXT_OR_TEXTS())
            return ()
        return tuple(values)

    def number(self, name: str, *, smallest: float, largest: float = math.inf) -> float | None:
        """A number above ``smallest`` and up to ``largest``; None where the table has none."""
        value = self._get(name)
        if value is None:
            return None
        # Written as "not inside" so that nan is refused too; True and False are ints in Python.
        if isinstance(value, bool) or not isinstance(value, int | float) or not smallest < value <= largest:
            limits = say.NUMBER_ABOVE if largest == math.inf else say.NUMBER_UP_TO
            self.blame(name, limits(low=f"{smallest:g}", high=f"{largest:g}"))
            return None
        return float(value)

    def whole(self, name: str, default: int, *, smallest: int, largest: int = 2**31) -> int:
        value = self._get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
            self.blame(name, say.WHOLE_NUMBER(low=smallest, high=largest))
            return default
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.blame(name, say.TRUE_OR_FALSE())
            return default
        return value
