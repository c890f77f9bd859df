"""Remembers what ``list`` has read, so that it need not look at every file again.

An entry is believed while each directory of the model, its largest files and our own last-used mark look as they did.
What that cannot see is a small file that is rewritten in place: ``list --fresh`` reads everything, and so do all
commands that decide something. The index is advice: it may be deleted, unwritable or damaged without harm.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.models.names import OWN_DIRECTORY
from core.models.states import Check, Evidence, Fault, Finding, State
from modelcache.model import Layout, Model, Place
from modelcache.own import USED
from modelcache.reading import Reading
from modelcache.tree import Usage

FORMAT = 1
_PROBES = 4
_SETTLED_SECONDS = 2.0
"""What changed this shortly before it was read may change again within the same tick of the file system's clock."""


class Index:
    """The remembered models of all roots, in one file. Use ``get`` and ``put`` while listing, then ``save``."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._entries: dict[str, Any] = {}
        self._used: dict[str, Any] = {}
        if path is not None:
            with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                document = json.loads(path.read_bytes())
                if document["format"] == FORMAT:
                    self._entries = dict(document["models"])

    def get(self, place: Place) -> Model | None:
        """Return the remembered model if it still looks the same."""
        entry = self._entries.get(place.path)
        if entry is None:
            return None
        try:
            if not _looks_the_same(place.path, entry):
                return None
            model = _model(place, entry["model"])
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None
        self._used[place.path] = entry
        return model

    def put(self, found: Reading, model: Model, now: float) -> None:
        """Remember a model that was just read, unless it is still changing."""
        times = [status.st_mtime for status in (*found.tree.directories.values(), *found.tree.files.values())]
        if max(times, default=0.0) > now - _SETTLED_SECONDS:
            return
        files = found.tree.files
        directories = [(path, _mark(status)) for path, status in found.tree.directories.items()]
        largest = sorted(found.where.values(), key=lambda path: -files[path].st_size)[:_PROBES]
        used = f"{OWN_DIRECTORY}/{USED}"
        probes = [(path, _mark(files[path])) for path in (*largest, used) if path in files]
        self._used[found.place.path] = {
            "directories": directories,
            "probes": [] if found.place.layout is Layout.FILE else probes,
            "model": _as_json(model),
        }

    def save(self) -> None:
        """Write the index if it has changed."""
        if self._path is None or self._used == self._entries:
            return
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"format": FORMAT, "models": self._used}), encoding="ascii")
            temporary.replace(self._path)
        except (OSError, ValueError):
            with suppress(OSError):
                temporary.unlink()


def _mark(status: os.stat_result) -> list[int]:
    return [status.st_mtime_ns, status.st_ino, status.st_size]


def _looks_the_same(top: str, entry: dict[str, Any]) -> bool:
    # By path and with the fewest calls: 200 models of five directories are 2,000 of these.
    lstat = os.lstat
    for path, mark in (*entry["directories"], *entry["probes"]):
        status = lstat(f"{top}/{path}" if path else top)
        if status.st_mtime_ns != mark[0] or status.st_ino != mark[1] or status.st_size != mark[2]:
            return False
    return True


def _as_json(model: Model) -> dict[str, Any]:
    check = model.check
    return {
        "repo": model.repo, "revision": model.revision, "commit": model.commit, "last_used": model.last_used,
        "modified": model.modified, "pinned": model.pinned, "partial_bytes": model.partial_bytes,
        "own_bytes": model.usage.own_bytes, "linked": [[*key, *value] for key, value in model.usage.linked.items()],
        "state": check.state.value, "size_bytes": check.size_bytes, "files": check.files,
        "evidence": check.evidence.value if check.evidence else None,
        "findings": [[each.path, each.fault.value, each.detail] for each in check.findings],
    }  # fmt: skip


def _model(place: Place, entry: dict[str, Any]) -> Model:
    check = Check(
        State(entry["state"]),
        entry["size_bytes"],
        entry["files"],
        Evidence(entry["evidence"]) if entry["evidence"] else None,
        tuple(Finding(path, Fault(fault), detail) for path, fault, detail in entry["findings"]),
    )
    linked = {(each[0], each[1]): (each[2], each[3], each[4]) for each in entry["linked"]}
    return Model(
        place, entry["repo"], entry["revision"], entry["commit"], Usage(entry["own_bytes"], linked), entry["last_used"],
        entry["modified"], entry["pinned"], entry["partial_bytes"], check,
    )  # fmt: skip
