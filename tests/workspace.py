"""A project directory of its own for a test: the real programs and settings of its own."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any, TypeVar

import config
from core.access import Role
from runtime.access import local_token

SOURCE = Path(__file__).resolve().parent.parent

T = TypeVar("T")

# Programs find their project by their own place, so these are copies; what they import may be links.
_COPIED = (
    "main.py", "daemon.py", "config.py", "entry.py", "checker", "cleaner", "modelcache", "operations", "api", "scripts",
)  # fmt: skip
_LINKED = ("client", "core", "examples", "runtime", "store", "supervisor")

QUICK = {
    "CHECK_INTERVAL_SECONDS": "0.3",
    "AUTO_EXECUTE_RECHECK_SECONDS": "0.1",
    "WARMUP_START_GAP_SECONDS": "0",
    "CONNECT_TIMEOUT_SECONDS": "1",
    "PROBE_TIMEOUT_SECONDS": "2",
    "WORKFLOW_PATH": "examples/warmup.json",
    "STOP_GRACE_SECONDS": "5",
    # Most tests need no tasks; those that do ask for a worker.
    "TASK_WORKERS": "0",
    "BACKOFF_INITIAL_SECONDS": "0.1",
}


def copy_code(root: Path, *names: str) -> None:
    """Copy programs and packages of the project; their byte code is shared, so that it is compiled once for all."""
    for name in names:
        if (SOURCE / name).is_dir():
            shutil.copytree(SOURCE / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            # With its time, by which Python knows whether the byte code is this file's.
            shutil.copy2(SOURCE / name, root / name)
    for directory in (root, *(package.parent for package in root.rglob("__init__.py"))):
        shared = SOURCE / directory.relative_to(root) / "__pycache__"
        shared.mkdir(exist_ok=True)
        (directory / "__pycache__").symlink_to(shared)


def wait_for(look: Callable[[], T], seconds: float = 15) -> T:
    """Return what ``look`` returns once it is true; fail the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.02)
    return found


def free_port() -> int:
    """Return a port that is free, and not of those that the system gives to whoever asks for any."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Answer:
    """An HTTP answer of whatever status."""

    def __init__(self, status: int, headers: Message, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    timeout: float = 15,
    body: bytes | None = None,
) -> Answer:
    """Send one request, past any proxy; raises OSError when nothing answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    request = urllib.request.Request(url, body, dict(headers or {}), method=method)
    try:
        with opener.open(request, timeout=timeout) as response:
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Program:
    """A running process of the workspace whose output goes to a file, so that a test can watch it."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_for_output(self, text: str, seconds: float = 15, *, times: int = 1) -> None:
        """Wait until ``text`` has been printed so many times; a process that ends before fails the test."""
        deadline = time.monotonic() + seconds
        while self.output().count(text) < times:
            ended = self.process.poll()
            if ended is not None and self.output().count(text) < times:
                raise AssertionError(f"ended with {ended} before {text!r}:\n{self.output()}")
            assert time.monotonic() < deadline, f"no {text!r} within {seconds} s:\n{self.output()}"
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def drop_leash(self) -> None:
        assert self.process.stdin is not None, "stdin is a pipe"
        self.process.stdin.close()

    def wait(self, seconds: float = 15) -> int:
        return self.process.wait(seconds)


class Workspace:
    """A project root, its settings (as environment variables) and the processes that were started in it."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.root = root
        self.port = free_port()
        self.settings = {**QUICK, "PORT": str(self.port), **settings}
        self.prefix: list[str] = []
        self._programs: list[Program] = []
        root.mkdir(parents=True)
        copy_code(root, *_COPIED)
        for name in _LINKED:
            (root / name).symlink_to(SOURCE / name)

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**kept, "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8", **self.settings}

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, *arguments: str, supervised: bool = False, script: str = "main.py", module: str = "") -> Program:
        """Begin ``script`` (or ``python -m module``), its output in a file; ``supervised`` as the supervisor does it,
        with a leash.
        """
        what = ["-m", module] if module else [str(self.root / script)]
        output = self.root / f"output-{len(self._programs)}"
        environment = {**self.environment, **({"CACHE_KEEPER_SUPERVISED": "1"} if supervised else {})}
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*self.prefix, sys.executable, *what, *arguments],
                cwd=self.root, env=environment, stdout=file, stderr=subprocess.STDOUT,
                stdin=subprocess.PIPE if supervised else subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        program = Program(process, output)
        self._programs.append(program)
        return program

    def running(self, *arguments: str, supervised: bool = False) -> Program:
        """Begin main.py and wait until its page answers."""
        program = self.start(*arguments, supervised=supervised)
        program.wait_for_output("Page: ")
        wait_for(lambda: program.process.poll() is not None or self.answers())
        return program

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a Python command of this project to its end."""
        return subprocess.run(
            [sys.executable, *command], cwd=self.root, env={**self.environment, **environment}, text=True,
            capture_output=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def checker(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "checker", *arguments, **environment)

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return ask(self.page + path, method, headers)

    def token(self, role: Role) -> str:
        """Return a token of this role, as somebody who may read the workspace's keys makes it."""
        return local_token(config.load(self.root, self.environment), role, time.time())

    def answers(self) -> bool:
        try:
            return self.ask("/healthz").status in (200, 503)
        except OSError:
            return False

    def states(self) -> dict[str, str]:
        """Return each server's state by its address, empty while no page answers."""
        try:
            return {row["server"]: row["state"] for row in self.ask("/api/status").json()["servers"]}
        except OSError:
            return {}

    def details(self) -> list[dict[str, Any]]:
        servers = self.ask("/api/detailed_status").json()["servers"]
        assert isinstance(servers, list)
        return servers

    def destroy(self) -> None:
        for program in self._programs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.process.kill()
            program.process.wait()
            if program.process.stdin is not None:
                with contextlib.suppress(OSError):
                    program.process.stdin.close()


@contextlib.contextmanager
def workspace_in(directory: Path, **settings: str) -> Iterator[Workspace]:
    """Yield a workspace; every process that was started in it is gone at the end."""
    workspace = Workspace(directory / "project", **settings)
    try:
        yield workspace
    finally:
        workspace.destroy()
