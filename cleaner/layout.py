"""What each kind of target counts as a unit: which names, at which level, and what else must hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from cleaner.names import matcher
from core.proxy_names import is_debug_file, stated_time
from core.targets import Target, TargetKind, Unit

TRASH_NAME = ".trash"
_MONTH = re.compile(r"0[1-9]|1[0-2]")
# ComfyUI ships its output directory with this file in it.
_COMFYUI_PLACEHOLDER = "_output_images_will_be_put_here"
_BYTECODE = re.compile(r".+\.py[co](\.\d+)?", re.DOTALL)  # a number: the temporary name while it is written


@dataclass(frozen=True)
class Layout:
    """The shape of a target, as plain tests on names.

    ``unit_depth`` is the level of directory units below the root, or 0 where files are the units. ``passes``
    says of a directory above the units whether to look into it. ``owns`` says of a unit's path whether it is
    the target's business at all; None takes every name. ``stated_time`` reads an age from a name, where names have one.
    """

    unit_depth: int
    recursive: bool = True
    passes: Callable[[str], bool] = field(default=lambda _: True)
    owns: Callable[[str], bool] | None = None
    stated_time: Callable[[str], float | None] | None = None
    bytecode: bool = False


def layout_of(target: Target) -> Layout:
    """Given a target, return its layout with its include and exclude patterns built in."""
    included, excluded = matcher(target.include), matcher(target.exclude)

    def selected(path: str) -> bool:
        return (included is None or included(path)) and (excluded is None or not excluded(path))

    patterned = selected if target.include or target.exclude else None

    def entered(path: str) -> bool:
        return path != TRASH_NAME and (excluded is None or not excluded(path))

    match target.kind:
        case TargetKind.IMAGES:
            return Layout(2, passes=lambda path: bool(_MONTH.fullmatch(path)) and entered(path), owns=patterned)
        case TargetKind.API_PROXY:
            return Layout(
                0,
                recursive=False,
                owns=lambda path: is_debug_file(path) and selected(path),
                stated_time=stated_time,
            )
        case TargetKind.COMFYUI_OUTPUT:
            return Layout(
                0,
                passes=entered,
                owns=lambda path: not path.endswith(_COMFYUI_PLACEHOLDER) and selected(path),
            )
        case TargetKind.PYTHON:
            return Layout(0, passes=entered, owns=patterned, bytecode=True)
        case TargetKind.DIRECTORY:
            depth = target.depth if target.unit is Unit.DIRECTORY else 0
            return Layout(depth, passes=entered, owns=lambda path: path != TRASH_NAME and selected(path))


def is_bytecode(name: str) -> bool:
    """Whether a file inside ``__pycache__`` is one that Python wrote there."""
    return _BYTECODE.fullmatch(name) is not None
