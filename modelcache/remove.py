"""Removes a model so that a kill at any moment leaves either the whole model or none.

The model is first renamed to ``.deleting.<name>…`` beside itself, where nobody looks for models, and taken apart
there. What a killed run left under such a name is purged by the next one. Nothing is created on the way: on a full
disk there is no room for it, and cleaning is needed most.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from core.errors import ModelBusy, ModelError
from core.models import words as say
from modelcache.inuse import open_elsewhere, users
from modelcache.lock import LOCKS, file_holder
from modelcache.model import Layout, Place
from modelcache.reading import Reading, reading
from modelcache.roots import OPEN_DIRECTORY, CacheRoot, open_directory, open_root
from modelcache.tree import mounts_beneath

DELETING = ".deleting."


@dataclass
class Removed:
    """What really went: bytes that the disk got back, and what could not be removed, with its reason."""

    freed_bytes: int = 0
    files: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def why_in_use(found: Reading) -> str | None:
    """Return why a model must not be touched now, None when nobody uses it. Its own lock is the caller's matter."""
    for lock in _foreign_locks(found):
        if holder := file_holder(*lock):
            return say.DOWNLOADED(holder=holder)
    mounts = mounts_beneath(found.place.root.path / found.place.name)
    if mounts:
        return say.MOUNTED_AT(path=mounts[0])
    path, all_asked = open_elsewhere(found.top, found.tree.files)
    if path is None and all_asked:
        return None
    by = users([(status.st_dev, status.st_ino) for status in found.tree.files.values()])
    if path is None and not by:
        return None
    who = ", ".join(by[:3])
    if path is None:
        return say.OPEN_SOMEWHERE(who=who)
    return say.OPEN_IN(path=path, who=who) if who else say.OPEN_IN_ANOTHERS(path=path)


def remove_model(place: Place, *, still_wanted: float | None = None) -> Removed:
    """Given a model whose lock the caller holds, remove it; raises ModelBusy, ModelError.

    ``still_wanted`` is when it was last used as the decision knew it: a model that has been used since stays.
    """
    with reading(place) as found:
        if found.own.pinned:
            raise ModelBusy(say.PINNED(name=place.name))
        if still_wanted is not None and found.model().last_used > still_wanted + 1:
            raise ModelBusy(say.USED(name=place.name))
        if reason := why_in_use(found):
            raise ModelBusy(say.IN_USE(model=place.name, use=reason))
        root = open_root(place.root)
        try:
            return _move_and_remove(root, place, found)
        except OSError as error:
            raise ModelError(say.NOT_REMOVED(path=place.path, words=error.strerror)) from None
        finally:
            os.close(root)


def purge_leftovers(root: CacheRoot) -> Removed:
    """Remove what killed runs left half removed; what another process is taking apart right now stays."""
    removed = Removed()
    with suppress(OSError), _opened_root(root) as top:
        for name in _leftovers(top):
            _purge(top, name, removed)
    return removed


def leftover_names(root: CacheRoot) -> list[str]:
    """Return what killed runs left half removed."""
    with suppress(OSError), _opened_root(root) as top:
        return sorted(_leftovers(top))
    return []


def _leftovers(root: int) -> list[str]:
    return [name for name in os.listdir(root) if name.startswith(DELETING)]


def remove_file(top: int, path: str, removed: Removed) -> None:
    """Given an open directory, unlink one file in it, or an empty directory; counts what that frees."""
    above, _, name = path.rpartition("/")
    try:
        directory = open_directory(top, above) if above else os.dup(top)
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                os.rmdir(name, dir_fd=directory)
            else:
                os.unlink(name, dir_fd=directory)
                _count(status, removed)
        finally:
            os.close(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        removed.failed.append((path, error.strerror or str(error)))


def remove_tree(parent: int, name: str, removed: Removed) -> None:
    """Given an open directory, remove a directory in it with all that is below; never through a link.

    Iterative: a tree may be deeper than Python's stack. Another file system mounted in it stays, with its parents.
    """
    top = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    device = os.fstat(top).st_dev
    opened: list[tuple[int, str, list[str]]] = [(top, name, _empty(top, device, removed))]
    try:
        while opened:
            descriptor, own, directories = opened[-1]
            if directories:
                child = directories.pop()
                with _noting(child, removed):
                    below = os.open(child, OPEN_DIRECTORY, dir_fd=descriptor)
                    opened.append((below, child, []))
                    opened[-1][2].extend(_empty(below, device, removed))
                continue
            opened.pop()
            os.close(descriptor)
            with _noting(own, removed):
                os.rmdir(own, dir_fd=opened[-1][0] if opened else parent)
    finally:
        for descriptor, _, _ in opened:
            os.close(descriptor)


def _empty(directory: int, device: int, removed: Removed) -> list[str]:
    """Unlink the files of one directory and return the names of its directories."""
    with os.scandir(directory) as entries:
        # Listed in full before anything goes: some network file systems lose their place otherwise.
        listed = list(entries)
    directories = []
    for each in listed:
        with _noting(each.name, removed):
            status = each.stat(follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(each.name, dir_fd=directory)
                _count(status, removed)
            elif status.st_dev == device:
                directories.append(each.name)
    return directories


def _count(status: os.stat_result, removed: Removed) -> None:
    removed.files += 1
    # Asked a moment ago: with its last name a file gives back its blocks, with another one nothing.
    removed.freed_bytes += status.st_blocks * 512 if status.st_nlink == 1 else 0


@contextmanager
def _noting(name: str, removed: Removed) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError as error:
        removed.failed.append((name, error.strerror or str(error)))


def _move_and_remove(root: int, place: Place, found: Reading) -> Removed:
    removed = Removed()
    if place.layout is Layout.FILE:
        remove_file(root, place.name, removed)  # at once, so there is nothing to move aside
        return removed
    # From before the move: whoever purges leftovers meanwhile leaves this one, and its bytes, to us.
    fcntl.flock(found.top, fcntl.LOCK_EX | fcntl.LOCK_NB)
    name = f"{DELETING}{place.name[:100]}.{os.getpid()}.{time.time_ns()}"
    os.rename(place.name, name, src_dir_fd=root, dst_dir_fd=root)
    # Nobody finds it any more. Who opened it in between keeps it.
    opened, _ = open_elsewhere(found.top, found.tree.files)
    if opened is not None:
        os.rename(name, place.name, src_dir_fd=root, dst_dir_fd=root)
        raise ModelBusy(say.OPENED(name=place.name, who=opened))
    os.fsync(root)
    remove_tree(root, name, removed)
    return removed


def _purge(root: int, name: str, removed: Removed) -> None:
    try:
        descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=root)
    except OSError:
        return
    try:
        # Two purges at once share the work instead of counting the same bytes twice.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_tree(root, name, removed)
    except BlockingIOError:
        pass
    except OSError as error:
        removed.failed.append((name, error.strerror or str(error)))
    finally:
        os.close(descriptor)


@contextmanager
def _opened_root(root: CacheRoot) -> Iterator[int]:
    descriptor = open_root(root)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _foreign_locks(found: Reading) -> Iterator[tuple[int, str]]:
    """The lock files that huggingface_hub holds while it downloads: beside a hub cache's models, or in local_dir."""
    for path in found.tree.files:
        if path.startswith(".cache/huggingface/") and path.endswith(".lock"):
            yield found.top, path
    if found.place.layout is Layout.HUB:
        with suppress(OSError), _opened_root(found.place.root) as root:
            directory = open_directory(root, f"{LOCKS}/{found.place.name}")
            try:
                names = os.listdir(directory)
            finally:
                os.close(directory)
            for name in names:
                yield root, f"{LOCKS}/{found.place.name}/{name}"
