"""Directories that must never be cleaned, and the runs that are refused."""

from __future__ import annotations

import os
import pwd
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cleaner.roots import resolve_root
from cleaner.sweep import sweep
from core.errors import RefusedTarget
from core.retention import DAY_SECONDS, RetentionPolicy
from core.targets import Target, TargetKind, images_target
from tests.cleaner.conftest import ONE_DAY, Cache


def refusal(cache: Cache, root: str, kind: TargetKind = TargetKind.IMAGES) -> str:
    with pytest.raises(RefusedTarget) as refused:
        resolve_root(root, Target("t", kind, (root,), ONE_DAY), cache.boundaries)
    return str(refused.value)


@pytest.mark.parametrize("root", ["/", "/home", "/srv", "/tmp", "//", "/tmp/.."])
def test_the_top_of_the_file_system_is_refused(cache: Cache, root: str) -> None:
    assert "too close to the root" in refusal(cache, root)


@pytest.mark.parametrize("root", ["", " ", "a\0b"])
def test_an_empty_path_is_not_taken_for_the_current_directory(cache: Cache, root: str) -> None:
    assert "current directory" in refusal(cache, root)


@pytest.mark.parametrize("root", ["../img", "resources/../../img", "../../../../../../var/tmp/x"])
def test_a_relative_path_that_leads_outside_the_project_is_refused(cache: Cache, root: str) -> None:
    assert "outside the project" in refusal(cache, root)


@pytest.mark.parametrize("root", ["/usr/lib/python3", "/etc/ssl", "/proc/1", "/sys/kernel", "/dev/shm"])
def test_the_operating_systems_directories_are_refused(cache: Cache, root: str) -> None:
    assert "operating system" in refusal(cache, root)


def test_a_home_directory_is_refused(cache: Cache) -> None:
    assert "home directory" in refusal(cache, "/home/somebody")
    home = pwd.getpwuid(os.getuid()).pw_dir
    if len(Path(home).parts) > 2:
        assert "home directory" in refusal(cache, home)
    else:
        assert "too close" in refusal(cache, home)


def test_the_project_and_cache_dir_and_what_contains_them_are_refused(cache: Cache) -> None:
    assert "own directory" in refusal(cache, ".")
    assert "own directory" in refusal(cache, str(cache.boundaries.project))
    assert "CACHE_DIR" in refusal(cache, str(cache.state))
    assert "own directory" in refusal(cache, str(cache.base))


def test_a_linked_root_is_refused_even_where_the_link_is_harmless(cache: Cache) -> None:
    link = cache.base / "link"
    link.symlink_to(cache.root)
    assert f"symbolic link to {cache.root}" in refusal(cache, str(link))
    to_etc = cache.base / "to-etc"
    to_etc.symlink_to("/etc")
    assert "operating system" in refusal(cache, str(to_etc / "ssl"))


def test_kinds_that_touch_only_fixed_names_may_share_those_directories(cache: Cache) -> None:
    proxy = Target("proxy", TargetKind.API_PROXY, (str(cache.state),), ONE_DAY)
    assert resolve_root(proxy.roots[0], proxy, cache.boundaries) == cache.state
    python = Target("python", TargetKind.PYTHON, (".",), ONE_DAY)
    assert resolve_root(".", python, cache.boundaries) == cache.boundaries.project


def test_a_servers_inputs_and_its_installation_are_refused(cache: Cache) -> None:
    for name in ("input", "output", "models"):
        (cache.base / "ComfyUI" / name).mkdir(parents=True)
    assert "never cleaned" in refusal(cache, str(cache.base / "ComfyUI" / "input"), TargetKind.COMFYUI_OUTPUT)
    assert "installation" in refusal(cache, str(cache.base / "ComfyUI"), TargetKind.COMFYUI_OUTPUT)
    output = Target("o", TargetKind.COMFYUI_OUTPUT, (str(cache.base / "ComfyUI" / "output"),), ONE_DAY)
    assert resolve_root(output.roots[0], output, cache.boundaries) is not None


def test_a_file_is_no_root_and_a_missing_one_is_nothing_to_do(cache: Cache) -> None:
    (cache.base / "file").touch()
    assert "not a directory" in refusal(cache, str(cache.base / "file"))
    (report,) = sweep(images_target(str(cache.base / "not-yet"), ONE_DAY), cache.run())
    assert report.missing
    assert report.ok


@pytest.mark.parametrize("days", [0, -1, float("nan"), -float("inf")])
def test_an_age_of_nothing_is_refused(cache: Cache, days: float) -> None:
    cache.task("11/t", 3)
    report = cache.sweep(RetentionPolicy(older_than_seconds=days * DAY_SECONDS), allow_most=False)
    assert report.refused
    assert "11/t" in cache.left()


def test_an_age_of_zero_with_its_flag_still_spares_the_last_hour(cache: Cache) -> None:
    cache.task("11/old", 3)
    cache.task("11/now", 0.01)
    cache.sweep(RetentionPolicy(older_than_seconds=0), allow_most=True)
    assert "11/old" not in cache.left()
    assert "11/now" in cache.left()


def test_a_run_that_would_take_more_than_nine_tenths_is_refused(cache: Cache) -> None:
    for number in range(19):
        cache.task(f"11/old{number}", 3, files=1)
    cache.task("11/young", 0.1)
    before = cache.left()
    report = cache.sweep(allow_most=False)
    assert "19 of 20 entries (95%) would go" in str(report.refused)
    assert "--allow-most" in str(report.refused)
    assert cache.left() == before
    (allowed,) = sweep(replace(cache.target(), largest_share=1.0), cache.run(allow_most=False))
    assert allowed.deleted_units == 19


def test_nine_tenths_exactly_are_allowed(cache: Cache) -> None:
    for number in range(9):
        cache.task(f"11/old{number}", 3, files=1)
    cache.task("11/young", 0.1)
    assert cache.sweep(allow_most=False).deleted_units == 9


def test_young_files_in_old_directories_count_as_staying(cache: Cache) -> None:
    for number in range(10):
        task = cache.task(f"11/t{number}", 3, files=1)
        if number < 5:
            moment = time.time() - 3600 * 2
            os.utime(task / "0.png", (moment, moment))
    assert cache.sweep(allow_most=False).deleted_units == 5


def test_a_clock_far_ahead_is_caught_as_a_run_that_would_take_everything(cache: Cache) -> None:
    for number in range(5):
        cache.task(f"11/t{number}", 0.1)
    report = cache.sweep(allow_most=False, now=time.time() + 400 * DAY_SECONDS)
    assert "is the clock right" in str(report.refused)
