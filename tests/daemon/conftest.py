"""A project directory of its own for every test: a copy of daemon.py, the real packages, and a scripted main.py."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.workspace import SOURCE as SOURCE
from tests.workspace import copy_code

T = TypeVar("T")

MAIN = """\
import faulthandler, fcntl, json, os, signal, sys, threading, time

faulthandler.enable()

# Two mains at any instant leave a trace: the second cannot have this lock.
only = os.open("only.lock", os.O_RDWR | os.O_CREAT)
try:
    fcntl.flock(only, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open("TWO-MAINS", "a").write(f"{os.getpid()}\\n")
open("runs", "a").write(f"{os.getpid()}\\n")
run = len(open("runs").read().split())


def say(event, **fields):
    os.write(1, b"\\x1e" + json.dumps({"event": event, **fields}).encode() + b"\\n")


def watch_leash():
    def watch():
        while os.read(0, 100):
            pass
        os._exit(0)
    threading.Thread(target=watch, daemon=True).start()


def obey():
    watch_leash()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def work():
    while True:
        say("beat", last_poll="2026-02-17T10:00:00Z", summary="1 server")
        time.sleep(0.1)
"""

GOOD_MAIN = """
obey()
say("ready", page="http://127.0.0.1:8000/status")
work()
"""

SETTINGS = {
    "START_TIMEOUT_SECONDS": "20",
    "HEARTBEAT_TIMEOUT_SECONDS": "20",
    "STOP_GRACE_SECONDS": "5",
    "BACKOFF_INITIAL_SECONDS": "0.1",
    "BACKOFF_MAX_SECONDS": "0.5",
}


def wait_for(look: Callable[[], T], seconds: float = 15) -> T:
    """Return what ``look`` returns once it is true; fail the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.01)
    return found


def is_alive(pid: int) -> bool:
    """Return whether the process runs; a zombie that nobody reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Project:
    """A project root whose daemon can be started, looked at and killed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = dict(SETTINGS)
        self.environment: dict[str, str] = {}
        self.prefix: list[str] = []
        self.processes: list[subprocess.Popen[str]] = []
        root.mkdir()
        copy_code(root, "daemon.py", "config.py", "entry.py")
        for name in ("core", "supervisor"):
            (root / name).symlink_to(SOURCE / name)
        self.script(GOOD_MAIN)

    def script(self, body: str) -> None:
        """Make ``body`` the main program."""
        (self.root / "main.py").write_text(MAIN + body)

    def path(self, kind: str, cache_dir: Path | None = None) -> Path:
        return (cache_dir or self.cache_dir) / f"daemon.{kind}"

    @property
    def cache_dir(self) -> Path:
        return self.root / self.settings.get("CACHE_DIR", ".")

    def spawn(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Begin a command of daemon.py."""
        environment = {**os.environ, "LC_ALL": "C.UTF-8", **self.settings, **self.environment}
        process = subprocess.Popen(
            [*self.prefix, sys.executable, str(self.root / "daemon.py"), *arguments],
            **{
                "env": environment,
                "cwd": "/",
                "text": True,
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **options,
            },
        )
        self.processes.append(process)
        return process

    def command(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of daemon.py to its end."""
        process = self.spawn(*arguments, **options)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def start(self) -> int:
        """Start the daemon, which must succeed; return the supervisor's PID."""
        result = self.command("start")
        assert result.returncode == 0, result.stdout + result.stderr
        started = re.search(r"Daemon started \(PID: (\d+)\)", result.stdout)
        assert started, result.stdout
        return int(started[1])

    def status(self) -> dict[str, Any]:
        state = json.loads(self.command("status", "--json").stdout)
        assert isinstance(state, dict)
        return state

    def state(self) -> dict[str, Any]:
        """Return the state file: cheaper than ``status`` where a test waits for something."""
        try:
            state = json.loads(self.path("state.json").read_text())
        except (OSError, ValueError):
            return {}
        assert isinstance(state, dict)
        return state

    def main_pid(self) -> int:
        """Return the PID of the one main that runs and is ready."""
        return int(wait_for(lambda: self.state().get("main_state") == "RUNNING" and self.state()["main_pid"]))

    def runs(self) -> int:
        """Return how often main has been started."""
        try:
            return len((self.root / "runs").read_text().split())
        except OSError:
            return 0

    def log(self) -> str:
        try:
            return self.path("log").read_text()
        except OSError:
            return ""

    def lock_is_free(self) -> bool:
        try:
            with self.path("lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        return True

    def living(self) -> dict[int, list[str]]:
        """Return every living process that runs a script of this project, by PID."""
        found: dict[int, list[str]] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                arguments = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if any(argument.startswith(f"{self.root}/") for argument in arguments) and is_alive(int(entry.name)):
                found[int(entry.name)] = arguments
        return found

    def mains(self) -> list[int]:
        return [pid for pid, arguments in self.living().items() if f"{self.root}/main.py" in arguments]

    def destroy(self) -> None:
        """Kill what is left, and fail if ever two mains lived at once."""
        wait_for(self._nothing_is_left)
        for process in self.processes:
            process.kill()
            process.communicate()
        assert not (self.root / "TWO-MAINS").exists(), "two mains ran at the same time"

    def _nothing_is_left(self) -> bool:
        """Kill what lives; a supervisor that saw its main die first may have started another meanwhile."""
        living = self.living()
        for pid in living:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not living


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path / "project")
    yield project
    project.destroy()
