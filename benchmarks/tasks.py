"""Task engines side by side: ``python -m benchmarks.tasks`` (two minutes), ``--save`` to keep the results.

The embedded engine against RQ as it comes, with a real redis-server of this run (``appendonly yes``, as README shows
it) on a free loopback port. Needs redis-server and the optional packages ``redis`` and ``rq``.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.measure import ROOT, percentile, publish, table
from core.tasks import TaskQuery, TaskRequest, TaskState
from store.task_queue import TaskQueue

LATENCIES = 200
"""Tasks given one after the other to an idle worker, a few hundredths of a second apart."""


class Engine(Protocol):
    """One engine of the table, with a store of its own."""

    workers: int

    def put(self, count: int) -> None:
        """Queue that many tasks that do nothing, while no worker runs."""

    def command(self) -> Sequence[str]:
        """The command of one worker."""

    def environment(self) -> dict[str, str]: ...

    def drained(self, count: int) -> bool: ...

    def times(self) -> list[tuple[float, float, float]]:
        """(asked for, begun, ended) of every task that has ended, in seconds since 1970."""

    def clear(self) -> None: ...


class Embedded:
    """SQLite, as it comes."""

    def __init__(self, directory: Path, workers: int) -> None:
        self.workers = workers
        self._path = directory / "tasks.sqlite3"
        self.queue = TaskQueue(self._path)

    def put(self, count: int) -> None:
        requests = [TaskRequest("benchmark.nothing", {}, f"user-{number % 3}") for number in range(count)]
        if count == 1:
            self.queue.submit(requests[0])
        else:
            self.queue.submit_batch(requests, "")

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "operations", "worker", "--tasks", "benchmarks.task_functions"]

    def environment(self) -> dict[str, str]:
        return {"CACHE_DIR": str(self._path.parent), "TASKS_PER_USER": "100", "QUEUE_URL": ""}

    def drained(self, count: int) -> bool:
        return self.queue.tasks(limit=1).counts["done"] >= count

    def times(self) -> list[tuple[float, float, float]]:
        found, cursor = [], ""
        while True:
            page = self.queue.tasks(TaskQuery(states=[TaskState.DONE]), limit=1000, cursor=cursor)
            found += [(task.created_at, task.started_at or 0.0, task.ended_at or 0.0) for task in page.tasks]
            cursor = page.next_cursor
            if not cursor:
                return found

    def clear(self) -> None:
        self.queue.forget_before(time.time() + 1)


class Rq:
    """RQ's own worker, as it comes."""

    def __init__(self, url: str, database: int, worker_class: str, workers: int) -> None:
        from redis import Redis
        from rq import Queue

        self.workers = workers
        self._url = f"{url}/{database}"
        self._class = worker_class
        self._redis = Redis.from_url(self._url)
        self._queue = Queue(connection=self._redis)

    def put(self, count: int) -> None:
        from benchmarks.task_functions import nothing_for_rq

        for _ in range(count):
            self._queue.enqueue(nothing_for_rq)

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "rq.cli", "worker", "-q", "-u", self._url, "-w", self._class, "default"]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT)}

    def drained(self, count: int) -> bool:
        return bool(self._queue.finished_job_registry.get_job_count(cleanup=False) >= count)

    def times(self) -> list[tuple[float, float, float]]:
        from rq.job import Job

        jobs = Job.fetch_many(self._queue.finished_job_registry.get_job_ids(), connection=self._redis)
        stamps = [(job.enqueued_at, job.started_at, job.ended_at) for job in jobs if job is not None]
        return [(a.timestamp(), b.timestamp(), c.timestamp()) for a, b, c in stamps if a and b and c]

    def clear(self) -> None:
        self._redis.flushdb()


@dataclass
class Row:
    """An engine and what was measured of it, one value a round."""

    name: str
    engine: Engine
    count: int
    rates: list[float]
    waits: list[float]


@contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """Yield the address of a redis-server of our own."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is not installed: the table needs it (apt-get install redis-server)")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--appendonly", "yes",
         "--save", ""],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: _answers(port))
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(engine: Engine) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run the engine's workers until the block ends."""
    environment = {**os.environ, **engine.environment()}
    processes = [
        subprocess.Popen(
            engine.command(), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(engine.workers)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain")
        # Seldom: whoever looks takes the processor from those that are measured.
        time.sleep(0.1)


def drain(engine: Engine, count: int) -> float:
    """Return how many tasks a second the workers do, from the first one's beginning to the last one's end."""
    engine.clear()
    engine.put(count)
    with running(engine):
        wait_until(lambda: engine.drained(count))
    times = engine.times()
    return count / (max(ended for *_, ended in times) - min(begun for _, begun, _ in times))


def waits(engine: Engine) -> list[float]:
    """Return the seconds from asking to beginning of tasks given to an idle worker one by one."""
    engine.clear()
    pauses = random.Random(1)
    with running(engine):
        # The first one only shows that the worker is there.
        engine.put(1)
        wait_until(lambda: engine.drained(1))
        for _ in range(LATENCIES):
            time.sleep(pauses.uniform(0.02, 0.06))
            engine.put(1)
        wait_until(lambda: engine.drained(LATENCIES + 1))
    return [begun - asked for asked, begun, _ in sorted(engine.times())[1:]]


def takeover(engine: Embedded) -> float:
    """Return how long after ``kill -9`` of its worker a task begins again in another that is idle."""
    engine.clear()
    with running(engine):
        task = engine.queue.submit(TaskRequest("benchmark.slow", {}, "user"))
        wait_until(lambda: any(worker.task == task.id for worker in engine.queue.workers()))
        wait_until(lambda: len(engine.queue.workers()) == 2)
        (victim,) = [worker.pid for worker in engine.queue.workers() if worker.task]
        killed_at = time.time()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: (found := engine.queue.task(task.id)) is not None and found.attempts == 2)
        found = engine.queue.task(task.id)
        engine.queue.cancel(task.id)
        wait_until(lambda: (seen := engine.queue.task(task.id)) is not None and seen.state.is_over)
    return (found.started_at or 0.0) - killed_at if found else 0.0


def idle_cpu(engine: Engine, seconds: float) -> float:
    """Return the share of a core that one idle worker takes."""

    def spent(pid: int) -> float:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    with running(engine) as (process, *_):
        time.sleep(2)
        before, began = spent(process.pid), time.monotonic()
        time.sleep(seconds)
        return (spent(process.pid) - before) / (time.monotonic() - began)


def accepts(engine: Embedded, count: int = 500) -> float:
    """Return how many tasks a second are accepted one by one, each on the disk before the next."""
    began = time.perf_counter()
    for _ in range(count):
        engine.put(1)
    return count / (time.perf_counter() - began)


def main() -> None:
    """Measure, print, and save if so wished."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tasks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which the engines take turns (5)")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/tasks.md")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("one", "two", "redis"):
            (directory / name).mkdir()
        url = stack.enter_context(redis_server(directory / "redis"))
        one, two = Embedded(directory / "one", 1), Embedded(directory / "two", 2)
        for each in (one, two):
            stack.enter_context(closing(each.queue))
        rows = [
            Row("embedded (SQLite), 1 worker", one, 5000, [], []),
            Row("embedded (SQLite), 2 workers", two, 5000, [], []),
            Row("RQ SimpleWorker, 1 worker", Rq(url, 0, "rq.SimpleWorker", 1), 600, [], []),
            Row("RQ Worker (a fork for each task), 1 worker", Rq(url, 1, "rq.Worker", 1), 100, [], []),
        ]
        for number in range(options.rounds):
            for row in rows:
                row.rates.append(drain(row.engine, row.count))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        for row in rows:
            row.waits = waits(row.engine)
        taken = [takeover(two) for _ in range(options.rounds)]
        accepted = accepts(one)
        idle = idle_cpu(one, 20)
    loads = (load_before, os.getloadavg()[0])
    publish("tasks", "Task engines", sections(rows, taken, accepted, idle, loads), save=options.save)


def sections(
    rows: Sequence[Row], taken: Sequence[float], accepted: float, idle: float, loads: tuple[float, float]
) -> dict[str, str]:
    """Return the results by heading."""
    simple = statistics.median(rows[2].rates)
    lines = []
    for row in rows:
        rate = statistics.median(row.rates)
        lines.append([
            row.name, f"{rate:,.0f}", f"{min(row.rates):,.0f} to {max(row.rates):,.0f}", f"{rate / simple:.1f} ×",
            f"{statistics.median(row.waits) * 1000:.1f}", f"{percentile(row.waits, 99) * 1000:.1f}",
        ])  # fmt: skip
    heads = ["engine", "tasks/s", "rounds", "beside SimpleWorker", "accept to start p50 ms", "p99 ms"]
    return {
        "Engines, in turns within one run": table(heads, lines)
        + "\n\nTasks that do nothing, medians of the rounds; aims: at least 2,000/s with one worker and 4 × RQ's "
        "SimpleWorker, p99 under 30 ms. Load average of the machine before and after: "
        f"{loads[0]:.1f}, {loads[1]:.1f}; on a busy one the figures say little.",
        "The embedded engine beside that": table(
            ["what", "measured"],
            [
                ["accepted one by one, each durable before the next", f"{accepted:,.0f} tasks/s"],
                [
                    "begun again after kill -9 of its worker",
                    f"{statistics.median(taken):.2f} s, worst {max(taken):.2f} s",
                ],
                ["an idle worker", f"{idle:.2%} of a core"],
            ],
        ),
    }


if __name__ == "__main__":
    main()
