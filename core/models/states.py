"""Whether a model is whole: what is wrong with its files, and what that makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from core.models import words as say
from core.models.manifest import FileRecord, Manifest
from core.models.names import is_unfinished, is_weight, parent


class State(Enum):
    COMPLETE = "complete"
    PARTIAL = "partial"
    CORRUPT = "corrupt"
    ABSENT = "absent"


class Evidence(Enum):
    """Why a model counts as complete, the strongest first.

    HASH: every file has the hash of the hub, and none was changed since it was hashed. SIZE: names and sizes are
    those of the manifest. CONTENT: there is no manifest; the files that its kind of repo needs are there and whole.
    """

    HASH = "hash"
    SIZE = "size"
    CONTENT = "content"


class Fault(Enum):
    """What can be wrong with a file; MISSING and UNFINISHED make a model partial, the others corrupt."""

    MISSING = "missing"
    UNFINISHED = "unfinished"
    WRONG_SIZE = "wrong size"
    WRONG_HASH = "wrong hash"
    MALFORMED = "malformed"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: which file, what, and the detail for a person."""

    path: str
    fault: Fault
    detail: str = ""


@dataclass(frozen=True)
class Seen:
    """One file as found: its size in bytes, its mtime, what opening it showed, and whether it is a link out."""

    size: int
    mtime_ns: int
    finding: Finding | None = None


@dataclass(frozen=True)
class Check:
    """The result of a check; true when the model is complete. ``size_bytes`` and ``files`` are what is there."""

    state: State
    size_bytes: int = 0
    files: int = 0
    evidence: Evidence | None = None
    findings: tuple[Finding, ...] = ()

    def __bool__(self) -> bool:
        return self.state is State.COMPLETE


ABSENT = Check(State.ABSENT)
_PARTIAL = (Fault.MISSING, Fault.UNFINISHED)


def judge_manifest(manifest: Manifest, seen: Mapping[str, Seen], *, hashed: bool = False) -> Check:
    """Given what must be there and what is, return the Check.

    ``hashed`` says that every file was hashed just now and that ``seen`` carries what came of it. Otherwise a file
    whose mtime is the one at which it was hashed counts as hashed.
    """
    findings: list[Finding] = []
    by_hash = True
    for record in manifest.files:
        found = seen.get(record.path)
        if found is None:
            findings.append(Finding(record.path, Fault.MISSING, say.BYTES(size=record.size)))
        elif found.size != record.size:
            findings.append(Finding(record.path, Fault.WRONG_SIZE, say.BYTES_OF(size=found.size, wanted=record.size)))
        elif found.finding is not None:
            findings.append(found.finding)
        elif not hashed and not is_stamped(record, found):
            by_hash = False
    return _check(seen, findings, Evidence.HASH if by_hash else Evidence.SIZE)


def is_stamped(record: FileRecord, found: Seen) -> bool:
    """Whether a file is still as it was when its hash agreed."""
    return found.size == record.size and 0 != record.verified_mtime_ns == found.mtime_ns


def judge_contents(seen: Mapping[str, Seen], documents: Mapping[str, Any]) -> Check:
    """Given files without a manifest and the parsed JSON documents among them, return the Check.

    ``documents`` holds ``model_index.json``, ``*.index.json`` by path; one that could not be parsed is None.
    """
    findings = [each.finding for each in seen.values() if each.finding is not None]
    findings += [Finding(path, Fault.UNFINISHED) for path in seen if is_unfinished(path)]
    for path, document in documents.items():
        if document is None:
            findings.append(Finding(path, Fault.MALFORMED, say.NOT_JSON()))
        elif path == "model_index.json":
            findings += _missing_components(document, seen)
        elif path.endswith(".index.json"):
            findings += _missing_shards(path, document, seen)
    if not any(is_weight(path) for path in seen):
        findings.append(Finding("*.safetensors", Fault.MISSING, say.NO_WEIGHTS()))
    return _check(seen, findings, Evidence.CONTENT)


def _missing_components(index: Any, seen: Mapping[str, Seen]) -> Iterable[Finding]:
    """A diffusers pipeline names its parts: ``"vae": ["diffusers", "AutoencoderKL"]``; each has its directory."""
    for name, kind in index.items() if isinstance(index, dict) else ():
        if name.startswith("_") or not (isinstance(kind, list) and len(kind) == 2 and kind[1]):
            continue
        inside = [path for path in seen if path.startswith(f"{name}/")]
        if not inside:
            yield Finding(name + "/", Fault.MISSING, say.COMPONENT())
        # Schedulers and tokenizers have no config.json and no weights; everything with a config.json has both.
        elif f"{name}/config.json" in seen and not any(is_weight(path) for path in inside):
            yield Finding(name + "/", Fault.MISSING, say.ITS_WEIGHTS())


def _missing_shards(path: str, index: Any, seen: Mapping[str, Seen]) -> Iterable[Finding]:
    """``model.safetensors.index.json`` maps each tensor to its file beside it (transformers, diffusers)."""
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict):
        return
    beside = parent(path)
    for shard in sorted({str(each) for each in shards.values()}):
        if (wanted := f"{beside}/{shard}" if beside else shard) not in seen:
            yield Finding(wanted, Fault.MISSING, say.NAMED_IN(path=path))


def _check(seen: Mapping[str, Seen], findings: list[Finding], evidence: Evidence) -> Check:
    size_bytes, files = sum(each.size for each in seen.values()), len(seen)
    if not findings:
        return Check(State.COMPLETE, size_bytes, files, evidence)
    partial = all(each.fault in _PARTIAL for each in findings)
    unique = tuple(dict.fromkeys(findings))
    return Check(State.PARTIAL if partial else State.CORRUPT, size_bytes, files, None, unique)
