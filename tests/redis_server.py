"""A real redis-server on a free loopback port, which can be killed and started again with the same data."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workspace import free_port, wait_for

PROGRAM = "redis-server"


def needs_redis_server() -> str:
    """Return the program's path; without one the test is skipped, or fails where every test must run."""
    found = shutil.which(PROGRAM)
    if found:
        return found
    reason = f"{PROGRAM} is not installed (Debian and Ubuntu: apt-get install redis-server)"
    if os.environ.get("CACHE_KEEPER_CI") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


class RedisServer:
    """One redis-server with a directory of its own. Every write is appended to its log and synced, as ``compose.yaml``
    does it, only at once instead of each second: a test kills the process and then counts.
    """

    def __init__(self, program: str, directory: Path, password: str = "") -> None:
        self.port = free_port()
        self.password = password
        self._program, self._directory = program, directory
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: int = 0) -> str:
        """Return the address, as QUEUE_URL and REDIS_URL take it."""
        user = f":{self.password}@" if self.password else ""
        return f"redis://{user}127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it (again, on the same port and data) and wait until it answers."""
        assert self._process is None, "it runs already"
        for attempt in range(10):
            self._process = subprocess.Popen(
                [
                    self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory),
                    "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--databases", "64",
                    "--logfile", str(self._directory / "redis.log"), "--daemonize", "no",
                    *(("--requirepass", self.password) if self.password else ()),
                ],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                # Of its own session: Ctrl+C of the tests must not end it before they do.
                start_new_session=True,
            )  # fmt: skip
            if wait_for(self._settled) == "answers":
                return
            self._process = None
            # Somebody took the port between our look and its bind; a server with data must keep its own.
            if attempt == 9 or any(self._directory.glob("appendonlydir/*")):
                break
            self.port = free_port()
        raise AssertionError((self._directory / "redis.log").read_text(errors="replace"))

    def kill(self) -> None:
        """End it by SIGKILL, as a crash or a power failure of the process would."""
        assert self._process is not None, "it does not run"
        self._process.kill()
        self._process.wait()
        self._process = None

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP makes a server that is there and says nothing."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            self.kill()

    def _settled(self) -> str:
        assert self._process is not None
        if self._process.poll() is not None:
            return "ended"
        import redis

        with redis.Redis.from_url(self.url(), socket_timeout=1) as client, contextlib.suppress(redis.RedisError):
            # Not PING: that one is answered while the data is still being loaded.
            client.dbsize()
            return "answers"
        return ""


@contextlib.contextmanager
def running_redis(password: str = "") -> Iterator[RedisServer]:
    """Yield a started server; the process and its directory are gone at the end."""
    program = needs_redis_server()
    with tempfile.TemporaryDirectory(prefix="redis-test-") as directory:
        server = RedisServer(program, Path(directory), password)
        server.start()
        try:
            yield server
        finally:
            server.stop()
