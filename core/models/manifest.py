"""What a model consists of, as its hub says and as our hash has found: the file beside the model that decides.

A manifest is written only after every file in it has been hashed and lies under its final name. While a model
is being pulled the same shape, without ``completed``, says what is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.models import words as say
from core.models.names import is_inside

FORMAT = 1


@dataclass(frozen=True)
class FileRecord:
    """One file: its path in the repo, its bytes, and the hashes that it must have.

    A hub names a large file's ``sha256``; of a small one it knows only the git ``blob_id``, the SHA-1 of
    ``blob <size>\\0`` and the content. ``verified_mtime_ns`` is the file's mtime when our hash agreed, 0 before.
    """

    path: str
    size: int
    sha256: str | None = None
    blob_id: str | None = None
    verified_mtime_ns: int = 0

    @property
    def content_name(self) -> str:
        """A name for this content, whatever the path: parts of a download are kept under it."""
        return self.sha256 or self.blob_id or ""

    def agrees(self, sha256: str, blob_id: str) -> bool:
        """Whether content with these hashes is what the hub has; sha256 decides where it is known."""
        if self.sha256:
            return self.sha256 == sha256
        return bool(self.blob_id) and self.blob_id == blob_id


@dataclass(frozen=True)
class Transfer:
    """A copy of this model on another hub that was compared with the manifest, file by file, when it was made."""

    target: str
    endpoint: str
    commit: str
    verified: float


@dataclass(frozen=True)
class Manifest:
    """Which repo, at which commit, from where, with which files. Times are seconds since the epoch."""

    repo: str
    revision: str
    commit: str
    endpoint: str
    files: tuple[FileRecord, ...]
    completed: float = 0.0
    superseded: tuple[FileRecord, ...] = ()
    transfers: tuple[Transfer, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(each.size for each in self.files)

    def by_path(self) -> dict[str, FileRecord]:
        return {each.path: each for each in self.files}

    def with_transfer(self, transfer: Transfer) -> Manifest:
        """Return this manifest with a transfer added, in place of an earlier one to the same target."""
        others = tuple(
            each for each in self.transfers if (each.target, each.endpoint) != (transfer.target, transfer.endpoint)
        )
        return replace(self, transfers=(*others, transfer))

    def as_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        return {
            "format": FORMAT, "repo": self.repo, "revision": self.revision, "commit": self.commit,
            "endpoint": self.endpoint, "completed": self.completed,
            "files": [_file_as_json(each) for each in self.files],
            "superseded": [_file_as_json(each) for each in self.superseded],
            "transfers": [vars(each) for each in self.transfers],
        }  # fmt: skip


def from_json(document: Any) -> Manifest:
    """Given a parsed manifest, return it; raises ValueError for anything that is not one of ours.

    Files come from other machines: a path that leads out of the model's directory is refused here, once for all.
    """
    try:
        if document["format"] != FORMAT:
            raise ValueError(say.OTHER_FORMAT(format=document["format"], known=FORMAT))
        return Manifest(
            repo=_text(document["repo"]),
            revision=_text(document["revision"]),
            commit=_text(document["commit"]),
            endpoint=_text(document["endpoint"]),
            completed=float(document["completed"]),
            files=tuple(_file(each) for each in document["files"]),
            superseded=tuple(_file(each) for each in document.get("superseded", ())),
            transfers=tuple(
                Transfer(_text(each["target"]), _text(each["endpoint"]), _text(each["commit"]), float(each["verified"]))
                for each in document.get("transfers", ())
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(say.NO_MANIFEST(words=repr(error))) from None


def hub_tree_from_json(document: Any) -> tuple[FileRecord, ...]:
    """Given a parsed ``trees/<commit>.json`` of a Hugging Face cache, return its files; raises ValueError.

    The format is huggingface_hub's own (``_tree_cache.py``, format_version 1).
    """
    try:
        if document["format_version"] != 1:
            raise ValueError(say.OTHER_VERSION(version=document["format_version"]))
        return tuple(
            _file({"path": path, "size": info["size"], "sha256": info.get("lfs_sha256"), "blob_id": info["blob_id"]})
            for path, info in document["files"].items()
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(say.NO_TREE(words=repr(error))) from None


def _file_as_json(record: FileRecord) -> dict[str, Any]:
    return vars(record)


def _file(entry: Mapping[str, Any]) -> FileRecord:
    path, size = _text(entry["path"]), entry["size"]
    if not is_inside(path):
        raise ValueError(say.LEADS_OUT(path=path))
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError(say.BAD_SIZE(path=path, size=size))
    return FileRecord(
        path,
        size,
        _hash(entry.get("sha256"), 64),
        _hash(entry.get("blob_id"), 40),
        int(entry.get("verified_mtime_ns", 0)),
    )


def _hash(value: Any, length: int) -> str | None:
    # It becomes a file's name, so its shape is checked like a path's.
    return value if isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{length}}}", value) else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
