"""Removes what no model needs: partial downloads, superseded revisions, what an interrupted clean left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import CacheKeeperError, ModelBusy
from core.models import words as say
from core.models.names import OWN_DIRECTORY
from core.models.removal import unreferenced
from modelcache.inuse import open_elsewhere
from modelcache.lock import ModelLock
from modelcache.model import Layout, Model, Place
from modelcache.own import PARTS, PULLING, STAGING, remove_own, write_manifest
from modelcache.reading import Reading, blob_of, hub_refs, reading
from modelcache.remove import (
    Removed,
    leftover_names,
    purge_leftovers,
    remove_file,
    remove_model,
    why_in_use,
)
from modelcache.roots import CacheRoot, refuse_unsafe
from modelcache.tree import Usage

GRACE_SECONDS = 3600.0
"""A foreign partial file that was written to within this time may belong to a download that pauses."""


@dataclass(frozen=True)
class Waste:
    """What can be pruned in one model (or, without a place, of a killed clean), and the bytes it would free."""

    root: CacheRoot
    name: str
    place: Place | None
    partial: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    whole: bool = False
    freeable_bytes: int = 0
    kept: str | None = None


@dataclass(frozen=True)
class Pruned:
    """What became of one Waste; ``freed_bytes`` were measured."""

    waste: Waste
    freed_bytes: int = 0
    trouble: str | None = None
    busy: bool = False


def find_waste(models: Iterable[Model], roots: Iterable[CacheRoot], now: float) -> list[Waste]:
    """Given the models of a listing, return what could be pruned, or why not; changes nothing."""
    found = [
        Waste(root, name, None, partial=(name,))
        for root in roots
        if not root.read_only
        for name in leftover_names(root)
    ]
    for model in models:
        if not model.place.root.read_only:
            with suppress(OSError), reading(model.place) as opened:
                waste = _waste(opened, now)
                if waste is not None:
                    found.append(waste)
    return found


def prune(found: Iterable[Waste], now: float, protected: Iterable[Path] = ()) -> list[Pruned]:
    """Remove what was found, looking again under each model's lock; one model's trouble is its own."""
    protected = tuple(protected)
    return [_prune(each, now, protected) for each in found if each.kept is None]


def _waste(found: Reading, now: float) -> Waste | None:
    partial = tuple(_stale_parts(found, now))
    superseded = tuple(_superseded_hub(found) if found.place.layout is Layout.HUB else _superseded_own(found))
    if not partial and not superseded:
        return None
    usage = Usage()
    for path in (*partial, *superseded):
        if path in found.tree.files:
            usage.add(found.tree.files[path])
    kept = say.IS_PINNED() if found.own.pinned else None
    if kept is None and superseded and found.place.layout is Layout.HUB:
        # A snapshot is links: whoever uses it has a blob open.
        kept = why_in_use(found)
    # With the parts gone nothing would be left of a model that was never whole.
    whole = found.own.manifest is None and not found.where and found.place.layout is not Layout.HUB
    return Waste(
        found.place.root, found.place.name, found.place, partial, superseded, whole, usage.freeable_bytes, kept
    )


def _stale_parts(found: Reading, now: float) -> Iterator[str]:
    for path in found.partial:
        # Our own parts are guarded by the lock; the others only by their age and by who has them open.
        status = found.tree.files[path]
        ours = path.startswith(f"{OWN_DIRECTORY}/")
        if ours or (status.st_mtime < now - GRACE_SECONDS and open_elsewhere(found.top, [path])[0] is None):
            yield path


def _superseded_own(found: Reading) -> Iterator[str]:
    manifest = found.own.manifest
    if manifest is None:
        return
    current = manifest.by_path()
    for record in manifest.superseded:
        status = found.tree.files.get(record.path)
        # A file of that name and another size is not the one that we put there.
        if record.path not in current and status is not None and status.st_size == record.size:
            yield record.path


def _superseded_hub(found: Reading) -> Iterator[str]:
    snapshots: dict[str, set[str]] = {}
    for path in found.tree.directories:
        if path.count("/") == 1 and path.startswith("snapshots/"):
            snapshots[path[10:]] = set()
    for path, target in found.tree.links.items():
        commit = path.split("/")[1] if path.startswith("snapshots/") else None
        blob = blob_of(path, target)
        if commit in snapshots and blob is not None:
            snapshots[commit].add(blob[6:])
    blobs = [path[6:] for path in found.tree.files if path.startswith("blobs/") and not path.endswith(".incomplete")]
    if not hub_refs(found):
        return
    commits, unused = unreferenced(hub_refs(found), snapshots, blobs)
    # Links first, then what they lead to: an interrupted prune leaves no link that leads nowhere.
    for commit in commits:
        prefix = f"snapshots/{commit}"
        below = [path for path in (*found.tree.links, *found.tree.files) if path.startswith(prefix + "/")]
        above = [path for path in found.tree.directories if path == prefix or path.startswith(prefix + "/")]
        yield from below
        yield from sorted(above, key=len, reverse=True)
    yield from (f"blobs/{name}" for name in unused)


def _prune(waste: Waste, now: float, protected: tuple[Path, ...]) -> Pruned:
    try:
        refuse_unsafe(waste.root, protected)
        if waste.place is None:
            removed = purge_leftovers(waste.root)
        else:
            with ModelLock(waste.root, waste.name, "prune"):
                removed = _prune_locked(waste.place, now)
    except ModelBusy as busy:
        return Pruned(waste, trouble=str(busy), busy=True)
    except (CacheKeeperError, OSError) as error:
        return Pruned(waste, trouble=str(error))
    first = f"{removed.failed[0][0]}: {removed.failed[0][1]}" if removed.failed else None
    return Pruned(waste, removed.freed_bytes, first)


def _prune_locked(place: Place, now: float) -> Removed:
    with reading(place) as found:
        waste = _waste(found, now)
        if waste is None:
            return Removed()
        if waste.kept is not None:
            raise ModelBusy(say.IN_USE(model=place.name, use=waste.kept))
        if waste.whole:
            return remove_model(place)
        removed = Removed()
        if found.own.manifest is not None:
            # Without a manifest it stays: it is what keeps the files that are in place from passing as complete.
            remove_own(found.top, PULLING)
        for path in (*waste.partial, *waste.superseded):
            remove_file(found.top, path, removed)
        for path in sorted(found.tree.directories, key=len, reverse=True):
            if path.startswith((f"{OWN_DIRECTORY}/{PARTS}", f"{OWN_DIRECTORY}/{STAGING}")):
                remove_file(found.top, path, Removed())
        if waste.superseded and found.own.manifest is not None:
            left = {path for path, _ in removed.failed}
            superseded = tuple(each for each in found.own.manifest.superseded if each.path in left)
            write_manifest(found.top, replace(found.own.manifest, superseded=superseded))
        return removed
