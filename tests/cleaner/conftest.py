"""Real trees to clean. Ages are set with utime; nothing here patches a clock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cleaner.report import SweepReport
from cleaner.roots import Boundaries
from cleaner.sweep import Run, sweep
from core.retention import DAY_SECONDS, RetentionPolicy
from core.targets import Target, images_target

ONE_DAY = RetentionPolicy(older_than_seconds=DAY_SECONDS)


def age(path: Path, days: float) -> None:
    moment = time.time() - days * DAY_SECONDS
    os.utime(path, (moment, moment), follow_symlinks=False)


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@dataclass
class Cache:
    """An image cache, and sweeps over it. ``allow_most`` by default: most tests have a handful of units."""

    base: Path
    root: Path = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.base / "resources" / "img"
        self.root.mkdir(parents=True)
        self.state.mkdir(exist_ok=True)

    @property
    def state(self) -> Path:
        return self.base / "state"

    @property
    def boundaries(self) -> Boundaries:
        project = self.base / "project"
        project.mkdir(exist_ok=True)
        return Boundaries(project, self.state)

    def task(self, path: str, days: float, files: int = 2, size: int = 1000) -> Path:
        """Make a task directory ``<month>/<id>`` whose every time is ``days`` ago."""
        directory = self.root / path
        directory.mkdir(parents=True, exist_ok=True)
        for number in range(files):
            (directory / f"{number}.png").write_bytes(b"x" * size)
        (directory / "images.json").write_text("[]")
        self.age_all(directory, days)
        return directory

    def age_all(self, directory: Path, days: float) -> None:
        for each in sorted(directory.rglob("*"), reverse=True):
            age(each, days)
        age(directory, days)

    def target(self, policy: RetentionPolicy = ONE_DAY) -> Target:
        return images_target(str(self.root), policy)

    def run(self, **changes: object) -> Run:
        return replace(Run(self.boundaries, time.time(), allow_most=True), **changes)  # type: ignore[arg-type]

    def sweep(self, target: Target | RetentionPolicy = ONE_DAY, **changes: object) -> SweepReport:
        chosen = target if isinstance(target, Target) else self.target(target)
        (report,) = sweep(chosen, self.run(**changes))
        return report

    def left(self) -> set[str]:
        """The paths of everything that is still there, below the root."""
        # os.walk, which takes it calmly when a directory goes while it looks.
        return {
            str((Path(directory) / name).relative_to(self.root))
            for directory, names, files in os.walk(self.root)
            for name in names + files
        }


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    made = Cache(tmp_path)
    yield made
    for directory, _, _ in os.walk(tmp_path):
        Path(directory).chmod(0o700)
