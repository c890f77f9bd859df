"""The documents cannot drift: commands parse, keys and paths exist, examples load, both languages say the same."""

from __future__ import annotations

import ast
import importlib
import io
import re
import shlex
import time
import tomllib
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Callable, Iterator

import pytest

import main
from api import token_cli
from checker import cli as checker_cli
from checker.show import Words, event_line, state_lines
from cleaner import __main__ as cleaner_main
from cleaner import scheduler as cleaner_scheduler
from core import settings
from core.audit_chain import Verdict
from core.error_words import error_text
from core.fleet_file import FleetReader
from core.model import Event, State
from core.targets import target_from_table
from core.workflow import Graph
from examples import clean_cache_example
from modelcache import parser as modelcache_parser
from operations import parser as operations_parser
from operations.audit_cli import tell_verdict
from supervisor import commands
from supervisor.status import Status
from tests.workspace import SOURCE

README, CHINESE, ARCHITECTURE, CONTRIBUTING = "README.md", "README.zh-CN.md", "ARCHITECTURE.md", "CONTRIBUTING.md"
DOCUMENTS = [README, CHINESE, ARCHITECTURE, CONTRIBUTING]

PARSERS: dict[str, Callable[[], ArgumentParser]] = {
    "daemon.py": commands._parser,
    "main.py": main._parser,
    "-m checker": checker_cli.parser,
    "-m cleaner": cleaner_main.parser,
    "-m cleaner.scheduler": cleaner_scheduler.parser,
    "-m modelcache": modelcache_parser.parser,
    "-m api": token_cli.parser,
    "-m operations": operations_parser.parser,
}

# What the documents name and a checkout does not have: made when it runs, or the reader's own.
NOT_IN_A_CHECKOUT = {
    ".env", ".venv", "fleet.toml", "daemon.pid", "daemon.log", "cache_cleaner.log", "resources/img", ".keep",
    "demo-data", "demo-data/", "IMAGE_CACHE_DIR/<month>/<task-id>/", "workflows/warmup.json", ".installed-requirements",
    "api_keys.json",
}  # fmt: skip


FILE_NAMES = {path.name for room in SOURCE.glob("[a-z]*/") for path in room.rglob("*")}


def text_of(document: str) -> str:
    path = SOURCE / document
    assert path.exists(), f"{document} is missing"
    return path.read_text(encoding="utf-8")


def fenced(document: str, language: str | None = None) -> list[str]:
    """Return the texts of the fenced blocks, all of them or those of one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(document), re.MULTILINE | re.DOTALL)
    return [text for name, text in found if language in (None, name)]


def command_lines(document: str) -> list[str]:
    """Return the lines of indented blocks, which are what a reader types, without their remarks."""
    lines = re.findall(r"^    (\S.*)$", re.sub(r"^```.*?^```$", "", text_of(document), flags=re.M | re.S), re.MULTILINE)
    return [re.sub(r"\s+#.*", "", line).strip() for line in lines]


def typed(document: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each of our programs that a document runs, with its arguments."""
    for line in command_lines(document):
        match = re.fullmatch(r"(?:sudo )?(?:\S*/)?python3? (-m [\w.]+|\w+\.py)(.*)", line)
        if match and match[1] in PARSERS:
            yield match[1], shlex.split(match[2])


@pytest.mark.parametrize("document", [README, CHINESE])
def test_every_command_that_the_readme_shows_parses(document: str) -> None:
    shown = list(typed(document))
    assert len(shown) >= 10
    for program, arguments in shown:
        try:
            PARSERS[program]().parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{document}: python {program} {shlex.join(arguments)} is not understood")


def subcommands(parser: ArgumentParser) -> list[str]:
    return [name for action in parser._actions if isinstance(action, _SubParsersAction) for name in action.choices]


def options(parser: ArgumentParser) -> set[str]:
    """Return every option of a parser and its subcommands."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for inner in action.choices.values():
                found |= options(inner)
    return found


@pytest.mark.parametrize("program", ["daemon.py", "-m checker"])
def test_the_readme_shows_every_command_there_is(program: str) -> None:
    shown = {arguments[0] for name, arguments in typed(README) if name == program and arguments}
    assert set(subcommands(PARSERS[program]())) <= shown


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_option_that_a_document_mentions_exists(document: str) -> None:
    known = {"--example", "--real-comfyui"}.union(*(options(parser()) for parser in PARSERS.values()))
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text_of(document)))
    # mypy's, pip's and systemctl's: not ours to check.
    assert mentioned - known <= {"--strict", "--require-hashes", "--now"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_that_a_document_names_exists(document: str) -> None:
    targets = set(re.findall(r"^([\w .-]+):(?!=)", text_of("Makefile"), re.MULTILINE))
    names = {name for line in targets for name in line.split()}
    mentioned = set(re.findall(r"(?:^    |`|sudo )make ([a-z][a-z-]+)", text_of(document), re.MULTILINE))
    assert mentioned <= names


def test_the_example_settings_are_the_settings() -> None:
    assert text_of(".env.example") == settings.render_example()


@pytest.mark.parametrize("document", [*DOCUMENTS, ".env.example"])
def test_every_setting_that_a_document_names_exists(document: str) -> None:
    known = {name for key in settings.KEYS for name in (key.name, *key.aliases)}
    words = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text_of(document)))
    # The reader's own variable in an example, and make's.
    assert words - known <= {"COMFY_AUTHORIZATION"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_a_document_names_exists(document: str) -> None:
    missing = []
    prose = re.sub(r"^```.*?^```$", "", text_of(document), flags=re.M | re.S)
    named = re.findall(r"`([^`\s]+)`", prose)
    named += [word for line in command_lines(document) for word in line.split()]
    for name in named:
        path, _, inside = name.partition(":")
        if "*" in path or "{" in path or "<" in path or path.startswith(("/", "--", "http", "\\", "r:\\", ".venv/")):
            continue
        looks_like_a_path = re.fullmatch(r"[\w./-]+", path) and (
            path.endswith("/")
            or re.search(r"\.(py|md|toml|json|txt|service|html|sh|png)$", path)
            or path in (".ci/run",)
        )
        if not looks_like_a_path or path in NOT_IN_A_CHECKOUT:
            continue
        # A name alone means the file of that name, wherever the sentence is about.
        if not (SOURCE / path).exists() and ("/" in path or path not in FILE_NAMES):
            missing.append(path)
        elif inside and re.fullmatch(r"[\w.]+", inside):
            source = (SOURCE / path).read_text(encoding="utf-8")
            missing += [name for word in inside.split(".") if not re.search(rf"\b(def|class) {word}\b", source)]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_function_and_module_that_a_document_names_in_passing_exists(document: str) -> None:
    """`core/x.py:name` is checked above; here `module.name` of our own packages."""
    for name in re.findall(r"`((?:core|checker|cleaner|runtime|store|api|client)\.[\w.]+)`", text_of(document)):
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ImportError:
            assert hasattr(importlib.import_module(module), attribute), f"{document}: {name}"


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md", "benchmarks/README.md"])
def test_every_link_leads_somewhere(document: str) -> None:
    place = (SOURCE / document).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if "://" not in target:
            path, _, _ = target.partition("#")
            assert not path or (place / path).exists(), f"{document} links to {target}"


def test_both_languages_have_the_same_sections_blocks_and_commands() -> None:
    def levels(document: str) -> list[int]:
        prose = re.sub(r"^```.*?^```$", "", text_of(document), flags=re.M | re.S)
        return [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]

    def code(document: str) -> list[str]:
        # A remark in a block is in the document's language.
        return [re.sub(r"[ \t]*#.*", "", block) for block in fenced(document)]

    assert levels(README) == levels(CHINESE)
    assert command_lines(README) == command_lines(CHINESE)
    pairs = [pair for pair in zip(code(README), code(CHINESE), strict=True) if pair[0] != pair[1]]
    # What a command tells is in the language of its reader.
    assert [told for _, told in pairs] == [in_language(english, chinese=True) for english, _ in pairs]
    assert [english for english, _ in pairs] == [in_language(english, chinese=False) for english, _ in pairs]
    assert len(pairs) == 4


def in_language(told: str, *, chinese: bool) -> str:
    """Given what a command tells in English, return what it tells on a terminal of that language."""
    if "known heads compared" in told:
        return verified(told, chinese=chinese)
    if "must be" in told:
        return error_text(told, chinese=chinese)
    return shown(told, chinese=chinese) if "Daemon is running" in told else retold(told, chinese=chinese)


def shown(text: str, *, chinese: bool) -> str:
    """Given what ``daemon.py status`` shows at last, in English, return what it shows of the same daemon."""
    before, _, _ = text.partition("Daemon is running")
    value = dict(re.findall(r"^  ([\w ]+): (.*)$", text, re.MULTILINE))
    pid, main_pid = re.findall(r"(?:running|RUNNING) \(PID: (\d+)\)", text)
    status = Status(
        0, f"Daemon is running (PID: {pid})", value["Log"], main_pid=int(main_pid), main_state="RUNNING",
        uptime_seconds=0, restarts=int(value["Restarts"]), page=value["Page"],
    )  # fmt: skip
    return f"{before}{status.as_text(chinese=chinese)}\n"


def verified(told: str, *, chinese: bool) -> str:
    """Given what ``python -m operations audit verify`` tells in English, return what it tells of the same log."""
    found = re.fullmatch(r"(\d+) records, (\d+) known heads compared: the chain is whole\nhead (\S+)\n", told)
    assert found, told
    out = io.StringIO()
    tell_verdict(Verdict(int(found[1]), None), int(found[2]), found[3], out, chinese=chinese)
    return out.getvalue()


def retold(story: str, *, chinese: bool) -> str:
    """Given what ``python -m checker why`` tells in English, return what it tells of the same events."""
    say, lines = Words(chinese=chinese), []
    head = re.compile(r"(?P<at>\S+ \S+)  (?P<kind>\w+)(?: -> (?P<to>\w+))?(?: after (?P<seconds>\d+) s)?: ")
    last = Event(0, "", "", "state")
    for line in story.splitlines():
        if found := head.match(line):
            reason, _, rule = line[found.end() : -1].rpartition(" [")
            kind, after = ("state", found["to"]) if found["to"] else (found["kind"], "")
            # Nothing happens on the full second.
            at = time.mktime(time.strptime(found["at"], "%Y-%m-%d %H:%M:%S")) + 0.9
            last = Event(
                at, "", "default", kind, found["kind"], after,
                rule, reason, seconds=float(found["seconds"]) if found["seconds"] else None,
            )  # fmt: skip
            lines.append(event_line(last, say, with_set=False))
        elif found := re.match(r"At (\S+ \S+) set", line):
            now = time.mktime(time.strptime(found[1], "%Y-%m-%d %H:%M:%S"))
            lines += ["", *state_lines("default", last, now, say)]
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("document", [README, CHINESE])
def test_the_examples_of_fleet_toml_are_read_without_a_complaint(document: str) -> None:
    graph: Graph = {"1": {"class_type": "CacheBackendData //Inspire", "inputs": {"key": "k", "data": ["2", 0]}}}
    seen = set()
    for block in fenced(document, "toml"):
        table = tomllib.loads(block)
        reader = FleetReader(
            load_workflow=lambda _: graph, secret=lambda _: "x", base_interval_seconds=30, base_timeout_seconds=600
        )
        reader.read(table)
        problems = [str(problem) for problem in reader.problems]
        for number, entry in enumerate(table.get("target", [])):
            problems += map(str, target_from_table(entry, key=f"target[{number}]")[1])
        assert problems == []
        seen |= set(table)
    assert seen == {"set", "group", "target"}


@pytest.mark.parametrize("document", [README, CHINESE])
def test_the_python_example_names_what_there_is(document: str) -> None:
    (block,) = fenced(document, "python")
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


def test_the_complaints_about_settings_that_the_readme_shows_are_the_real_ones() -> None:
    (block,) = [block for block in fenced(README) if "must be a number" in block]
    shown = block.splitlines()
    values = dict(re.findall(r"^(\w+)='(.*?)':", block, re.MULTILINE))
    _, problems = settings.parse(values)
    assert sorted(map(str, problems)) == sorted(shown)


@pytest.mark.parametrize("document", [README, CHINESE])
def test_every_state_is_explained(document: str) -> None:
    text = text_of(document)
    assert [state for state in State if f"`{state}`" not in text] == []


def test_the_example_programs_are_the_ones_that_exist() -> None:
    (sentence,) = re.findall(r"`examples/clean_cache_example\.py --example (\w+)` \(or (.*?)\)", text_of(README))
    named = {sentence[0], *re.findall(r"`(\w+)`", sentence[1])}
    assert named == set(clean_cache_example.EXAMPLES)


def test_the_rooms_of_the_house_are_all_on_the_map() -> None:
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")} - {"tests"}
    missing = [room for room in sorted(rooms) if f"`{room}/" not in text_of(ARCHITECTURE)]
    assert missing == []
    packages = tomllib.loads(text_of("pyproject.toml"))["tool"]["setuptools"]["packages"]
    shipped = {name for name in rooms if name not in ("examples", "benchmarks")}
    assert shipped <= set(packages), "a package that is not listed is not installed"
