"""Shares one walk between processes: threads would wait for the interpreter's lock, processes do not.

Each worker inherits the open root and the lock, so that it is confined as its parent is and the lock lives as
long as any of them. A worker takes the units whose name falls to it; only totals travel back.
"""

from __future__ import annotations

import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from cleaner.judge import Judge
from cleaner.layout import layout_of
from cleaner.lock import Note, TargetLock
from cleaner.log import LOG_NAME, CleanerLog
from cleaner.mounts import Mounts
from cleaner.report import SweepReport
from cleaner.walk import Walk
from core.retention import Rules
from core.targets import Target


@dataclass(frozen=True)
class Job:
    """What a worker needs to know; descriptors are inherited under the same numbers."""

    target: Target
    rules: Rules
    root: int
    real: str
    dry_run: bool
    measure_all: bool
    share: tuple[int, int]
    interrupted: frozenset[str]
    shown: int
    lock: int | None
    log: tuple[Path, int, int] | None


def run_shared(target: Target, walk: Walk, root: int, lock: TargetLock | None, workers: int, run: Any) -> None:
    """Given a prepared walk, run it in ``workers`` processes and add up their reports in its judge's."""
    judge = walk.judge
    log = None if lock is None else (run.boundaries.state_dir / LOG_NAME, run.log_max_bytes, run.log_backups)
    job = Job(
        target, judge.rules, root, judge.report.root, judge.dry_run, walk.measure_all, (0, workers), walk.interrupted,
        judge.report.plan.shown, None if lock is None else lock.descriptor, log,
    )  # fmt: skip
    answers: queue.Queue[tuple[int, Any]] = queue.Queue()
    children = [_start(replace(job, share=(number, workers)), answers) for number in range(workers)]
    left: dict[str, int] = {}
    latest: dict[int, SweepReport] = {}
    running = set(range(workers))
    try:
        while running:
            number, answer = answers.get()
            if answer is None:
                running.discard(number)
                code = children[number].wait()
                if code:
                    judge.report.failed.add("", f"worker {number} ended with code {code}; its share is not finished")
                continue
            latest[number], stays = answer
            for path, count in stays.items():
                left[path] = left.get(path, 0) + count
            if judge.progress is not None and judge.progress(_sum(judge.report, latest)) is False:
                # Still listening: what they did until they noticed belongs in the report.
                _let_go(children)
    finally:
        _let_go(children)
        for child in children:
            child.wait()
    for report in latest.values():
        judge.report.merge(report)
    if target.remove_empty and not judge.report.stopped:
        _remove_empty(walk, root, [path for path, count in left.items() if count == 0])


def _start(job: Job, answers: queue.Queue[tuple[int, Any]]) -> subprocess.Popen[bytes]:
    # A terminal's Ctrl-C comes to all of them. A worker inherits the mask and is deaf to it from its first instruction
    # on; the parent hears it a moment later, and closes stdin.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "cleaner.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parent.parent,
            pass_fds=[job.root] if job.lock is None else [job.root, job.lock],
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert child.stdin is not None
    assert child.stdout is not None
    pickle.dump(job, child.stdin)
    child.stdin.flush()
    number = job.share[0]
    threading.Thread(target=_listen, args=(number, child.stdout, answers), daemon=True).start()
    return child


def _let_go(children: list[subprocess.Popen[bytes]]) -> None:
    """Close the workers' stdin: the sign to stop, which they also get when this process dies."""
    for child in children:
        if child.stdin is not None:
            child.stdin.close()


def _listen(number: int, stream: IO[bytes], answers: queue.Queue[tuple[int, Any]]) -> None:
    try:
        while True:
            answers.put((number, pickle.load(stream)))
    except (EOFError, OSError, ValueError, pickle.UnpicklingError):
        answers.put((number, None))


def _sum(base: SweepReport, latest: dict[int, SweepReport]) -> SweepReport:
    total = SweepReport(base.target, base.root, base.started, base.dry_run)
    for report in latest.values():
        total.merge(report)
    return total


def _remove_empty(walk: Walk, root: int, paths: list[str]) -> None:
    for path in sorted(paths, reverse=True):
        *above, name = path.split("/")
        if not above:
            walk.remove_empty_directory(root, name, path)


def main() -> None:
    """One worker: read a Job from stdin, walk, write reports to stdout; stops when stdin is closed."""
    job: Job = pickle.load(sys.stdin.buffer)
    report = SweepReport(job.target.name, job.real, job.rules.now, job.dry_run)
    report.plan.shown = job.shown
    log = CleanerLog(*job.log) if job.log is not None else None
    note = Note(job.lock, job.share[0]) if job.lock is not None else None
    judge = Judge(job.rules, report, Mounts(Path(job.real)), job.dry_run, log=log, note=note)
    walk = Walk(
        layout_of(job.target),
        judge,
        job.target.policy.keep_file,
        remove_empty=job.target.remove_empty,
        measure_all=job.measure_all,
        share=job.share,
        interrupted=job.interrupted,
    )
    answers = sys.stdout.buffer

    def answer(report: SweepReport, left: dict[str, int]) -> bool:
        pickle.dump((report, left), answers)
        answers.flush()
        # Nothing comes after the job, so a readable stdin is a closed one.
        return not select.select([sys.stdin], [], [], 0)[0]

    judge.progress = lambda report: answer(report, {})
    try:
        walk.run(job.root)
        if log is not None:
            log.flush()
        answer(report, walk.left)
    except BrokenPipeError:
        os._exit(1)  # the parent is gone; flushing its pipe again would only raise again


if __name__ == "__main__":
    main()
