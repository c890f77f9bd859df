"""How fast models are listed and verified, beside the origin's way and sha256sum: ``python -m benchmarks.modelcache``.

Every figure is the median of runs that alternate with those of its peer, in the same process or directory. The
origin's way of listing is ``os.walk`` with ``exists`` and ``getsize`` for each file. Takes about a minute and 2 GB;
``--save`` keeps the results.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import publish, table
from core.models.manifest import FileRecord, Manifest
from modelcache.check import check_place
from modelcache.listing import list_models
from modelcache.model import Layout, Place
from modelcache.own import write_manifest
from modelcache.roots import OPEN_DIRECTORY, CacheRoot, cache_roots

SUBFOLDERS = ("", "transformer", "vae", "text_encoder", "tokenizer")


def make_models(root: Path, models: int, files: int) -> None:
    """Make models as pulls leave them: five directories each, a manifest, small files in place of large ones."""
    content = b"x" * 200
    digest = hashlib.sha256(content).hexdigest()
    for number in range(models):
        model = root / f"org_model_{number:03d}"
        records = []
        for each in range(files):
            path = f"{SUBFOLDERS[each % len(SUBFOLDERS)]}/file-{each:05d}.json".lstrip("/")
            (model / path).parent.mkdir(parents=True, exist_ok=True)
            (model / path).write_bytes(content)
            records.append(FileRecord(path, len(content), digest, None, (model / path).stat().st_mtime_ns))
        descriptor = os.open(model, OPEN_DIRECTORY)
        write_manifest(descriptor, Manifest(f"org/model-{number}", "main", "c" * 40, "", tuple(records), 1.0))
        os.close(descriptor)


def origins_way(root: Path) -> int:
    """What ``clean_model_cache.py list`` did: sizes and states by walking every file."""
    total = 0
    for name in os.listdir(root):  # noqa: PTH208
        for directory, _, names in os.walk(root / name):
            for each in names:
                path = os.path.join(directory, each)  # noqa: PTH118
                if os.path.exists(path):  # noqa: PTH110
                    total += os.path.getsize(path)  # noqa: PTH202
    return total


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def alternate(runs: int, *actions: Callable[[], object]) -> list[float]:
    """Return the median seconds of each action, the actions taking turns."""
    taken: list[list[float]] = [[] for _ in actions]
    for _ in range(runs):
        for times, action in zip(taken, actions, strict=True):
            times.append(seconds(action))
    return [statistics.median(times) for times in taken]


def listing(work: Path, models: int, files: int, runs: int) -> str:
    cache, index = work / "cache", work / "index.json"
    make_models(cache, models, files)
    roots = cache_roots([cache])
    later = time.time() + 60  # the index does not remember what has only just been written
    first = seconds(lambda: list_models(roots, now=later, index_file=index))
    found = list_models(roots, now=later, index_file=index).models
    assert len(found) == models, "every model is listed"
    assert all(each.check and each.check.files == files for each in found), "and complete"
    origin, ours, fresh = alternate(
        runs,
        lambda: origins_way(cache),
        lambda: list_models(roots, now=later, index_file=index),
        lambda: list_models(roots, now=later, fresh=True),
    )
    rows = [
        ("the origin's way: walk, exists, getsize", f"{origin * 1000:.0f} ms", "1.0 ×"),
        ("**list**", f"**{ours * 1000:.0f} ms**", f"**{origin / ours:.1f} ×**"),
        ("list --fresh: every file read, states judged", f"{fresh * 1000:.0f} ms", f"{origin / fresh:.1f} ×"),
        ("the first list, which writes the index", f"{first * 1000:.0f} ms", f"{origin / first:.1f} ×"),
    ]
    return table(("way", "time", "speed against the origin"), rows) + "\n\nTarget: at least 5 ×."


def verifying(work: Path, gigabytes: float, runs: int) -> str:
    model = work / "large" / "org_large"
    model.mkdir(parents=True)
    sizes = [int(gigabytes * 2**30 * share) for share in (0.4, 0.4, 0.2)]
    records = []
    for number, size in enumerate(sizes):
        path = model / f"weights-{number}.bin"
        digest, generator = hashlib.sha256(), random.Random(number)
        with path.open("wb") as file:
            block = generator.randbytes(1 << 24)
            for start in range(0, size, len(block)):
                piece = block[: size - start]
                file.write(piece)
                digest.update(piece)
        records.append(FileRecord(path.name, size, digest.hexdigest(), None, 0))
    descriptor = os.open(model, OPEN_DIRECTORY)
    write_manifest(descriptor, Manifest("org/large", "main", "c" * 40, "", tuple(records), 1.0))
    os.close(descriptor)
    place = Place(CacheRoot(model.parent), model.name, Layout.DIRECTORY)
    paths = [str(model / each.path) for each in records]

    def sha256sum() -> None:
        subprocess.run(["sha256sum", *paths], check=True, stdout=subprocess.DEVNULL)

    def one_thread() -> None:
        for path in paths:
            with open(path, "rb") as file:
                hashlib.file_digest(file, "sha256")

    assert check_place(place, full=True), "the model verifies"
    peer, ours, floor = alternate(runs, sha256sum, lambda: check_place(place, full=True), one_thread)
    amount = sum(sizes) / 2**30
    rows = [
        ("sha256sum", f"{peer:.2f} s", f"{amount / peer:.2f} GiB/s", "1.0 ×"),
        ("**verify --full**", f"**{ours:.2f} s**", f"**{amount / ours:.2f} GiB/s**", f"**{peer / ours:.2f} ×**"),
        ("hashlib.file_digest, one thread", f"{floor:.2f} s", f"{amount / floor:.2f} GiB/s", f"{peer / floor:.2f} ×"),
    ]
    return table(("way", "time", "hashed", "speed against sha256sum"), rows) + "\n\nTarget: at least 0.8 ×."


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("--models", type=int, default=200)
    cli.add_argument("--files", type=int, default=50)
    cli.add_argument("--gigabytes", type=float, default=2.0)
    cli.add_argument("--runs", type=int, default=7)
    cli.add_argument("--save", action="store_true", help="write benchmarks/results/modelcache.md")
    options = cli.parse_args()
    work = Path(tempfile.mkdtemp(prefix="modelcache-benchmark-"))
    try:
        listed = listing(work, options.models, options.files, options.runs)
        verified = verifying(work, options.gigabytes, max(options.runs // 2, 3))
    finally:
        shutil.rmtree(work)
    sections = {
        f"Listing {options.models} models of {options.files} files, warm, medians of {options.runs} turns": listed,
        f"Verifying {options.gigabytes:g} GiB in three files, in the page cache": verified,
    }
    publish("modelcache", "Models on disk", sections, save=options.save)


if __name__ == "__main__":
    main()
