"""Pulls from a hub on loopback: resumed, verified, refused, never twice, and never a mixture."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.errors import HubError, ModelBusy, NoRoom, RefusedTarget
from core.models.manifest import FileRecord
from core.models.states import Evidence, State
from core.secret import Secret
from modelcache import check_model_exists, list_models
from modelcache.check import place_of_directory
from modelcache.download import Part, download
from modelcache.huggingface import HuggingFace
from modelcache.lock import ModelLock
from modelcache.own import read_own
from modelcache.prune import find_waste, prune
from modelcache.pull import Pulled, PullOptions, pull
from modelcache.reading import reading
from modelcache.roots import OPEN_DIRECTORY, CacheRoot
from tests.modelcache.fake_hub import FakeHub
from tests.modelcache.models import LARGE, NAME, REPO, hub_cache, pipeline, roots, safetensors, silent, write
from tests.workspace import wait_for

SOURCE = Path(__file__).resolve().parents[2]
FILES = pipeline()
BIG = "flux1.safetensors"


def pulled(
    hub: FakeHub,
    cache: Path,
    repo: str = REPO,
    *,
    token: str | None = None,
    view: tuple[Path, ...] = (),
    **options: object,
) -> Pulled:
    secret = Secret(token) if token else None
    wished = PullOptions(**options)  # type: ignore[arg-type]
    return pull(lambda: HuggingFace(hub.url, secret), repo, roots(cache, view=view), wished, time.time(), silent)


def no_hub() -> HuggingFace:
    raise AssertionError("the hub was asked")


def content_of(model: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(model)): path.read_bytes()
        for path in model.rglob("*")
        if path.is_file() and ".model_cache" not in path.parts
    }


def parts_of(model: Path) -> list[Path]:
    return list((model / ".model_cache" / "parts").glob("*"))


# Once


def test_a_pulled_model_is_complete_by_hash_and_the_second_pull_asks_nobody(hub: FakeHub, tmp_path: Path) -> None:
    commit = hub.publish(REPO, FILES)
    first = pulled(hub, tmp_path / "cache")
    model = tmp_path / "cache" / NAME
    assert content_of(model) == FILES
    assert (first.skipped, first.manifest.commit) == (False, commit)
    assert first.fetched_bytes == sum(map(len, FILES.values()))
    assert check_model_exists(REPO, [tmp_path / "cache"], full=True).evidence is Evidence.HASH
    assert not (model / ".model_cache/parts").exists()
    assert not (model / ".model_cache/pulling.json").exists()
    again = pull(no_hub, REPO, roots(tmp_path / "cache"), PullOptions(), time.time(), silent)
    assert (again.skipped, again.fetched_bytes) == (True, 0)


def test_the_manifest_has_the_hash_of_every_file(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    manifest = pulled(hub, tmp_path).manifest
    assert {each.path: each.sha256 for each in manifest.files} == {
        path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()
    }


def test_files_that_are_there_already_are_adopted_by_their_hash(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    old = {**FILES, "transformer/part-1.safetensors": b"\0" * len(FILES["transformer/part-1.safetensors"])}
    write(tmp_path / "flux-dev", old)
    result = pulled(hub, tmp_path)
    assert result.place.name == "flux-dev"
    assert result.fetched_bytes == len(FILES["transformer/part-1.safetensors"])
    assert content_of(tmp_path / "flux-dev") == FILES


def test_a_blob_of_the_hub_cache_is_copied_instead_of_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    commit = hub.publish(REPO, FILES)
    hub_cache(tmp_path / "hub", REPO, {commit: FILES}, {"main": commit})
    result = pulled(hub, tmp_path / "cache", view=(tmp_path / "hub",))
    assert hub.sent_bytes[BIG] == 0
    assert result.fetched_bytes < 4 << 20
    assert content_of(tmp_path / "cache" / NAME) == FILES


def test_a_touched_model_is_hashed_and_only_what_is_wrong_is_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    model = Path(pulled(hub, tmp_path).place.path)
    os.utime(model / BIG)
    assert pull(no_hub, REPO, roots(tmp_path), PullOptions(), time.time(), silent).skipped
    with (model / BIG).open("r+b") as file:
        file.seek(9 << 20)
        file.write(b"????")
    hub.sent_bytes.clear()
    assert pulled(hub, tmp_path).fetched_bytes == len(FILES[BIG])
    assert set(hub.sent_bytes) == {BIG}
    assert content_of(model) == FILES


def test_two_repos_whose_names_collide_are_told_apart(hub: FakeHub, tmp_path: Path) -> None:
    one, other = "org/a-b", "org/a.b"
    hub.publish(one, {"w.safetensors": safetensors(seed=1)})
    hub.publish(other, {"w.safetensors": safetensors(seed=2)})
    places = [pulled(hub, tmp_path, repo).place for repo in (one, other)]
    assert places[0].name == "org_a_b" != places[1].name
    assert [content_of(Path(each.path))["w.safetensors"] for each in places] == [
        safetensors(seed=1),
        safetensors(seed=2),
    ]
    assert [each.repo for each in list_models(roots(tmp_path), now=0).models] == [one, other]


def test_a_directory_without_a_manifest_that_may_be_anothers_is_left_alone(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    strange = write(tmp_path / NAME, {"config.json": b"{}", BIG: safetensors(5000)})
    before = content_of(strange)
    result = pulled(hub, tmp_path)
    assert result.place.name.startswith(NAME + "_")
    assert content_of(strange) == before


def test_a_new_model_goes_to_the_first_directory_or_where_it_is_told(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish("org/x", {"w.safetensors": safetensors()})
    both = roots(tmp_path / "a", tmp_path / "b")
    wished = PullOptions(into=tmp_path / "b")
    assert pull(lambda: HuggingFace(hub.url), "org/x", both, wished, 0.0, silent).place.root.path == tmp_path / "b"
    with pytest.raises(RefusedTarget, match="MODEL_CACHE_DIRS"):
        pulled(hub, tmp_path / "c", "org/x", into=tmp_path / "d")


# Resume


def start_pull(hub: FakeHub, cache: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from modelcache.huggingface import HuggingFace; from modelcache.pull import PullOptions, pull\n"
        "from modelcache.roots import cache_roots\n"
        f"pull(lambda: HuggingFace({hub.url!r}), {REPO!r}, cache_roots([Path({str(cache)!r})]), PullOptions(),"
        " time.time(), print)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=SOURCE, stdout=subprocess.DEVNULL)


def kill_a_pull(hub: FakeHub, cache: Path, after_bytes: int) -> None:
    """Begin a pull in a process of its own from a slow hub, and kill it once it has fetched so much."""
    hub.bytes_per_second = 2 << 20
    process = start_pull(hub, cache)

    def fetched() -> bool:
        assert process.poll() is None, "the pull ended before it could be killed"
        return sum(each.stat().st_size for each in parts_of(cache / NAME)) > after_bytes

    try:
        wait_for(fetched, 60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        hub.bytes_per_second = None


def test_a_killed_pull_goes_on_where_it_stopped_in_another_process(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    kill_a_pull(hub, tmp_path, 3 << 20)
    kept = {each.name: each.stat().st_size for each in parts_of(tmp_path / NAME)}
    check = check_model_exists(REPO, [tmp_path])
    assert check.state is State.PARTIAL
    assert BIG in {each.path for each in check.findings}
    hub.requests.clear()
    result = pulled(hub, tmp_path)
    assert result.fetched_bytes == sum(map(len, FILES.values())) - sum(kept.values())
    resumed = {int(asked[6:-1]) for _, path, asked in hub.requests if "/cdn/" in path and asked}
    assert resumed - {0} == set(kept.values()) - {0}
    assert content_of(tmp_path / NAME) == FILES


def test_a_second_pull_of_the_same_model_is_told_who_is_at_it(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    with (
        ModelLock(CacheRoot(tmp_path), NAME, "pull"),
        pytest.raises(ModelBusy, match=rf"process {os.getpid()} is at it \(pull\)"),
    ):
        pulled(hub, tmp_path)


def test_a_cut_connection_is_taken_up_within_the_pull(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    hub.cut_after[BIG] = [5 << 20, 1 << 20]
    result = pulled(hub, tmp_path)
    assert result.fetched_bytes == sum(map(len, FILES.values()))
    assert content_of(tmp_path / NAME) == FILES


def part_with(directory: Path, content: bytes, there: bytes) -> Part:
    record = FileRecord("w.bin", len(content), hashlib.sha256(content).hexdigest())
    write(directory, {record.content_name: there})
    descriptor = os.open(directory, OPEN_DIRECTORY)
    try:
        return Part(descriptor, record)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("there", [b"", b"right", b"wrong", b"longer than the whole file is"])
@pytest.mark.parametrize("ignore_ranges", [False, True])
def test_whatever_an_earlier_process_left_the_part_ends_whole(
    hub: FakeHub, tmp_path: Path, there: bytes, ignore_ranges: bool
) -> None:
    content = b"right and whole"
    hub.cdn_blobs["x"] = content
    hub.ignore_ranges = ignore_ranges
    part, gained = part_with(tmp_path, content, there), 0

    def advance(count: int) -> None:
        nonlocal gained
        gained += count

    url = f"{hub.url}/cdn/w.bin/x"
    download(url, {}, part, repo="a/b", endpoint=hub.url, advance=advance, stop=threading.Event())
    assert (tmp_path / part.record.content_name).read_bytes() == content
    assert gained == len(content)
    part.close()


def test_a_hub_that_serves_another_content_than_it_lists_is_found_out(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    hub.serve_instead[BIG] = b"?" * len(FILES[BIG])
    with pytest.raises(HubError, match=r"flux1\.safetensors .* another content"):
        pulled(hub, tmp_path)
    assert check_model_exists(REPO, [tmp_path]).state is State.PARTIAL


def test_a_small_file_with_the_right_size_and_the_wrong_bytes_is_found_out(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    hub.serve_instead["vae/config.json"] = b'{"a": 2}'
    with pytest.raises(HubError, match=r"vae/config\.json"):
        pulled(hub, tmp_path)
    hub.serve_instead.clear()
    assert not pulled(hub, tmp_path).skipped
    assert content_of(tmp_path / NAME) == FILES


# Revisions


def test_a_changed_file_is_never_continued_with_the_new_one(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    kill_a_pull(hub, tmp_path, 2 << 20)
    newer = {**FILES, BIG: safetensors(LARGE, seed=77)}
    commit = hub.publish(REPO, newer)
    assert pulled(hub, tmp_path).manifest.commit == commit
    assert content_of(tmp_path / NAME) == newer


def test_an_update_fetches_what_changed_and_keeps_the_rest(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    pulled(hub, tmp_path)
    newer = {**FILES, BIG: safetensors(LARGE, seed=77), "README.md": b"# newer\n"}
    del newer["scheduler/scheduler_config.json"]
    commit = hub.publish(REPO, newer)
    assert pulled(hub, tmp_path).skipped  # complete is complete until somebody asks for more
    result = pulled(hub, tmp_path, update=True)
    assert result.fetched_bytes == len(newer[BIG]) + len(newer["README.md"])
    assert result.manifest.commit == commit
    model = tmp_path / NAME
    assert {path: content_of(model)[path] for path in newer} == newer
    assert [each.path for each in result.manifest.superseded] == ["scheduler/scheduler_config.json"]
    now = time.time()
    waste = find_waste(list_models(roots(tmp_path), now=now).models, roots(tmp_path), now)
    assert [each.superseded for each in waste] == [("scheduler/scheduler_config.json",)]
    assert all(each.trouble is None for each in prune(waste, now))
    assert content_of(model) == newer
    assert check_model_exists(REPO, [tmp_path], full=True)
    assert pulled(hub, tmp_path, update=True).skipped


def test_another_revision_is_pulled_by_its_name(hub: FakeHub, tmp_path: Path) -> None:
    old = hub.publish(REPO, FILES)
    hub.publish(REPO, {**FILES, "README.md": b"newer"})
    assert pulled(hub, tmp_path, revision=old).manifest.commit == old
    assert pulled(hub, tmp_path, revision=old).skipped
    assert pulled(hub, tmp_path, revision="main").manifest.commit == hub.heads[REPO]
    assert (tmp_path / NAME / "README.md").read_bytes() == b"newer"


# Refusals


def test_a_private_repo_needs_the_token_and_never_shows_it(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    hub.token = "hf_secret_token"
    for token in (None, "hf_wrong_token"):
        with pytest.raises(HubError, match="HF_TOKEN") as caught:
            pulled(hub, tmp_path, token=token)
        assert caught.value.status == 401
        assert "hf_wrong_token" not in str(caught.value)
    # The fake hub also refuses a token that comes to its CDN.
    assert not pulled(hub, tmp_path, token="hf_secret_token").skipped


def test_a_gated_and_an_unknown_repo_and_revision_say_what_to_do(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    hub.gated.add(REPO)
    with pytest.raises(HubError, match="licence"):
        pulled(hub, tmp_path)
    hub.gated.clear()
    for repo, revision in (("org/nothing", "main"), (REPO, "no-such-branch")):
        with pytest.raises(HubError, match="404"):
            pulled(hub, tmp_path, repo, revision=revision)
    assert not tmp_path.exists() or list(tmp_path.iterdir()) == []


def test_a_busy_hub_is_given_the_time_that_it_asks_for(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    hub.refuse = {"/revision/": [(429, "0.1"), (503, "0.1")], "/cdn/flux1": [(429, "0.1"), (503, None)]}
    assert pulled(hub, tmp_path).fetched_bytes == sum(map(len, FILES.values()))
    assert hub.refuse == {"/revision/": [], "/cdn/flux1": []}


def test_a_hub_that_stays_busy_is_given_up_with_the_reason(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    hub.refuse = {"/cdn/flux1": [(429, "0.01")] * 50}
    with pytest.raises(HubError, match="429"):
        pulled(hub, tmp_path)


def test_a_hub_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"127\.0\.0\.1:9"):
        pull(lambda: HuggingFace("http://127.0.0.1:9"), REPO, roots(tmp_path), PullOptions(), 0.0, silent)


def test_a_disk_without_room_is_refused_before_anything_is_fetched(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, {"w.safetensors": b"x"})
    hub.listed_size = {"w.safetensors": 1 << 60}
    with pytest.raises(NoRoom, match="free"):
        pulled(hub, tmp_path)
    assert hub.asked("resolve") == 0
    assert list((tmp_path / NAME).iterdir()) == []


def test_a_file_that_would_lie_outside_of_the_model_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, {"../evil.safetensors": safetensors(), "w.safetensors": safetensors()})
    with pytest.raises(HubError, match="outside"):
        pulled(hub, tmp_path / "cache")
    assert not (tmp_path / "evil.safetensors").exists()


def test_what_a_pull_was_doing_is_written_down_before_it_fetches(hub: FakeHub, tmp_path: Path) -> None:
    hub.publish(REPO, FILES)
    hub.refuse = {"/cdn/": [(404, None)] * 9}
    with pytest.raises(HubError):
        pulled(hub, tmp_path)
    place = place_of_directory(tmp_path / NAME)
    assert place is not None
    with reading(place) as found:
        own = read_own(found.top)
    assert own.pulling is not None
    assert (own.pulling.repo, own.manifest) == (REPO, None)
