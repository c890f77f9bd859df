"""Which directories may be cleaned at all, and how one is opened so that it stays the one that was checked.

A root is resolved once, judged, and then opened component by component without following a link. From there
on everything happens relative to that file descriptor: no later rename or link can lead a sweep elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cleaner.mounts import mount_points
from core import cleaning_phrases as say
from core.errors import RefusedTarget
from core.printable import printable
from core.targets import Target, TargetKind

# Windows has none of these flags; there every target is refused, see resolve_root.
SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
OPEN_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | SAFE

# The operating system's own; /usr/local is where people install things by hand.
_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr")
_SYSTEM_EXCEPTION = "/usr/local"
# Beside output/ these stand in a ComfyUI installation; a root that has them is the installation itself.
_COMFYUI_NEIGHBOURS = ("input", "models", "custom_nodes")


@dataclass(frozen=True)
class Boundaries:
    """What no target may be or contain: the project and the directory with our own state. Absolute paths."""

    project: Path
    state_dir: Path


def resolve_root(given: str, target: Target, boundaries: Boundaries) -> Path | None:
    """Given a root as configured, return its real path, or None where nothing is there yet.

    Raises RefusedTarget for everything that is too dangerous to clean, naming the rule.
    """
    if os.open not in os.supports_dir_fd:
        raise _refusal(target, say.UNSAFE_SYSTEM())
    path = _absolute(given, target, boundaries)
    if path.is_symlink():
        raise _refusal(target, say.SYMBOLIC_LINK(path=_shown(path), other=path.readlink()))
    real = Path(os.path.realpath(path))
    _refuse_precious(real, target, boundaries)
    try:
        mode = real.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refusal(target, say.NOT_SEEN(path=_shown(real), words=error.strerror)) from None
    if not stat.S_ISDIR(mode):
        raise _refusal(target, say.NO_DIRECTORY(path=_shown(real)))
    if str(real) in mount_points() and not target.allow_mount_point:
        raise _refusal(target, say.MOUNT_POINT(path=_shown(real)))
    if target.kind is TargetKind.COMFYUI_OUTPUT:
        _refuse_comfyui_inputs(real, target)
    return real


def open_root(real: Path) -> int:
    """Given a resolved root, return a file descriptor of exactly that directory; raises RefusedTarget.

    Every component is opened without following links: one that was swapped since ``resolve_root`` is an error.
    """
    descriptor = os.open("/", OPEN_DIRECTORY)
    try:
        for part in real.parts[1:]:
            child = os.open(part, OPEN_DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = child
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise RefusedTarget(say.REPLACED(path=_shown(real), why=error.strerror)) from None
        raise RefusedTarget(say.NOT_OPENED(path=_shown(real), words=error.strerror)) from None
    return descriptor


@contextmanager
def reopened(descriptor: int) -> Iterator[int]:
    """Given an open directory, yield another descriptor of it with a position of its own.

    Listings that share a descriptor, even in two processes, take entries away from each other.
    """
    own = os.open(".", OPEN_DIRECTORY, dir_fd=descriptor)
    try:
        yield own
    finally:
        os.close(own)


def _absolute(given: str, target: Target, boundaries: Boundaries) -> Path:
    if not given.strip() or "\0" in given:
        raise _refusal(target, say.EMPTY_PATH())
    path = Path(os.path.normpath(boundaries.project / given))
    if not Path(given).is_absolute() and boundaries.project not in path.parents and path != boundaries.project:
        raise _refusal(target, say.OUTSIDE(path=_shown(path), given=given))
    return path


def _refuse_precious(real: Path, target: Target, boundaries: Boundaries) -> None:
    if len(real.parts) < 3:
        raise _refusal(target, say.NEAR_ROOT(path=_shown(real)))
    system = next((each for each in _SYSTEM if real.is_relative_to(each)), None)
    if system is not None and not real.is_relative_to(_SYSTEM_EXCEPTION):
        raise _refusal(target, say.SYSTEM_PATH(path=_shown(real), directory=system))
    if real.parent in (Path("/home"), Path("/Users")) or _is_or_contains(real, _own_home()):
        raise _refusal(target, say.HOME(path=_shown(real)))
    project, state_dir = (Path(os.path.realpath(each)) for each in (boundaries.project, boundaries.state_dir))
    # These kinds touch only names of fixed shapes, so the shared directories they live in are allowed.
    if not (target.kind is TargetKind.PYTHON and real == project) and not (
        target.kind is TargetKind.API_PROXY and real == state_dir
    ):
        if _is_or_contains(real, project):
            raise _refusal(target, say.OWN_DIRECTORY(path=_shown(real)))
        if _is_or_contains(real, state_dir):
            raise _refusal(target, say.STATE_DIRECTORY(path=_shown(real)))


def _refuse_comfyui_inputs(real: Path, target: Target) -> None:
    if real.name.lower() == "input":
        raise _refusal(target, say.INPUTS(path=_shown(real)))
    for neighbour in _COMFYUI_NEIGHBOURS:
        if (real / neighbour).is_dir():
            raise _refusal(target, say.COMFYUI(path=_shown(real), neighbour=neighbour))


def _own_home() -> Path:
    import pwd

    try:
        return Path(os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir))
    except KeyError:  # a container's user without a passwd entry has no home to protect
        return Path("/root")


def _is_or_contains(directory: Path, other: Path) -> bool:
    return other == directory or directory in other.parents


def _refusal(target: Target, reason: str) -> RefusedTarget:
    return RefusedTarget(say.TARGET(target=target.name, reason=reason))


def _shown(path: Path) -> str:
    return printable(str(path))
