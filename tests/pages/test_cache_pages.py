"""The pages about caches, tasks, the audit log and models, in a browser before the whole program with a worker."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.access import Role
from tests.api.caches import Caches, running_caches
from tests.pages.browser import PHONE, Reader, expect, token_of

Read = Callable[..., Reader]
MARKUP = "<img src=x onerror=alert(1)>"
PAGES = ("/cache", "/tasks", "/audit", "/models")


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caches]:
    directory = tmp_path_factory.mktemp("caches")
    model = directory / "models" / "sdxl"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "weights.bin").write_bytes(b"x" * 4000)
    cut_off = directory / "models" / "cut-off"
    cut_off.mkdir()
    (cut_off / "config.json").write_text("{}")
    (cut_off / "weights.safetensors").write_bytes(b"x")
    with running_caches(directory, MODEL_CACHE_DIRS=str(model.parent)) as caches:
        caches.fill("previews", 0.1, 3, 40, 400)
        (caches.workspace.root / "previews" / MARKUP).write_bytes(b"x" * 100)
        caches.refresh()
        look = caches.call("POST", "operations", body={"name": "list_models", "arguments": {}}).json()["data"]
        caches.over(look["id"])
        lost = caches.call("POST", "operations", body={"name": "verify_models", "arguments": {"name": "nowhere"}})
        assert caches.over(lost.json()["data"]["id"])["state"] == "failed"
        yield caches


def reader_as(read: Read, caches: Caches, role: Role, **options: object) -> Reader:
    return read(caches.workspace.page, token=token_of(caches.workspace, role), **options)


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_wrong_in_light_or_dark(caches: Caches, read: Read, path: str) -> None:
    reader = reader_as(read, caches, Role.ADMIN, language="zh-CN" if path == "/tasks" else "en-US")
    page = reader.open(path)
    expect(page.get_by_role("table").first).to_be_visible()
    for summary in page.locator("summary").all()[:3]:
        summary.click()
    assert reader.violations() == []


def test_a_phone_shows_every_page_without_scrolling_sideways(caches: Caches, read: Read) -> None:
    reader = reader_as(read, caches, Role.ADMIN, size=PHONE)
    for path in PAGES:
        page = reader.open(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], path


def test_without_a_token_every_page_is_a_shell_and_says_what_to_do(caches: Caches, read: Read) -> None:
    for path in PAGES:
        shell = caches.workspace.ask(path)
        assert (shell.status, MARKUP in shell.text, "previews" in shell.text) == (200, False, False)
        assert caches.workspace.ask(path, **{"X-Parts": ""}).status == 401
    page = read(caches.workspace.page).open("/cache")
    page.locator("#locked").get_by_role("button", name="Sign in").click()
    page.get_by_label("Token").fill(caches.token(Role.VIEWER))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Caches")
    expect(page.locator("#locked")).not_to_be_visible()


def test_a_file_whose_name_is_markup_is_shown_as_text(caches: Caches, read: Read) -> None:
    page = reader_as(read, caches, Role.VIEWER).open("/cache?target=previews")
    expect(page.get_by_role("rowheader", name=MARKUP)).to_be_visible()
    assert page.locator("main img").count() == 0


def test_how_tasks_ended_and_what_models_are_is_told_in_the_language_of_the_page(caches: Caches) -> None:
    def page(path: str) -> str:
        headers = {"X-Parts": "", "Authorization": f"Bearer {caches.token(Role.ADMIN)}"}
        return html.unescape(caches.workspace.ask(path, **headers).text)

    assert "no model matches 'nowhere'" in page("/tasks?lang=en")
    assert "没有模型匹配 'nowhere'" in page("/tasks?lang=zh")
    assert "没有模型匹配 'nowhere'" in page("/audit?lang=zh&outcome=failed")
    english, chinese = page("/models?lang=en"), page("/models?lang=zh")
    assert ">corrupt</span>" in english
    assert ">已损坏</span>" in chinese
    assert "weights.safetensors: malformed, shorter than a safetensors header" in english
    assert "weights.safetensors: 格式错误，短于 safetensors 文件头" in chinese


@pytest.mark.parametrize("role", list(Role))
def test_each_role_is_offered_what_it_may_do(caches: Caches, read: Read, role: Role) -> None:
    reader = reader_as(read, caches, role)
    offered = {
        "/cache": {"Show the plan": Role.OPERATOR, "Clear previews": Role.ADMIN, "Count again": Role.OPERATOR},
        "/tasks": {"Retry task verify_models": Role.OPERATOR},
        "/models": {"Verify sdxl": Role.OPERATOR, "Remove sdxl": Role.ADMIN},
        "/audit": {"Export CSV": Role.ADMIN},
    }
    for path, buttons in offered.items():
        page = reader.open(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        for name, needed in buttons.items():
            expect(page.get_by_role("button", name=name)).to_have_count(1 if role.includes(needed) else 0)


def test_a_cleanup_is_planned_then_done_with_its_progress_and_its_result(caches: Caches, read: Read) -> None:
    files = caches.fill("images", 0.1, 20, 30)
    caches.refresh()
    page = reader_as(read, caches, Role.OPERATOR).open("/cache")
    page.get_by_label("Older than (days)").fill("10")
    page.locator("[data-plan]").get_by_label("Target").select_option("images")
    page.get_by_role("button", name="Show the plan").click()
    task = page.locator(".task")
    expect(task).to_contain_text("Plan: nothing has been deleted", timeout=15_000)
    expect(task).to_contain_text("2 entries in 2 files would go")
    expect(task.get_by_role("cell", name="older than the age limit").first).to_be_visible()
    # Kept without being read: its size is not nought.
    expect(task.get_by_role("row", name="not old enough")).to_have_text("not old enough1–")
    task.get_by_text("The first ones").click()
    expect(task.get_by_role("cell", name=re.compile("task-1"))).to_be_visible()
    assert [path.exists() for path in files] == [True, True, True]
    # The choice is still in the form, rounds later.
    expect(page.get_by_label("Older than (days)")).to_have_value("10")
    planned = page.url
    task.get_by_role("button", name="Delete these now").click()
    page.get_by_role("dialog").get_by_role("button", name="Continue").click()
    expect(task).to_contain_text("2 entries in 2 files were deleted", timeout=15_000)
    assert page.url != planned
    assert [path.exists() for path in files] == [True, False, False]
    expect(page.get_by_role("row", name=re.compile("^images"))).to_contain_text("images")


def test_a_plan_that_would_be_refused_says_so_and_offers_no_deletion(caches: Caches, read: Read) -> None:
    files = caches.fill("images", *[20] * 20)
    page = reader_as(read, caches, Role.OPERATOR).open("/cache")
    page.get_by_label("Older than (days)").fill("10")
    page.locator("[data-plan]").get_by_label("Target").select_option("images")
    page.get_by_role("button", name="Show the plan").click()
    task = page.locator(".task")
    expect(task).to_contain_text("This would be refused: target images: 20 of", timeout=15_000)
    expect(task).to_contain_text("0 entries in 0 files would go")
    expect(task.get_by_role("button", name="Delete these now")).to_have_count(0)
    expect(task.locator(".pill")).to_have_text("done: refused")
    for language, words in (("en", "done: refused"), ("zh", "已完成：被拒绝")):
        pill = (
            reader_as(read, caches, Role.VIEWER)
            .open(f"/tasks?lang={language}")
            .get_by_role("row")
            .nth(1)
            .locator(".pill")
        )
        expect(pill).to_have_text(words)
        expect(pill).to_have_class(re.compile("task-refused"))
    audit = reader_as(read, caches, Role.VIEWER).open("/audit?action=cache.cleanup.plan&stage=result")
    row = audit.get_by_role("row").nth(1)
    expect(row.locator(".tag")).to_have_text("plan")
    caches.call("DELETE", "clear?target=images&confirm=images")
    assert not any(path.exists() for path in files)


def test_clearing_asks_for_the_name_typed_in(caches: Caches, read: Read) -> None:
    (file,) = caches.fill("images", 2)
    caches.refresh()
    page = reader_as(read, caches, Role.ADMIN).open("/cache")
    page.get_by_role("button", name="Clear images").click()
    dialog = page.get_by_role("dialog")
    go_on = dialog.get_by_role("button", name="Continue")
    expect(go_on).to_be_disabled()
    dialog.get_by_role("textbox").fill("image")
    page.keyboard.press("Enter")
    expect(go_on).to_be_disabled()
    dialog.get_by_role("textbox").fill("images")
    page.keyboard.press("Enter")
    expect(page.locator(".task")).to_contain_text("were deleted", timeout=15_000)
    assert not file.exists()


def test_a_running_task_shows_its_progress_and_is_cancelled_from_its_row(tmp_path: Path, read: Read) -> None:
    with running_caches(tmp_path, TASK_WORKERS="0") as waiting:
        waiting.call("POST", "operations", body={"name": "refresh", "arguments": {}})
        page = reader_as(read, waiting, Role.OPERATOR).open("/tasks")
        expect(page.get_by_text("No worker is running: queued tasks wait.")).to_be_visible()
        row = page.get_by_role("row").nth(1)
        expect(row).to_contain_text("queued")
        row.get_by_role("button", name="Cancel task").click()
        page.get_by_role("dialog").get_by_role("button", name="Continue").click()
        expect(row).to_contain_text("cancelled")
        row.get_by_role("button", name="Retry task").click()
        page.get_by_role("dialog").get_by_role("button", name="Continue").click()
        expect(row).to_contain_text("queued")


def test_the_dead_letter_is_a_filter_and_its_error_is_told(caches: Caches, read: Read) -> None:
    page = reader_as(read, caches, Role.VIEWER).open("/tasks")
    page.get_by_role("link", name=re.compile("dead letter")).click()
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("row").nth(1)).to_contain_text("no model matches 'nowhere'")
    page.get_by_text("Details").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text('"name": "nowhere"')
    with page.expect_response("**/tasks**"):
        pass
    # What was opened stays open.
    expect(page.locator("details").first).to_have_attribute("open", "")


def test_the_audit_log_is_filtered_and_exported(caches: Caches, read: Read) -> None:
    page = reader_as(read, caches, Role.ADMIN).open("/audit")
    page.get_by_label("What").fill("model.verify")
    page.get_by_label("Outcome").select_option("failure")
    rows = page.locator("tbody tr")
    expect(rows.first).to_contain_text("no model matches 'nowhere'")
    assert "action=model.verify" in page.url
    with page.expect_download() as download:
        page.get_by_role("button", name="Export JSON lines").click()
    records = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert records
    assert {(record["action"], record["outcome"]) for record in records} == {("model.verify", "failure")}


def test_models_are_listed_and_verified(caches: Caches, read: Read) -> None:
    page = reader_as(read, caches, Role.OPERATOR).open("/models")
    expect(page.get_by_role("rowheader", name=re.compile("^sdxl"))).to_be_visible()
    page.get_by_role("button", name="Verify sdxl").click()
    page.get_by_role("dialog").get_by_role("button", name="Continue").click()
    expect(page.locator(".task")).to_contain_text("done", timeout=15_000)
    expect(page.locator(".task pre")).to_contain_text('"name": "sdxl"')
