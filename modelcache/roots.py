"""The directories that hold models: which may be changed, and how they are opened so that no link leads elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import RefusedTarget
from core.models import words as say

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr")

COMFYUI_FOLDERS = frozenset(
    ("checkpoints", "clip", "clip_vision", "controlnet", "diffusion_models", "embeddings", "gligen", "hypernetworks",
     "loras", "photomaker", "style_models", "text_encoders", "unet", "upscale_models", "vae", "vae_approx")
)  # fmt: skip
"""The folders in ComfyUI's ``models`` (folder_paths.py); two of them together tell it from a cache of ours."""


@dataclass(frozen=True)
class CacheRoot:
    """A directory with models, its real path; nothing in a read-only one is ever created, changed or removed."""

    path: Path
    read_only: bool = False

    @property
    def is_comfyui(self) -> bool:
        try:
            return sum(name in COMFYUI_FOLDERS for name in os.listdir(self.path)) >= 2
        except OSError:
            return False


def cache_roots(cache_dirs: Iterable[Path], view_dirs: Iterable[Path] = ()) -> tuple[CacheRoot, ...]:
    """Given the configured directories, return them as roots, each real path once; a writable one wins.

    The directory itself may be a link (models live on the big disk); below it no link is followed. A ComfyUI
    ``models`` folder is read-only wherever it is named: ComfyUI is its owner.
    """
    roots: dict[Path, CacheRoot] = {}
    for given, read_only in (*((each, False) for each in cache_dirs), *((each, True) for each in view_dirs)):
        real = Path(os.path.realpath(given))
        root = CacheRoot(real, read_only)
        roots.setdefault(real, CacheRoot(real, True) if root.is_comfyui else root)
    return tuple(roots.values())


def refuse_unsafe(root: CacheRoot, protected: Iterable[Path] = ()) -> None:
    """Raise RefusedTarget when models in this directory must not be changed; ``protected`` are our own directories."""
    path = root.path
    home = Path(os.path.realpath(Path.home()))
    if root.read_only:
        raise RefusedTarget(say.VIEW_ONLY(path=path))
    if len(path.parts) < 3:
        raise RefusedTarget(say.NEAR_ROOT(path=path))
    if any(path.is_relative_to(each) for each in _SYSTEM) and not path.is_relative_to("/usr/local"):
        raise RefusedTarget(say.SYSTEM_PATH(path=path))
    if home.is_relative_to(path) or path.parent in (Path("/home"), Path("/Users")):
        raise RefusedTarget(say.HOME(path=path))
    for each in protected:
        if Path(os.path.realpath(each)).is_relative_to(path):
            raise RefusedTarget(say.OWN_FILES(path=path, directory=each))


def open_root(root: CacheRoot) -> int:
    """Return a descriptor of exactly the resolved directory; raises OSError when its path has a link in it by now."""
    descriptor = os.open("/", OPEN_DIRECTORY)
    for part in root.path.parts[1:]:
        descriptor = _step(descriptor, part)
    return descriptor


def open_directory(parent: int, path: str) -> int:
    """Given an open directory and a relative path, return a descriptor of what is there; no part may be a link."""
    descriptor = os.dup(parent)
    for part in path.split("/"):
        descriptor = _step(descriptor, part)
    return descriptor


def open_file(parent: int, path: str) -> int:
    """Given an open directory and a relative path, return a readable file; no part may be a link.

    Its access time stays as it is where the system allows that, because access times say what people use.
    """
    above, _, name = path.rpartition("/")
    directory = open_directory(parent, above) if above else os.dup(parent)
    try:
        try:
            return os.open(name, _OPEN_FILE | getattr(os, "O_NOATIME", 0), dir_fd=directory)
        except PermissionError:  # O_NOATIME is for the owner alone
            return os.open(name, _OPEN_FILE, dir_fd=directory)
    finally:
        os.close(directory)


def make_directory(parent: int, path: str) -> int:
    """Like ``open_directory``, and missing parts are made."""
    descriptor = os.dup(parent)
    for part in path.split("/"):
        try:
            os.mkdir(part, dir_fd=descriptor)
        except FileExistsError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        descriptor = _step(descriptor, part)
    return descriptor


def _step(descriptor: int, part: str) -> int:
    try:
        return os.open(part, OPEN_DIRECTORY, dir_fd=descriptor)
    finally:
        os.close(descriptor)
