"""Takes the screenshots in docs/ from the demo fleet, with Debian's chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent
PICTURES = {"status.png": "?lang=en", "status.zh-CN.png": "?lang=zh"}
CHROMIUM = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--window-size=1280,430",
)  # fmt: skip


def main() -> int:
    """Return 0 once every picture is written."""
    browser = shutil.which("chromium")
    if browser is None:
        print("chromium is not installed: apt-get install chromium", file=sys.stderr)
        return 1
    demo = subprocess.Popen([sys.executable, ROOT / "scripts" / "demo.py"], stdout=subprocess.PIPE, text=True)
    try:
        assert demo.stdout is not None, "stdout is a pipe"
        page = next(found[0] for line in demo.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+/status", line)))
        _wait_for_a_mixed_fleet(page.replace("/status", "/api/status"))
        for name, query in PICTURES.items():
            with tempfile.TemporaryDirectory() as profile:
                target = ROOT / "docs" / name
                command = [browser, *CHROMIUM, f"--user-data-dir={profile}", f"--screenshot={target}", page + query]
                subprocess.run(command, check=True, capture_output=True, timeout=60)
                print(target.relative_to(ROOT))
    finally:
        demo.terminate()
        demo.wait(20)
    return 0


def _wait_for_a_mixed_fleet(address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if {"loaded", "failed", "warming"} <= set(requests.get(address, timeout=5).json()["counts"]):
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    raise TimeoutError("the demo fleet never had a failed, a warming and a loaded server at once")


if __name__ == "__main__":
    sys.exit(main())
