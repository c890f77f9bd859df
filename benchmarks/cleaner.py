"""The cleaner against GNU find, on a tree that this benchmark makes.

    python benchmarks/cleaner.py                     20,000 task directories, 100,000 files
    python benchmarks/cleaner.py --files 500000      the full size
    python benchmarks/cleaner.py --memory 5000000    peak memory only, dry run

Every contender runs in a process of its own, interleaved, and all of them see trees that were made alike: one
tree for what only reads, a new one for each deletion. Times are wall seconds of the whole process, the start of
the interpreter included; ratios are medians of the ratios within each round, CPU is the ratio of user and system time.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
FILES_IN_TASK = 5
DAY = 86_400

SWEEP = """
import sys, time
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from pathlib import Path
from cleaner.roots import Boundaries
from cleaner.sweep import Run, count_units, sweep
from core.retention import RetentionPolicy
from core.targets import images_target
project, root, state, what, workers = sys.argv[1:]
target = replace(images_target(root, RetentionPolicy(older_than_seconds=86400)), workers=int(workers))
run = Run(Boundaries(Path(project), Path(state)), time.time(), dry_run=what != "delete", measure_all=what == "exact")
if what == "fast":
    print(*count_units(target, run))
elif what == "nothing":
    pass
else:
    (report,) = sweep(target, run)
    assert report.ok, report.as_dict()
    print(report.deleted_files, report.plan.entries)
# Not ru_maxrss: that one starts with the peak of the process that started us.
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak, file=sys.stderr)
"""
# What an operator would type: find compares whole days, so "+0" is "older than 24 hours".
FIND = {
    "exact": "find {root} -type f -printf '%s %T@\\n' | awk '{{s += $1; n++}} END {{print n, s}}'",
    "plan": "find {root} -type f -mtime +0 -printf '%s\\n' | awk '{{s += $1; n++}} END {{print n, s}}'",
    "delete": "find {root} -type f -mtime +0 -delete && find {root} -mindepth 1 -type d -empty -delete",
}
CONTENDERS = {
    "exact statistics": ("exact", [("exact", 1)]),
    "fast statistics": ("exact", [("fast", 1)]),
    "dry run with sizes": ("plan", [("plan", 1), ("plan", 2)]),
    "delete": ("delete", [("delete", 1), ("delete", 2)]),
}
BOUNDS = {
    ("exact statistics", 1): 1.2,
    ("fast statistics", 1): 0.2,
    ("dry run with sizes", 1): 0.65,
    ("dry run with sizes", 2): 0.5,
    ("delete", 1): 0.65,
    ("delete", 2): 0.5,
}


def make_tree(root: Path, files: int, content: bytes = b"x" * 200) -> None:
    """Make task directories of five small files in twelve months, every second one expired."""
    now = time.time()
    for number in range(files // FILES_IN_TASK):
        task = root / f"{number % 12 + 1:02d}" / str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))
        task.mkdir(parents=True)
        moment = now - (3 * DAY if number // 12 % 2 else 5 * 3600)
        for name in ("0.png", "1.png", "2.png", "3.png", "images.json"):
            descriptor = os.open(task / name, os.O_CREAT | os.O_WRONLY, 0o644)
            os.write(descriptor, content)
            os.utime(descriptor, (moment, moment))
            os.close(descriptor)
        os.utime(task, (moment, moment))


class Measured(NamedTuple):
    """One run of a command. ``cpu_seconds`` is user and system time, which a busy machine distorts least."""

    wall_seconds: float
    cpu_seconds: float
    peak_kilobytes: int


def timed(command: list[str]) -> Measured:
    """Run a command to its end; the peak is what it printed on stderr, if it did."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(wall, cpu, int(done.stderr or 0))


def ours(root: Path, state: Path, what: str, workers: int = 1) -> list[str]:
    return [sys.executable, "-c", SWEEP, str(PROJECT), str(root), str(state), what, str(workers)]


def describe(base: Path) -> str:
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(base)], capture_output=True, text=True, check=True).stdout
    find = subprocess.run(["find", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    load = os.getloadavg()[0]
    return (
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, file system {kind.strip()}, "
        f"Python {platform.python_version()}, {find}, load {load:.1f}"
    )


def race(base: Path, files: int, rounds: int) -> None:
    print(f"{files:,} files in {files // FILES_IN_TASK:,} task directories, half expired; {rounds} interleaved rounds")
    print(f"{'':<20}{'workers':>8}{'find s':>9}{'ours s':>9}{'ratio':>8}{'bound':>8}{'CPU':>8}")
    state = base / "state"
    state.mkdir()
    shared = base / "read" / "img"
    make_tree(shared, files)
    for title, (find_key, runs) in CONTENDERS.items():
        deletes = find_key == "delete"
        results: dict[str, list[Measured]] = {name: [] for name in ("find", *(str(workers) for _, workers in runs))}
        for number in range(rounds):
            # Each contender is first in turn: what runs first after a tree was made meets a busier disk.
            order: list[tuple[str, str, int]] = [("find", find_key, 0), *((str(each[1]), *each) for each in runs)]
            order = order[number % len(order) :] + order[: number % len(order)]
            trees = {}
            for name, _, _ in order:
                trees[name] = base / f"delete-{name}" / "img" if deletes else shared
                if deletes:
                    make_tree(trees[name], files)
            if deletes:
                os.sync()
            for name, what, workers in order:
                root = trees[name]
                command = (
                    ["sh", "-c", FIND[what].format(root=root)] if name == "find" else ours(root, state, what, workers)
                )
                results[name].append(timed(command))
            for tree in trees.values():
                if deletes:
                    shutil.rmtree(tree.parent)
        for _, workers in runs:
            pairs = list(zip(results[str(workers)], results["find"], strict=True))
            wall = statistics.median(mine.wall_seconds / find.wall_seconds for mine, find in pairs)
            cpu = statistics.median(mine.cpu_seconds / find.cpu_seconds for mine, find in pairs)
            find_s = statistics.median(find.wall_seconds for _, find in pairs)
            mine_s = statistics.median(mine.wall_seconds for mine, _ in pairs)
            bound = BOUNDS[title, workers]
            print(
                f"{title:<20}{workers:>8}{find_s:>9.2f}{mine_s:>9.2f}{wall:>8.2f}{bound:>8.2f}{cpu:>8.2f}", flush=True
            )


def memory(base: Path, files: int) -> None:
    state, root = base / "state", base / "memory" / "img"
    state.mkdir(exist_ok=True)
    make_tree(root, files, content=b"")  # five million blocks would only fill the disk
    empty = timed(ours(root, state, "nothing")).peak_kilobytes
    for what in ("plan", "exact", "delete"):
        measured = timed(ours(root, state, what))
        print(
            f"peak memory over the loaded interpreter at {files:,} files, {what}: "
            f"{(measured.peak_kilobytes - empty) / 1024:.1f} MB ({measured.wall_seconds:.1f} s)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, metavar="FILES", help="only measure peak memory, on this many files")
    parser.add_argument("--directory", type=Path, help="where to make the trees; default: the temporary directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cleaner-bench-", dir=options.directory) as name:
        base = Path(name)
        print(describe(base))
        if options.memory:
            memory(base, options.memory)
        else:
            race(base, options.files, options.rounds)
            memory(base, options.files)


if __name__ == "__main__":
    main()
