"""A model as a plain value: where it is, how it lies there, and what a listing says of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum

from core.models.names import is_unfinished, is_weight
from core.models.states import Check
from modelcache.roots import CacheRoot
from modelcache.tree import Usage

_HUB_PREFIX = "models--"


class Layout(Enum):
    DIRECTORY = "directory"
    HUB = "hub"
    FILE = "file"


@dataclass(frozen=True)
class Place:
    """Where a model is: a root, its path below it, and how it lies there."""

    root: CacheRoot
    name: str
    layout: Layout

    @property
    def path(self) -> str:
        return f"{self.root.path}/{self.name}"


@dataclass(frozen=True)
class Model:
    """One model in a listing. Sizes in bytes, times in epoch seconds; ``partial_bytes`` are unfinished downloads."""

    place: Place
    repo: str | None
    revision: str | None
    commit: str | None
    usage: Usage
    last_used: float
    modified: float
    pinned: bool
    partial_bytes: int
    check: Check

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def key(self) -> str:
        return self.place.path


def layout_of(entry: os.DirEntry[str]) -> Layout | None:
    """Given an entry of a cache directory, return how a model would lie there, None for what is no model."""
    name = entry.name
    if name.startswith(".") or name.startswith(("datasets--", "spaces--")):
        return None
    if entry.is_dir(follow_symlinks=False):
        return Layout.HUB if name.startswith(_HUB_PREFIX) else Layout.DIRECTORY
    is_file = entry.is_file(follow_symlinks=False)
    return Layout.FILE if is_file and (is_weight(name) or is_unfinished(name)) else None


def hub_directory(repo: str) -> str:
    """Return the name of a repo's directory in a Hugging Face cache."""
    return _HUB_PREFIX + repo.replace("/", "--")


def hub_repo(place: Place) -> str | None:
    """Return the repo id in the name of a Hugging Face cache's directory, None in the other layouts."""
    return place.name[len(_HUB_PREFIX) :].replace("--", "/", 1) if place.layout is Layout.HUB else None
