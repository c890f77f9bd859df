"""A fleet of simulated servers in a process of its own, so that its CPU time is not counted as the checker's.

They are the faithful fakes of ``examples/fake_comfyui``, every key of ``examples/warmup.json`` loaded; those
asked for as black holes neither accept nor refuse a connection.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def fleet(live: int, black_holes: int = 0) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the addresses of the live servers and of the black holes."""
    command = [sys.executable, "-m", "benchmarks.fleet", str(live), str(black_holes)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "stdout is a pipe"
        urls = json.loads(process.stdout.readline())
        try:
            yield urls[:live], urls[live:]
        finally:
            # Its standard input ends: that is what it waits for.
            process.communicate(timeout=60)


def _serve(live: int, black_holes: int) -> None:
    from examples.fake_comfyui import FakeFleet
    from examples.fake_comfyui.demo import warmup

    _, keys = warmup()
    with FakeFleet(live + black_holes, keep_requests=0) as servers:
        for index, server in enumerate(servers):
            if index < live:
                server.store(*keys)
            else:
                server.black_hole()
        print(json.dumps(servers.urls), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _serve(*(int(argument) for argument in sys.argv[1:3]))
