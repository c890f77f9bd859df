"""Runs the daemon on a small simulated fleet, in the foreground, until Ctrl-C: no GPU, no ComfyUI needed.

Everything it writes goes to demo-data/, which is made anew each time; a second one beside it to demo-data-2/. Of the
user's own settings it takes none: its page may clear whatever it manages.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import entry  # noqa: E402 - found only now that the project's root is on the path
from core.settings import KEYS  # noqa: E402
from supervisor.lock import is_held, try_lock  # noqa: E402

MOST = 20


def main(_: list[str]) -> int:
    """Return the daemon's exit code."""
    data = _own_directory()
    if data is None:
        print(f"{MOST} demos are running already: stop one of them. 已有 {MOST} 个演示在运行。", file=sys.stderr)
        return 75
    fleet = subprocess.Popen(
        [sys.executable, "-m", "examples.fake_comfyui", "--scenario", "demo", "--leash"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert fleet.stdout is not None, "stdout is a pipe"
    servers = []
    for line in fleet.stdout:
        if not line.strip():
            break
        servers += [word for word in line.split() if word.startswith("http://")]
        if len(servers) >= 6:
            break
    if not servers:
        print("The simulated fleet did not start; see above. 模拟服务器未能启动。", file=sys.stderr)
        return 1
    port = _free_port(8000)
    print(f"Simulated servers: {' '.join(servers)}")
    print(
        f"Open http://127.0.0.1:{port}/status and watch; stop with Ctrl-C. 打开网页查看；按 Ctrl-C 停止。", flush=True
    )
    # Ctrl-C reaches the whole group; a TERM to this process alone is passed on.
    signal.signal(signal.SIGTERM, _interrupt)
    environment = _environment(data, servers, port)
    daemon = subprocess.Popen([sys.executable, "daemon.py", "run"], cwd=ROOT, env=environment)
    try:
        return daemon.wait()
    except KeyboardInterrupt:
        daemon.terminate()
        return daemon.wait()
    finally:
        assert fleet.stdin is not None, "stdin is a pipe"
        # The fleet lives as long as its standard input is open.
        fleet.stdin.close()
        fleet.wait(10)


def _own_directory() -> Path | None:
    """Return an empty directory that no other demo has, ours until this process ends; None when all are taken."""
    for number in range(1, MOST + 1):
        data = ROOT / ("demo-data" if number == 1 else f"demo-data-{number}")
        data.mkdir(exist_ok=True)
        # Beside that of the daemon, which is not there yet while a demo starts, and stays when a demo is killed.
        if try_lock(str(data / "demo.lock")) is None or is_held(str(data / "daemon.lock")):
            continue
        for each in data.iterdir():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            elif each.name != "demo.lock":
                each.unlink()
        for name in ("img", "models", "models-view", "bytecode"):
            (data / name).mkdir()
        # The user's own fleet.toml names real servers, and without a target the bytecode would be the project's own.
        target = f'[[target]]\nname = "python"\nkind = "python"\nroots = ["{data.name}/bytecode"]\n'
        (data / "fleet.toml").write_text(target)
        return data
    return None


def _environment(data: Path, servers: list[str], port: int) -> dict[str, str]:
    defaults = {name: key.default for key in KEYS for name in (key.name, *key.aliases)}
    return {
        **os.environ,
        # Also what is only in .env: the environment wins over it.
        **defaults,
        "CACHE_DIR": str(data),
        "SERVERS": ",".join(servers),
        "WORKFLOW_PATH": str(ROOT / "examples" / "warmup.json"),
        "IMAGE_CACHE_DIR": str(data / "img"),
        "MODEL_CACHE_DIRS": str(data / "models"),
        "MODEL_VIEW_DIRS": str(data / "models-view"),
        "FLEET_FILE": str(data / "fleet.toml"),
        "CHECK_INTERVAL_SECONDS": "5",
        "PORT": str(port),
        "HOST": "127.0.0.1",
    }


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _free_port(wished: int) -> int:
    for port in (wished, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wished


if __name__ == "__main__":
    entry.begin()
    sys.exit(entry.run(main))
