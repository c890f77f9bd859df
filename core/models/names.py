"""Names of models: repo ids, the directories they get, and what people type to mean them."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import PurePosixPath

from core.models import words as say

OWN_DIRECTORY = ".model_cache"
"""Inside a model's directory: the manifest, the pin, the last use, and downloads that are not whole yet."""

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".ckpt", ".sft", ".onnx")
UNFINISHED_SUFFIXES = (".incomplete", ".part", ".partial", ".aria2", ".crdownload", ".download")

_KNOWN_DIRECTORIES = {"black-forest-labs/FLUX.1-dev": "flux-dev"}
"""Where scripts in use have put a model under a name that does not follow from its repo id."""

_REPO_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"


def repo_id(text: str) -> str:
    """Given a repo id as typed, return it; raises ValueError for what no hub takes (it becomes part of URLs)."""
    if not re.fullmatch(rf"{_REPO_PART}/{_REPO_PART}", text) or ".." in text or "--" in text:
        raise ValueError(say.NO_REPO_ID(typed=text))
    return text


def revision(text: str) -> str:
    """Given a branch, tag or commit as typed, return it; raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}", text) or ".." in text:
        raise ValueError(say.NO_REVISION(typed=text))
    return text


def safe_name(repo: str) -> str:
    """Return the directory name of a repo: ``/``, ``-`` and ``.`` become ``_``."""
    return re.sub(r"[/.-]", "_", repo)


def telling_name(repo: str) -> str:
    """Return the directory name for a repo whose safe name is taken by another repo."""
    return f"{safe_name(repo)}_{sha256(repo.encode()).hexdigest()[:8]}"


def directory_names(repo: str) -> tuple[str, ...]:
    """Return the names under which a repo may already lie in a cache directory, the likeliest first.

    Older scripts left the dots in, and one has a name of its own.
    """
    names = [safe_name(repo), telling_name(repo), repo.replace("/", "_").replace("-", "_")]
    if repo in _KNOWN_DIRECTORIES:
        names.append(_KNOWN_DIRECTORIES[repo])
    return tuple(dict.fromkeys(names))


def matches(typed: str, name: str, repo: str | None) -> bool:
    """Whether what somebody typed is part of a model's name or repo id, whatever the case and the separators."""
    typed = typed.lower()
    if any(typed in each.lower() for each in (name, repo) if each):
        return True
    return any(safe_name(typed) in safe_name(each.lower()) for each in (name, repo) if each)


def is_inside(path: str) -> bool:
    """Whether a path from a hub or a manifest stays inside the model's directory, outside our own part of it."""
    parts = path.split("/")
    return (
        not any(ord(character) < 32 or character == "\\" for character in path)
        and all(part not in ("", ".", "..") for part in parts)
        and parts[0] not in (OWN_DIRECTORY, ".cache", ".git")
    )


def is_weight(path: str) -> bool:
    return path.lower().endswith(WEIGHT_SUFFIXES)


def is_unfinished(path: str) -> bool:
    return path.lower().endswith(UNFINISHED_SUFFIXES)


def parent(path: str) -> str:
    """Return the directory of a path, empty for the top."""
    above = str(PurePosixPath(path).parent)
    return "" if above == "." else above
