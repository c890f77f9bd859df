"""kill -9 before changes to the disk, one after the other: nothing that is left passes as complete unless it is.

EVERY_STEP=1 tries each of them for the pull too (half a minute); without it every fourth.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.modelcache.fake_hub import FakeHub
from tests.modelcache.kill_ladder import NEW, OLD
from tests.modelcache.models import REPO

SOURCE = Path(__file__).resolve().parents[2]


def climb(kind: str, url: str, directory: Path, stride: int) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-m", "tests.modelcache.kill_ladder", kind, url, str(directory), str(stride)],
        cwd=SOURCE, env={**os.environ, "HF_HOME": str(directory / "hf")}, capture_output=True, text=True, timeout=110,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_a_pull_that_is_killed_at_any_step_leaves_the_old_model_the_new_one_or_a_partial_one(
    hub: FakeHub, tmp_path: Path
) -> None:
    commits = {"old": hub.publish(REPO, OLD), "new": hub.publish(REPO, NEW)}
    (tmp_path / "commits.json").write_text(json.dumps(commits))
    found = climb("pull", hub.url, tmp_path, 1 if os.environ.get("EVERY_STEP") else 4)
    assert found["wrong"] == []
    assert found["steps"] > 20


def test_a_clean_that_is_killed_at_any_step_leaves_each_model_whole_or_gone(tmp_path: Path) -> None:
    found = climb("clean", "-", tmp_path, 1)
    assert found["wrong"] == []
    assert found["steps"] > 10
