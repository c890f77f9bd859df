"""One browser for all tests of the pages that one process runs, and readers who must not see anything go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.pages.browser import Reader, Rooms, chromium


# Not of the session: Playwright's loop runs in this thread, and tests of other packages want to run one there.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def rooms(browser: Browser) -> Iterator[Rooms]:
    rooms = Rooms(browser)
    yield rooms
    rooms.close()


@pytest.fixture
def read(rooms: Rooms) -> Iterator[Callable[..., Reader]]:
    """Return a function that makes a reader; a message on a reader's console fails the test, such as the CSP's."""
    readers: list[Reader] = []

    def make(base: str, **options: Any) -> Reader:
        readers.append(Reader(rooms, base, **options))
        return readers[-1]

    yield make
    problems = [problem for reader in readers for problem in reader.problems]
    for reader in readers:
        reader.close()
    assert problems == []
