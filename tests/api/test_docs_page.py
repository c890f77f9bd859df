"""The API's description: complete, and shown with nothing loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from core.access import Role
from tests.api.serving import Service, serving
from tests.api.test_roles import OPEN_HERE
from tests.workspace import SOURCE


class Loads(HTMLParser):
    """Every address that a page names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline = 0
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "action")]
        self.inline += sum(name == "style" or name.startswith("on") for name, _ in attributes)

    def handle_data(self, data: str) -> None:
        self.inline += self._tag in ("script", "style") and bool(data.strip())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("docs"), ["http://127.0.0.1:9"]) as service:
        yield service


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service.ask("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_page_loads_what_we_serve_and_nothing_else(service: Service) -> None:
    answer = service.ask("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    page = Loads(answer.text)
    assert page.inline == 0
    assert len(page.addresses) >= 3
    for address in page.addresses:
        assert address.startswith(("/", "data:")), address
        if address.startswith("/"):
            got = service.ask(address)
            assert got.status == 200, address
            assert len(got.body) > 100
    script = (SOURCE / "api" / "static" / "docs.js").read_text()
    assert "://" not in script
    assert "validatorUrl: null" in script
    # What the browser would refuse even if a script asked for it.
    assert "connect-src 'self'" in answer.headers["content-security-policy"]


def test_the_style_sheet_loads_nothing_from_elsewhere(service: Service) -> None:
    style = service.ask("/docs/swagger-ui.css").text
    assert re.findall(r"url\(\s*[\"']?(?!data:|#)([^)\"']{1,80})", style) == []
    assert "@import" not in style


def test_only_the_parts_of_the_page_are_served(service: Service) -> None:
    for name in ("main.py", "__init__.py", "..%2F..%2Fconfig.py", "%2Fetc%2Fpasswd", "favicon-32x32.png"):
        assert service.ask(f"/docs/{name}").status == 404


def test_reading_the_description_from_another_machine_needs_a_token(tmp_path: Path) -> None:
    with serving(tmp_path, ["http://127.0.0.1:9"], TRUSTED_PROXIES="127.0.0.1") as service:
        for path in ("/docs", "/openapi.json"):
            assert service.ask(path, X_Forwarded_For="203.0.113.7").status == 401
            assert service.ask(path, role=Role.VIEWER, X_Forwarded_For="203.0.113.7").status == 200


def test_every_operation_has_a_name_of_its_own_a_tag_and_both_languages(document: dict[str, Any]) -> None:
    tags = {each["name"] for each in document["tags"]}
    seen = set()
    for method, path, operation in operations(document):
        assert operation["operationId"] not in seen
        seen.add(operation["operationId"])
        assert set(operation["tags"]) <= tags, path
        assert re.search(r"[\u4e00-\u9fff].* · \w", operation["summary"]), f"{method} {path}"
        assert operation["description"], path


def test_every_answer_that_a_route_may_give_is_described_in_one_shape(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        for status in ("401", "403", "404", "409", "422", "429", "500"):
            (content,) = operation["responses"][status]["content"].values()
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}, (path, status)
        good = [status for status in operation["responses"] if status.startswith("2")]
        assert good, path
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_what_needs_a_token_says_so(document: dict[str, Any]) -> None:
    (name,) = document["components"]["securitySchemes"]
    scheme = document["components"]["securitySchemes"][name]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for _, path, operation in operations(document):
        expected: list[dict[str, list[str]]] = [{name: []}, {}] if path in OPEN_HERE else [{name: []}]
        if path == "/healthz":
            expected = []
        assert operation.get("security", []) == expected, path


def test_every_operation_of_the_service_can_be_asked_for(document: dict[str, Any]) -> None:
    from operations.service import KINDS

    body = document["paths"]["/api/cache/operations"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["discriminator"]["mapping"]) == set(KINDS)
