"""The service under a real systemd, booted in namespaces of its own over a throw-away copy of this system."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import MAIN, SETTINGS, SOURCE, Project, wait_for

pytestmark = pytest.mark.needs_root

# What this system would do at boot (clean /tmp, say) is masked. Everything that is mounted vanishes with the
# namespace. /srv/keeper is the project: the service could not see one below /tmp.
BOOT = """\
set -e
mount --make-rprivate /
mount -t tmpfs -o size=200m none {box}
mkdir {box}/upper {box}/work {box}/root
mount -t overlay overlay -o lowerdir=/,upperdir={box}/upper,workdir={box}/work {box}/root
cd {box}/root
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs run
mount -t cgroup2 cgroup2 sys/fs/cgroup
rm -rf etc/systemd/system
mkdir -p etc/systemd/system/cache_checker.service.d srv old
for wanted in lib/systemd/system/*.wants/*; do ln -sf /dev/null "etc/systemd/system/${{wanted##*/}}"; done
printf '[Unit]\\nDescription=An almost empty system\\n' > etc/systemd/system/box.target
printf '[Service]\\nRestartSec=100ms\\nWatchdogSec=3\\n' > etc/systemd/system/cache_checker.service.d/hurry.conf
cp -rL {project} srv/keeper
pivot_root . old
umount -l old
exec env -i container=unshare PATH=/usr/bin:/bin /lib/systemd/systemd --unit=box.target --log-target=console
"""

RELOADING_MAIN = """
obey()
signal.signal(signal.SIGHUP, lambda *_: os.write(1, b"reloaded\\n"))
say("ready", page="")
work()
"""


class Box:
    """A booted system; ``run`` runs a command in it."""

    def __init__(self, init_pid: int) -> None:
        self._init_pid = init_pid

    def run(self, *command: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "-t", str(self._init_pid), "-a", "--", *command]
        return subprocess.run(enter, capture_output=True, text=True, check=check, timeout=60)

    def daemon(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "/srv/keeper/daemon.py", *arguments)

    def service(self, name: str) -> str:
        return self.run("systemctl", "show", "--value", "-p", name, "cache_checker").stdout.strip()

    def state(self) -> dict[str, object]:
        try:
            state = json.loads(self.run("cat", "/srv/keeper/daemon.state.json").stdout)
        except ValueError:
            return {}
        assert isinstance(state, dict)
        return state

    def log(self) -> str:
        return self.run("cat", "/srv/keeper/daemon.log").stdout

    def write(self, path: str, text: str) -> None:
        self.run("sh", "-c", f'printf %s "$1" > {path}', "sh", text, check=True)

    def started_anew(self, change: Callable[[], object]) -> None:
        """Do something that must make systemd start the service again."""
        before = self.service("MainPID")
        change()
        wait_for(lambda: self.service("MainPID") not in (before, "0") and self.service("ActiveState") == "active")


@pytest.fixture
def box(project: Project, tmp_path: Path) -> Iterator[Box]:
    missing = [tool for tool in ("unshare", "nsenter", "systemctl", "pivot_root") if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing or not Path("/lib/systemd/systemd").exists():
        pytest.skip(f"needs root, systemd and util-linux here (missing: {', '.join(missing) or 'root or systemd'})")
    (project.root / "main.py").write_text(MAIN + RELOADING_MAIN)
    (project.root / ".env").write_text("".join(f"{name}={value}\n" for name, value in SETTINGS.items()))
    (tmp_path / "box").mkdir()
    (tmp_path / "boot.sh").write_text(BOOT.format(box=tmp_path / "box", project=project.root))
    # A cgroup of its own becomes the root of its cgroups, so that ours stay as they are.
    ours = cgroup_mount() / f"cache-keeper-test-{os.getpid()}"
    try:
        ours.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a cgroup here: {error}")
    enter = f'echo $$ > "{ours}/cgroup.procs" && exec unshare "$@"'
    flags = ["--pid", "--fork", "--mount", "--cgroup", "--uts", "--ipc", "--kill-child"]
    with (tmp_path / "console").open("wb") as console:
        outer = subprocess.Popen(
            ["sh", "-c", enter, "sh", *flags, "sh", str(tmp_path / "boot.sh")],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )
    try:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        booted = wait_for(lambda: outer.poll() is not None or children.read_text().split())
        box = Box(int(booted[0])) if isinstance(booted, list) else None
        if box is not None:
            wait_for(
                lambda: outer.poll() is not None or "running" in box.run("systemctl", "is-system-running").stdout, 30
            )
        if box is None or outer.poll() is not None:
            console_text = (tmp_path / "console").read_text(errors="replace")
            pytest.skip(f"a systemd of its own cannot be booted on this machine: {console_text[-300:]}")
        installer = [sys.executable, str(SOURCE / "scripts" / "install_service.py"), "--root", "/srv/keeper"]
        box.run(*installer, "--user", "root", check=True)
        yield box
    finally:
        outer.kill()
        outer.wait()
        wait_for(lambda: "populated 0" in (ours / "cgroup.events").read_text())
        for directory, _, _ in os.walk(ours, topdown=False):
            os.rmdir(directory)  # noqa: PTH106 - a cgroup's files cannot be deleted, the directory can


def cgroup_mount() -> Path:
    """Return where the second version of cgroups is mounted here."""
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return Path(line.split()[1])
    pytest.skip("needs cgroups of the second version")


def test_systemd_starts_reloads_guards_and_stops_the_service(box: Box) -> None:
    assert box.run("systemctl", "start", "cache_checker").returncode == 0, box.run(
        "systemctl", "status", "cache_checker"
    ).stdout
    assert box.service("ActiveState") == "active"
    assert box.service("StatusText") == "Main program is running"
    assert box.service("MainPID") == str(box.state()["pid"])
    assert box.daemon("status").returncode == 0

    assert box.run("systemctl", "reload", "cache_checker").returncode == 0
    wait_for(lambda: "] reloaded\n" in box.log())

    # main dies: the supervisor's affair; systemd sees nothing of it.
    supervisor, main = box.service("MainPID"), box.state()["main_pid"]
    box.run("kill", "-9", str(main), check=True)
    wait_for(lambda: box.state().get("restarts") == 1 and box.state()["main_state"] == "RUNNING")
    assert box.service("MainPID") == supervisor

    # The supervisor dies, or hangs: systemd's.
    box.started_anew(lambda: box.run("kill", "-9", box.service("MainPID"), check=True))
    box.started_anew(lambda: box.run("kill", "-STOP", box.service("MainPID"), check=True))
    assert box.service("NRestarts") == "2"

    assert box.run("systemctl", "stop", "cache_checker").returncode == 0
    assert box.service("Result") == "success"
    assert box.log().splitlines()[-1].endswith("Daemon stopped")
    assert box.run("pgrep", "-f", "/srv/keeper/").stdout == ""
    assert box.run("cat", "/srv/keeper/runs").stdout.count("\n") == 4
    assert box.run("cat", "/srv/keeper/TWO-MAINS").returncode != 0


def test_whichever_of_systemd_and_a_manual_start_comes_second_loses_with_75(box: Box) -> None:
    assert box.daemon("start").returncode == 0
    assert box.run("systemctl", "start", "cache_checker").returncode != 0
    assert (box.service("ActiveState"), box.service("ExecMainStatus")) == ("failed", "75")
    assert box.daemon("stop").returncode == 0
    # No restart storm: systemd left it at the one attempt, although nothing runs any more.
    assert box.service("NRestarts") == "0"

    assert box.run("systemctl", "start", "cache_checker").returncode == 0
    manual = box.daemon("start")
    assert (manual.returncode, manual.stdout) == (75, f"Daemon already running (PID: {box.service('MainPID')})\n")
    assert box.service("ActiveState") == "active"


def test_bad_settings_and_a_useless_cache_dir_are_not_tried_again(box: Box) -> None:
    box.write("/srv/keeper/.env", "PORT=no\n")
    assert box.run("systemctl", "start", "cache_checker").returncode != 0
    assert (box.service("ExecMainStatus"), box.service("NRestarts")) == ("78", "0")
    box.write("/srv/keeper/.env", "")
    box.run("mkdir", "/srv/keeper/daemon.pid", check=True)
    assert box.run("systemctl", "start", "cache_checker").returncode != 0
    assert (box.service("ExecMainStatus"), box.service("NRestarts")) == ("73", "0")
