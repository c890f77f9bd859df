"""Brings a model from the hub into a cache directory, once.

    1. skip    what the manifest and a hash call complete is not asked about again
    2. resolve the commit and the list of files, each with its size and hash
    3. keep    files that are there already, whoever brought them, if their hash is right
    4. room    for the rest must be on the disk
    5. fetch   into ``.model_cache``: large files by our own resuming download, small ones by snapshot_download
    6. commit  rename everything into place, then write the manifest

A kill in 1 to 5 leaves the model as it was, and parts that the next pull goes on with. In 6 the old manifest goes
first and the new one comes last, so a mixture never counts as complete.

``snapshot_download`` fetches the small files only, because it begins large ones anew after a kill
(see ``modelcache.download``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import ModelError, NoRoom, RefusedTarget
from core.models import words as say
from core.models.manifest import FileRecord, Manifest
from core.models.names import OWN_DIRECTORY, is_weight, safe_name, telling_name
from core.models.states import Check, Evidence, is_stamped
from core.models.units import size_text
from modelcache.check import Progress, hash_records, locate, stamp
from modelcache.fetch import RESUMED_FROM_BYTES, fetch, staged_sha256
from modelcache.huggingface import HuggingFace
from modelcache.lock import ModelLock
from modelcache.model import Layout, Place
from modelcache.own import (
    MANIFEST,
    PARTS,
    PULLING,
    STAGING,
    mark_used,
    remove_own,
    write_manifest,
    write_pulling,
)
from modelcache.reading import Reading, reading
from modelcache.remove import Removed, remove_tree
from modelcache.roots import CacheRoot, make_directory, open_directory, open_file, open_root, refuse_unsafe
from modelcache.weights import hash_file

_MARGIN_BYTES = 64 << 20
_MARGIN_INODES = 100


@dataclass(frozen=True)
class Pulled:
    """What a pull came to. ``fetched_bytes`` came over the network now; 0 with ``skipped`` when all was there."""

    place: Place
    manifest: Manifest
    fetched_bytes: int
    skipped: bool


@dataclass(frozen=True)
class PullOptions:
    """``update`` asks the hub again though the model is complete; ``into`` is a cache directory for a new model."""

    revision: str = "main"
    update: bool = False
    into: Path | None = None
    protected: tuple[Path, ...] = ()


def existing(repo: str, roots: Iterable[CacheRoot], revision: str, now: float, progress: Progress) -> Pulled | None:
    """Return a pull that has nothing to do, when the model is complete by manifest and hash; else None.

    Asks no hub. Files that were touched since they were hashed are hashed again first.
    """
    place = locate(repo, (each for each in roots if not each.read_only))
    if place is None or place.layout is not Layout.DIRECTORY:
        return None
    with reading(place) as found:
        manifest = found.own.manifest
        if manifest is None or revision not in (manifest.revision, manifest.commit):
            return None
        if not certain(found, progress):
            return None
        mark_used(found.top, now)
        return Pulled(place, manifest, 0, skipped=True)


def certain(found: Reading, progress: Progress) -> Check | None:
    """Return the Check of a model that is complete by hash, None if it is not; hashes what is not vouched for."""
    check = found.check()
    if check and check.evidence is not Evidence.HASH and found.own.manifest is not None:
        seen = found.seen()
        doubtful = [each for each in found.own.manifest.files if not is_stamped(each, seen[each.path])]
        seen.update(hash_records(found, doubtful, seen, progress))
        check = found.judge(seen, hashed=True)
        if check:
            stamp(found, seen)
    return check if check and check.evidence is Evidence.HASH else None


def pull(
    connect: Callable[[], HuggingFace],
    repo: str,
    roots: Iterable[CacheRoot],
    options: PullOptions,
    now: float,
    progress: Progress,
) -> Pulled:
    """Given a repo id, return where the model is, complete. Raises ModelError and its kin, RefusedTarget.

    ``connect`` is called only when a hub must be asked. ModelBusy when another process is pulling or cleaning the
    same model.
    """
    roots = tuple(roots)
    if not options.update and (there := existing(repo, roots, options.revision, now, progress)):
        return there
    hub = connect()
    wanted = hub.resolve(repo, options.revision)
    root, name = _destination(wanted, roots, options)
    refuse_unsafe(root, options.protected)
    try:
        root.path.mkdir(parents=True, exist_ok=True)
        with ModelLock(root, name, "pull"):
            return _pull_locked(hub, wanted, Place(root, name, Layout.DIRECTORY), roots, now, progress)
    except OSError as error:
        raise ModelError(f"{root.path}/{name}: {error.strerror or error}") from None


def _destination(wanted: Manifest, roots: tuple[CacheRoot, ...], options: PullOptions) -> tuple[CacheRoot, str]:
    """Where the model is, or shall be: never a directory that belongs, or may belong, to another repo."""
    writable = [each for each in roots if not each.read_only]
    place = locate(wanted.repo, writable)
    if place is not None and place.layout is Layout.DIRECTORY and _is_of(wanted, place):
        return place.root, place.name
    if options.into is not None:
        chosen = Path(os.path.realpath(options.into))
        root = next((each for each in writable if each.path == chosen), None)
        if root is None:
            raise RefusedTarget(say.NO_ROOT(path=chosen))
    elif writable:
        root = writable[0]
    else:
        raise RefusedTarget(say.NO_WRITABLE_ROOT())
    free = _is_free(Place(root, safe_name(wanted.repo), Layout.DIRECTORY))
    return root, safe_name(wanted.repo) if free else telling_name(wanted.repo)


def _is_free(place: Place) -> bool:
    """Whether nothing is there, or an empty directory as a pull leaves it that is killed in its first moment."""
    if not os.path.lexists(place.path):
        return True
    try:
        with reading(place) as found:
            return not found.is_model and not found.where and not found.tree.links
    except OSError:
        return False


def _is_of(wanted: Manifest, place: Place) -> bool:
    """Whether a directory is of this repo: its manifest says so, or a weight file has the listed path and size."""
    with reading(place) as found:
        if known := found.own.manifest or found.own.pulling:
            return known.repo == wanted.repo
        sizes = {path: found.tree.files[tree_path].st_size for path, tree_path in found.where.items()}
        return any(is_weight(each.path) and sizes.get(each.path) == each.size for each in wanted.files)


def _pull_locked(
    hub: HuggingFace, wanted: Manifest, place: Place, roots: tuple[CacheRoot, ...], now: float, progress: Progress
) -> Pulled:
    top_root = open_root(place.root)
    try:
        os.close(make_directory(top_root, place.name))
    finally:
        os.close(top_root)
    with reading(place) as found:
        known = found.own.manifest or found.own.pulling
        if known is not None and known.repo != wanted.repo:
            raise ModelError(say.TAKEN(path=place.path, repo=known.repo))
        kept = _kept(found, wanted, progress)
        due = [each for each in wanted.files if each.path not in kept]
        _need_room(found, due)
        write_pulling(found.top, wanted)
        fetched = fetch(hub, wanted, due, found, roots, progress)
        manifest = _commit(found, wanted, kept, due, now)
        mark_used(found.top, now)
        return Pulled(place, manifest, fetched, skipped=not due and found.own.manifest is not None)


def _kept(found: Reading, wanted: Manifest, progress: Progress) -> dict[str, FileRecord]:
    """Return the wanted files that are in place with the right hash, by path, stamped."""
    stamped = found.own.manifest.by_path() if found.own.manifest else {}
    seen = found.seen(inspect=False)
    kept, doubtful = {}, []
    for record in wanted.files:
        known, there = stamped.get(record.path), seen.get(record.path)
        if there is None or there.size != record.size:
            continue
        if known and is_stamped(known, there) and known.sha256 and record.agrees(known.sha256, known.blob_id or ""):
            kept[record.path] = replace(record, sha256=known.sha256, verified_mtime_ns=known.verified_mtime_ns)
        else:
            doubtful.append(record)
    for path, result in hash_records(found, doubtful, seen, progress).items():
        if result.finding is None:
            record = wanted.by_path()[path]
            kept[path] = replace(
                record, verified_mtime_ns=result.mtime_ns, sha256=record.sha256 or _sha256(found, path)
            )
    return kept


def _sha256(found: Reading, path: str) -> str:
    descriptor = open_file(found.top, found.where[path])
    try:
        return hash_file(descriptor)[0]
    finally:
        os.close(descriptor)


def _need_room(found: Reading, due: list[FileRecord]) -> None:
    """Raise NoRoom unless the disk has space and inodes for what is due, less what lies in parts already."""
    parts = {path.rpartition("/")[2]: size for path, size in found.partial.items()}
    contents = {each.content_name: each.size for each in due}
    needed = sum(max(size - parts.get(name, 0), 0) for name, size in contents.items())
    disk = os.fstatvfs(found.top)
    free = disk.f_bavail * disk.f_frsize
    if needed and needed + _MARGIN_BYTES > free:
        raise NoRoom(say.NO_ROOM(path=found.place.path, needed=size_text(needed), free=size_text(free)))
    if disk.f_files and disk.f_favail < len(due) + _MARGIN_INODES:
        raise NoRoom(say.NO_INODES(path=found.place.path, files=len(due), left=disk.f_favail))


def _commit(
    found: Reading, wanted: Manifest, kept: dict[str, FileRecord], due: list[FileRecord], now: float
) -> Manifest:
    """Put everything under its final name and write the manifest, which is what makes the model complete."""
    top, old = found.top, found.own.manifest
    if old is not None and due:
        remove_own(top, MANIFEST)
    placed = dict(kept)
    for record in due:
        placed[record.path] = _place_file(top, record, wanted)
    paths = set(wanted.by_path())
    before = (*old.files, *old.superseded) if old else ()
    superseded = {each.path: each for each in before if each.path not in paths and each.path in found.where}
    same = old is not None and old.commit == wanted.commit
    manifest = replace(
        wanted,
        files=tuple(placed[each.path] for each in wanted.files),
        completed=old.completed if old is not None and same and not due else now,
        superseded=tuple(superseded.values()),
        transfers=old.transfers if old is not None and same else (),
    )
    write_manifest(top, manifest)
    remove_own(top, PULLING)
    directory = open_directory(top, OWN_DIRECTORY)
    try:
        for name in (PARTS, STAGING):
            with suppress(FileNotFoundError):
                remove_tree(directory, name, Removed())
    finally:
        os.close(directory)
    return manifest


def _place_file(top: int, record: FileRecord, wanted: Manifest) -> FileRecord:
    above, _, name = record.path.rpartition("/")
    target = make_directory(top, above) if above else os.dup(top)
    try:
        if record.size >= RESUMED_FROM_BYTES:
            twins = [each for each in wanted.files if each.content_name == record.content_name]
            source, moved = f"{OWN_DIRECTORY}/{PARTS}/{record.content_name}", record is twins[-1]
            sha256 = record.sha256
        else:
            source, moved = f"{OWN_DIRECTORY}/{STAGING}/{record.path}", True
            sha256 = staged_sha256(top, record)
        if moved:
            os.rename(source, name, src_dir_fd=top, dst_dir_fd=target)
        else:
            # The same content under several paths: the last takes the part, the others become further names of it.
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=target)
            os.link(source, name, src_dir_fd=top, dst_dir_fd=target, follow_symlinks=False)
        os.fsync(target)
        status = os.stat(name, dir_fd=target, follow_symlinks=False)
        return replace(record, sha256=sha256, verified_mtime_ns=status.st_mtime_ns)
    finally:
        os.close(target)
