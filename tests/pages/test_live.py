"""The fleet's page in a browser, before a real main.py: what happens is seen without loading the page again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from core.access import Role
from examples.fake_comfyui import FakeFleet
from tests.pages.browser import Reader, expect, token_of
from tests.workspace import Workspace, wait_for, workspace_in

KEYS = ("pulid_eva_clip", "pulid_face_analysis", "pulid_model", "ben2_base", "sam3")
Read = Callable[..., Reader]


@dataclass
class Daemon:
    workspace: Workspace
    fakes: FakeFleet
    token: str

    @property
    def names(self) -> list[str]:
        return [url.removeprefix("http://") for url in self.fakes.urls]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Three servers: loaded, not loaded, loaded."""
    with FakeFleet(3) as fakes:
        fakes[0].store(*KEYS)
        fakes[2].store(*KEYS)
        directory = tmp_path_factory.mktemp("live")
        with workspace_in(directory, SERVERS=",".join(fakes.urls), RATE_LIMIT_WRITES_PER_MINUTE="1000") as workspace:
            # Its loaders fail until a test lets them work.
            fakes[1].set_loader(fail=True)
            workspace.running()
            wait_for(lambda: workspace.states().get(fakes[1].url) == "failed")
            yield Daemon(workspace, fakes, token_of(workspace, Role.OPERATOR))


def mark(reader: Reader) -> None:
    """Leave a mark that a loading of the page would wipe away."""
    reader.page.evaluate("document.documentElement.dataset.mark = 'same page'")


def same_page(reader: Reader) -> bool:
    return bool(reader.page.evaluate("document.documentElement.dataset.mark === 'same page'"))


def test_a_server_turns_from_failed_to_loaded_on_the_page_without_a_reload(daemon: Daemon, read: Read) -> None:
    reader = read(daemon.workspace.page, token=daemon.token)
    page, name = reader.open("/status?sort=name"), daemon.names[1]
    mark(reader)
    expect(reader.row(name).locator("td.state .pill")).to_have_text("failed")
    page.get_by_label("Search").fill(name)
    expect(page.locator("tbody")).to_have_count(1)
    daemon.fakes[1].set_loader(fail=False, seconds=0.05)
    page.get_by_role("button", name=f"Warm {name}").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"Warm {name} now?")
    page.get_by_role("dialog").get_by_role("button", name="Continue").click()
    expect(reader.notices()).to_contain_text(f"{name}: warm-up asked for")
    expect(reader.row(name).locator("td.state .pill")).to_have_text("loaded", timeout=15_000)
    expect(reader.row(name).locator("td.keys")).to_contain_text("5/5")
    # The filter is still there, and still where the reader left it.
    expect(page.get_by_label("Search")).to_have_value(name)
    expect(page.locator("tbody")).to_have_count(1)
    assert same_page(reader)


def test_a_server_that_needs_a_submission_waits_for_its_users_and_turns_loaded_without_a_reload(
    daemon: Daemon, read: Read
) -> None:
    reader, fake = read(daemon.workspace.page, token=daemon.token), daemon.fakes[2]
    page, name = reader.open("/status?sort=name"), daemon.names[2]
    mark(reader)
    state = reader.row(name).locator("td.state .pill")
    expect(state).to_have_text("loaded")
    # Somebody's pictures are being made while the models are thrown out.
    fake.set_loader(seconds=0.05)
    for _ in range(4):
        fake.occupy(1.5)
    fake.clear_cache()
    expect(state).to_have_text("needs submission", timeout=15_000)
    expect(reader.row(name).locator("td.keys")).to_contain_text("0/5")
    expect(state).to_have_text("loaded", timeout=20_000)
    expect(page.locator("tbody")).to_have_count(3)
    assert same_page(reader)


def test_check_now_asks_first_and_counts_the_servers_as_they_are_polled(daemon: Daemon, read: Read) -> None:
    reader = read(daemon.workspace.page, token=daemon.token)
    page = reader.open("/status")
    page.get_by_role("button", name="Check now").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Poll all 3 servers now?")
    asked = [len(fake.requests) for fake in daemon.fakes]
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).not_to_be_visible()
    page.get_by_role("button", name="Check now").click()
    dialog.get_by_role("button", name="Continue").click()
    expect(reader.notices()).to_contain_text("All 3 servers were checked")
    assert all(len(fake.requests) > before for fake, before in zip(daemon.fakes, asked, strict=True))


def test_a_server_is_paused_and_resumed_from_its_row(daemon: Daemon, read: Read) -> None:
    reader = read(daemon.workspace.page, token=daemon.token)
    page, name = reader.open("/status"), daemon.names[2]
    page.get_by_role("button", name=f"Pause {name}").click()
    page.get_by_role("dialog").get_by_role("button", name="Continue").click()
    expect(reader.row(name).locator("td.state .pill")).to_have_text("paused")
    page.get_by_role("button", name=f"Resume {name}").click()
    expect(reader.row(name).locator("td.state .pill")).to_have_text("loaded")


def test_refreshing_keeps_focus_selection_and_scroll(daemon: Daemon, read: Read) -> None:
    reader = read(daemon.workspace.page, token=daemon.token, size=(900, 400))
    page, name = reader.open("/status?sort=name"), daemon.names[0]
    link = page.get_by_role("link", name=name)
    button = page.get_by_role("button", name=f"Warm {name}")
    button.focus()
    page.evaluate("scrollTo(0, 150)")
    selected = link.evaluate("element => (getSelection().selectAllChildren(element), getSelection().toString())")
    where = page.evaluate("scrollY")
    before = link.element_handle()
    # Something else changes on the page in between, by a round of its own.
    daemon.fakes[2].evict("sam3")
    with page.expect_response(
        lambda answer: "/status" in answer.url and answer.request.headers.get("x-parts", "") != ""
    ):
        pass
    expect(reader.row(daemon.names[2]).locator("td.state .pill")).to_have_text("loaded", timeout=15_000)
    assert page.evaluate("getSelection().toString()") == selected == name
    assert page.evaluate("scrollY") == where
    expect(button).to_be_focused()
    assert before is not None
    assert before.evaluate("element => element.isConnected")


def test_a_daemon_that_does_not_answer_is_told_and_one_that_does_again_too(daemon: Daemon, read: Read) -> None:
    reader = read(daemon.workspace.page)
    page = reader.open_fresh("/status")
    reader.context.set_offline(True)
    expect(reader.notices()).to_contain_text("No answer from the daemon")
    expect(page.locator("tbody")).to_have_count(3)
    reader.context.set_offline(False)
    expect(reader.notices()).to_contain_text("The daemon answers again")
    reader.problems = [each for each in reader.problems if "ERR_INTERNET_DISCONNECTED" not in each]
