"""A real browser for the tests of the pages: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import re
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

import config
from core.access import Role
from runtime.access import open_tokens
from tests.workspace import Workspace

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    # The pages of a context share a process, which is then warm already.
    "--renderer-process-limit=1",
    # The address bar's pop-up, which nobody sees: a renderer for each context, as costly as a small page.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup",
)  # fmt: skip
DESKTOP, PHONE = (1360, 900), (390, 844)
AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
_ANSWERED_WITH = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a browser with a profile of its own; skips the test where there is none, and fails it in CI."""
    program = shutil.which("chromium")
    if program is None:
        words = "chromium is not installed: apt-get install chromium"
        if os.environ.get("CACHE_KEEPER_CI") == "1":
            pytest.fail(words)
        pytest.skip(words)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def token_of(workspace: Workspace, role: Role) -> str:
    """Return a token that lasts as long as the tests, signed with the running program's own key."""
    tokens, register = open_tokens(config.load(workspace.root, workspace.environment))
    with contextlib.closing(register):
        return tokens.issue(f"the-{role}", role, 3600, time.time())[0]


class Room:
    """A browser context in which one reader after the other finds nothing of the one before: neither cookies nor
    storage nor pages. Making a context anew costs twice as much as the rest of a small test.
    """

    def __init__(self, browser: Browser, base: str, language: str, size: tuple[int, int]) -> None:
        self._base = base
        self.context: BrowserContext = browser.new_context(
            base_url=base,
            locale=language,
            viewport={"width": size[0], "height": size[1]},
            reduced_motion="reduce",
        )
        # What lets the context's process live on between two readers.
        self._kept = self.context.new_page()
        self._storage = self.context.new_cdp_session(self._kept)

    def clear(self) -> None:
        # Each tab's sessionStorage goes with the tab.
        for page in self.context.pages:
            if page is not self._kept:
                page.close()
        self.context.set_offline(False)
        self.context.clear_cookies()
        self._storage.send("Storage.clearDataForOrigin", {"origin": self._base, "storageTypes": "all"})


class Rooms:
    """The rooms of one browser. Two readers at the same time are never in the same one."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: dict[tuple[str, str, tuple[int, int]], list[Room]] = {}

    @contextlib.contextmanager
    def room(self, base: str, language: str, size: tuple[int, int]) -> Iterator[Room]:
        free = self._free.setdefault((base, language, size), [])
        room = free.pop() if free else Room(self._browser, base, language, size)
        yield room
        room.clear()
        free.append(room)

    def close(self) -> None:
        for free in self._free.values():
            for room in free:
                room.context.close()


class Reader:
    """Somebody with a browser of their own, who notes everything that goes wrong in it."""

    def __init__(
        self, rooms: Rooms, base: str, *, token: str = "", language: str = "en-US", size: tuple[int, int] = DESKTOP,
    ) -> None:  # fmt: skip
        self._stack = contextlib.ExitStack()
        self.context = self._stack.enter_context(rooms.room(base, language, size)).context
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.problems: list[str] = []
        self.expected_statuses: set[str] = set()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        # A page that is changed by what somebody else says would show it in a dialog or a new element.
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        if token:
            self.page.add_init_script(f"sessionStorage.getItem('x') ?? (sessionStorage.setItem('x', 1), "
                                      f"sessionStorage.setItem('cache-keeper-token', {token!r}))")  # fmt: skip

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        answered = _ANSWERED_WITH.match(message.text)
        if not (answered and answered[1] in self.expected_statuses):
            self.problems.append(f"console: {message.text}")

    def open(self, path: str) -> Page:
        self.page.goto(path)
        return self.page

    def open_fresh(self, path: str) -> Page:
        """Open a page and wait until its script has brought what the reader's token allows."""
        with self.page.expect_response(lambda answer: "x-parts" in answer.request.headers):
            self.page.goto(path)
        return self.page

    def row(self, name: str) -> Any:
        return self.page.locator("tbody", has=self.page.get_by_role("rowheader", name=name))

    def notices(self) -> Any:
        return self.page.locator("#notices")

    def violations(self) -> list[str]:
        """Return what axe finds wrong with what is shown now, in light and dark."""
        if self.page.evaluate("typeof axe") == "undefined":
            self.page.evaluate(AXE)
        found = []
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        for scheme, only in (("light", {"type": "tag", "values": tags}), ("dark", ["color-contrast"])):
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            answer = self.page.evaluate("only => axe.run(document, {resultTypes: ['violations'], runOnly: only})", only)
            found += [
                f"{scheme}: {each['id']}: {each['help']}: {[node['target'] for node in each['nodes']][:3]}"
                for each in answer["violations"]
            ]
        return found

    def close(self) -> None:
        self._stack.close()


__all__ = ["DESKTOP", "PHONE", "Reader", "Rooms", "chromium", "expect", "token_of"]
