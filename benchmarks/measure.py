"""What the benchmarks share: main.py as a process to look at, what the kernel says it costs, and tables."""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.supervisor import machine

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / "examples" / "warmup.json"


class Running:
    """A running main.py. Linux only: what it costs is read from /proc."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid, self._port = pid, port
        self.base = f"http://127.0.0.1:{port}"

    def cpu_seconds(self) -> float:
        """Processor time of all its threads, those that have ended excepted; from the scheduler's nanoseconds."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def memory_mib(self) -> tuple[float, float]:
        """Resident memory now, and at its highest."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["VmRSS"].split()[0]) / 1024, int(fields["VmHWM"].split()[0]) / 1024

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)

    def ask(self, path: str) -> Any:
        """The JSON of a path; raises OSError while nobody listens."""
        connection = self.connect()
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def wait_until_polled(self, deadline_seconds: float = 120) -> float:
        """Return after the first whole cycle over the fleet; how many seconds that took."""
        began = time.monotonic()
        while time.monotonic() - began < deadline_seconds:
            try:
                if all(server["polled_at"] is not None for server in self.ask("/api/detailed_status")["servers"]):
                    return time.monotonic() - began
            except OSError:
                pass
            time.sleep(0.2)
        raise TimeoutError("the fleet was not polled in time")


@contextmanager
def running_main(urls: Sequence[str], **environment: str) -> Iterator[Running]:
    """Run main.py over these servers, in a temporary CACHE_DIR, until the block ends."""
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken.close()
        fleet_file = Path(directory) / "fleet.toml"
        fleet_file.write_text(
            f'[[set]]\nname = "default"\nworkflow = {json.dumps(str(WORKFLOW))}\n'
            f'[[group]]\nname = "all"\nservers = {json.dumps(list(urls))}\n'
        )
        # As the supervisor runs it, so that its heartbeat is counted too; its standard input is the leash.
        ours = {"CACHE_DIR": directory, "FLEET_FILE": str(fleet_file), "PORT": str(port), **environment}
        ours["CACHE_KEEPER_SUPERVISED"] = "1"
        with (Path(directory) / "main.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "main.py"], cwd=ROOT, env={**os.environ, **ours},
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            yield Running(process.pid, port)
        finally:
            process.terminate()
            process.communicate(timeout=30)


def percentile(values: Sequence[float], percent: int) -> float:
    """Given at least two values, return the one that so many percent do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def publish(name: str, title: str, sections: Mapping[str, str], *, save: bool) -> None:
    """Print the results as Markdown, and keep them in results/ if so wished."""
    parts = [f"# {title}", f"Measured on {machine()}."]
    parts += [f"## {heading}\n\n{text}" for heading, text in sections.items()]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if save:
        path = ROOT / "benchmarks" / "results" / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
