"""Clean, prune and pin on real trees: what goes, what is measured, what is protected, and what a rule may not touch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.errors import ModelBusy, RefusedTarget
from core.models.removal import CleanPolicy, Reason
from modelcache.clean import Outcome, clean, plan_clean
from modelcache.listing import find, list_models
from modelcache.lock import ModelLock, holder_of
from modelcache.own import set_pin
from modelcache.prune import Pruned, find_waste, prune
from modelcache.roots import OPEN_DIRECTORY, CacheRoot, refuse_unsafe
from tests.modelcache.models import NAME, REPO, hub_cache, pipeline, roots, safetensors, write
from tests.modelcache.test_check import SMALL, managed

ONE = {"config.json": b"{}", "w.safetensors": safetensors(200_000)}
HOUR = 3600.0


def cleaned(root: Path, name: str | None = None, **policy: float) -> list[Outcome]:
    models = find(list_models(roots(root), now=time.time()).models, name)
    return clean(plan_clean(models, CleanPolicy(**policy), time.time()))  # type: ignore[arg-type]


def pruned(root: Path, now: float | None = None) -> list[Pruned]:
    now = now or time.time()
    listing = list_models(roots(root), now=now)
    return prune(find_waste(listing.models, roots(root), now), now)


def blocks(directory: Path) -> int:
    return sum(each.lstat().st_blocks * 512 for each in directory.rglob("*") if not each.is_dir())


@contextmanager
def held_open(path: Path, how: str = "f = open(p, 'rb')") -> Iterator[int]:
    """Another process that has a file open, or only mapped."""
    code = f"import sys, mmap; p = {str(path)!r}; {how}; print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )  # fmt: skip
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
    finally:
        process.communicate()


# Clean


def test_a_cleaned_model_is_gone_and_what_it_freed_was_measured(tmp_path: Path) -> None:
    model = managed(tmp_path)
    write(tmp_path / "other_model", ONE)
    size = blocks(model)
    (outcome,) = cleaned(tmp_path, "flux")
    assert outcome.deleted
    assert outcome.freed_bytes == size > 0
    assert not model.exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == [".locks", "other_model"]


def test_a_hard_link_elsewhere_frees_nothing_and_links_within_the_clean_free_once(tmp_path: Path) -> None:
    one, two = write(tmp_path / "cache/one", ONE), write(tmp_path / "cache/two", {"config.json": b"{}"})
    os.link(one / "w.safetensors", two / "w.safetensors")
    big = (one / "w.safetensors").stat().st_blocks * 512
    small = (one / "config.json").stat().st_blocks * 512
    models = list_models(roots(tmp_path / "cache"), now=time.time()).models
    assert plan_clean(models[:1], CleanPolicy(), 0).freeable_bytes == small
    planned = plan_clean(models, CleanPolicy(), 0)
    assert planned.freeable_bytes == big + 2 * small
    assert sum(each.freed_bytes for each in clean(planned)) == big + 2 * small


def test_a_sparse_file_frees_only_its_blocks(tmp_path: Path) -> None:
    model = write(tmp_path / "cache/sparse", {"config.json": b"{}", "w.gguf": b"GGUF"})
    os.truncate(model / "w.gguf", 1 << 30)
    (outcome,) = cleaned(tmp_path / "cache")
    assert 0 < outcome.freed_bytes < 1 << 20


def test_links_are_removed_and_never_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"precious.safetensors": b"x", "deep/y": b"y"})
    model = write(tmp_path / "cache/one", ONE)
    (model / "file").symlink_to(outside / "precious.safetensors")
    (model / "directory").symlink_to(outside)
    (tmp_path / "cache/linked_model").symlink_to(outside)
    cleaned(tmp_path / "cache")
    assert not model.exists()
    assert sorted(each.name for each in outside.rglob("*")) == ["deep", "precious.safetensors", "y"]
    assert (tmp_path / "cache/linked_model").is_symlink()


def test_a_hub_cache_frees_its_shared_blobs_once(tmp_path: Path) -> None:
    commits = {"a" * 40: SMALL, "b" * 40: SMALL}
    top = hub_cache(tmp_path, REPO, commits, {"main": "a" * 40})
    size = blocks(top)
    (outcome,) = cleaned(tmp_path)
    assert (outcome.deleted, outcome.freed_bytes) == (True, size)
    assert not top.exists()


def test_a_pinned_model_stays_whatever_is_asked(tmp_path: Path) -> None:
    model = managed(tmp_path)
    descriptor = os.open(model, OPEN_DIRECTORY)
    set_pin(descriptor, pinned=True)
    os.close(descriptor)
    assert cleaned(tmp_path) == []
    (model / ".model_cache/pinned").unlink()
    assert cleaned(tmp_path)[0].deleted


def test_a_model_that_is_pinned_after_the_plan_stays(tmp_path: Path) -> None:
    model = managed(tmp_path)
    planned = plan_clean(list_models(roots(tmp_path), now=0).models, CleanPolicy(), 0)
    write(model, {".model_cache/pinned": b""})
    (outcome,) = clean(planned)
    assert (outcome.deleted, outcome.busy) == (False, True)
    assert model.exists()


def test_a_model_that_is_used_after_the_plan_stays_by_an_age_rule(tmp_path: Path) -> None:
    model = write(tmp_path / "cache/one", ONE, age_seconds=50 * HOUR)
    models = list_models(roots(tmp_path / "cache"), now=time.time()).models
    planned = plan_clean(models, CleanPolicy(older_than_seconds=24 * HOUR), time.time())
    assert [each[1].reason for each in planned.verdicts] == [Reason.OLD]
    write(model, {".model_cache/used": b""})
    assert "used meanwhile" in (clean(planned)[0].trouble or "")
    assert model.exists()


def test_a_viewed_directory_is_never_changed(tmp_path: Path) -> None:
    write(tmp_path / "one", ONE)
    models = list_models(roots(view=(tmp_path,)), now=0).models
    planned = plan_clean(models, CleanPolicy(), 0)
    assert [each[1].reason for each in planned.verdicts] == [Reason.READ_ONLY]
    with pytest.raises(RefusedTarget):
        refuse_unsafe(roots(view=(tmp_path,))[0])


@pytest.mark.parametrize("path", ["/", "/tmp", "/etc/models", "/home/somebody", "/usr/lib/x"])
def test_models_in_a_dangerous_place_are_never_touched(path: str) -> None:
    with pytest.raises(RefusedTarget):
        refuse_unsafe(CacheRoot(Path(path)))


def test_a_cache_directory_that_holds_our_own_files_is_refused(tmp_path: Path) -> None:
    model = write(tmp_path / "cache/one", ONE)
    planned = plan_clean(list_models(roots(tmp_path / "cache"), now=0).models, CleanPolicy(), 0)
    (outcome,) = clean(planned, [tmp_path / "cache" / "state"])
    assert not outcome.deleted
    assert "own files" in (outcome.trouble or "")
    assert model.exists()


# In use


@pytest.mark.parametrize(
    "how", ["f = open(p, 'rb')", "f = open(p, 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); f.close()"]
)
def test_a_model_that_a_process_has_open_or_mapped_is_skipped_and_the_process_named(tmp_path: Path, how: str) -> None:
    model = managed(tmp_path)
    with held_open(model / "flux1.safetensors", how) as pid:
        planned = plan_clean(list_models(roots(tmp_path), now=0).models, CleanPolicy(), 0)
        verdict = planned.verdicts[0][1]
        assert verdict.reason is Reason.IN_USE
        assert f"({pid})" in (verdict.candidate.in_use or "")
        assert "flux1.safetensors" in (verdict.candidate.in_use or "")
    assert cleaned(tmp_path)[0].deleted


def test_a_model_that_is_opened_after_the_plan_stays(tmp_path: Path) -> None:
    model = managed(tmp_path)
    planned = plan_clean(list_models(roots(tmp_path), now=0).models, CleanPolicy(), 0)
    with held_open(model / "flux1.safetensors"):
        (outcome,) = clean(planned)
    assert (outcome.deleted, outcome.busy) == (False, True)
    assert len(list(model.rglob("*.safetensors"))) == 3


def test_a_download_by_the_hubs_own_client_protects_a_model(tmp_path: Path) -> None:
    hub_cache(tmp_path, REPO, {"a" * 40: SMALL}, {"main": "a" * 40})
    lock = write(tmp_path / ".locks/models--black-forest-labs--FLUX.1-dev", {"x.lock": b""}) / "x.lock"
    with held_open(lock, "import fcntl; f = open(p); fcntl.flock(f, fcntl.LOCK_EX)"):
        planned = plan_clean(list_models(roots(tmp_path), now=0).models, CleanPolicy(), 0)
        assert "being downloaded" in (planned.verdicts[0][1].candidate.in_use or "")


def test_a_locked_model_is_skipped_while_the_others_go(tmp_path: Path) -> None:
    write(tmp_path / "one", ONE)
    write(tmp_path / "two", ONE)
    (root,) = roots(tmp_path)
    planned = plan_clean(list_models((root,), now=0).models, CleanPolicy(), 0)
    with ModelLock(root, "one", "pull"):
        assert "pull" in (holder_of(root, "one") or "")
        one, two = clean(planned)
    assert (one.deleted, one.busy, two.deleted) == (False, True, True)
    assert f"process {os.getpid()}" in (one.trouble or "")
    assert holder_of(root, "one") is None
    with pytest.raises(ModelBusy), ModelLock(root, "x", "a"), ModelLock(root, "x", "b"):
        pass


def test_two_cleans_at_once_free_everything_once(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path / f"model_{number}", ONE)
    size = blocks(tmp_path)
    models = list_models(roots(tmp_path), now=0).models
    plans = [plan_clean(models, CleanPolicy(), 0) for _ in range(2)]
    outcomes: list[list[Outcome]] = [[], []]
    threads = [threading.Thread(target=lambda n=n: outcomes[n].extend(clean(plans[n]))) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    everything = outcomes[0] + outcomes[1]
    assert sum(each.freed_bytes for each in everything) == size
    assert sum(each.deleted for each in everything) == 12
    assert all(each.busy for each in everything if not each.deleted)
    assert [each.name for each in tmp_path.iterdir()] == [".locks"]


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_mount_below_a_model_protects_it(tmp_path: Path) -> None:
    model = write(tmp_path / "cache/one", ONE)
    outside = write(tmp_path / "outside", {"precious": b"x"})
    (model / "mounted").mkdir()
    if subprocess.run(["mount", "--bind", str(outside), str(model / "mounted")], check=False).returncode:
        pytest.skip("this container may not mount")
    try:
        assert cleaned(tmp_path / "cache") == []
        assert (outside / "precious").exists()
        assert (model / "w.safetensors").exists()
    finally:
        subprocess.run(["umount", str(model / "mounted")], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount, and not in every container")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.needs_root
def test_a_full_disk_can_still_be_cleaned(small_disk: Path) -> None:
    write(small_disk / "one", ONE)
    with pytest.raises(OSError, match="No space"):
        (small_disk / "rest").write_bytes(b"x" * (9 << 20))
    (outcome,) = cleaned(small_disk)
    assert (outcome.deleted, outcome.trouble) == (True, None)
    assert outcome.freed_bytes > 200_000


# Prune


def test_prune_removes_a_partial_first_pull_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path / NAME, {".model_cache/parts/aa": b"x" * 9000})
    (result,) = pruned(tmp_path)
    assert result.freed_bytes >= 9000
    assert not (tmp_path / NAME).exists()


def test_prune_takes_the_parts_of_an_update_and_leaves_the_model_whole(tmp_path: Path) -> None:
    model = managed(tmp_path)
    write(model, {".model_cache/parts/aa": b"x" * 9000, ".model_cache/staging/a/b": b"y"})
    assert pruned(tmp_path)[0].trouble is None
    (found,) = list_models(roots(tmp_path), now=0).models
    assert found.check
    assert sorted(each.name for each in (model / ".model_cache").iterdir()) == ["manifest.json"]


def test_a_foreign_partial_file_has_an_hour_and_is_safe_while_it_is_open(tmp_path: Path) -> None:
    model = write(tmp_path / NAME, {**SMALL, "x.safetensors.incomplete": b"x" * 9000})
    assert pruned(tmp_path) == []
    with held_open(model / "x.safetensors.incomplete"):
        assert pruned(tmp_path, time.time() + 2 * HOUR) == []
    assert len(pruned(tmp_path, time.time() + 2 * HOUR)) == 1
    assert (model / "flux1.safetensors").exists()
    assert not (model / "x.safetensors.incomplete").exists()


def test_prune_of_a_hub_cache_takes_superseded_snapshots_and_their_own_blobs_alone(tmp_path: Path) -> None:
    old, new = pipeline(seed=1, large=64 << 10), pipeline(seed=9, large=64 << 10)
    top = hub_cache(tmp_path, REPO, {"a" * 40: old, "b" * 40: new}, {"main": "b" * 40})
    before = blocks(top)
    (result,) = pruned(tmp_path)
    assert result.trouble is None
    assert result.freed_bytes == before - blocks(top) > sum(map(len, old.values())) - 100_000
    assert [each.name for each in (top / "snapshots").iterdir()] == ["b" * 40]
    (found,) = list_models(roots(tmp_path), now=0).models
    assert found.check
    assert pruned(tmp_path) == []


def test_a_superseded_revision_that_is_open_stays(tmp_path: Path) -> None:
    old, new = pipeline(seed=1, large=64 << 10), pipeline(seed=9, large=64 << 10)
    top = hub_cache(tmp_path, REPO, {"a" * 40: old, "b" * 40: new}, {"main": "b" * 40})
    with held_open(top / "snapshots" / ("a" * 40) / "flux1.safetensors"):
        listing = list_models(roots(tmp_path), now=0)
        (waste,) = find_waste(listing.models, roots(tmp_path), time.time())
        assert "is open in" in (waste.kept or "")
        assert prune([waste], time.time()) == []


def test_prune_purges_what_an_interrupted_clean_left(tmp_path: Path) -> None:
    left = write(tmp_path / ".deleting.one.1.2", ONE)
    listing = list_models(roots(tmp_path), now=0)
    assert listing.models == []
    assert "interrupted" in listing.skipped[0][1]
    (result,) = pruned(tmp_path)
    assert result.freed_bytes > 0
    assert not left.exists()


def test_a_pinned_model_keeps_its_partial_files_too(tmp_path: Path) -> None:
    model = managed(tmp_path)
    write(model, {".model_cache/parts/aa": b"x", ".model_cache/pinned": b""})
    assert pruned(tmp_path) == []
    assert (model / ".model_cache/parts/aa").exists()
