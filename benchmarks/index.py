"""What the index of cache entries costs and saves, beside walking the disk: ``python -m benchmarks.index``.

A tree of files is made in a temporary directory, walked, indexed and paged. Every ratio is of medians from the same
run; walks and refreshes take turns. A million entries take about ten minutes;
``--entries 100000`` takes one. ``--save`` keeps the results.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import publish, table
from cleaner.roots import Boundaries
from core.listing import EntryQuery, Sort
from core.targets import Target, TargetKind, Unit
from operations.backends.files import FileBackend
from operations.indexing import refresh
from store.index import EntryIndex

PAGE = 20


def make_tree(root: Path, entries: int, in_directory: int) -> list[Path]:
    """Make empty files with sizes and times of their own; return their directories."""
    chance = random.Random(7)
    directories = []
    now = time.time()
    for number in range(entries // in_directory):
        directory = root / f"{number * 7919 % 1_000_003:07d}"
        directory.mkdir(parents=True)
        directories.append(directory)
        for each in range(in_directory):
            path = f"{directory}/preview_{each:05d}_.png"
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
            os.ftruncate(descriptor, chance.randrange(10_000_000))
            moment = now - chance.random() * 8e6
            os.utime(descriptor, (moment, moment))
            os.close(descriptor)
    return directories


def bare_walk(root: Path) -> int:
    """The floor: scandir and one stat for each file, summed up."""
    total = 0
    pending = [str(root)]
    while pending:
        with os.scandir(pending.pop()) as found:
            for each in found:
                if each.is_dir(follow_symlinks=False):
                    pending.append(each.path)
                else:
                    total += each.stat(follow_symlinks=False).st_size
    return total


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def cost_of(act: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of wall time and of processor time: on a busy machine only the latter compares."""
    cpu = time.process_time()
    return timed(act), time.process_time() - cpu


def median_of(act: Callable[[], object], rounds: int) -> float:
    return statistics.median(timed(act) for _ in range(rounds))


def change(directories: list[Path], share: float, round_number: int) -> None:
    """Rewrite, add and remove files: each a third of the share, all over the tree."""
    chance = random.Random(round_number)
    for directory in directories:
        names = sorted(os.listdir(directory))  # noqa: PTH208
        for number, name in enumerate(chance.sample(names, max(round(len(names) * share), 1))):
            path = directory / name
            if number % 3 == 0:
                path.write_bytes(b"x" * (round_number + 1))
            elif number % 3 == 1:
                path.with_name(f"new_{round_number}_{number}.png").write_bytes(b"x")
            else:
                path.unlink()


def main() -> None:
    cli = argparse.ArgumentParser()
    cli.add_argument("--entries", type=int, default=1_000_000)
    cli.add_argument("--in-directory", type=int, default=1000)
    cli.add_argument("--rounds", type=int, default=5)
    cli.add_argument("--save", action="store_true")
    options = cli.parse_args()
    base = Path(tempfile.mkdtemp(prefix="index-benchmark-"))
    try:
        sections = run(base, options.entries, options.in_directory, options.rounds)
    finally:
        shutil.rmtree(base)
    publish("index", f"The index of {options.entries:,} entries", sections, save=options.save)


def run(base: Path, entries: int, in_directory: int, rounds: int) -> dict[str, str]:
    root = base / "caches" / "previews"
    directories = make_tree(root, entries, in_directory)
    for name in ("project", "state"):
        (base / name).mkdir()
    target = Target("previews", TargetKind.DIRECTORY, (str(root),), unit=Unit.FILE)
    backend = FileBackend(target, Boundaries(base / "project", base / "state"))
    index = EntryIndex(base / "state" / "index.sqlite3")
    first = cost_of(lambda: refreshed(index, backend))

    walks, unchanged, changed = [], [], []
    totals = []
    for number in range(rounds):
        walks.append(cost_of(lambda: bare_walk(root)))
        unchanged.append(cost_of(lambda: refreshed(index, backend)))
        totals.append(median_of(index.totals, 200))
        if number < 3:
            change(directories, 0.01, number)
            bare_walk(root)  # warm again, as before the other walks
            changed.append(cost_of(lambda: refreshed(index, backend)))
    size_bytes = sum(each.stat().st_size for each in (base / "state").glob("index.sqlite3*"))
    walk, totals_seconds = statistics.median(seconds for seconds, _ in walks), statistics.median(totals)

    upkeep = [
        ["bare scandir walk with one stat a file", *_beside(walks, walks)],
        ["refresh, nothing changed", *_beside(unchanged, walks)],
        ["refresh, 1 % rewritten, added or removed", *_beside(changed, walks)],
        ["first walk into an empty index", *_beside([first], walks)],
    ]
    reading = [["totals", f"{totals_seconds * 1e6:.1f} µs", f"a walk is {walk / totals_seconds:,.0f} × as slow"]]
    sections = {
        "Upkeep": table(["what", "wall time", "× the walk", "processor time", "× the walk"], upkeep)
        + f"\n\nThe index takes {size_bytes / 1e6:.0f} MB. Aim: a refresh at most 2 × the walk.",
        "Totals": table(["what", "median", "beside a warm walk"], reading) + "\n\nAim: at least 10,000 ×.",
        "Pages of 20": pages(index),
    }
    index.close()
    return sections


def refreshed(index: EntryIndex, backend: FileBackend) -> None:
    report = refresh(index, backend, lambda _done, _total=None: None, time.time())
    assert not report.error, report.error


def _beside(costs: list[tuple[float, float]], walks: list[tuple[float, float]]) -> list[str]:
    cells = []
    for kind in (0, 1):
        median = statistics.median(each[kind] for each in costs)
        cells += [f"{median:.2f} s", f"{median / statistics.median(each[kind] for each in walks):.2f}"]
    return cells


def pages(index: EntryIndex) -> str:
    rows = []
    for sort in Sort:
        total = index.page(EntryQuery(sort=sort)).total
        last = total // PAGE
        first = median_of(lambda sort=sort: index.page(EntryQuery(sort=sort)), 200)  # type: ignore[misc]
        cursors = [
            index.page(EntryQuery(sort=sort), page=page).next_cursor for page in (1, last // 4, last // 2, last - 2)
        ]
        by_cursor = max(
            median_of(lambda sort=sort, cursor=cursor: index.page(EntryQuery(sort=sort), cursor=cursor), 200)  # type: ignore[misc]
            for cursor in cursors
        )
        middle, end = (
            median_of(lambda sort=sort, page=page: index.page(EntryQuery(sort=sort), page=page), 15)  # type: ignore[misc]
            for page in (last // 2, last)
        )
        rows.append(
            [sort.value, f"{first * 1e3:.3f}", f"{by_cursor / first:.2f}", f"{end * 1e3:.3f}", f"{middle * 1e3:.2f}",
             f"{20 * first * 1e3 + 15:.1f}"]
        )  # fmt: skip
    heads = ["order", "page 1, ms", "slowest page by cursor, × page 1", f"page {last:,} by number, ms",
             f"page {last // 2:,} by number, ms", "bound, ms"]  # fmt: skip
    return (
        table(heads, rows)
        + "\n\nAims: any page by cursor within 2 × of page 1; by number under 20 × page 1 plus 15 ms "
        "(the bound). A page by number is counted from the nearer end, so the middle is the slowest."
    )


if __name__ == "__main__":
    main()
