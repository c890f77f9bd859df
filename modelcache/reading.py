"""One model as it lies on the disk, read once: where each file of its repo is, and what the quick check says.

Three layouts: a directory per model (ours, ``local_dir``, what scripts left), Hugging Face's hub cache
(``models--org--name`` with blobs, refs and snapshots of links), and single weight files (ComfyUI's folders).
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from core.models import words as say
from core.models.manifest import FileRecord, Manifest, hub_tree_from_json
from core.models.names import OWN_DIRECTORY, is_unfinished, is_weight
from core.models.states import (
    Check,
    Fault,
    Finding,
    Seen,
    State,
    is_stamped,
    judge_contents,
    judge_manifest,
)
from modelcache.model import Layout, Model, Place, hub_repo
from modelcache.own import PARTS, STAGING, Own, read_own
from modelcache.roots import open_directory, open_file, open_root
from modelcache.tree import Tree, read_tree
from modelcache.weights import inspect_weight, read_document

_FOREIGN = ".cache/huggingface"
_SIGNS = ("config.json", "model_index.json")


@dataclass
class Reading:
    """A model with its directory still open as ``top``; ``where`` maps repo paths to paths below ``top``."""

    place: Place
    top: int
    tree: Tree
    own: Own = field(default_factory=Own)
    manifest: Manifest | None = None
    where: dict[str, str] = field(default_factory=dict)
    partial: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_model(self) -> bool:
        """A directory without any sign of a model is somebody's, and never ours to list or remove."""
        if self.place.layout is not Layout.DIRECTORY:
            return True
        own = self.own
        known = own.manifest or own.pulling or own.trouble or self.partial
        return bool(known) or any(is_weight(path) or path in _SIGNS for path in self.where)

    def seen(self, *, inspect: bool = True) -> dict[str, Seen]:
        """Return the files of the repo as found; weights that our hash does not vouch for are opened and looked at."""
        stamped = self.manifest.by_path() if self.manifest else {}
        found = {}
        for path, tree_path in self.where.items():
            status = self.tree.files[tree_path]
            plain = Seen(status.st_size, status.st_mtime_ns)
            if not inspect or (path in stamped and is_stamped(stamped[path], plain)):
                found[path] = plain
            else:
                found[path] = Seen(plain.size, plain.mtime_ns, inspect_weight(self.top, tree_path, path))
        return found

    def check(self) -> Check:
        """Return what names, sizes and headers say; see ``modelcache.check`` for hashes."""
        return self.judge(self.seen())

    def judge(self, seen: dict[str, Seen], *, hashed: bool = False) -> Check:
        """Given files as found, return the Check by the manifest, else by what a pull wanted, else by contents."""
        wanted = self.manifest or self.own.pulling
        extra = list(self.findings)
        if wanted is not None:
            check = judge_manifest(
                wanted, {path: seen[path] for path in wanted.by_path() if path in seen}, hashed=hashed
            )
        else:
            names = [each for each in seen if each == "model_index.json" or each.endswith(".index.json")]
            check = judge_contents(seen, {each: read_document(self.top, self.where[each]) for each in names})
            extra += [Finding(path, Fault.UNFINISHED, say.BYTES(size=size)) for path, size in self.partial.items()]
        findings = (*extra, *check.findings)
        if self.manifest is None and self.own.pulling is not None and not findings:
            # Every file is in place, and the step that says so was not reached.
            findings = (Finding("manifest.json", Fault.UNFINISHED, say.INTERRUPTED()),)
        if not findings:
            return check
        partial = all(each.fault in (Fault.MISSING, Fault.UNFINISHED) for each in findings)
        return Check(State.PARTIAL if partial else State.CORRUPT, check.size_bytes, check.files, None, findings)

    def model(self, check: Check | None = None) -> Model:
        """Return this reading as a plain value."""
        statuses = [self.tree.files[each] for each in self.where.values()]
        modified = max((each.st_mtime for each in statuses), default=self.tree.directories[""].st_mtime)
        accessed = max((each.st_atime for each in statuses), default=0.0)
        known = self.manifest or self.own.pulling
        return Model(
            place=self.place,
            repo=known.repo if known else hub_repo(self.place),
            revision=known.revision if known else None,
            commit=known.commit if known else None,
            usage=self.tree.usage(),
            # Access times are missing or wrong on many mounts: here they can only make a model younger.
            last_used=max(self.own.used, modified, accessed),
            modified=modified,
            pinned=self.own.pinned,
            partial_bytes=sum(self.partial.values()),
            check=check or self.check(),
        )


@contextmanager
def reading(place: Place) -> Iterator[Reading]:
    """Open and read a model; raises OSError when there is none."""
    root = open_root(place.root)
    try:
        if place.layout is Layout.FILE:
            yield _read_file(place, root)
            return
        top = open_directory(root, place.name)
    finally:
        os.close(root)
    try:
        tree = read_tree(top)
        yield _read_hub(place, top, tree) if place.layout is Layout.HUB else _read_directory(place, top, tree)
    finally:
        os.close(top)


def _read_file(place: Place, root: int) -> Reading:
    descriptor = open_file(root, place.name)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    tree = Tree(files={place.name: status}, directories={"": status})
    found = Reading(place, root, tree)
    if is_unfinished(place.name):
        found.partial[place.name] = status.st_size
    else:
        found.where[place.name] = place.name
    return found


def _read_directory(place: Place, top: int, tree: Tree) -> Reading:
    own = read_own(top)
    found = Reading(place, top, tree, own, own.manifest)
    for path, status in tree.files.items():
        if path.startswith((f"{OWN_DIRECTORY}/{PARTS}/", f"{OWN_DIRECTORY}/{STAGING}/")):
            found.partial[path] = status.st_size
        elif path.startswith((f"{OWN_DIRECTORY}/", f"{_FOREIGN}/")):
            if path.endswith(".incomplete"):
                found.partial[path] = status.st_size
        elif is_unfinished(path):
            found.partial[path] = status.st_size
        else:
            found.where[path] = path
    if own.trouble:
        found.findings.append(Finding(OWN_DIRECTORY, Fault.UNREADABLE, own.trouble))
    _add_troubles(found)
    wanted = {each.path for each in own.manifest.files} if own.manifest else None
    for path, target in tree.links.items():
        if wanted is None or path in wanted:
            found.findings.append(Finding(path, Fault.MISSING, say.LINK_TO(target=target)))
    return found


def _read_hub(place: Place, top: int, tree: Tree) -> Reading:
    found = Reading(place, top, tree, read_own(top))
    _add_troubles(found)
    for path, status in tree.files.items():
        if path.startswith("blobs/") and path.endswith(".incomplete"):
            found.partial[path] = status.st_size
    refs = hub_refs(found)
    snapshots = [path for path in tree.directories if re.fullmatch(r"snapshots/[^/]+", path)]
    if not snapshots:
        found.findings.append(Finding("snapshots/", Fault.MISSING, say.NOTHING_DOWNLOADED()))
        return found
    newest = max(snapshots, key=lambda path: tree.directories[path].st_mtime).partition("/")[2]
    revision, commit = ("main", refs["main"]) if "main" in refs else next(iter(refs.items()), (newest, newest))
    if f"snapshots/{commit}" not in snapshots:
        revision = commit = newest
    prefix = f"snapshots/{commit}/"
    for path in tree.files:
        if path.startswith(prefix):
            found.where[path[len(prefix) :]] = path
    for path, target in tree.links.items():
        if path.startswith(prefix):
            blob = blob_of(path, target)
            if blob is not None and blob in tree.files:
                found.where[path[len(prefix) :]] = blob
            else:
                found.findings.append(Finding(path[len(prefix) :], Fault.MISSING, say.LINK_LEADS(target=target)))
    found.manifest = _hub_manifest(found, place, revision, commit)
    return found


def _hub_manifest(found: Reading, place: Place, revision: str, commit: str) -> Manifest | None:
    """What the cached listing of the commit says; else nothing, because only what had arrived is linked."""
    listing = f"trees/{commit}.json"
    if listing not in found.tree.files:
        return None
    try:
        files = hub_tree_from_json(read_document(found.top, listing))
    except ValueError:
        return None
    return Manifest(hub_repo(place) or "", revision, commit, "", files)


def named_by_hash(found: Reading) -> tuple[FileRecord, ...]:
    """Return records of a hub cache's files from the names of their blobs, which are their hashes."""
    records = []
    for path, tree_path in found.where.items():
        name = posixpath.basename(tree_path)
        size = found.tree.files[tree_path].st_size
        if tree_path.startswith("blobs/") and re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{40}", name):
            records.append(FileRecord(path, size, *((name, None) if len(name) == 64 else (None, name))))
    return tuple(records)


def blob_of(path: str, target: str) -> str | None:
    """Given a snapshot's link and its text, return the blob it leads to, None when it leads anywhere else."""
    blob = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return blob if re.fullmatch(r"blobs/[^/]+", blob) else None


def hub_refs(found: Reading) -> dict[str, str]:
    """Return a hub cache's refs, branch or tag to commit."""
    refs = {}
    for path in found.tree.files:
        if path.startswith("refs/"):
            try:
                descriptor = open_file(found.top, path)
                with os.fdopen(descriptor, "rb") as file:
                    refs[path[5:]] = file.read(200).decode("ascii", "replace").strip()
            except OSError:
                continue
    return refs


def _add_troubles(found: Reading) -> None:
    found.findings += [Finding(path, Fault.UNREADABLE, reason) for path, reason in found.tree.troubles]
