"""The keys that sign tokens: two live ones, each with its name (``kid``), in a file that only its owner can read.

``rotate`` puts a new key before the one in use: it signs from then on, the former one still verifies, and the one
before that is gone. With API_SECRET set there is no file; two secrets in it, separated by a comma, are these two.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Protocol

from core import request_phrases as say
from core.errors import CacheKeeperError
from core.secret import Secret
from core.secret_strength import weakness_of
from core.store_phrases import CANNOT_READ, CANNOT_WRITE

LIVE_KEYS = 2
_OTHERS = 0o077


class KeysUnusable(CacheKeeperError):
    """The key file is missing, damaged or open to others; the text says what to do."""


@dataclass(frozen=True)
class SigningKey:
    """One key; ``secret`` are its bytes as text. It never prints itself."""

    kid: str
    secret: str = field(repr=False)
    created_at: float = 0.0


class Keys(Protocol):
    """Where the keys come from."""

    def live(self) -> tuple[SigningKey, ...]:
        """Return the live keys, the one that signs first."""


class SettingsKeys:
    """The keys of API_SECRET: one, or the new and the former one separated by a comma."""

    def __init__(self, secret: Secret) -> None:
        """Raises KeysUnusable for a secret that is short or known to everybody."""
        # The name tells two secrets apart and gives neither away: they have 32 bytes and more.
        parts = [part.strip() for part in secret.reveal().split(",")]
        weak = next(filter(None, map(weakness_of, parts)), "")
        if weak:
            raise KeysUnusable(say.WEAK_SECRET(words=weak))
        self._keys = tuple(SigningKey(hashlib.sha256(part.encode()).hexdigest()[:12], part) for part in parts)

    def live(self) -> tuple[SigningKey, ...]:
        return self._keys


class FileKeys:
    """The keys of a file. What another process rotates counts from the next look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._seen: tuple[int, ...] = ()
        self._keys: tuple[SigningKey, ...] = ()

    def live(self) -> tuple[SigningKey, ...]:
        """Return the live keys; raises KeysUnusable."""
        with self._lock:
            try:
                state = self._path.stat()
            except OSError as error:
                raise KeysUnusable(CANNOT_READ(path=self._path, reason=error.strerror)) from None
            seen = (state.st_mtime_ns, state.st_ino, state.st_size, state.st_mode)
            if seen != self._seen:
                self._keys, self._seen = self._read(), seen
            return self._keys

    def ensure(self) -> tuple[SigningKey, ...]:
        """Return the live keys, and make a first one where there is no file; raises KeysUnusable."""
        if not self._path.exists():
            with self._changing():
                if not self._path.exists():
                    self._write((_new_key(),))
        return self.live()

    def rotate(self) -> tuple[SigningKey, ...]:
        """Let a new key sign; return the live ones. Raises KeysUnusable."""
        with self._changing():
            former = self._read() if self._path.exists() else ()
            self._write((_new_key(), *former)[:LIVE_KEYS])
        return self.live()

    def _read(self) -> tuple[SigningKey, ...]:
        try:
            with self._path.open(encoding="ascii") as file:
                # Of the file that is open, not of the name: it may be replaced in between.
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if os.name != "nt" and mode & _OTHERS:
                    raise KeysUnusable(say.KEYS_OPEN(path=self._path, mode=f"{mode:04o}"))
                document = json.load(file)
            keys = tuple(SigningKey(each["kid"], each["secret"], each["created_at"]) for each in document["keys"])
        except OSError as error:
            raise KeysUnusable(CANNOT_READ(path=self._path, reason=error.strerror)) from None
        except (ValueError, KeyError, TypeError):
            keys = ()
        if not keys or not all(isinstance(key.kid, str) and isinstance(key.secret, str) for key in keys):
            raise KeysUnusable(say.NO_KEYS(path=self._path))
        return keys[:LIVE_KEYS]

    def _write(self, keys: tuple[SigningKey, ...]) -> None:
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                json.dump({"keys": [asdict(key) for key in keys]}, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise KeysUnusable(CANNOT_WRITE(path=self._path, reason=error.strerror)) from None

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """One process at a time: of two that rotate at once the second must put aside the first one's key."""
        lock = self._path.with_name(self._path.name + ".lock")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise KeysUnusable(CANNOT_WRITE(path=lock, reason=error.strerror)) from None
        try:
            with contextlib.suppress(ImportError):  # Windows: two people who rotate in the same millisecond
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _new_key() -> SigningKey:
    return SigningKey(secrets.token_hex(6), secrets.token_urlsafe(48), time.time())
