"""Takes the screenshots in docs/ from the demo fleet, with Debian's chromium."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import requests
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
# As `python -m scripts.screenshots` finds them; as a file it is started from elsewhere.
sys.path.insert(0, str(ROOT))

import config  # noqa: E402
from core.access import Role  # noqa: E402
from runtime.access import local_token  # noqa: E402

DATA = ROOT / "demo-data"
SIZE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
PICTURES = {
    "status.png": ("/status", "en"), "status.zh-CN.png": ("/status", "zh"), "status-phone.png": ("/status", "en"),
    "server.png": ("/status/{failed}", "en"), "server.zh-CN.png": ("/status/{failed}", "zh"),
    "cache.png": ("/cache", "en"), "cache.zh-CN.png": ("/cache", "zh"),
    "tasks.png": ("/tasks", "en"), "tasks.zh-CN.png": ("/tasks", "zh"),
}  # fmt: skip


def main() -> int:
    """Return 0 once every picture is written."""
    program = shutil.which("chromium")
    if program is None:
        print("chromium is not installed: apt-get install chromium", file=sys.stderr)
        return 1
    demo = subprocess.Popen([sys.executable, ROOT / "scripts" / "demo.py"], stdout=subprocess.PIPE, text=True)
    try:
        assert demo.stdout is not None, "stdout is a pipe"
        base = next(found[1] for line in demo.stdout if (found := re.search(r"(http://127\.0\.0\.1:\d+)/status", line)))
        _wait_for_a_mixed_fleet(base)
        failed = requests.get(f"{base}/api/servers?state=failed", timeout=5).json()["servers"][0]["name"]
        with sync_playwright() as playwright:
            arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
            browser = playwright.chromium.launch(executable_path=program, args=arguments)

            def take(*pages: str) -> None:
                for name, (path, language) in PICTURES.items():
                    if name.startswith(pages):
                        _take(browser, name, f"{base}{path.format(failed=failed)}?lang={language}")

            # First, while the fleet is as mixed as that.
            take("status", "server")
            _fill_the_image_cache()
            for name in ("refresh", "list_models"):
                _operate(base, name, {})
            _operate(base, "cleanup", {"days": 14, "family": "file", "dry_run": True})
            take("cache", "tasks")
            browser.close()
    finally:
        demo.terminate()
        demo.wait(20)
    return 0


def _take(browser: Browser, name: str, address: str) -> None:
    phone = "phone" in name
    context = browser.new_context(viewport=PHONE if phone else SIZE, device_scale_factor=2 if phone else 1)  # type: ignore[arg-type]
    page = context.new_page()
    page.add_init_script(f"sessionStorage.setItem('cache-keeper-token', {_token()!r})")
    page.goto(address)
    page.locator("#who").wait_for(state="attached")
    page.locator("main .tools button").first.wait_for() if "tasks" not in name else page.locator("tbody").wait_for()
    _settle(page)
    if name.startswith("status"):
        page.locator("td.state .state-failed").first.wait_for()
    page.screenshot(path=ROOT / "docs" / name)
    context.close()
    print(f"docs/{name}")


def _settle(page: Page) -> None:
    # One round of the page's own script: it brings what the token allows.
    with page.expect_response(lambda answer: "x-parts" in answer.request.headers):
        pass
    page.wait_for_timeout(200)


def _token() -> str:
    settings = config.load(ROOT, {**os.environ, "CACHE_DIR": str(DATA), "FLEET_FILE": str(DATA / "fleet.toml")})
    return local_token(settings, Role.ADMIN, time.time())


def _operate(base: str, name: str, arguments: dict[str, object]) -> None:
    """Run an operation to its end."""
    headers = {"Authorization": f"Bearer {_token()}"}
    answer = requests.post(
        f"{base}/api/cache/operations", json={"name": name, "arguments": arguments}, headers=headers, timeout=10
    )
    answer.raise_for_status()
    deadline = time.monotonic() + 20
    while requests.get(base + answer.headers["Location"], headers=headers, timeout=10).json()["data"]["state"] in (
        "queued",
        "running",
    ):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} did not end")
        time.sleep(0.1)


def _fill_the_image_cache() -> None:
    """Leave pictures of the last months, as ComfyUI's users would have."""
    chance = random.Random(7)
    for number in range(60):
        age_days = chance.expovariate(1 / 25)
        at = time.time() - age_days * 86400
        place = DATA / "img" / time.strftime("%m", time.localtime(at)) / f"task-{number:04d}"
        place.mkdir(parents=True, exist_ok=True)
        for picture in range(chance.randint(1, 4)):
            file = place / f"{picture}.png"
            file.write_bytes(bytes(chance.randint(200_000, 1_800_000)))
            os.utime(file, (at, at))
        os.utime(place, (at, at))


def _wait_for_a_mixed_fleet(base: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if {"loaded", "failed", "warming"} <= set(requests.get(f"{base}/api/status", timeout=5).json()["counts"]):
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    raise TimeoutError("the demo fleet never had a failed, a warming and a loaded server at once")


if __name__ == "__main__":
    sys.exit(main())
