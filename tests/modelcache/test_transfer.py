"""Transfers to a ModelScope on loopback: created as asked, verified on both sides, gone on with, never believed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from core.errors import HubError, ModelError
from core.secret import Secret
from modelcache.model import Layout, Place
from modelcache.modelscope import ModelScope
from modelcache.own import read_own
from modelcache.roots import OPEN_DIRECTORY, CacheRoot
from modelcache.transfer import TransferOptions, Transferred, transfer
from tests.modelcache.fake_hub import FakeHub
from tests.modelcache.models import NAME, Watched, silent
from tests.modelcache.test_check import SMALL, managed, overwrite

TARGET = "me/flux"


def transferred(
    hub: FakeHub, cache: Path, *, token: str | None = "ms-token-1", watched: Watched | None = None, **options: object
) -> Transferred:
    place = Place(CacheRoot(cache), NAME, Layout.DIRECTORY)
    secret = Secret(token) if token else None
    wished = TransferOptions(**options)  # type: ignore[arg-type]
    return transfer(
        lambda: ModelScope(hub.url, secret, cache.parent / "state"),
        place,
        TARGET,
        wished,
        time.time(),
        watched or silent,
    )


def test_a_transfer_creates_a_private_repo_and_is_verified_by_hash(hub: FakeHub, tmp_path: Path) -> None:
    model = managed(tmp_path / "cache")
    watched = Watched()
    result = transferred(hub, tmp_path / "cache", watched=watched)
    assert (result.verified, result.created, result.uploaded_files) == (True, True, len(SMALL))
    assert hub.models[TARGET]["private"]
    assert {path: hub.models[TARGET]["files"][path] for path in SMALL} == SMALL
    assert not any(".model_cache" in path or ".ms_upload" in path for path in hub.models[TARGET]["files"])
    assert watched.total("upload") == result.uploaded_bytes
    assert not list(model.rglob(".ms_upload_cache"))
    descriptor = os.open(model, OPEN_DIRECTORY)
    manifest = read_own(descriptor).manifest
    os.close(descriptor)
    assert manifest is not None
    assert [(each.target, each.endpoint) for each in manifest.transfers] == [(TARGET, hub.url)]


def test_a_repo_gets_the_visibility_and_the_licence_that_were_asked_for(hub: FakeHub, tmp_path: Path) -> None:
    managed(tmp_path / "cache")
    transferred(hub, tmp_path / "cache", visibility="public", licence="MIT")
    assert (hub.models[TARGET]["private"], hub.models[TARGET]["license"]) == (False, "MIT")


def test_a_second_transfer_uploads_nothing_and_looks_again(hub: FakeHub, tmp_path: Path) -> None:
    managed(tmp_path / "cache")
    transferred(hub, tmp_path / "cache")
    hub.requests.clear()
    result = transferred(hub, tmp_path / "cache")
    assert (result.verified, result.uploaded_files) == (True, 0)
    assert hub.asked("/repo/files") == 1
    assert not any(method in ("POST", "PUT") for method, _, _ in hub.requests)


def test_a_wiped_other_side_is_noticed_and_filled_again(hub: FakeHub, tmp_path: Path) -> None:
    managed(tmp_path / "cache")
    transferred(hub, tmp_path / "cache")
    hub.models[TARGET]["files"].clear()
    hub.blobs.clear()
    result = transferred(hub, tmp_path / "cache")
    assert (result.verified, result.uploaded_files) == (True, len(SMALL))
    assert {path: hub.models[TARGET]["files"][path] for path in SMALL} == SMALL


def test_an_interrupted_transfer_goes_on_with_what_is_missing(hub: FakeHub, tmp_path: Path) -> None:
    managed(tmp_path / "cache")
    transferred(hub, tmp_path / "cache")
    del hub.models[TARGET]["files"]["vae/model.safetensors"]
    hub.models[TARGET]["files"]["README.md"] = b"# a m0del\n"
    hub.requests.clear()
    result = transferred(hub, tmp_path / "cache")
    assert (result.verified, result.uploaded_files) == (True, 2)
    # The blob was stored already: its hash is known there, and nothing large is sent again.
    assert hub.asked("/put/") == 0


def test_what_arrived_with_other_bytes_is_not_called_transferred(hub: FakeHub, tmp_path: Path) -> None:
    model = managed(tmp_path / "cache")
    hub.spoil_uploads = True
    result = transferred(hub, tmp_path / "cache")
    assert not result.verified
    assert result.comparison is not None
    assert "vae/model.safetensors" in result.comparison.different
    descriptor = os.open(model, OPEN_DIRECTORY)
    manifest = read_own(descriptor).manifest
    os.close(descriptor)
    assert manifest is not None
    assert manifest.transfers == ()


def test_verify_only_writes_nothing_to_the_other_side(hub: FakeHub, tmp_path: Path) -> None:
    managed(tmp_path / "cache")
    result = transferred(hub, tmp_path / "cache", verify_only=True)
    assert (result.comparison, result.verified) == (None, False)
    assert hub.models == {}
    transferred(hub, tmp_path / "cache")
    assert transferred(hub, tmp_path / "cache", verify_only=True).verified
    hub.models[TARGET]["files"]["vae/config.json"] = b"{}"
    assert transferred(hub, tmp_path / "cache", verify_only=True).comparison.different == ("vae/config.json",)  # type: ignore[union-attr]


def test_a_model_that_is_not_whole_here_is_never_passed_on(hub: FakeHub, tmp_path: Path) -> None:
    model = managed(tmp_path / "cache")
    overwrite(model / "flux1.safetensors", b"?", at=30_000)
    os.utime(model / "flux1.safetensors")
    with pytest.raises(ModelError, match="not complete"):
        transferred(hub, tmp_path / "cache")
    assert hub.requests == []


def test_without_a_token_nothing_is_created_and_with_a_wrong_one_it_is_not_shown(hub: FakeHub, tmp_path: Path) -> None:
    managed(tmp_path / "cache")
    with pytest.raises(HubError, match="MODELSCOPE_API_TOKEN"):
        transferred(hub, tmp_path / "cache", token=None)
    with pytest.raises(HubError, match="MODELSCOPE_API_TOKEN") as caught:
        transferred(hub, tmp_path / "cache", token="wrong-token-123")
    assert "wrong-token-123" not in str(caught.value)
    assert hub.models == {}
