"""A cache in Redis: the keys that begin with one prefix, and nothing else of that server.

Redis keeps no time of creation. How old a key is, is how long nobody has read or written it (OBJECT IDLETIME). A
key with a time to live is judged in the same way: who cleans by age wants the memory of what nobody uses, and a cache
makes an entry anew. Only a key whose time ends within the next minute is left to Redis: it will be gone before anybody
reads the report. With an LFU ``maxmemory-policy`` Redis keeps no idle times, and then every key stays.

Keys are found by SCAN and removed by UNLINK, in batches; never KEYS or FLUSHDB. Looking at a key as this does
leaves its idle time alone. Commands: https://redis.io/docs/latest/commands/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from core import cleaning_phrases as say
from core.errors import BackendError
from core.secret import Secret

BATCH = 500
_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 10.0
# Asked and removed in one step on the server: a key that is read or written after it was planned stays.
_UNLINK_IDLE = """
local gone = {}
for number, key in ipairs(KEYS) do
    local idle = redis.pcall('OBJECT', 'IDLETIME', key)
    gone[number] = 0
    if type(idle) == 'number' and idle > tonumber(ARGV[1]) then gone[number] = redis.call('UNLINK', key) end
end
return gone
"""


class RedisKey(NamedTuple):
    """One key as seen. Times in seconds; ``idle`` is None where Redis does not keep it, ``ttl`` where none is set."""

    name: bytes
    size_bytes: int
    idle_seconds: int | None
    ttl_seconds: float | None


class RedisCache:
    """The keys of one prefix. Methods raise BackendError, whose text never has the password."""

    def __init__(self, url: Secret, prefix: str) -> None:
        if not prefix:
            raise BackendError(say.NO_PREFIX())
        self._url = url
        self._prefix = prefix.encode()

    @property
    def address(self) -> str:
        """The server without user and password."""
        return re.sub(r"//.*@", "//", self._url.reveal())

    def info(self) -> dict[str, str]:
        """Return what the server is; answers or raises within five seconds."""
        with self._connected(answer_seconds=2.0) as client:
            info: dict[str, Any] = client.info("server", "memory")
        return {
            "address": self.address, "prefix": self._prefix.decode(),
            "version": str(info.get("redis_version", "")), "maxmemory_policy": str(info.get("maxmemory_policy", "")),
        }  # fmt: skip

    def scan(self) -> Iterator[list[RedisKey]]:
        """Yield the keys in batches. A key that is there all the time is seen at least once (SCAN's own promise)."""
        with self._connected() as client:
            cursor = 0
            while True:
                cursor, names = client.scan(cursor, match=glob_escaped(self._prefix) + b"*", count=BATCH)
                names = [name for name in dict.fromkeys(names) if name.startswith(self._prefix)]
                if names:
                    yield _looked_at(client, names)
                if not cursor:
                    return

    def unlink(self, names: Sequence[bytes], *, idle_over_seconds: float | None) -> list[bool]:
        """Remove keys, only those idle for longer than given unless that is None; return which ones went."""
        if not all(name.startswith(self._prefix) for name in names):
            raise BackendError(say.FOREIGN_KEY())
        with self._connected() as client:
            if idle_over_seconds is not None:
                answers: Any = client.eval(_UNLINK_IDLE, len(names), *names, str(idle_over_seconds))
            else:
                with client.pipeline(transaction=False) as pipe:
                    for name in names:
                        pipe.unlink(name)
                    answers = pipe.execute()
        return [bool(answer) for answer in answers]

    @contextmanager
    def _connected(self, *, answer_seconds: float = _ANSWER_SECONDS) -> Iterator[Any]:
        # Any: redis-py declares every answer as one for both of its clients, awaitable or not.
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise BackendError(say.NO_CLIENT(server="Redis")) from None
        try:
            with redis.Redis.from_url(
                self._url.reveal(), socket_connect_timeout=_CONNECT_SECONDS, socket_timeout=answer_seconds,
                retry=Retry(NoBackoff(), 0), protocol=2,
            ) as client:  # fmt: skip
                yield client
        except (redis.RedisError, OSError, ValueError) as error:
            raise BackendError(say.REDIS(address=self.address, words=self._url.masked_in(_text(error)))) from None


def glob_escaped(prefix: bytes) -> bytes:
    """Return a pattern that matches the prefix itself, whatever glob characters it has."""
    return re.sub(rb"([*?\[\]\\])", rb"\\\1", prefix)


def _looked_at(client: Any, names: Sequence[bytes]) -> list[RedisKey]:
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.memory_usage(name)
            pipe.object("IDLETIME", name)
            pipe.pttl(name)
        answers = pipe.execute(raise_on_error=False)
    keys = []
    for number, name in enumerate(names):
        size, idle, ttl = answers[3 * number : 3 * number + 3]
        if not isinstance(size, int):
            continue  # gone meanwhile
        keys.append(
            RedisKey(
                name,
                size,
                idle if isinstance(idle, int) else None,
                ttl / 1000 if isinstance(ttl, int) and ttl >= 0 else None,
            )
        )
    return keys


def _text(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
