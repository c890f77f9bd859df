"""The systemd unit that install_service.py makes: valid, hardened, and with the real paths."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import SOURCE, Project

INSTALLER = SOURCE / "scripts" / "install_service.py"

needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed on this machine"
)


def install(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(INSTALLER), "--root", str(project.root), "--user", "root", *arguments],
        env={"PATH": "/usr/bin:/bin", **project.settings},
        capture_output=True,
        text=True,
        check=False,
    )


def unit_of(project: Project, *arguments: str) -> str:
    # The tests' own directory is below /tmp, which is what the service must not have.
    result = install(project, "--shared-tmp", "--print", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def private(unit: str) -> str:
    return unit.replace("PrivateTmp=no", "PrivateTmp=yes")


def values(unit: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]


def verify(unit: str, directory: Path) -> str:
    path = directory / "cache_checker.service"
    path.write_text(unit)
    result = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    return result.stderr  # the exit code is 0 even for keys that do not exist


@needs_systemd_analyze
def test_systemd_has_nothing_to_say_about_the_unit(project: Project, tmp_path: Path) -> None:
    assert verify(private(unit_of(project)), tmp_path) == ""


@needs_systemd_analyze
def test_a_misspelt_key_would_be_noticed(project: Project, tmp_path: Path) -> None:
    assert "Unknown key" in verify(unit_of(project).replace("KillMode=", "KilMode="), tmp_path)


@needs_systemd_analyze
def test_awkward_paths_are_quoted_so_that_systemd_understands_them(project: Project, tmp_path: Path) -> None:
    awkward = tmp_path / 'a "new" $HOME 100%'
    project.root.rename(awkward)
    project.root = awkward
    assert verify(unit_of(project), tmp_path) == ""
    (command,) = values(unit_of(project), "ExecStart")
    assert command.endswith(r'/a \"new\" $$HOME 100%%/daemon.py" run')


@needs_systemd_analyze
def test_the_unit_is_exposed_2_0_at_most_even_as_root(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "cache_checker.service"
    path.write_text(private(unit_of(project)))
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_the_unit_has_the_real_paths_and_writes_only_there(project: Project, tmp_path: Path) -> None:
    project.settings |= {"CACHE_DIR": str(tmp_path / "cache"), "IMAGE_CACHE_DIR": str(tmp_path / "img")}
    target = '[[target]]\nname = "old"\nkind = "images"\nroots = ["some/images"]\nolder_than = "3d"\n'
    (project.root / "fleet.toml").write_text(target)
    unit = unit_of(project)
    assert values(unit, "ExecStart") == [f"{sys.executable} {project.root}/daemon.py run"]
    assert values(unit, "ReadWritePaths") == [f"{tmp_path}/cache -{tmp_path}/img -{project.root}/some/images"]
    assert values(unit, "WorkingDirectory") == [str(project.root)]
    assert values(unit, "ProtectSystem") == ["strict"]
    assert "@" not in unit.replace("@system-service", "").replace("@privileged @resources", "")


def test_systemd_waits_longer_than_the_supervisor_does(project: Project) -> None:
    project.settings |= {"STOP_GRACE_SECONDS": "90", "START_TIMEOUT_SECONDS": "600"}
    unit = unit_of(project)
    assert int(values(unit, "TimeoutStopSec")[0]) > 95
    assert int(values(unit, "TimeoutStartSec")[0]) > 600


@pytest.mark.parametrize("directory", ["/tmp/cache", "/var/tmp/cache"])
def test_a_cache_dir_below_tmp_is_refused(project: Project, directory: str) -> None:
    project.settings["CACHE_DIR"] = directory
    result = install(project, "--print")
    assert result.returncode == 1
    assert result.stdout == ""
    assert f"CACHE_DIR is below a directory for temporary files: {directory}." in result.stderr
    assert values(unit_of(project), "PrivateTmp") == ["no"]


def test_the_unit_is_written_and_the_cache_dir_made(project: Project, tmp_path: Path) -> None:
    project.settings["CACHE_DIR"] = str(tmp_path / "new" / "cache")
    result = install(project, "--shared-tmp", "--unit-dir", str(tmp_path), "--user", _me())
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "new" / "cache").is_dir()
    assert "[Service]" in (tmp_path / "cache_checker.service").read_text()
    assert f"Wrote {tmp_path}/cache_checker.service" in result.stdout


def test_an_unwritable_unit_directory_and_bad_settings_are_clear_errors(project: Project, tmp_path: Path) -> None:
    result = install(project, "--shared-tmp", "--unit-dir", str(tmp_path / "missing"))
    assert result.returncode == 1
    assert result.stderr == f"Cannot write {tmp_path}/missing/cache_checker.service: No such file or directory\n"
    project.settings["PORT"] = "no"
    assert install(project, "--print").returncode == 78
    del project.settings["PORT"]
    assert "There is no user 'nemo-1871'" in install(project, "--print", "--user", "nemo-1871").stderr


def _me() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
