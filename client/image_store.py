"""Stores one task's images as ``<root>/<month>/<task-id>/``: 0.png, 1.png, …, images.json; whole or not at all.

    <root>/02/.incoming-<task-id>-3f9a…/     while it is written, on the same file system
    <root>/02/<task-id>/                     after one rename, when every file is on the disk

What a kill leaves keeps its ``.incoming-`` name: nothing takes it for a task, and the cleaner expires it by
its age like any other directory of the month.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from core import workflow_phrases as say
from core.errors import ImageCacheError

INCOMING = ".incoming-"
RECORD = "images.json"
MAKE_ATTEMPTS = 100
_MAX_TASK_ID_BYTES = 160  # a file name has 255 bytes, and the incoming name is longer by 21
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


@dataclass(frozen=True)
class StoredTask:
    """A task's images on the disk. ``record`` is what images.json says: prompt, seed, server, files, sizes, time."""

    task_id: str
    directory: Path
    record: Mapping[str, Any]

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(self.directory / image["file"] for image in self.record["images"])


def checked_task_id(task_id: str) -> str:
    """Return the task id when it can be the name of one directory; raises ImageCacheError saying why not."""
    if not task_id or len(task_id.encode(errors="replace")) > _MAX_TASK_ID_BYTES:
        raise ImageCacheError(say.TASK_ID_LENGTH(task=task_id[:40], bytes=_MAX_TASK_ID_BYTES))
    if task_id.startswith(".") or task_id != task_id.strip():
        raise ImageCacheError(say.TASK_ID_ENDS(task=task_id))
    if not task_id.isprintable() or any(character in '/\\:*?"<>|' for character in task_id):
        raise ImageCacheError(say.TASK_ID_CHARACTERS(task=task_id))
    return task_id


def find_task(root: Path, task_id: str) -> StoredTask | None:
    """Given the image cache's root, return the task when it is stored under any month.

    Raises ImageCacheError when its directory is there and images.json cannot be read.
    """
    for month in range(1, 13):
        directory = root / f"{month:02}" / task_id
        if not directory.is_dir():
            continue
        try:
            record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
            return StoredTask(task_id, directory, {**record, "images": list(record["images"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ImageCacheError(say.NO_RECORD(path=directory, words=error)) from None
    return None


class IncomingTask:
    """A task's directory while it is filled; nothing of it can be seen under the task's name before ``publish``."""

    def __init__(self, staging: Path, final: Path) -> None:
        self._staging, self._final = staging, final
        self.published = False

    @contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        """Open a new file for writing; on leaving, it is on the disk and not only in memory."""
        with (self._staging / name).open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def publish(self, record: Mapping[str, Any]) -> StoredTask:
        """Write images.json and give the directory its name; raises ImageCacheError when the name is taken."""
        with self.file(RECORD) as file:
            file.write(json.dumps(record, ensure_ascii=False, indent=2).encode() + b"\n")
        _sync_directory(self._staging)
        try:
            # A rename replaces an empty directory and nothing else: two writers cannot mix their images.
            self._staging.rename(self._final)
        except OSError as error:
            if error.errno in _TAKEN:
                raise ImageCacheError(say.THERE_ALREADY(path=self._final)) from None
            raise
        self.published = True
        _sync_directory(self._final.parent)
        return StoredTask(self._final.name, self._final, record)

    def discard(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)


@contextmanager
def incoming_task(root: Path, task_id: str, when: datetime) -> Iterator[IncomingTask]:
    """Given the image cache's root and the local time of storing, return a directory to fill and publish.

    Without ``publish`` everything written is removed again. Raises ImageCacheError for what the disk refuses.
    """
    final = root / f"{when.month:02}" / task_id
    try:
        task = IncomingTask(_make_staging(final), final)
        try:
            yield task
        finally:
            if not task.published:
                task.discard()
    except OSError as error:
        raise ImageCacheError(say.NOT_STORED(task=task_id, path=root, words=error.strerror or error)) from None


def _make_staging(final: Path) -> Path:
    staging = final.parent / f"{INCOMING}{final.name}-{uuid.uuid4().hex[:10]}"
    for attempt in range(1, MAKE_ATTEMPTS + 1):
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            staging.mkdir()
            break
        except (FileNotFoundError, FileExistsError):
            # A cleaner has just removed the month, which was empty; its next run is hours away.
            if attempt == MAKE_ATTEMPTS:
                raise
    return staging


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
