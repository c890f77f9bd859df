"""check_model_exists and the list, on real files: what is whole, what is not, and in which words."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from core.models.manifest import FileRecord, Manifest
from core.models.states import Evidence, Fault, State
from modelcache import check_model_exists, list_models
from modelcache.own import read_own, set_pin, write_manifest
from modelcache.roots import OPEN_DIRECTORY
from tests.modelcache.fake_hub import git_blob_id
from tests.modelcache.models import (
    NAME,
    REPO,
    Watched,
    age,
    hub_cache,
    pipeline,
    roots,
    safetensors,
    write,
)

SMALL = pipeline(large=64 << 10)


def managed(root: Path, files: dict[str, bytes] = SMALL, repo: str = REPO, name: str = NAME) -> Path:
    """A model with a manifest, stamped, as a pull leaves it."""
    model = write(root / name, files)
    records = tuple(
        FileRecord(
            path, len(content), hashlib.sha256(content).hexdigest(), git_blob_id(content),
            (model / path).stat().st_mtime_ns,
        )
        for path, content in files.items()
    )  # fmt: skip
    descriptor = os.open(model, OPEN_DIRECTORY)
    write_manifest(descriptor, Manifest(repo, "main", "c" * 40, "http://hub", records, 1.0))
    os.close(descriptor)
    return model


def overwrite(path: Path, content: bytes, at: int = 0) -> None:
    """Change bytes in place, and give the file its old times back."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


# The quick check


def test_a_repo_that_is_not_there_is_absent(tmp_path: Path) -> None:
    assert check_model_exists(REPO, [tmp_path]).state is State.ABSENT
    assert check_model_exists(REPO, [tmp_path / "no"]).state is State.ABSENT


def test_a_managed_model_is_complete_by_hash_without_being_hashed(tmp_path: Path) -> None:
    managed(tmp_path)
    check = check_model_exists(REPO, [tmp_path])
    assert check
    assert check.evidence is Evidence.HASH
    assert check.size_bytes == sum(map(len, SMALL.values()))


@pytest.mark.parametrize("name", ["black_forest_labs_FLUX_1_dev", "black_forest_labs_FLUX.1_dev", "flux-dev"])
def test_what_older_scripts_downloaded_is_found_and_judged_by_its_files(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, SMALL)
    check = check_model_exists(REPO, [tmp_path])
    assert check
    assert check.evidence is Evidence.CONTENT


def test_the_directory_of_another_repo_with_the_same_safe_name_is_not_taken(tmp_path: Path) -> None:
    managed(tmp_path, repo="black-forest-labs/FLUX-1-dev")
    assert check_model_exists(REPO, [tmp_path]).state is State.ABSENT
    assert check_model_exists("black-forest-labs/FLUX-1-dev", [tmp_path])


def test_a_model_is_also_checked_by_its_directory(tmp_path: Path) -> None:
    assert check_model_exists(managed(tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (managed(tmp_path) / "vae/model.safetensors").unlink()
    check = check_model_exists(REPO, [tmp_path])
    assert check.state is State.PARTIAL
    assert [each.path for each in check.findings] == ["vae/model.safetensors"]


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_truncated_safetensors_file_is_found_by_its_header(tmp_path: Path, with_manifest: bool) -> None:
    model = managed(tmp_path) if with_manifest else write(tmp_path / NAME, SMALL)
    os.truncate(model / "flux1.safetensors", 60_000)
    check = check_model_exists(REPO, [tmp_path])
    assert check.state is State.CORRUPT
    assert [(each.path, each.fault) for each in check.findings] == [("flux1.safetensors", Fault.WRONG_SIZE)]


def test_a_file_of_the_right_length_whose_end_was_never_written_is_found(tmp_path: Path) -> None:
    content = safetensors(4 << 20)
    model = write(tmp_path / NAME, {"config.json": b"{}", "model.safetensors": content[: 2 << 20]})
    os.truncate(model / "model.safetensors", len(content))
    finding = check_model_exists(REPO, [tmp_path]).findings[0]
    assert finding.fault is Fault.MALFORMED
    assert "zeros" in finding.detail


@pytest.mark.parametrize(
    ("name", "content"),
    [("pytorch_model.bin", b""), ("model.gguf", b"<html>Not Found</html>"), ("model.pt", b"PK\x03\x04" + b"x" * 900),
     ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")],
)  # fmt: skip
def test_weights_that_are_no_weights_are_corrupt(tmp_path: Path, name: str, content: bytes) -> None:
    write(tmp_path / NAME, {"config.json": b"{}", name: content})
    assert check_model_exists(REPO, [tmp_path]).state is State.CORRUPT


def test_an_incomplete_file_makes_a_model_partial(tmp_path: Path) -> None:
    model = write(tmp_path / NAME, SMALL)
    write(model, {".cache/huggingface/download/x.incomplete": b"abc"})
    assert check_model_exists(REPO, [tmp_path]).state is State.PARTIAL


def test_a_manifest_that_cannot_be_read_never_passes(tmp_path: Path) -> None:
    (managed(tmp_path) / ".model_cache/manifest.json").write_text('{"format": 1, "repo"')
    check = check_model_exists(REPO, [tmp_path])
    assert not check
    assert "manifest.json" in check.findings[0].detail


# The full check


def test_one_changed_byte_is_found_by_the_full_check_alone(tmp_path: Path) -> None:
    model = managed(tmp_path)
    overwrite(model / "transformer/part-1.safetensors", b"?", at=50_000)
    assert check_model_exists(REPO, [tmp_path])
    check = check_model_exists(REPO, [tmp_path], full=True)
    assert check.state is State.CORRUPT
    assert [(each.path, each.fault) for each in check.findings] == [
        ("transformer/part-1.safetensors", Fault.WRONG_HASH)
    ]


def test_a_full_check_reports_its_progress_and_stamps_what_it_vouches_for(tmp_path: Path) -> None:
    model = managed(tmp_path)
    os.utime(model / "flux1.safetensors")
    assert check_model_exists(REPO, [tmp_path]).evidence is Evidence.SIZE
    watched = Watched()
    assert check_model_exists(REPO, [tmp_path], full=True, progress=watched)
    total = sum(map(len, SMALL.values()))
    assert watched.calls[-1] == ("verify", total, total)
    assert check_model_exists(REPO, [tmp_path]).evidence is Evidence.HASH


def test_a_hub_cache_is_verified_by_the_names_of_its_blobs(tmp_path: Path) -> None:
    top = hub_cache(tmp_path, REPO, {"c" * 40: SMALL}, {"main": "c" * 40})
    assert check_model_exists(REPO, [tmp_path]).evidence is Evidence.CONTENT
    assert check_model_exists(REPO, [tmp_path], full=True).evidence is Evidence.HASH
    blob = top / "blobs" / hashlib.sha256(SMALL["vae/model.safetensors"]).hexdigest()
    overwrite(blob, b"?", at=1 << 20)
    assert check_model_exists(REPO, [tmp_path], full=True).findings[0].path == "vae/model.safetensors"


def test_a_hub_cache_is_compared_with_its_listing(tmp_path: Path) -> None:
    commit = "c" * 40
    top = hub_cache(tmp_path, REPO, {commit: SMALL}, {"main": commit})
    listing = {
        path: {"size": len(content), "blob_id": git_blob_id(content)}
        for path, content in {**SMALL, "late.safetensors": b"x"}.items()
    }
    write(top, {f"trees/{commit}.json": json.dumps({"format_version": 1, "files": listing}).encode()})
    check = check_model_exists(REPO, [tmp_path])
    assert (check.state, check.findings[0].path) == (State.PARTIAL, "late.safetensors")


# Links


def test_a_link_out_of_the_cache_counts_as_missing(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"w.safetensors": SMALL["flux1.safetensors"]})
    model = managed(tmp_path / "cache")
    (model / "flux1.safetensors").unlink()
    (model / "flux1.safetensors").symlink_to(outside / "w.safetensors")
    check = check_model_exists(REPO, [tmp_path / "cache"])
    assert check.state is State.PARTIAL
    assert "not followed" in "".join(each.detail for each in check.findings)


def test_a_hub_link_that_leads_past_the_blobs_is_not_followed(tmp_path: Path) -> None:
    top = hub_cache(tmp_path / "cache", REPO, {"c" * 40: SMALL}, {"main": "c" * 40})
    secret = write(tmp_path, {"secret.safetensors": SMALL["flux1.safetensors"]}) / "secret.safetensors"
    link = top / "snapshots" / ("c" * 40) / "flux1.safetensors"
    link.unlink()
    link.symlink_to(secret)
    check = check_model_exists(REPO, [tmp_path / "cache"])
    assert (check.state, check.findings[0].path) == (State.PARTIAL, "flux1.safetensors")


# The list


def test_a_list_shows_every_layout_and_its_totals_count_a_shared_file_once(tmp_path: Path) -> None:
    own, comfyui, hub = tmp_path / "own", tmp_path / "models", tmp_path / "hub"
    model = managed(own)
    os.link(model / "flux1.safetensors", write(own / "second_model", {"config.json": b"{}"}) / "flux1.safetensors")
    write(
        comfyui,
        {"checkpoints/sd/a.safetensors": safetensors(), "vae/b.safetensors": safetensors(9), "loras/x.txt": b""},
    )
    hub_cache(hub, "org/name", {"c" * 40: SMALL}, {"main": "c" * 40})
    listing = list_models(roots(own, view=(comfyui, hub)), now=time.time())
    found = {each.name: each for each in listing.models}
    assert set(found) == {
        NAME,
        "second_model",
        "checkpoints/sd/a.safetensors",
        "vae/b.safetensors",
        "models--org--name",
    }
    assert found["models--org--name"].repo == "org/name"
    assert all(each.check for each in listing.models)
    assert found["vae/b.safetensors"].place.root.read_only
    shared = (model / "flux1.safetensors").stat().st_blocks * 512
    assert listing.usage.disk_bytes == sum(each.usage.disk_bytes for each in listing.models) - shared
    assert set(listing.disks) == {own, comfyui, hub}


def test_a_comfyui_folder_is_read_only_even_among_the_cache_directories(tmp_path: Path) -> None:
    write(tmp_path, {"checkpoints/a.safetensors": safetensors(), "vae/b.safetensors": safetensors()})
    (root,) = roots(tmp_path)
    assert root.read_only


def test_what_shows_no_sign_of_a_model_is_passed_over_with_its_reason(tmp_path: Path) -> None:
    write(tmp_path / "documents", {"letter.txt": b"dear"})
    write(tmp_path / "elsewhere", {"config.json": b"{}"})
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    listing = list_models(roots(tmp_path), now=time.time())
    assert [each.name for each in listing.models] == ["elsewhere"]
    assert {Path(path).name: reason.split(",")[0] for path, reason in listing.skipped} == {
        "documents": "no sign of a model in it", "linked": "a link",
    }  # fmt: skip


def test_a_sparse_file_counts_what_it_takes(tmp_path: Path) -> None:
    model = write(tmp_path / NAME, {"config.json": b"{}", "w.gguf": b"GGUF"})
    os.truncate(model / "w.gguf", 1 << 30)
    (found,) = list_models(roots(tmp_path), now=time.time()).models
    assert found.check.size_bytes > 1 << 30
    assert found.usage.disk_bytes < 1 << 20


def test_the_last_use_is_what_we_recorded_or_the_newest_time_of_its_files(tmp_path: Path) -> None:
    now = time.time()
    model = managed(tmp_path)
    for path in model.rglob("*"):
        age(path, 1000)
    (found,) = list_models(roots(tmp_path), now=now).models
    assert now - 1100 < found.last_used < now - 900
    os.utime(write(model, {".model_cache/used": b""}) / ".model_cache/used", (now - 50, now - 50))
    assert list_models(roots(tmp_path), now=now).models[0].last_used == pytest.approx(now - 50)


# The index


def listed(root: Path, index: Path, *, fresh: bool = False) -> list[tuple[str, State, bool, int]]:
    found = list_models(roots(root), now=time.time() + 10, index_file=index, fresh=fresh).models
    return [(each.name, each.check.state, each.pinned, each.check.size_bytes) for each in found]


def test_the_index_gives_the_same_list_and_sees_every_change_of_names_and_of_large_files(tmp_path: Path) -> None:
    root, index = tmp_path / "cache", tmp_path / "state" / "index.json"
    model = managed(root)
    first = listed(root, index)
    assert index.exists()
    assert listed(root, index) == first == listed(root, index, fresh=True)
    descriptor = os.open(model, OPEN_DIRECTORY)
    set_pin(descriptor, pinned=True)
    os.close(descriptor)
    assert listed(root, index)[0][2]
    os.truncate(model / "flux1.safetensors", 60_000)
    assert listed(root, index)[0][1] is State.CORRUPT
    (model / "vae/config.json").unlink()
    assert listed(root, index) == listed(root, index, fresh=True)


def test_the_index_is_believed_where_nothing_it_looks_at_has_changed(tmp_path: Path) -> None:
    root, index = tmp_path / "cache", tmp_path / "index.json"
    model = managed(root)
    size = listed(root, index)[0][3]
    with (model / "README.md").open("ab") as file:
        file.write(b"more")
    assert listed(root, index)[0][3] == size
    assert listed(root, index, fresh=True)[0][1] is State.CORRUPT


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1, "models": {"x": 1}}', '{"format": 9}', "\0"])
def test_a_damaged_index_is_only_slower(tmp_path: Path, content: str) -> None:
    root, index = tmp_path / "cache", tmp_path / "index.json"
    managed(root)
    good = listed(root, index)
    entry = json.loads(index.read_text())["models"]
    index.write_text(content.replace('"x": 1', f'"{next(iter(entry))}": {{"directories": [["", [1]]]}}'))
    assert listed(root, index) == good


def test_a_model_that_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    root, index = tmp_path / "cache", tmp_path / "index.json"
    managed(root)
    list_models(roots(root), now=time.time(), index_file=index)
    assert not index.exists() or not json.loads(index.read_text())["models"]


def test_our_own_files_can_be_read_back(tmp_path: Path) -> None:
    descriptor = os.open(managed(tmp_path), OPEN_DIRECTORY)
    own = read_own(descriptor)
    os.close(descriptor)
    assert own.manifest is not None
    assert (own.manifest.repo, own.pinned, own.pulling, own.trouble) == (REPO, False, None, None)
