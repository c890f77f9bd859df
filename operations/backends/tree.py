"""Reads the entries of a file-system target: the same units that a sweep judges, none of them touched.

Everything goes by directory descriptors and no link is followed. Subdirectories are entered in the order of names,
so that each walk comes by the same entries in the same order, which is how the index knows them again.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cleaner.layout import TRASH_NAME, Layout, is_bytecode, layout_of
from cleaner.mounts import Mounts
from cleaner.roots import OPEN_DIRECTORY, open_root
from cleaner.unit import MAX_DEPTH, chunks, inspect
from core import cleaning_phrases as say
from core.entries import OLDEST_CREDIBLE_TIME
from core.errors import BackendError
from core.listing import EntryType, ListedEntry, Pulse
from core.printable import printable
from core.targets import Target, TargetKind

BATCH = 1024
"""Entries after which a batch ends with its directory, or in the middle of it after twice as many: where one file more
or less moves no batch but its own, the index knows the others again by one comparison each."""
_PULSE_MASK = 0xFF
_PULSE_SECONDS = 0.2


@dataclass
class TreeReader:
    """Reads one root. ``troubles`` are what could not be read; ``prefix`` goes before each name."""

    target: Target
    pulse: Pulse
    done: int = 0
    prefix: str = ""
    troubles: list[str] = field(default_factory=list)
    _batch: list[ListedEntry] = field(default_factory=list)
    _pulsed: float = 0.0
    _device: int = 0
    _mounts: Mounts | None = None

    def __post_init__(self) -> None:
        self._layout: Layout = layout_of(self.target)
        self._type = EntryType(self.target.kind.value)
        self._keep_file = self.target.policy.keep_file
        self._owns = self._layout.owns
        if self.target.kind is TargetKind.DIRECTORY and not (self.target.include or self.target.exclude):
            self._owns = None  # without patterns every name is the target's, and asking costs as much as the rest

    def read(self, real: Path, prefix: str = "") -> Iterator[list[ListedEntry]]:
        """Given a resolved root, yield its entries in batches; raises BackendError when it cannot be opened."""
        self.prefix = prefix
        self._mounts = Mounts(real)
        root = open_root(real)
        try:
            self._device = os.fstat(root).st_dev
            self._beat()
            yield from self._units(root, "", 1) if self._layout.unit_depth else self._files(root, "", 1)
            yield from self._flush()
        finally:
            os.close(root)
            self._mounts.close()

    def raise_troubles(self) -> None:
        """Raise BackendError when something could not be read: what was not seen must not count as gone."""
        if self.troubles:
            words, more = self.troubles[0], len(self.troubles) - 1
            reason = say.SEVERAL(words=words, more=more) if more else words
            raise BackendError(say.TARGET(target=self.target.name, reason=reason))

    def _flush(self) -> Iterator[list[ListedEntry]]:
        if self._batch:
            batch, self._batch = self._batch, []
            yield batch

    def _beat(self, more: int = 0) -> None:
        if time.monotonic() - self._pulsed > _PULSE_SECONDS:
            self._pulsed = time.monotonic()
            self.pulse(self.done + more)

    def _files(self, descriptor: int, path: str, level: int) -> Iterator[list[ListedEntry]]:
        """Directories whose files are the units. The inner loop runs for every file and is written for speed."""
        layout, target, kind, prefix = self._layout, self.target.name, self._type, printable(self.prefix + path)
        owns, stated_time, bytecode = self._owns, layout.stated_time, layout.bytecode
        below: list[str] = []
        batch, make, count = self._batch, tuple.__new__, 0
        # Not in portions as a sweep reads: nothing is removed meanwhile, and keeping entries costs a third of the walk.
        with os.scandir(descriptor) as entries:
            for each in entries:
                name = each.name
                if not each.is_file(follow_symlinks=False):
                    if each.is_dir(follow_symlinks=False):
                        below.append(name)
                    continue
                if owns is not None and not owns(path + name):
                    continue
                if bytecode and not _is_stray_bytecode(descriptor, name):
                    continue
                try:
                    status = each.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                created = None if stated_time is None else stated_time(path + name)
                if created is None:
                    created = status.st_mtime
                    if created < OLDEST_CREDIBLE_TIME:
                        created = status.st_ctime
                shown = prefix + (name if name.isprintable() else printable(name))
                batch.append(make(ListedEntry, (target, kind, shown, status.st_size, created, status.st_atime, 1)))
                count += 1
                if not count & _PULSE_MASK:
                    self._beat(count)
                    if len(batch) >= 2 * BATCH:
                        self.done += count
                        count = 0
                        yield from self._flush()
                        batch = self._batch
        self.done += count
        if len(batch) >= BATCH:
            yield from self._flush()
        below.sort()
        for name in below:
            if bytecode and name == "__pycache__":
                if owns is None or owns(path + name):
                    self._unit(descriptor, name, path + name)
            elif layout.recursive and layout.passes(path + name):
                yield from self._enter(descriptor, name, path + name, level)

    def _units(self, descriptor: int, path: str, level: int) -> Iterator[list[ListedEntry]]:
        """Directories above units that are directories, and those units."""
        layout, owns = self._layout, self._owns
        below: list[str] = []
        for portion in chunks(descriptor):
            names = sorted(each.name for each in portion if each.is_dir(follow_symlinks=False))
            if level < layout.unit_depth:
                below += [name for name in names if layout.passes(path + name)]
                continue
            for name in names:
                if (owns is None or owns(path + name)) and name != TRASH_NAME:
                    self._unit(descriptor, name, path + name)
                    if len(self._batch) >= BATCH:
                        yield from self._flush()
        for name in sorted(below):
            yield from self._enter(descriptor, name, path + name, level)

    def _enter(self, parent: int, name: str, path: str, level: int) -> Iterator[list[ListedEntry]]:
        assert self._mounts is not None
        if path in self._mounts.beneath:
            return
        try:
            descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            self._trouble(path, error)
            return
        try:
            if level > MAX_DEPTH:
                self._trouble(path, OSError(errno.ELOOP, f"more than {MAX_DEPTH} directories deep"))
            elif os.fstat(descriptor).st_dev == self._device:
                self._beat()
                work = self._units if self._layout.unit_depth else self._files
                yield from work(descriptor, path + "/", level + 1)
        except OSError as error:
            self._trouble(path, error)
        finally:
            os.close(descriptor)

    def _unit(self, parent: int, name: str, path: str) -> None:
        assert self._mounts is not None
        if self._mounts.beneath and self._mounts.at_or_below(path):
            return
        try:
            descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            self._trouble(path, error)
            return
        try:
            found = inspect(descriptor, path, os.fstat(descriptor), self._keep_file)
        except OSError as error:
            self._trouble(path, error)
            return
        finally:
            os.close(descriptor)
        if self._layout.bytecode and not (
            found.files is not None and all(is_bytecode(each) for each, _ in found.files)
        ):
            return
        entry = found.entry
        accessed = max((status.st_atime for _, status in found.files), default=None) if found.files else None
        shown = printable(self.prefix + path)
        self._batch.append(
            ListedEntry(
                self.target.name, self._type, shown, entry.apparent_bytes, entry.modified, accessed, entry.files
            )
        )
        self.done += 1
        if not self.done % 64:
            self._beat()

    def _trouble(self, path: str, error: OSError) -> None:
        self.troubles.append(f"{printable(path)}: {error.strerror or error}")


def _is_stray_bytecode(descriptor: int, name: str) -> bool:
    """A ``.pyc`` beside its source; without the source it is the program itself."""
    if not name.endswith((".pyc", ".pyo")):
        return False
    try:
        os.stat(name[:-1], dir_fd=descriptor, follow_symlinks=False)
    except OSError:
        return False
    return True
