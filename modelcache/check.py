"""Is a model whole? Quickly, by names, sizes and headers, or fully, by the hash of every file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from core.models import words as say
from core.models.manifest import FileRecord
from core.models.names import directory_names
from core.models.states import ABSENT, Check, Evidence, Fault, Finding, Seen
from modelcache.model import Layout, Place, hub_directory
from modelcache.own import write_manifest
from modelcache.reading import Reading, named_by_hash, reading
from modelcache.roots import CacheRoot, cache_roots, open_file
from modelcache.weights import Stopped, hash_file

HASHING_THREADS = 2

Progress = Callable[[str, int, int], None]
"""Told what is done (``verify``, ``fetch``, ``upload``), the bytes done and the bytes in all."""


def check_model_exists(
    model: str | Path,
    cache_dirs: Iterable[Path] | None = None,
    *,
    full: bool = False,
    progress: Progress | None = None,
) -> Check:
    """Given a repo id or the directory of a model, return whether it is there and whole; the result is true if it is.

    ``cache_dirs`` default to the configured ones. The quick check takes names, sizes and headers; ``full`` hashes
    everything that has a known hash. Never raises for what is in the directories.
    """
    if cache_dirs is None:
        from modelcache.configured import configured_roots

        roots = configured_roots()
    else:
        roots = cache_roots(cache_dirs)
    place = place_of_directory(model) or locate(str(model), roots)
    return ABSENT if place is None else check_place(place, full=full, progress=progress)


def check_place(place: Place, *, full: bool = False, progress: Progress | None = None) -> Check:
    """Given a place, return the Check of what is there."""
    try:
        with reading(place) as found:
            return full_check(found, progress) if full else found.check()
    except OSError:
        return ABSENT


def place_of_directory(model: str | Path) -> Place | None:
    """Given the path of a directory, return it as a place; None for a repo id, even if such a directory is near."""
    path = Path(model).expanduser()
    if not (isinstance(model, Path) or path.is_absolute()) or not path.is_dir():
        return None
    real = Path(os.path.realpath(path))
    layout = Layout.HUB if real.name.startswith("models--") else Layout.DIRECTORY
    return Place(CacheRoot(real.parent), real.name, layout)


def locate(repo: str, roots: Iterable[CacheRoot]) -> Place | None:
    """Given a repo id, return where it lies, our own directories first; a directory of another repo is passed over."""
    for place in candidates(repo, roots):
        try:
            with reading(place) as found:
                known = found.own.manifest or found.own.pulling
                if found.is_model and (known is None or known.repo == repo):
                    return place
        except OSError:
            continue
    return None


def candidates(repo: str, roots: Iterable[CacheRoot]) -> list[Place]:
    """Return the places where a repo could lie, whether or not anything is there."""
    roots = tuple(roots)
    places = [Place(root, name, Layout.DIRECTORY) for root in roots for name in directory_names(repo)]
    return places + [Place(root, hub_directory(repo), Layout.HUB) for root in roots]


def full_check(found: Reading, progress: Progress | None = None) -> Check:
    """Given an open model, hash its files and return the Check.

    When everything agrees, the manifest is stamped with the mtimes at which it did, so that the quick check knows.
    """
    records = {each.path: each for each in (found.manifest.files if found.manifest else named_by_hash(found))}
    seen = found.seen()
    seen.update(hash_records(found, records.values(), seen, progress))
    check = found.judge(seen, hashed=True)
    if check and found.manifest is None and records.keys() == found.where.keys():
        check = replace(check, evidence=Evidence.HASH)  # the blobs of a hub cache have their hashes as names
    if check and found.own.manifest is not None and not found.place.root.read_only:
        stamp(found, seen)
    return check


def hash_records(
    found: Reading, records: Iterable[FileRecord], seen: dict[str, Seen], progress: Progress | None = None
) -> dict[str, Seen]:
    """Hash the files of these records that are there with the right size; return them as seen, wrong ones marked."""
    due = [each for each in records if each.path in seen and seen[each.path].size == each.size and each.content_name]
    total, done, lock, stop = sum(each.size for each in due), 0, threading.Lock(), threading.Event()

    def advance(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            if progress is not None:
                progress("verify", done, total)

    def hashed(record: FileRecord) -> Seen:
        try:
            return _hashed(found, record, advance, stop)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(HASHING_THREADS) as threads:
        # The largest first, so that two threads end at about the same time.
        tasks = {each.path: threads.submit(hashed, each) for each in sorted(due, key=lambda each: -each.size)}
        try:
            return {path: task.result() for path, task in tasks.items()}
        except BaseException:
            stop.set()
            raise


def _hashed(found: Reading, record: FileRecord, advance: Callable[[int], None], stop: threading.Event) -> Seen:
    if stop.is_set():
        raise Stopped
    try:
        descriptor = open_file(found.top, found.where[record.path])
    except OSError as error:
        return Seen(record.size, 0, Finding(record.path, Fault.UNREADABLE, error.strerror or ""))
    try:
        sha256, blob_id = hash_file(descriptor, blob_id=not record.sha256, advance=advance, stop=stop)
        # Taken after the hash: a file that is written to meanwhile gets another mtime, and the stamp will not fit it.
        status = os.fstat(descriptor)
    except OSError as error:
        return Seen(record.size, 0, Finding(record.path, Fault.UNREADABLE, error.strerror or ""))
    finally:
        os.close(descriptor)
    before = found.tree.files[found.where[record.path]]
    finding = None
    if not record.agrees(sha256, blob_id):
        finding = Finding(record.path, Fault.WRONG_HASH, f"{sha256 if record.sha256 else blob_id}")
    elif (before.st_mtime_ns, before.st_size) != (status.st_mtime_ns, status.st_size):
        finding = Finding(record.path, Fault.WRONG_HASH, say.CHANGED())
    return Seen(status.st_size, status.st_mtime_ns, finding)


def stamp(found: Reading, seen: dict[str, Seen]) -> None:
    """Write down that these files had the right hash with these mtimes."""
    manifest = found.own.manifest
    assert manifest is not None, "only our own manifest can be stamped"
    files = tuple(replace(each, verified_mtime_ns=seen[each.path].mtime_ns) for each in manifest.files)
    if files != manifest.files:
        try:
            write_manifest(found.top, replace(manifest, files=files))
        except OSError:
            pass  # a cache that cannot be written to keeps its old stamps
