"""Setting up on a fresh machine: .venv made once, mended when half made, and `make run` called again. All offline."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import config
from operations.backends import configured
from scripts.bootstrap import fingerprint
from tests.workspace import SOURCE, Program, Workspace, wait_for

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

# Nothing may be downloaded: there is no index, and where one is asked for all the same nobody answers.
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_INDEX_URL": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}


def bare_project(root: Path) -> Path:
    """Make a project that needs no packages, so that its set-up needs no network."""
    (root / "scripts").mkdir(parents=True)
    shutil.copy(SOURCE / "scripts" / "bootstrap.py", root / "scripts" / "bootstrap.py")
    (root / "pyproject.toml").touch()
    (root / "requirements.txt").write_text("# no packages\n")
    return root


def bootstrap(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(root / "scripts" / "bootstrap.py"), "requirements.txt"],
        cwd="/", env={**os.environ, **OFFLINE}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_a_half_made_venv_is_made_anew_by_one_of_two_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    root = bare_project(tmp_path / "project")
    # As a Ctrl-C in the middle leaves it: a Python that starts, and no pip in it.
    venv.create(root / ".venv", with_pip=False, symlinks=True)
    leftover = root / ".venv" / "leftover"
    leftover.touch()

    both = [bootstrap(root), bootstrap(root)]
    outputs = [process.communicate(timeout=100)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted(output.count("Making .venv") for output in outputs) == [0, 1]
    assert sorted(output.count("Installing") for output in outputs) == [0, 1]
    assert not leftover.exists()
    python = root / ".venv" / "bin" / "python"
    assert subprocess.run([str(python), "-c", "import pip"], check=False).returncode == 0

    again = bootstrap(root)
    assert again.communicate(timeout=60)[0] == ""
    assert again.returncode == 0

    # Another list of packages is installed into the .venv that is there.
    (root / "requirements.txt").write_text("# still no packages\n")
    changed = bootstrap(root)
    output = changed.communicate(timeout=60)[0]
    assert (output.count("Making"), output.count("Installing")) == (0, 1)
    assert changed.returncode == 0

    # A package that cannot be had is a failure that says what to do.
    (root / "requirements.txt").write_text("no-such-package==1.0 --hash=sha256:" + "0" * 64 + "\n")
    failed = bootstrap(root)
    output = failed.communicate(timeout=60)[0]
    assert failed.returncode == 1
    assert "requirements.txt could not be installed; see above. Run the same command again." in output


def test_an_old_python_is_told_what_is_needed() -> None:
    script = SOURCE / "scripts" / "bootstrap.py"
    pretend = f"import runpy, sys; sys.version_info = (3, 10, 13); runpy.run_path({str(script)!r}, run_name='__main__')"
    result = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Python 3.11 or newer is needed" in result.stderr
    assert "需要 Python 3.11" in result.stderr
    # An old one must get as far as the message: the file has to parse there.
    ast.parse(script.read_text(encoding="utf-8"), feature_version=(3, 7))


def prepared(workspace: Workspace) -> Workspace:
    """Add what `make` needs, with a .venv that counts as installed and sees the packages of these tests."""
    root = workspace.root
    for name in ("Makefile", ".env.example", "requirements.txt", "pyproject.toml"):
        shutil.copy(SOURCE / name, root / name)
    venv.create(root / ".venv", with_pip=False, symlinks=True)
    (packages,) = (root / ".venv" / "lib").glob("python*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (root / ".venv" / ".installed-requirements").write_text(fingerprint(root / "requirements.txt"))
    return workspace


def make(workspace: Workspace, *targets: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", f"PYTHON={sys.executable}", *targets],
        cwd=workspace.root, env={**workspace.environment, **OFFLINE}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@needs_make
def test_make_run_starts_and_shows_the_daemon_and_called_again_says_that_it_runs(workspace: Workspace) -> None:
    prepared(workspace)
    workspace.settings |= {"SERVERS": "http://127.0.0.1:1"}
    try:
        first = make(workspace, "run")
        assert first.returncode == 0, first.stdout + first.stderr
        assert "Wrote .env from .env.example" in first.stdout
        assert "Installing" not in first.stdout
        assert "Daemon is running (PID: " in first.stdout
        assert f"Page: {workspace.page}/status" in first.stdout
        assert f"Log: {workspace.root}/daemon.log" in first.stdout
        (workspace.root / ".env").write_text("CLEAN_DAYS=3\n")

        again = make(workspace, "run")
        assert again.returncode == 0, again.stdout + again.stderr
        assert "Daemon already running (PID: " in again.stdout
        assert f"Page: {workspace.page}/status" in again.stdout
        assert (workspace.root / ".env").read_text() == "CLEAN_DAYS=3\n"
    finally:
        stopped = make(workspace, "stop")
    assert stopped.returncode == 0
    assert make(workspace, "status").returncode != 0


@needs_make
def test_make_run_with_a_setting_that_cannot_be_used_fails(workspace: Workspace) -> None:
    prepared(workspace)
    workspace.settings |= {"PORT": "none"}
    result = make(workspace, "run")
    assert result.returncode != 0
    assert "PORT='none'" in result.stderr
    assert not (workspace.root / "daemon.pid").exists()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_what_a_run_leaves_in_the_projects_directory_is_none_of_gits_business(workspace: Workspace) -> None:
    def git(*command: str) -> str:
        return subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *command],
            cwd=workspace.root, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    shutil.copy(SOURCE / ".gitignore", workspace.root)
    git("init", "-q")
    (workspace.root / ".git" / "info" / "exclude").write_text("output-*\n")
    git("add", "-A")
    git("commit", "-qm", "the project")
    workspace.settings |= {"SERVERS": "http://127.0.0.1:1", "TASK_WORKERS": "1", "MODEL_CACHE_DIRS": "resources/models"}
    workspace.write(".env", "")
    (workspace.root / "resources" / "img" / "202401" / "task").mkdir(parents=True)
    assert workspace.run("daemon.py", "start").returncode == 0
    try:
        cleaned = workspace.run("-m", "operations", "cleanup", "--timeout", "60")
        assert cleaned.returncode == 0, cleaned.stderr
        for command in (["cleaner", "--yes"], ["modelcache", "list"], ["checker", "pause", "127.0.0.1:1"]):
            workspace.run("-m", *command)
        created = workspace.run("-m", "api", "token", "create", "--user", "li", "--role", "viewer")
        assert created.returncode == 0
        assert git("status", "--porcelain") == ""
    finally:
        assert workspace.run("daemon.py", "stop").returncode == 0
    assert (workspace.root / "locks").is_dir()
    assert git("status", "--porcelain") == ""


def demo(workspace: Workspace) -> Program:
    """Start a demo; ``workspace`` asks its page from then on."""
    program = workspace.start(script="scripts/demo.py")
    program.wait_for_output("/status and watch")
    page = program.output().split("Open ")[1].split("/status")[0]
    workspace.port = int(page.rpartition(":")[2])
    wait_for(lambda: len(workspace.states()) == 6, 20)
    return program


def test_the_demo_shows_simulated_servers_only_and_leaves_nothing_behind(workspace: Workspace) -> None:
    # The user's own fleet and settings are none of the demo's business.
    workspace.write("fleet.toml", '[[group]]\nname = "mine"\nservers = ["http://127.0.0.1:9"]\n')
    for name in [*workspace.settings]:
        del workspace.settings[name]
    program = demo(workspace)
    assert "http://127.0.0.1:9" not in workspace.states()
    wait_for(lambda: list(workspace.states().values()).count("loaded") >= 2, 20)
    program.process.terminate()
    assert program.wait(20) == 0
    assert "Daemon stopped" in program.output()
    assert not (workspace.root / "daemon.log").exists()


def test_the_demo_manages_no_cache_of_the_users(workspace: Workspace, tmp_path: Path) -> None:
    workspace.write("fleet.toml", f'[[target]]\nname = "outputs"\nroots = ["{tmp_path}"]\n')
    workspace.write(".env", "REDIS_URL=redis://127.0.0.1:9/0\nREDIS_CACHE_PREFIX=mine:\nQUEUE_URL=redis://127.0.0.1:9/1\n"
                    "MONGODB_URL=mongodb://127.0.0.1:9/mine\nMONGODB_CACHE_COLLECTION=mine\nAPI_SECRET=a-weak-secret\n"
                    f"MODEL_CACHE_DIRS={tmp_path}/models\nHUGGING_FACE_HUB_TOKEN=hf_mine\n")  # fmt: skip
    workspace.settings = {
        "MODEL_VIEW_DIRS": f"{tmp_path}/hub",
        "IMAGE_CACHE_DIR": f"{tmp_path}/img",
        "TASK_WORKERS": "0",
    }
    demo(workspace)
    environment = Path(f"/proc/{daemon_pid(workspace.root / 'demo-data')}/environ").read_text().split("\0")
    settings = config.load(workspace.root, dict(each.split("=", 1) for each in environment if each), serving=True)
    assert {backend.name for backend in configured(settings)} == {"images", "python", "models"}
    places = [settings.image_cache_dir, *settings.model_cache_dirs, *settings.model_view_dirs, settings.cache_dir]
    places += [workspace.root / path for target in settings.targets for path in target.roots]
    assert [place for place in places if not place.is_relative_to(workspace.root / "demo-data")] == []
    assert (settings.api_secret, settings.queue_url, settings.mongodb_url, settings.hf_token) == (None,) * 4
    answer = workspace.ask("/api/cache/stats").json()
    assert "refused" not in str(answer), answer


def test_a_second_demo_runs_beside_the_first(workspace: Workspace) -> None:
    workspace.settings = {}
    first = demo(workspace)
    page = workspace.port
    second = demo(workspace)
    assert workspace.port != page
    second.process.terminate()
    assert second.wait(20) == 0
    workspace.port = page
    assert len(workspace.states()) == 6
    first.process.terminate()
    assert first.wait(20) == 0


def daemon_pid(directory: Path) -> str:
    return (directory / "daemon.pid").read_text().split()[0]
