"""Runs the daemon on a small simulated fleet, in the foreground, until Ctrl-C: no GPU, no ComfyUI needed.

Everything it writes goes to demo-data/, which is made anew each time.
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
DATA = ROOT / "demo-data"


def main() -> int:
    """Return the daemon's exit code."""
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir()
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
    # An empty fleet: the user's own fleet.toml names real servers, which are none of the demo's business.
    (DATA / "fleet.toml").touch()
    port = _free_port(8000)
    print(f"Simulated servers: {' '.join(servers)}")
    print(f"Open http://127.0.0.1:{port}/status and watch; stop with Ctrl-C. 打开网页查看；按 Ctrl-C 停止。")
    environment = {
        **os.environ,
        "CACHE_DIR": str(DATA),
        "SERVERS": ",".join(servers),
        "WORKFLOW_PATH": str(ROOT / "examples" / "warmup.json"),
        "IMAGE_CACHE_DIR": str(DATA / "img"),
        "FLEET_FILE": str(DATA / "fleet.toml"),
        "CHECK_INTERVAL_SECONDS": "5",
        "PORT": str(port),
        "HOST": "127.0.0.1",
    }
    # Ctrl-C reaches the whole group; a TERM to this process alone is passed on.
    signal.signal(signal.SIGTERM, _interrupt)
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
    sys.exit(main())
