"""The pure part: names, sizes, manifests, formats, states, what goes, what has been transferred."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models import formats
from core.models.manifest import FileRecord, Manifest, Transfer, from_json, hub_tree_from_json
from core.models.names import directory_names, is_inside, matches, repo_id, safe_name, telling_name
from core.models.removal import Candidate, CleanPolicy, Reason, plan, unreferenced
from core.models.states import Evidence, Fault, Finding, Seen, State, judge_contents, judge_manifest
from core.models.transfer import RemoteFile, compare
from core.models.units import age_seconds, ago_text, size_bytes, size_text
from tests.modelcache.models import NAME, REPO, safetensors

DAY = 86400.0
SHA = "a" * 64


def test_the_directory_name_is_that_of_the_users_guide() -> None:
    assert safe_name("black-forest-labs/FLUX.1-dev") == "black_forest_labs_FLUX_1_dev" == NAME


def test_repos_whose_names_collide_get_directories_that_differ() -> None:
    one, other = "org/a-b.c", "org/a_b-c"
    assert safe_name(one) == safe_name(other)
    assert telling_name(one) != telling_name(other)
    assert telling_name(one) in directory_names(one)


def test_directories_of_older_scripts_are_looked_for() -> None:
    assert {NAME, "black_forest_labs_FLUX.1_dev", "flux-dev"} <= set(directory_names(REPO))


@pytest.mark.parametrize("text", ["flux", "FLUX.1", "black-forest-labs/FLUX.1-dev", "FLUX_1_dev", "forest"])
def test_a_name_matches_by_any_part_of_it(text: str) -> None:
    assert matches(text, NAME, REPO)
    assert not matches(text, "other_model", "org/other")


@pytest.mark.parametrize("text", ["flux", "a/b/c", "../b", "a/..", "a/b?x=1", "a b/c", "", "-a/b", "a/b--c"])
def test_what_no_hub_takes_as_a_repo_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a repo id"):
        repo_id(text)


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a//b", "a/../../b", ".model_cache/manifest.json", ".cache/x", "a\\..\\b", "a\nb", ""],
)
def test_a_path_that_leads_out_of_the_model_is_refused_in_every_document(path: str) -> None:
    assert not is_inside(path)
    document = Manifest("a/b", "main", "c", "", (FileRecord("x", 1, SHA),)).as_json()
    document["files"] = [{**FileRecord("x", 1, SHA).__dict__, "path": path}]
    with pytest.raises(ValueError, match="leads out"):
        from_json(document)
    with pytest.raises(ValueError, match="leads out"):
        hub_tree_from_json({"format_version": 1, "files": {path: {"size": 1, "blob_id": "b" * 40}}})


def test_a_manifest_survives_being_written_and_read() -> None:
    manifest = Manifest(
        "a/b", "main", "c0ffee", "https://hub", (FileRecord("x/y", 3, SHA, "b" * 40, 17),), 1.5,
        (FileRecord("old", 1, SHA),), (Transfer("me/b", "https://ms", "c0ffee", 2.5),),
    )  # fmt: skip
    assert from_json(json.loads(json.dumps(manifest.as_json()))) == manifest


@pytest.mark.parametrize("document", [None, [], {}, {"format": 2}, {"format": 1, "repo": 5}, "x"])
def test_what_is_no_manifest_is_a_value_error(document: object) -> None:
    with pytest.raises(ValueError, match=r"manifest|format"):
        from_json(document)


def test_a_second_transfer_to_the_same_target_replaces_the_first() -> None:
    first, second = (Transfer("me/b", "https://ms", "c", time) for time in (1.0, 2.0))
    manifest = Manifest("a/b", "main", "c", "", ()).with_transfer(first).with_transfer(second)
    assert manifest.transfers == (second,)


@pytest.mark.parametrize(
    ("text", "value"),
    [("200GB", 200 << 30), ("1.5 TiB", 3 << 39), ("10", 10), ("5m", 5 << 20), ("0", 0), ("1KB", 1024)],
)
def test_a_size_is_read(text: str, value: int) -> None:
    assert size_bytes(text) == value


def test_sizes_are_shown_as_the_users_guide_shows_them() -> None:
    assert size_text(57_885_391_585) == "53.91 GB"
    assert [size_text(each) for each in (0, 999, 1024, 1_048_575)] == ["0 B", "999 B", "1.00 KB", "1.00 MB"]


@given(st.integers(0, 1 << 50))
def test_a_shown_size_is_read_back_within_its_last_digit(size: int) -> None:
    assert abs(size_bytes(size_text(size)) - size) <= max(size * 0.006, 1)


@pytest.mark.parametrize(("text", "value"), [("30d", 30 * DAY), ("12h", DAY / 2), ("2", 2 * DAY), ("1w", 7 * DAY)])
def test_an_age_is_read(text: str, value: float) -> None:
    assert age_seconds(text) == value


@pytest.mark.parametrize(("read", "text"), [(age_seconds, "0d"), (age_seconds, "-1d"), (age_seconds, "x"),
                                            (size_bytes, "-1"), (size_bytes, "many"), (size_bytes, "")])  # fmt: skip
def test_what_is_no_size_or_age_is_refused(read: Callable[[str], float], text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an? "):
        read(text)


def test_ages_are_shown_in_one_unit() -> None:
    assert [ago_text(each) for each in (5, 90, 7200, 3 * DAY, -7200)] == ["now", "1 min", "2 h", "3 d", "?"]


# Formats


def header_of(content: bytes) -> bytes:
    return content[8 : 8 + formats.safetensors_header_bytes(content)]


def test_a_safetensors_header_tells_the_length_of_the_file() -> None:
    content = safetensors(5000)
    assert formats.safetensors_size_bytes(header_of(content)) == len(content)


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}},
        {"a": {"dtype": "U8", "shape": [2], "data_offsets": [4, 6]}},
        {"a": {"dtype": "U8", "shape": [2], "data_offsets": [-2, 0]}},
        {"a": {"shape": [2]}},
        {"a": []},
        [],
    ],
)
def test_an_impossible_safetensors_header_is_malformed(tensors: object) -> None:
    with pytest.raises(formats.Malformed):
        formats.safetensors_size_bytes(json.dumps(tensors).encode())


@pytest.mark.parametrize("first", [b"", b"1234567", b"\0" * 8, b"\xff" * 8])
def test_an_impossible_header_length_is_malformed(first: bytes) -> None:
    with pytest.raises(formats.Malformed):
        formats.safetensors_header_bytes(first)


@given(st.binary(max_size=400))
def test_no_header_whatever_breaks_the_parser(header: bytes) -> None:
    try:
        assert formats.safetensors_size_bytes(header) >= 8
    except formats.Malformed:
        pass


@pytest.mark.parametrize(
    ("name", "head", "says"),
    [
        ("a.bin", b"", "empty"),
        ("a.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "pointer"),
        ("a.bin", b"\n<!DOCTYPE html><html>", "web page"),
        ("a.gguf", b"GGML1234", "GGUF"),
        ("a.pt", b"\0" * 512, "zeros"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_malformed(name: str, head: bytes, says: str) -> None:
    with pytest.raises(formats.Malformed, match=says):
        formats.judge_head(name, head, len(head))


def test_a_run_of_empty_pages_to_the_end_is_a_hole_and_one_is_not() -> None:
    assert formats.zeros_from([(0, False), (1, True), (2, True), (3, True)]) == 1
    assert formats.zeros_from([(0, False), (1, True), (2, False), (3, True)]) is None
    assert formats.zeros_from([(0, True), (1, True), (2, True), (3, False)]) is None


# States


MANIFEST = Manifest(
    "a/b", "main", "c", "", (FileRecord("w.safetensors", 10, SHA, None, 5), FileRecord("README.md", 2, SHA, None, 6))
)
WHOLE = {"w.safetensors": Seen(10, 5), "README.md": Seen(2, 6)}


def test_stamped_files_make_a_model_complete_by_hash_and_touched_ones_by_size() -> None:
    assert judge_manifest(MANIFEST, WHOLE).evidence is Evidence.HASH
    touched = judge_manifest(MANIFEST, {**WHOLE, "README.md": Seen(2, 7)})
    assert (touched.state, touched.evidence) == (State.COMPLETE, Evidence.SIZE)


def test_a_file_that_was_never_hashed_is_not_complete_by_hash() -> None:
    unstamped = replace(MANIFEST, files=tuple(replace(each, verified_mtime_ns=0) for each in MANIFEST.files))
    assert (
        judge_manifest(unstamped, {path: Seen(each.size, 0) for path, each in WHOLE.items()}).evidence is Evidence.SIZE
    )


def test_a_missing_file_makes_a_model_partial_and_a_short_one_corrupt() -> None:
    missing = judge_manifest(MANIFEST, {"README.md": Seen(2, 6)})
    assert (missing.state, missing.findings[0].path) == (State.PARTIAL, "w.safetensors")
    short = judge_manifest(MANIFEST, {**WHOLE, "w.safetensors": Seen(9, 5)})
    assert (short.state, short.findings[0].detail) == (State.CORRUPT, "9 of 10 bytes")
    assert not missing
    assert not short


def test_what_must_be_there_depends_on_the_kind_of_repo() -> None:
    seen = {"flux.gguf": Seen(9, 1)}
    assert judge_contents(seen, {})  # a repo of single files needs no index
    assert judge_contents({"README.md": Seen(1, 1), "config.json": Seen(1, 1)}, {}).state is State.PARTIAL
    index = {"vae": ["diffusers", "AutoencoderKL"], "_version": "1", "safety_checker": [None, None]}
    assert judge_contents(seen, {"model_index.json": index}).findings == (
        Finding("vae/", Fault.MISSING, "a component of model_index.json"),
    )
    part = {**seen, "vae/config.json": Seen(1, 1)}
    assert judge_contents(part, {"model_index.json": index}).findings[0].detail == "its weights"
    assert judge_contents({**part, "vae/x.safetensors": Seen(1, 1)}, {"model_index.json": index})


def test_a_shard_that_the_index_names_is_missing() -> None:
    index = {"weight_map": {"t1": "model-1.safetensors", "t2": "model-2.safetensors"}}
    seen = {"te/model-1.safetensors": Seen(9, 1)}
    check = judge_contents(seen, {"te/model.safetensors.index.json": index})
    assert [each.path for each in check.findings] == ["te/model-2.safetensors"]
    assert check.state is State.PARTIAL


def test_an_unfinished_file_makes_a_model_partial() -> None:
    check = judge_contents({"a.safetensors": Seen(9, 1), "b.safetensors.incomplete": Seen(3, 1)}, {})
    assert (check.state, check.findings[0].fault) == (State.PARTIAL, Fault.UNFINISHED)


# What goes


def candidate(key: str, used_days_ago: float = 0, size: int = 10, **flags: object) -> Candidate:
    return Candidate(key, size, -used_days_ago * DAY, **flags)  # type: ignore[arg-type]


def reasons(candidates: list[Candidate], **policy: object) -> list[Reason]:
    return [each.reason for each in plan(candidates, CleanPolicy(**policy), 0.0)]  # type: ignore[arg-type]


def test_without_a_rule_what_was_named_goes() -> None:
    assert reasons([candidate("a"), candidate("b", 50)]) == [Reason.ASKED] * 2


def test_pins_views_and_use_outrank_every_rule() -> None:
    kept = [candidate("a", 90, pinned=True), candidate("b", 90, read_only=True), candidate("c", 90, in_use="open")]
    expected = [Reason.PINNED, Reason.READ_ONLY, Reason.IN_USE]
    assert reasons(kept) == expected
    assert reasons(kept, older_than_seconds=DAY, keep_under_bytes=0) == expected


def test_an_age_is_compared_strictly() -> None:
    models = [candidate("a", 30), candidate("b", 30.001)]
    assert reasons(models, older_than_seconds=30 * DAY) == [Reason.RECENT, Reason.OLD]


def test_the_size_limit_takes_the_least_recently_used_and_counts_what_must_stay() -> None:
    models = [candidate("new", 1), candidate("old", 9), candidate("pinned", 99, pinned=True), candidate("older", 20)]
    assert reasons(models, keep_under_bytes=25) == [
        Reason.WITHIN_LIMIT, Reason.OVER_LIMIT, Reason.PINNED, Reason.OVER_LIMIT,
    ]  # fmt: skip


def test_what_the_age_takes_counts_for_the_size_limit() -> None:
    models = [candidate("new", 1), candidate("mid", 9), candidate("old", 40)]
    assert reasons(models, older_than_seconds=30 * DAY, keep_under_bytes=20) == [
        Reason.WITHIN_LIMIT, Reason.WITHIN_LIMIT, Reason.OLD,
    ]  # fmt: skip


def test_a_time_in_the_future_is_not_judged_by_a_rule() -> None:
    assert reasons([candidate("a", -2)], older_than_seconds=DAY) == [Reason.FUTURE_TIME]


@given(st.lists(st.tuples(st.floats(0, 400), st.integers(0, 100), st.booleans()), max_size=12), st.integers(0, 500))
def test_the_size_limit_is_kept_whenever_something_may_go(models: list[tuple[float, int, bool]], limit: int) -> None:
    candidates = [candidate(str(n), used, size, pinned=pin) for n, (used, size, pin) in enumerate(models)]
    verdicts = plan(candidates, CleanPolicy(keep_under_bytes=limit), 0.0)
    left = [each.candidate for each in verdicts if not each.deletes]
    assert sum(each.disk_bytes for each in left) <= limit or all(each.pinned or not each.disk_bytes for each in left)
    newest_gone = max((each.candidate.last_used for each in verdicts if each.deletes), default=None)
    if newest_gone is not None:
        assert all(each.pinned or each.last_used >= newest_gone for each in left)


def test_a_snapshot_that_no_ref_names_is_superseded_with_the_blobs_only_it_uses() -> None:
    snapshots = {"new": {"a", "b"}, "old": {"b", "c"}}
    assert unreferenced({"main": "new"}, snapshots, {"a", "b", "c", "d"}) == (["old"], ["c", "d"])
    assert unreferenced({}, snapshots, {"a", "b", "c"}) == ([], [])


# Transfers


def test_files_are_compared_by_hash_and_a_missing_hash_proves_nothing() -> None:
    local = [FileRecord(name, 5, SHA, "b" * 40) for name in ("same", "other", "gone", "short", "bare", "git")]
    remote = [
        RemoteFile("same", 5, SHA), RemoteFile("other", 5, "c" * 64), RemoteFile("short", 4, SHA),
        RemoteFile("bare", 5), RemoteFile("git", 5, None, "b" * 40), RemoteFile("configuration.json", 9),
    ]  # fmt: skip
    found = compare(local, remote)
    assert (found.same, found.missing, found.unproven) == (("same", "git"), ("gone",), ("bare",))
    assert (found.different, found.extra) == (("other", "short"), ("configuration.json",))
    assert not found.verified
    assert compare(local[:1], remote).verified
