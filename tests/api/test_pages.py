"""The pages as a browser gets them: languages, filters, and that nothing a server says becomes markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from api.pages import duration
from api.texts import TEXTS, language_of
from core.model import State
from examples.fake_comfyui import FakeFleet, FakeServer
from tests.api.serving import Service, serving

KEYS = ("pulid_eva_clip", "pulid_face_analysis", "pulid_model", "ben2_base", "sam3")


class Page(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with FakeFleet(2) as fakes:
        fakes[0].store(*KEYS)
        fakes[1].misbehave("*", status=500, body=b"<script>alert(1)</script><img src=x onerror=alert(2)>&\"'")
        with serving(tmp_path_factory.mktemp("pages"), fakes.urls) as service:
            service.poll()
            yield service


def test_what_a_server_says_is_shown_as_text_and_never_becomes_markup(service: Service) -> None:
    answer = service.ask("/status?lang=en")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = Page(answer.text)
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>&\"'" in page.text
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    # The policy forbids inline scripts and styles, so the page must not have any.
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]


@pytest.mark.parametrize("name", ["state", "lang"])
def test_what_the_address_says_is_shown_as_text_too(service: Service, name: str) -> None:
    for text in ('"><script>x', "'><i>", "%22%3E%3Ci%3E"):
        answer = service.ask(f"/status?{name}={text.replace('<', '%3C').replace('>', '%3E').replace(chr(34), '%22')}")
        assert answer.status in (200, 422)
        if answer.status == 200:
            assert Page(answer.text).tags.count("i") == 0
            assert Page(answer.text).tags.count("script") == 1


@pytest.mark.parametrize(
    ("accepted", "chosen", "expected"),
    [
        ("", "", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "", "en"),
        ("zh-TW", "", "zh"),
        ("de,zh;q=0.3", "", "zh"),
        ("en;q=0.1,zh;q=0.2", "", "zh"),
        ("zh;q=0", "", "en"),
        ("zh;q=nonsense,,;;", "", "en"),
        ("*", "", "en"),
        ("zh", "en", "en"),
        ("en", "zh", "zh"),
        ("zh", "tlh", "zh"),
    ],
)
def test_the_language_is_the_address_before_the_browser(
    service: Service, accepted: str, chosen: str, expected: str
) -> None:
    assert language_of(chosen, accepted) == expected
    page = service.ask(f"/status?lang={chosen}", Accept_Language=accepted).text
    assert f'<html lang="{"zh-CN" if expected == "zh" else "en"}">' in page
    assert f"<title>{TEXTS[expected]['title']}</title>" in page


def test_both_languages_have_every_text_and_every_state() -> None:
    assert TEXTS["en"].keys() == TEXTS["zh"].keys()
    for texts in TEXTS.values():
        assert {str(state) for state in State} <= texts.keys()
        assert all(texts.values())


def test_a_filter_shows_the_servers_of_one_state_and_a_fragment_only_the_table(service: Service) -> None:
    everything = Page(service.ask("/status?lang=en").text)
    names = re.findall(r"127\.0\.0\.1:\d+", everything.text)
    loaded = service.ask("/status?lang=en&state=loaded&fragment=true").text
    assert "<html" not in loaded
    assert names[0] in loaded
    assert f'<th scope="row">{names[1]}' not in loaded
    assert TEXTS["en"]["none"] in service.ask("/status?lang=en&state=busy").text
    # A page with a filter keeps it when the language is changed.
    assert "?lang=zh&amp;state=loaded" in service.ask("/status?lang=en&state=loaded").text


def test_the_root_leads_to_the_page(service: Service) -> None:
    answer = service.ask("/")
    assert (answer.status, answer.headers["location"]) == (307, "/status")


def test_the_page_says_so_while_nothing_has_been_polled(tmp_path: Path) -> None:
    with FakeServer() as fake, serving(tmp_path, [fake.url]) as service:
        assert TEXTS["zh"]["never"] in service.ask("/status?lang=zh").text


def test_a_page_shows_five_hundred_servers_and_says_how_many_more_there_are(tmp_path: Path) -> None:
    with serving(tmp_path, [f"http://127.0.0.1:{port}" for port in range(1, 521)]) as service:
        text = service.ask("/status?lang=en").text
        assert text.count('<th scope="row">') == 500
        assert f"20 {TEXTS['en']['hidden']}" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (7200 + 300, "2 h 5 min"), (4 * 86400, "4 d 0 h")],
)
def test_durations_are_told_as_people_say_them(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words
