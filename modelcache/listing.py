"""All models in the cache directories, as plain values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.models import words as say
from core.models.names import matches
from modelcache.index import Index
from modelcache.model import Layout, Model, Place, layout_of
from modelcache.reading import reading
from modelcache.remove import DELETING
from modelcache.roots import COMFYUI_FOLDERS, CacheRoot
from modelcache.tree import Usage

_COMFYUI_DEPTH = 4


@dataclass
class Listing:
    """The models found, each root with its disk's (free, total) bytes, and what was passed over, with its reason."""

    models: list[Model] = field(default_factory=list)
    disks: dict[Path, tuple[int, int]] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @property
    def usage(self) -> Usage:
        """What all of them take together; a file with names in several models counts once."""
        total = Usage()
        for model in self.models:
            total.merge(model.usage)
        return total


def list_models(
    roots: Iterable[CacheRoot], *, now: float, index_file: Path | None = None, fresh: bool = False
) -> Listing:
    """Given the roots, return their models; a root that is not there holds none.

    ``index_file`` remembers the result for the next time (see ``modelcache.index``); ``fresh`` reads everything anew.
    Never raises for what is in the directories.
    """
    roots = list(roots)
    listing = Listing()
    index = Index(index_file)
    for root in roots:
        try:
            disk = os.statvfs(root.path)
        except OSError:
            continue
        listing.disks[root.path] = _free_and_total(disk)
        for place in _places(root, listing):
            model = None if fresh else index.get(place)
            if model is None:
                model = _read(place, index, listing, now)
            if model is not None:
                listing.models.append(model)
    index.save()
    if not listing.disks and roots:
        # Nothing was ever pulled: how much room there is for the first model is what is asked for.
        above = next(each for each in (roots[0].path, *roots[0].path.parents) if each.exists())
        with suppress(OSError):
            listing.disks[roots[0].path] = _free_and_total(os.statvfs(above))
    return listing


def _free_and_total(disk: os.statvfs_result) -> tuple[int, int]:
    return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize


def find(models: Iterable[Model], name: str | None) -> list[Model]:
    """Given models and what somebody typed, return those whose name or repo id contains it; all without a name."""
    return [each for each in models if name is None or matches(name, each.name, each.repo)]


def _read(place: Place, index: Index, listing: Listing, now: float) -> Model | None:
    try:
        with reading(place) as found:
            if not found.is_model:
                listing.skipped.append((place.path, say.NO_MODEL()))
                return None
            model = found.model()
            index.put(found, model, now)
            return model
    except OSError as error:
        listing.skipped.append((place.path, error.strerror or str(error)))
        return None


def _places(root: CacheRoot, listing: Listing) -> Iterator[Place]:
    if root.is_comfyui:
        for folder in sorted(COMFYUI_FOLDERS):
            yield from _weights(root, folder, listing, 1)
        return
    for entry in _entries(root, "", listing):
        if entry.is_symlink():
            listing.skipped.append((entry.path, say.LINK()))
        elif entry.name.startswith(DELETING):
            listing.skipped.append((entry.path, say.LEFTOVER()))
        elif layout := layout_of(entry):
            yield Place(root, entry.name, layout)


def _weights(root: CacheRoot, folder: str, listing: Listing, depth: int) -> Iterator[Place]:
    """ComfyUI takes single files from its folders and their subfolders; directories of diffusers stay out of sight."""
    for entry in _entries(root, folder, listing):
        path = f"{folder}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if depth < _COMFYUI_DEPTH and not entry.name.startswith("."):
                yield from _weights(root, path, listing, depth + 1)
        elif entry.is_symlink():
            listing.skipped.append((entry.path, say.LINK()))
        elif layout_of(entry) is Layout.FILE:
            yield Place(root, path, Layout.FILE)


def _entries(root: CacheRoot, folder: str, listing: Listing) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(root.path / folder) as entries:
            return sorted(entries, key=lambda each: each.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        listing.skipped.append((str(root.path / folder), error.strerror or str(error)))
        return []
