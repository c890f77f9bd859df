"""Whether another hub has what the manifest says: the comparison that a transfer stands or falls with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.models.manifest import FileRecord


@dataclass(frozen=True)
class RemoteFile:
    """One file as the other hub lists it; it may not know every hash."""

    path: str
    size: int
    sha256: str | None = None
    blob_id: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Paths by how they compare; ``unproven`` has the right size and no hash to compare."""

    same: tuple[str, ...]
    missing: tuple[str, ...]
    different: tuple[str, ...]
    unproven: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """Whether every file arrived, by its hash. What else lies there (a hub's own files) does not matter."""
        return not (self.missing or self.different or self.unproven)

    @property
    def wanting(self) -> tuple[str, ...]:
        """The paths to upload."""
        return self.missing + self.different + self.unproven


def compare(local: Iterable[FileRecord], remote: Iterable[RemoteFile]) -> Comparison:
    """Given our files and the listing of the other side, return how they compare."""
    there = {each.path: each for each in remote}
    sorted_out: dict[str, list[str]] = {"same": [], "missing": [], "different": [], "unproven": []}
    for record in local:
        sorted_out[_compare(record, there.pop(record.path, None))].append(record.path)
    return Comparison(**{name: tuple(paths) for name, paths in sorted_out.items()}, extra=tuple(sorted(there)))


def _compare(record: FileRecord, remote: RemoteFile | None) -> str:
    if remote is None:
        return "missing"
    if remote.size != record.size:
        return "different"
    if remote.sha256 and record.sha256:
        return "same" if remote.sha256 == record.sha256 else "different"
    if remote.blob_id and record.blob_id and len(remote.blob_id) == len(record.blob_id):
        return "same" if remote.blob_id == record.blob_id else "different"
    return "unproven"
