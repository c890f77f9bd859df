"""What a reader waits for: ``python -m benchmarks.pages`` (a minute), ``--save`` to keep the results.

A real main.py over simulated servers, and Debian's Chromium without a display. Each figure is of a new browser context,
without a cache. *First contentful paint* and *DOM complete* are what the browser reports, from the start of the
navigation; a *round* is what the page's script is sent two seconds later, when nothing has happened in between.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from benchmarks.fleet import fleet
from benchmarks.measure import Running, publish, running_main, table
from runtime.limits import raise_open_files

SIZES = (1000, 5000)
VISITS = 7
FLOOR = "/static/base.css"
TARGETS = {
    FLOOR: "the floor: a small static text",
    "/status": "< 300 ms at 1,000",
    "/status?page_size=200": "",
    "/status?q=127.0.0.1&sort=name": "",
    "/status/0": "",
}
_TIMES = """() => ({
    paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN,
    complete: performance.getEntriesByType('navigation')[0].domComplete,
    first: performance.getEntriesByType('navigation')[0].responseStart,
})"""


def main() -> int:
    """Measure, print, and save if so wished."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/pages.md")
    options = parser.parse_args()
    program = shutil.which("chromium")
    if program is None:
        print("chromium is not installed: apt-get install chromium", file=sys.stderr)
        return 1
    raise_open_files(max(SIZES) + 1000)
    sections = {}
    with sync_playwright() as playwright:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        for size in SIZES:
            with fleet(size) as (urls, _), running_main(urls) as running:
                running.wait_until_polled()
                sections[f"{size:,} servers"] = visits(browser, running)
        browser.close()
    publish("pages", "What a reader of the pages waits for", sections, save=options.save)
    return 0


def visits(browser: Browser, running: Running) -> str:
    """Visit each page several times, the pages in turn; a table of what the browser says."""
    seen: dict[str, list[dict[str, Any]]] = {path: [] for path in TARGETS}
    rounds: dict[str, int] = {}
    for visit in range(VISITS):
        for path in TARGETS:
            context = browser.new_context(base_url=running.base, viewport={"width": 1360, "height": 900})
            page = context.new_page()
            page.goto(path, wait_until="load")
            page.wait_for_timeout(100)
            seen[path].append(page.evaluate(_TIMES))
            if visit == 0 and path != FLOOR:
                with page.expect_response(lambda answer: "x-parts" in answer.request.headers):
                    pass
                with page.expect_response(lambda answer: "x-parts" in answer.request.headers) as later:
                    pass
                rounds[path] = len(later.value.body())
            context.close()
    rows = []
    for path, target in TARGETS.items():
        paints = [each["paint"] for each in seen[path]]
        middle = {name: statistics.median(each[name] for each in seen[path]) for name in ("first", "paint", "complete")}
        rows.append(
            [
                f"`{path}`", *(f"{middle[name]:.0f} ms" for name in ("first", "paint")), f"{max(paints):.0f} ms",
                f"{middle['complete']:.0f} ms", f"{rounds[path] / 1024:.0f} KiB" if path in rounds else "", target,
            ]
        )  # fmt: skip
    heads = ("page", "first byte", "first contentful paint", "worst", "DOM complete", "a round", "target of the paint")
    # A browser and a fleet share these cores with whatever else runs: the figures are worth what this says.
    return f"{table(heads, rows)}\n\nLoad average while measuring: {os.getloadavg()[0]:.1f}."


if __name__ == "__main__":
    sys.exit(main())
