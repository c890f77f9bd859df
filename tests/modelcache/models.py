"""Makes real model files: safetensors with tensors in them, a diffusers pipeline, a hub cache, by hand and small."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
from pathlib import Path

from modelcache.check import Progress
from modelcache.roots import CacheRoot
from tests.modelcache.fake_hub import git_blob_id

REPO = "black-forest-labs/FLUX.1-dev"
NAME = "black_forest_labs_FLUX_1_dev"
LARGE = 12 << 20


def safetensors(size: int = 4096, seed: int = 1) -> bytes:
    """Return a safetensors file with one tensor of ``size`` bytes that do not repeat."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(size)


def pipeline(seed: int = 1, large: int = LARGE) -> dict[str, bytes]:
    """Return the files of a small diffusers repo: two large ones, two small ones with weights, and documents."""
    index = {
        "_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"], "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "safety_checker": [None, None],
    }  # fmt: skip
    return {
        "README.md": b"# a model\n",
        ".gitattributes": b"*.safetensors filter=lfs\n",
        "model_index.json": json.dumps(index).encode(),
        "flux1.safetensors": safetensors(large, seed),
        "transformer/config.json": b"{}",
        "transformer/part-1.safetensors": safetensors(large + 4096, seed + 1),
        "vae/config.json": b'{"a": 1}',
        "vae/model.safetensors": safetensors(2 << 20, seed + 2),
        "scheduler/scheduler_config.json": b"{}",
    }


def write(directory: Path, files: dict[str, bytes], age_seconds: float = 0) -> Path:
    """Put files into a directory, as old as asked."""
    for path, content in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if age_seconds:
            age(target, age_seconds)
    return directory


def age(path: Path, seconds: float) -> None:
    status = path.stat()
    os.utime(path, (status.st_atime - seconds, status.st_mtime - seconds), follow_symlinks=False)


def hub_cache(root: Path, repo: str, commits: dict[str, dict[str, bytes]], refs: dict[str, str]) -> Path:
    """Lay out a Hugging Face cache directory as its client does: blobs by hash, snapshots of links, refs."""
    top = root / ("models--" + repo.replace("/", "--"))
    for directory in ("blobs", "refs", "snapshots"):
        (top / directory).mkdir(parents=True, exist_ok=True)
    for commit, files in commits.items():
        for path, content in files.items():
            large = len(content) >= 1 << 20
            name = hashlib.sha256(content).hexdigest() if large else git_blob_id(content)
            (top / "blobs" / name).write_bytes(content)
            link = top / "snapshots" / commit / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(top / "blobs" / name, link.parent))
    for ref, commit in refs.items():
        (top / "refs" / ref).write_text(commit)
    return top


def roots(*paths: Path, view: tuple[Path, ...] = ()) -> tuple[CacheRoot, ...]:
    from modelcache.roots import cache_roots

    return cache_roots(paths, view)


class Watched:
    """A Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        self.calls.append((what, done, total))

    def total(self, what: str) -> int:
        return max((total for kind, _, total in self.calls if kind == what), default=0)


silent: Progress = Watched()
