"""Our own files beside a model, in ``.model_cache``: the manifest, the pull that is under way, the pin, the last use.

Every file is written whole under another name, synced, and renamed: what a kill or a power cut leaves is the old
file or the new one.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass

from core.models import words as say
from core.models.manifest import Manifest, from_json
from core.models.names import OWN_DIRECTORY
from modelcache.roots import make_directory, open_file

MANIFEST, PULLING, PIN, USED = "manifest.json", "pulling.json", "pinned", "used"
PARTS, STAGING = "parts", "staging"
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Own:
    """What our own files say of one model. ``trouble`` is why a manifest could not be used."""

    manifest: Manifest | None = None
    pulling: Manifest | None = None
    pinned: bool = False
    used: float = 0.0
    trouble: str | None = None


def read_own(model: int) -> Own:
    """Given an open model directory, return what our own files say; never raises for what is in them."""
    manifest, trouble = _read_manifest(model, MANIFEST)
    pulling, _ = _read_manifest(model, PULLING)
    used = _status(model, USED)
    return Own(manifest, pulling, _status(model, PIN) is not None, used.st_mtime if used else 0.0, trouble)


def write_manifest(model: int, manifest: Manifest) -> None:
    write_file(model, MANIFEST, json.dumps(manifest.as_json(), indent=1).encode())


def write_pulling(model: int, wanted: Manifest) -> None:
    write_file(model, PULLING, json.dumps(wanted.as_json(), indent=1).encode())


def mark_used(model: int, now: float) -> None:
    """Record that the model was used; a cache that cannot be written to is left as it is."""
    try:
        write_file(model, USED, b"")
        directory = make_directory(model, OWN_DIRECTORY)
        try:
            os.utime(USED, (now, now), dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(directory)
    except OSError:
        pass


def set_pin(model: int, pinned: bool) -> None:
    """Protect the model from clean and prune, or no longer."""
    if pinned:
        write_file(model, PIN, b"")
    else:
        remove_own(model, PIN)


def write_file(model: int, name: str, content: bytes) -> None:
    """Given an open model directory, put a file into our part of it, all or nothing, durably."""
    directory = make_directory(model, OWN_DIRECTORY)
    try:
        temporary = f".{name}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o644, dir_fd=directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(temporary, dir_fd=directory)
            raise
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_own(model: int, name: str) -> None:
    directory = make_directory(model, OWN_DIRECTORY)
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    finally:
        os.close(directory)


def _read_manifest(model: int, name: str) -> tuple[Manifest | None, str | None]:
    try:
        descriptor = open_file(model, f"{OWN_DIRECTORY}/{name}")
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, say.NOTE_UNREADABLE(file=name, words=error.strerror)
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_size > _MAX_BYTES:
            return None, say.NOTE_TOO_LARGE(file=name)
        try:
            return from_json(json.load(file)), None
        except (ValueError, OSError, RecursionError) as error:
            return None, say.NOTE_UNUSABLE(file=name, note=error)


def _status(model: int, name: str) -> os.stat_result | None:
    try:
        status = os.stat(f"{OWN_DIRECTORY}/{name}", dir_fd=model, follow_symlinks=False)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None
