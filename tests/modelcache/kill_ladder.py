"""Kills a pull or a clean before each of its changes to the disk, one after the other, and looks at what is left.

    python -m tests.modelcache.kill_ladder pull URL DIRECTORY STRIDE
    python -m tests.modelcache.kill_ladder clean - DIRECTORY STRIDE

A stride above 1 leaves steps out, to save time.

Each step is a fork that ends itself with SIGKILL when Python announces (audit events) its n-th rename, unlink, link,
mkdir, rmdir or open for writing. Prints one JSON line: how many steps there were, and what was wrong after them.
A process of its own, because only a single thread may be forked safely.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from core.models.removal import CleanPolicy
from modelcache import check_model_exists, list_models
from modelcache.clean import clean, plan_clean
from modelcache.huggingface import HuggingFace
from modelcache.prune import find_waste, prune
from modelcache.pull import PullOptions, pull
from tests.modelcache.models import NAME, REPO, pipeline, roots, silent

_CHANGES = ("os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.truncate", "os.utime")
LARGE = 9 << 20
OLD, NEW = pipeline(seed=1, large=LARGE), pipeline(seed=50, large=LARGE)
for _files in (OLD, NEW):
    # One large file and two small ones are enough steps, and each step is a pull.
    for _path in set(_files) - {"flux1.safetensors", "README.md", "scheduler/scheduler_config.json"}:
        del _files[_path]
NEW["README.md"] = b"# newer"


def run_until(step: int, action: Callable[[], object]) -> bool:
    """Fork and run the action until its step-th change; return whether it came to its end."""
    child = os.fork()
    if child == 0:
        count = 0

        def kill_at(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal count
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            # What the hub's client does in staging is no step of ours, and is not believed anyway.
            if (event in _CHANGES or writes) and "/staging" not in str(arguments):
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill_at)
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - a fork must end here, whatever happens
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, "the action failed by itself"
    return True


def wrong_after_pull(cache: Path) -> str | None:
    """Return what is wrong with a cache after a killed pull: a state that promises what is not there."""
    check = check_model_exists(REPO, [cache])
    if not check:
        return None
    model = cache / NAME
    there = {str(each.relative_to(model)): each.read_bytes() for each in model.rglob("*")
             if each.is_file() and ".model_cache" not in each.parts}  # fmt: skip
    if there not in (OLD, NEW):
        return f"complete ({check.evidence}), and its files are {sorted(there)}, a mixture"
    if not check_model_exists(REPO, [cache], full=True):
        return "complete, and the full check disagrees"
    return None


def pull_ladder(url: str, directory: Path, stride: int) -> tuple[int, list[str]]:
    """Kill an update of a complete model at every step, then let it finish, pruned before or not."""
    wrong = []
    commits = json.loads((directory / "commits.json").read_text())
    base, cache = directory / "base", directory / "cache"

    def pull_commit(where: Path, commit: str) -> object:
        wished = PullOptions(revision=commit)
        return pull(lambda: HuggingFace(url), REPO, roots(where), wished, time.time(), silent)

    pull_commit(base, commits["old"])
    for first in (False, True):
        step = 1
        while True:
            shutil.rmtree(cache, ignore_errors=True)
            if not first:
                shutil.copytree(base, cache)
            ended = run_until(step, lambda: pull_commit(cache, commits["new"]))
            if what := wrong_after_pull(cache):
                wrong.append(f"first={first} step {step}: {what}")
            if ended:
                break
            if step % 3 < stride - 1 or stride == 1:
                now = time.time()
                prune(find_waste(list_models(roots(cache), now=now).models, roots(cache), now), now)
                if what := wrong_after_pull(cache):
                    wrong.append(f"first={first} step {step}, pruned: {what}")
            if step % 4 < stride:
                pull_commit(cache, commits["new"])
                if (
                    not check_model_exists(REPO, [cache], full=True)
                    or (cache / NAME / "README.md").read_bytes() != b"# newer"
                ):
                    wrong.append(f"first={first} step {step}: the next pull did not repair it")
            step += stride
    return step, wrong


def clean_ladder(directory: Path, stride: int) -> tuple[int, list[str]]:
    """Kill a clean of two models at every step: each is whole or gone, and the next clean leaves nothing."""
    wrong = []
    cache = directory / "cache"
    step = 1
    while True:
        shutil.rmtree(cache, ignore_errors=True)
        for name in ("one", "two"):
            for path in ("config.json", "w.safetensors", "deep/er/x.json"):
                (cache / name / path).parent.mkdir(parents=True, exist_ok=True)
                (cache / name / path).write_bytes(NEW["flux1.safetensors"][:5000] if "w." in path else b"{}")
        planned = plan_clean(list_models(roots(cache), now=0).models, CleanPolicy(), 0)
        ended = run_until(step, lambda planned=planned: clean(planned))  # type: ignore[misc]
        for model in list_models(roots(cache), now=0).models:
            files = [each for each in (cache / model.name).rglob("*") if each.is_file()]
            if len(files) != 3:
                wrong.append(f"step {step}: {model.name} is still listed with {len(files)} files")
        now = time.time()
        clean(plan_clean(list_models(roots(cache), now=now).models, CleanPolicy(), now))
        prune(find_waste([], roots(cache), now), now)
        if left := [str(each) for each in cache.rglob("*") if each.is_file() and ".locks" not in each.parts]:
            wrong.append(f"step {step}: left {left}")
        if ended:
            return step, wrong
        step += stride


def main(kind: str, url: str, directory: Path, stride: int) -> None:
    if kind == "pull":
        HuggingFace(url).headers()  # loads the library once, for all forks
        steps, wrong = pull_ladder(url, directory, stride)
    else:
        steps, wrong = clean_ladder(directory, stride)
    print(json.dumps({"steps": steps, "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
