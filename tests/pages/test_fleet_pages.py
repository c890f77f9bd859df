"""The pages of the fleet as readers find them: who may do what, languages, filters, keyboard, markup, axe."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from core.access import Role
from examples.fake_comfyui import FakeFleet
from store.issued_tokens import IssuedTokens
from tests.api.serving import Service, serving
from tests.pages.browser import PHONE, Reader, expect
from tests.workspace import SOURCE, wait_for

KEYS = ("pulid_eva_clip", "pulid_face_analysis", "pulid_model", "ben2_base", "sam3")
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"
ODD = "<b onclick=alert(3)>bold</b>"
Read = Callable[..., Reader]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Loaded, warming, failed with markup in a node's error, one whose answers are markup, one gone.

    A key and a label of theirs are markup too.
    """
    with FakeFleet(6) as fakes:
        fakes[0].store(*KEYS)
        fakes[5].store(*KEYS)
        fakes[1].set_loader(seconds=600)
        fakes[2].set_loader(fail=True, message=MARKUP)
        fakes[3].misbehave("*", status=500, body=MARKUP.encode())
        fakes[4].stop()
        names = ("gpu-1", "gpu-2", "gpu-3", "answers-markup", "gpu-40")
        servers = ", ".join(
            f"{{ name = {name!r}, url = {url!r} }}" for name, url in zip(names, fakes.urls[:5], strict=True)
        )
        fleet = (
            f'[[set]]\nname = "faces"\nworkflow = "{SOURCE}/examples/warmup.json"\n'
            f'[[set]]\nname = "odd"\nwanted_keys = ["{ODD}"]\n'
            f'[[group]]\nname = "room-1"\nsets = ["faces"]\nlabels = {{ site = "{ODD}" }}\nservers = [{servers}]\n'
            f'[[group]]\nname = "room-2"\nsets = ["odd", "faces"]\n'
            f'servers = [{{ name = "odd", url = "{fakes.urls[5]}" }}]\n'
        )
        with serving(tmp_path_factory.mktemp("pages"), [], fleet=fleet) as service:

            def settled() -> bool:
                service.poll()
                states = [row["state"] for row in service.ask("/api/status").json()["servers"]]
                return states == ["loaded", "warming", "failed", "unknown", "unreachable", "needs_submission"]

            wait_for(settled)
            yield service


def base(service: Service) -> str:
    return f"http://127.0.0.1:{service.port}"


PAGES = ("/status", "/status/gpu-3", "/status/gpu-1", "/status/nowhere")


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_wrong_in_light_or_dark(service: Service, read: Read, path: str) -> None:
    chinese = "zh-CN" if path == "/status/gpu-1" else "en-US"
    reader = read(base(service), token=service.token(Role.OPERATOR), language=chinese)
    reader.expected_statuses = {"404"}
    page = reader.open(path)
    expect(page.locator("#who")).to_be_visible()
    if path == "/status":
        expect(page.get_by_role("button", name="Warm gpu-1")).to_be_visible()
    assert reader.violations() == []


def test_axe_finds_nothing_wrong_on_a_phone_and_in_the_dialogs(service: Service, read: Read) -> None:
    reader = read(base(service), token=service.token(Role.OPERATOR), size=PHONE)
    page = reader.open("/status")
    page.get_by_role("button", name="Warm gpu-1").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert reader.violations() == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in").click()
    assert reader.violations() == []
    page.keyboard.press("Escape")
    assert reader.violations() == []


@pytest.mark.parametrize("path", ["/status", "/status/gpu-3"])
def test_a_phone_shows_everything_without_scrolling_sideways(service: Service, read: Read, path: str) -> None:
    page = read(base(service), size=PHONE).open(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


@pytest.mark.parametrize("path", ["/status", "/status/gpu-3"])
def test_what_a_server_says_or_is_called_is_text_and_never_markup(service: Service, read: Read, path: str) -> None:
    # As the script has put it there too, not only as it came.
    page = read(base(service), token=service.token(Role.OPERATOR)).open_fresh(path)
    expect(page.get_by_text(MARKUP).first).to_be_visible()
    assert page.locator("main script, main img, main b[onclick], main i:not([class])").count() == 0
    expect(page.get_by_text(ODD).first).to_be_visible()


def test_a_viewer_is_offered_nothing_that_a_viewer_may_not_do(service: Service, read: Read) -> None:
    for token in ("", service.token(Role.VIEWER)):
        page = read(base(service), token=token).open_fresh("/status")
        expect(page.get_by_role("rowheader", name="gpu-1")).to_be_visible()
        if token:
            expect(page.locator("#who")).to_have_text("the-viewer · viewer")
        assert page.locator("[data-act], [data-check-all]").count() == 0
    page = read(base(service), token=service.token(Role.OPERATOR)).open("/status")
    expect(page.get_by_role("button", name="Warm gpu-1")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Warm gpu-1")).not_to_be_attached()


def test_a_wrong_token_is_told_and_a_right_one_is_kept_for_this_tab_only(service: Service, read: Read) -> None:
    reader = read(base(service))
    reader.expected_statuses = {"401"}
    page = reader.open("/status")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Token").fill("not-a-token")
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This token is not accepted:")
    page.get_by_label("Token").fill(service.token(Role.OPERATOR))
    page.keyboard.press("Enter")
    expect(page.locator("#who")).to_have_text("the-operator · operator")
    expect(page.get_by_role("button", name="Warm gpu-1")).to_be_visible()
    assert reader.context.cookies() == []
    assert page.evaluate("Object.values(localStorage).join().includes('ey')") is False
    page.reload()
    expect(page.locator("#who")).to_have_text("the-operator · operator")
    other = reader.context.new_page()
    other.goto("/status")
    expect(other.get_by_role("button", name="Sign in")).to_be_visible()


def test_blanks_are_no_token(service: Service, read: Read) -> None:
    page = read(base(service)).open("/status")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Token").fill("   ")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("paste one first")
    expect(page.locator("#who")).to_be_hidden()


def test_a_token_that_ends_while_a_page_is_open_is_told_and_the_page_asks_for_another(
    service: Service, read: Read
) -> None:
    token, issued = service.tokens.issue("ann", Role.ADMIN, 3600, time.time())
    reader = read(base(service), token=token)
    reader.expected_statuses = {"401"}
    page = reader.open("/tasks")
    expect(page.locator("#who")).to_have_text("ann · admin")
    with closing(IssuedTokens(service.settings.tokens_database)) as register:
        register.revoke(issued.id, time.time())
    expect(page.get_by_text("Your token has ended or was revoked")).to_have_count(1)
    expect(page.locator("#who")).to_be_hidden()
    expect(page.locator("#locked")).to_be_visible()
    page.goto("/status")
    expect(page.get_by_text("gpu-1").first).to_be_visible()


def test_another_machine_gets_a_shell_without_data_until_it_has_a_token(tmp_path: Path) -> None:
    with serving(tmp_path, ["http://127.0.0.1:9"], host="0.0.0.0", ALLOWED_HOSTS="keeper.test") as distant:
        shell = distant.ask("/status", Host="keeper.test")
        assert shell.status == 200
        assert "127.0.0.1:9" not in shell.text
        assert "Sign in to see this page." in shell.text
        assert distant.ask("/status", Host="keeper.test", X_Parts="").status == 401
        assert "127.0.0.1:9" in distant.ask("/status", Host="keeper.test", X_Parts="", role=Role.VIEWER).text


def test_the_language_is_the_browsers_until_another_is_chosen_which_is_remembered(service: Service, read: Read) -> None:
    reader = read(base(service), language="zh-CN")
    page = reader.open("/status?group=nothing")
    expect(page.get_by_role("heading", level=1)).to_have_text("ComfyUI 集群")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ComfyUI fleet")
    assert "group=nothing" in page.url
    page.goto("/status/gpu-1")
    expect(page.get_by_role("heading", name="Last 24 hours")).to_be_visible()
    assert reader.context.cookies() == []


def test_what_is_refused_is_told_in_the_language_of_the_page_whatever_the_browsers(
    service: Service, read: Read
) -> None:
    reader = read(base(service))
    reader.expected_statuses = {"401"}
    for address, button, alert in (
        ("/status?lang=zh", "登录", "令牌未被接受：令牌无效"),
        ("/status?lang=en", "Sign in", "This token is not accepted: the token is not valid"),
    ):
        page = reader.open(address)
        page.get_by_role("button", name=button).click()
        page.locator("#sign-in input").fill("not-a-token")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text(alert)


def test_an_address_that_leads_nowhere_is_a_page_in_either_language(service: Service, read: Read) -> None:
    reader = read(base(service))
    reader.expected_statuses = {"404"}
    # As a page elsewhere would have it, which wants the links of ours to lead to its own site.
    address = f"{base(service)}//nosuch/page"
    page = reader.open(address)
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no page at this address")
    assert reader.violations() == []
    page.get_by_role("link", name="中文").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("此地址没有页面")
    # Remembered, as everywhere; and still here, though the path begins as another site's address would.
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_have_text("此地址没有页面")
    assert page.url.startswith(base(service))
    page.get_by_role("button", name="登录").click()
    page.locator("#sign-in input").fill(service.token(Role.VIEWER))
    page.keyboard.press("Enter")
    expect(page.locator("#who")).to_be_visible()
    page.locator("main").get_by_role("link", name="集群").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ComfyUI 集群")


def test_filter_order_and_page_are_in_the_address_and_survive_a_reload(service: Service, read: Read) -> None:
    page = read(base(service)).open("/status")
    page.get_by_role("link", name=re.compile("^failed")).click()
    expect(page.locator("tbody")).to_have_count(1)
    page.get_by_role("link", name=re.compile("^All")).click()
    page.get_by_label("Search").press_sequentially("gpu")
    expect(page.locator("tbody")).to_have_count(4)
    page.get_by_label("Order").select_option("-name")
    expect(page.get_by_role("columnheader", name="Server")).to_have_attribute("aria-sort", "descending")
    names = page.get_by_role("rowheader").get_by_role("link")
    expect(names).to_have_text(["gpu-40", "gpu-3", "gpu-2", "gpu-1"])
    page.reload()
    expect(names).to_have_text(["gpu-40", "gpu-3", "gpu-2", "gpu-1"])
    expect(page.get_by_label("Search")).to_have_value("gpu")
    page.go_back()
    expect(names).to_have_text(["gpu-3", "gpu-40", "gpu-2", "gpu-1"])


def test_everything_can_be_done_with_the_keyboard_alone(service: Service, read: Read) -> None:
    page = read(base(service), token=service.token(Role.OPERATOR)).open("/status?sort=name")
    expect(page.get_by_role("button", name="Warm gpu-1")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    name = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(name))
        if reached[-1] == "Pause gpu-1":
            break
    assert {"Refresh", "Check now", "Warm gpu-1", "Pause gpu-1"} <= set(reached), reached
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Leave gpu-1 alone")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    expect(page.get_by_role("button", name="Pause gpu-1")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_servers_page_answers_why(service: Service, read: Read) -> None:
    page = read(base(service)).open("/status/gpu-3")
    why = page.locator("section.why")
    expect(why).to_contain_text("failed")
    expect(why).to_contain_text(MARKUP)
    expect(why.locator("code").first).to_have_text(re.compile("backing_off|failed"))
    expect(why.locator(".wanted li")).to_have_count(5)
    sent = page.get_by_role("table")
    expect(sent.locator(".outcome-failed").first).to_have_text("failed")
    expect(sent.locator("code").first).to_be_visible()
    expect(page.locator(".timeline li").first).to_be_visible()
    expect(page.get_by_role("img", name=re.compile(r"\d+ polls: median \d+ ms"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Last 24 hours: failed"))).to_be_visible()


OURS = (
    "missing:",
    "seen by",
    "no connection to",
    "answered status",
    "is running",
    "next try",
    "no workflow",
    "accepted",
)


@pytest.mark.parametrize("kept_fresh", [False, True])
def test_a_page_in_chinese_gives_its_reasons_in_chinese_and_a_servers_words_as_they_are(
    service: Service, kept_fresh: bool
) -> None:
    page = (service.ask("/status?lang=zh", X_Parts="none") if kept_fresh else service.ask("/status?lang=zh")).text
    told = html.unescape(page)
    for words in (
        "list 检测到已加载", "正在运行", "应答状态码 500：", f"缺少：{ODD}；未配置工作流，无法提交（WORKFLOW_PATH）",
        "：Connection refused", MARKUP[:60],
    ):  # fmt: skip
        assert words in told, words
    assert [words for words in OURS if words in told] == []
    assert html.escape(ODD) in page
    assert MARKUP not in page
    assert ODD not in page


def test_what_was_recorded_in_english_is_read_in_chinese(service: Service) -> None:
    page = service.ask("/status/gpu-3?lang=zh").text
    told = html.unescape(page)
    assert re.search(r"节点 \d+（[^）]+）：.*" + re.escape(MARKUP), told)
    assert re.search(r"提交缓存键 'pulid_eva_clip'；缺少：pulid_eva_clip", told)
    assert [words for words in OURS if words in told] == []
    assert MARKUP not in page
    english = service.ask("/status/gpu-3?lang=en").text
    assert "submitting key &#39;pulid_eva_clip&#39;; missing: pulid_eva_clip" in english


def test_programs_get_the_same_english_whatever_language_they_prefer(service: Service) -> None:
    shown = service.ask("/api/servers?q=gpu-40", accept_language="zh-CN").json()
    assert shown["servers"][0]["sets"][0]["reason"].startswith("no connection to http://127.0.0.1:")
    recorded = service.ask("/api/servers/gpu-40", accept_language="zh-CN").json()
    assert recorded["events"][0]["reason"].startswith("no connection to http://127.0.0.1:")


def test_a_reason_is_found_in_the_language_in_which_it_is_read(service: Service) -> None:
    for words in ("无法连接", "no connection"):
        assert [row["name"] for row in service.ask(f"/api/servers?q={quote(words)}").json()["servers"]] == ["gpu-40"]


def test_a_thousand_servers_are_paged_by_the_server_and_found_by_their_names(tmp_path: Path, read: Read) -> None:
    with serving(tmp_path, [f"http://127.0.0.1:{port}" for port in range(1, 1001)]) as many:
        reader = read(f"http://127.0.0.1:{many.port}")
        page = reader.open("/status?sort=name")
        expect(page.locator("tbody")).to_have_count(50)
        expect(page.locator(".title")).to_contain_text("1,000 servers")
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_role("rowheader").first).to_have_text("127.0.0.1:51")
        expect(page.get_by_text("Page 2 of 20")).to_be_visible()
        page.get_by_label("Search").fill("127.0.0.1:999")
        expect(page.locator("tbody")).to_have_count(1)
        page.get_by_label("Search").fill("")
        page.get_by_label("Per page").select_option("200")
        expect(page.locator("tbody")).to_have_count(200)
        # A round in which nothing has changed brings no rows again.
        with page.expect_response(lambda answer: len(answer.request.headers.get("x-parts", "")) > 2000) as kept:
            pass
        assert kept.value.text().count("data-kept") == 200
        assert len(kept.value.body()) < 40_000
