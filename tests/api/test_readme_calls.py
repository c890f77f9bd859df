"""What README tells people to type against the API is typed here, line by line, against the running program."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from core.access import Role
from tests.api.caches import Caches, running_caches
from tests.workspace import SOURCE, Answer, ask


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caches]:
    with running_caches(tmp_path_factory.mktemp("readme")) as caches:
        caches.fill("previews", 1)
        yield caches


def lines() -> list[str]:
    """The assignments and the calls that README shows, in order."""
    return re.findall(r"^    ((?:[A-Z]+=|curl ).*)$", (SOURCE / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


class Shell:
    """As much of a shell as the lines need: variables, quotes, and what is asked of curl."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches
        self._variables: dict[str, str] = {}

    def type(self, line: str) -> Answer | None:
        made = re.search(r"\$\(python -m api token create --user \w+ --role (\w+) --ttl 8h\)", line)
        if made:
            line = line.replace(made[0], self._caches.workspace.token(Role(made[1])))
        line = re.sub(r"\$([A-Z]+)", lambda name: self._variables[name[1]], line)
        words = shlex.split(line)
        if words[0] != "curl":
            name, _, value = words[0].partition("=")
            self._variables[name] = value
            return None
        return self._curl(words[1:])

    def _curl(self, words: list[str]) -> Answer:
        method, address, headers, body = "GET", "", {}, None
        while words:
            word = words.pop(0)
            if word == "-X":
                method = words.pop(0)
            elif word == "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            elif word == "--json":
                method, body = "POST", words.pop(0).encode()
                headers["Content-Type"] = "application/json"
            else:
                assert not word.startswith("-"), f"teach this test curl's {word}"
                address = word
        return ask(address.replace("http://127.0.0.1:8000", self._caches.workspace.page), method, headers, 60, body)


def test_every_call_that_the_readme_shows_does_what_it_says(caches: Caches) -> None:
    shell = Shell(caches)
    answers = {line: answer for line in lines() if (answer := shell.type(line)) is not None}
    assert len(answers) >= 20
    # A task that has ended well can be neither cancelled nor tried again.
    over = {line: answer.status for line, answer in answers.items() if line.endswith(("/cancel", "/retry"))}
    assert set(over.values()) <= {200, 409}
    wrong = {
        line: answer.text for line, answer in answers.items() if line not in over and answer.status not in (200, 202)
    }
    assert wrong == {}


def test_the_readme_shows_every_call_there_is(caches: Caches) -> None:
    described = caches.workspace.ask("/openapi.json").json()["paths"]
    text = "\n".join(lines()).replace("$API", "/api/cache")
    patterns = {path: re.sub(r"\{\w+\}", r"[\\w:]+", path) + r'["?\s]' for path in described}
    missing = [path for path, pattern in patterns.items() if not re.search(pattern, text + "\n")]
    # Those about servers are named in their own section.
    assert [path for path in missing if path.startswith(("/api/cache", "/api/audit", "/api/models"))] == []
