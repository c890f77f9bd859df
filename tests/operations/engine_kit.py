"""What the contract of the engines needs of each: a store of its own, the engine on it, and real workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import config
from core.tasks import Task, TaskEngine
from operations.engines import open_engine
from tests.workspace import QUICK, SOURCE, Program, wait_for


class EngineKit:
    """One test's engine. Another engine is another ``settings``; override what else is different.

    ``settings`` are environment variables for the engine and its workers (``QUEUE_URL=redis://…``).
    """

    many = 2000
    """Tasks of the test in which four workers share many: as many as the engine does in a few seconds."""

    takeover_seconds = 5.0
    """Longest time until a killed worker's task begins again while another worker is idle."""

    worker_options: tuple[str, ...] = ("--retry-after", "0.05")

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.settings = {**QUICK, "CACHE_DIR": str(directory / "cache"), "HOST_QUEUE": "here", **settings}
        self._programs: list[Program] = []
        self._stack = ExitStack()

    @property
    def environment(self) -> Mapping[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**kept, "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8", **self.settings}

    def open(self) -> TaskEngine:
        """Open the engine as any program does; it is closed at the end of the test."""
        engine = open_engine(config.load(SOURCE, self.environment))
        self._stack.callback(engine.close)
        return engine

    def start_worker(self, *options: str, leash: bool = False) -> Program:
        """Start a worker with the sample tasks; return once it is ready."""
        output = self.directory / f"worker-{len(self._programs)}"
        command = [sys.executable, "-m", "operations", "worker", "--tasks", "tests.operations.sample_tasks"]
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*command, *self.worker_options, *options, *(["--leash"] if leash else [])],
                cwd=SOURCE, env=dict(self.environment), stdout=file, stderr=subprocess.STDOUT,
                stdin=subprocess.PIPE if leash else subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        program = Program(process, output)
        self._programs.append(program)
        program.wait_for_output("Ready")
        return program

    def keep_a_worker(self) -> None:
        """Start a worker where none is left, as the daemon does."""
        if all(program.process.poll() is not None for program in self._programs):
            self.start_worker()

    def kill(self, worker: Program) -> None:
        """Kill a worker with -9, and all of its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def wait_for_end(
        self, engine: TaskEngine, task_id: str, seconds: float = 20, *, keep_a_worker: bool = False
    ) -> Task:
        """Return the task once it is over."""

        def over() -> Task | None:
            if keep_a_worker:
                self.keep_a_worker()
            task = engine.task(task_id)
            return task if task and task.state.is_over else None

        found = wait_for(over, seconds)
        assert isinstance(found, Task)
        return found

    def destroy(self) -> None:
        for program in self._programs:
            self.kill(program)
            if program.process.stdin is not None:
                with contextlib.suppress(OSError):
                    program.process.stdin.close()
        self._stack.close()


@contextmanager
def kit_in(directory: Path, kind: type[EngineKit] = EngineKit, **settings: str) -> Iterator[EngineKit]:
    """Yield a kit; every worker that was started in it is gone at the end."""
    kit = kind(directory, **settings)
    try:
        yield kit
    finally:
        kit.destroy()
