"""Copies a model to ModelScope, and believes only what both sides show.

    1. the model must be complete here, by hash
    2. the other side is listed and compared: what is there with the same hash is not sent again
    3. the repo is created if need be, with the visibility and licence given; the rest is uploaded
    4. the other side is listed again; only if every file compares equal the transfer is written into the manifest

A killed transfer goes on at 2, file by file.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import ModelError
from core.models import words as say
from core.models.manifest import Manifest, Transfer
from core.models.transfer import Comparison, compare
from modelcache.check import Progress
from modelcache.lock import ModelLock
from modelcache.model import Place
from modelcache.modelscope import ModelScope
from modelcache.own import mark_used, write_manifest
from modelcache.pull import certain
from modelcache.reading import reading

_LISTINGS = 3
_BETWEEN_LISTINGS_SECONDS = 1.0


@dataclass(frozen=True)
class TransferOptions:
    """What a new repo gets, and whether anything may be written to the other side at all."""

    visibility: str = "private"
    licence: str = "Apache-2.0"
    verify_only: bool = False


@dataclass(frozen=True)
class Transferred:
    """What a transfer came to; ``comparison`` is of the last listing, None without such a repo."""

    manifest: Manifest
    comparison: Comparison | None
    created: bool = False
    uploaded_files: int = 0
    uploaded_bytes: int = 0

    @property
    def verified(self) -> bool:
        return self.comparison is not None and self.comparison.verified


def transfer(
    connect: Callable[[], ModelScope],
    place: Place,
    target: str,
    options: TransferOptions,
    now: float,
    progress: Progress,
) -> Transferred:
    """Given a model in our cache and a repo id on ModelScope, make the other side equal, or only compare.

    Raises ModelError when the model is not complete here, HubError, ModelBusy.
    """
    with ModelLock(place.root, place.name, "transfer"), reading(place) as found:
        manifest = found.own.manifest
        if manifest is None or not certain(found, progress):
            raise ModelError(say.NOT_WHOLE(path=place.path))
        hub = connect()
        done = _transfer(hub, place, manifest, target, options, progress)
        mark_used(found.top, now)
        if done.verified:
            record = Transfer(target, hub.endpoint, manifest.commit, now)
            # Read again: hashing may have stamped the manifest meanwhile.
            with reading(place) as again:
                if again.own.manifest is not None and again.own.manifest.commit == manifest.commit:
                    write_manifest(again.top, again.own.manifest.with_transfer(record))
        return done


def _transfer(
    hub: ModelScope, place: Place, manifest: Manifest, target: str, options: TransferOptions, progress: Progress
) -> Transferred:
    remote = hub.files(target)
    before = compare(manifest.files, remote or ())
    if options.verify_only or (remote is not None and before.verified):
        return Transferred(manifest, None if remote is None else before)
    if remote is None:
        hub.create(target, options.visibility, options.licence)
    due = {path: manifest.by_path()[path].size for path in before.wanting}
    total = sum(due.values())
    hub.upload(target, Path(place.path), due, lambda done: progress("upload", min(done, total), total))
    after = None
    for attempt in range(_LISTINGS):
        # A listing may lag behind the commit that was just made.
        time.sleep(_BETWEEN_LISTINGS_SECONDS if attempt else 0)
        listed = hub.files(target)
        after = None if listed is None else compare(manifest.files, listed)
        if after is not None and after.verified:
            break
    return Transferred(manifest, after, remote is None, len(due), total)
