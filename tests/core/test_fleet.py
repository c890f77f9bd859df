"""fleet.toml as a table: groups, servers, warm-up sets, detectors, and everything that can be wrong with them."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from core.errors import Problem
from core.fleet import Expectation, Secret, Server, server_name
from core.fleet_file import FleetReader, expand_ranges
from core.settings import Invalid
from core.workflow import Graph

GRAPH: Graph = {
    "1": {"class_type": "Loader", "inputs": {}},
    "2": {"class_type": "CacheBackendData //Inspire", "inputs": {"key": "vae", "tag": "", "data": ["1", 0]}},
}
SECRETS = {"GPU_TOKEN": "Bearer hunter2", "BROKEN": "one\nline too many"}


def load_workflow(path: str) -> Graph:
    if path != "warm.json":
        raise Invalid("cannot be read: No such file or directory")
    return GRAPH


def read(toml: str) -> tuple[tuple[Server, ...], list[Problem]]:
    reader = FleetReader(load_workflow, SECRETS.get, base_interval_seconds=30.0, base_timeout_seconds=600.0)
    return reader.read(tomllib.loads(toml)), reader.problems


def good(toml: str) -> tuple[Server, ...]:
    servers, problems = read(toml)
    assert problems == []
    return servers


def problems(toml: str) -> list[str]:
    found = [str(problem) for problem in read(toml)[1]]
    assert all("\n" not in each and "hunter2" not in each for each in found)
    return found


SET = '[[set]]\nname = "models"\nworkflow = "warm.json"\n'
GROUP = '[[group]]\nname = "a"\nservers = ["http://10.0.0.1:8188"]\n'


def test_a_fleet_as_a_person_would_write_it() -> None:
    servers = good("""
        [[set]]
        name = "models"
        workflow = "warm.json"
        priority = "front"
        timeout_seconds = 120

        [[set]]
        name = "extra"
        wanted_keys = ["lora", 7]

        [[group]]
        name = "studio"
        labels = { zone = "b", gpu = "4090" }
        servers = ["http://10.0.0.{1..2}:{8188..8288..100}", { name = "big", url = "https://gpu.local/comfy" }]
        headers = { X-Team = "art" }
        headers_from_env = { Authorization = "GPU_TOKEN" }
        check_interval_seconds = 10
        max_concurrent_warmups = 2
        verify_tls = false

        [[group]]
        name = "spare"
        servers = ["10.0.1.1:8188"]
        sets = ["extra"]
    """)
    assert [server.name for server in servers] == [
        "10.0.0.1:8188", "10.0.0.1:8288", "10.0.0.2:8188", "10.0.0.2:8288", "big", "10.0.1.1:8188",
    ]  # fmt: skip
    first, spare = servers[0], servers[-1]
    assert first.url == "http://10.0.0.1:8188"
    assert servers[4].url == "https://gpu.local/comfy"
    assert [each.name for each in first.sets] == ["models", "extra"]
    assert (first.sets[0].keys, first.sets[0].priority, first.sets[0].timeout_seconds) == (("vae",), "front", 120)
    assert first.sets[1].keys == ("lora", 7), "a number is a key of the number classes"
    assert first.sets[1].graph is None
    assert [each.name for each in spare.sets] == ["extra"]
    group = first.group
    assert group.labels == (("gpu", "4090"), ("zone", "b"))
    assert {name: secret.reveal() for name, secret in group.headers} == {
        "X-Team": "art",
        "Authorization": "Bearer hunter2",
    }
    assert (group.check_interval_seconds, group.max_concurrent_warmups, group.verify_tls) == (10, 2, False)
    assert (spare.group.check_interval_seconds, spare.group.max_concurrent_warmups) == (30, None)


def test_wanted_keys_override_those_of_the_workflow() -> None:
    (server,) = good(SET + 'wanted_keys = ["a", "a", 1]\n' + GROUP)
    assert server.sets[0].keys == ("a", 1)
    assert server.sets[0].graph == GRAPH


def test_a_secret_prints_as_stars_wherever_it_ends_up() -> None:
    (server,) = good(SET + GROUP + 'headers_from_env = { Authorization = "GPU_TOKEN" }\n')
    assert "hunter2" not in f"{server} {server!r} {server.group.headers} {Secret('hunter2')} {[Secret('hunter2')]!r}"
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[[group]]\nname = 'a'\n", "group[a].servers='None': must be a list"),
        ("[[group]]\nname = 'a'\nservers = []\n", "must be a list"),
        ("[[group]]\nservers = ['x']\n", "group[0].name='None': must be letters"),
        ("[[group]]\nname = 'a b'\nservers = ['x']\n", "must be letters"),
        ("group = 5\n", "must be a list of tables: [[group]]"),
        ("[group]\nname = 'a'\n", "must be a list of tables: [[group]]"),
        ("[[grup]]\nname = 'a'\n", "fleet.toml.grup='…': is not known here; known are group, set, target"),
        (GROUP + "prioirty = 1\n", "group[a].prioirty='…': is not known here"),
        (SET + "prioirty = 1\n", "set[models].prioirty='…': is not known here"),
        (SET + "priority = 'first'\n", "set[models].priority='first': must be one of wait, queue, front"),
        (SET + "priority = ['wait']\n", "must be one of"),
        (SET + "timeout_seconds = true\n", "set[models].timeout_seconds='True': must be a number from 1 to 86400"),
        (SET + "timeout_seconds = nan\n", "must be a number"),
        (SET + "patience_seconds = -1\n", "must be a number from 0"),
        (SET + "wanted_keys = 'vae'\n", "must be a list of texts and whole numbers"),
        (SET + "wanted_keys = ['']\n", "must be a list of texts and whole numbers"),
        (SET + "wanted_keys = [true]\n", "must be a list of texts and whole numbers"),
        (SET + "wanted_keys = [1.5]\n", "must be a list of texts and whole numbers"),
        ("[[set]]\nname = 'm'\nworkflow = 'gone.json'\n", "set[m].workflow='gone.json': cannot be read"),
        (GROUP + "sets = ['unheard']\n", "group[a].sets='unheard': is not a [[set]]: there are none"),
        (SET + GROUP + "sets = 'models'\n", "must be a list of texts"),
        (SET + GROUP + "sets = []\n", "group[a].sets="),
        (SET + GROUP + "check_interval_seconds = 0\n", "must be a number from 0.05"),
        (SET + GROUP + "max_concurrent_warmups = 1.5\n", "must be a whole number"),
        (SET + GROUP + "verify_tls = 'no'\n", "must be true or false"),
        (SET + GROUP + "labels = ['x']\n", "must be a table of texts"),
        (SET + GROUP + "headers = { Authorization = ['hunter2'] }\n", "must be a table of texts"),
        (SET + GROUP + "headers = { 'Bad Name' = 'hunter2' }\n", "is not a header name"),
        (SET + GROUP + "headers_from_env = { A = 'BROKEN' }\n", "is not a header name with a one-line value"),
        (SET + GROUP + "headers_from_env = { A = 'UNSET' }\n", "'UNSET': is not set in the environment or .env"),
        ("[[group]]\nname = 'a'\nservers = ['http://u:hunter2@h']\n", "an address with a password in it"),
        ("[[group]]\nname = 'a'\nservers = [{ name = 'n', url = 'http://u:hunter2@h' }]\n", "with a password in it"),
        ("[[group]]\nname = 'a'\nservers = [{ name = 'n', url = 'http://h{1..2}' }]\n", "cannot have one name"),
        ("[[group]]\nname = 'a'\nservers = [{ nam = 'n', url = 'http://h' }]\n", "is not a server address"),
        ("[[group]]\nname = 'a'\nservers = [5]\n", "is not a server address"),
        ("[[group]]\nname = 'a'\nservers = ['http://h{3..1}']\n", "is not a rising range"),
        (GROUP + GROUP.replace("'a'", "'b'").replace('"a"', '"b"'), "'http://10.0.0.1:8188': is listed twice"),
        ("[[group]]\nname = 'a'\nservers = [{name='n', url='http://x'}, {name='n', url='http://y'}]\n",
         "'n': is listed twice"),
        (SET + SET + GROUP, "set[models].name='models': is there twice"),
        (GROUP + GROUP.replace("10.0.0.1", "10.0.0.2"), "group[a].name='a': is there twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(toml: str, says: str) -> None:
    found = problems(toml)
    assert len(found) == 1, found
    assert says in found[0]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    found = problems("""
        extra = 1
        [[set]]
        name = "m"
        workflow = "gone.json"
        priority = "x"
        [[group]]
        name = "a"
        servers = ["ftp://x", "http://ok", "http://h:0"]
        sets = ["m", "n"]
        verify_tls = 1
    """)
    assert len(found) == 7, found
    assert not any("'m': is not a [[set]]" in each for each in found), "a set that is wrong is told once"


@pytest.mark.parametrize(
    ("written", "kind", "expect"),
    [
        ("'list'", "list", Expectation()),
        ("'history'", "history", Expectation()),
        ("{ kind = 'determine' }", "determine", Expectation()),
        ("{ url = '/ready', text = 'ok' }", "custom", Expectation(text="ok")),
        ("{ url = 'http://other/ready', regex = '^ok' }", "custom", Expectation(regex="^ok")),
        ("{ url = '/r', json_path = 'a.b', json_value = 3 }", "custom", Expectation(json_path="a.b", json_value=3)),
    ],
)
def test_a_detector(written: str, kind: str, expect: Expectation) -> None:
    (server,) = good(SET + f"detector = {written}\n" + GROUP)
    assert (server.sets[0].detector.kind, server.sets[0].detector.expect) == (kind, expect)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("'magic'", "must be one of auto, list, determine, history, custom"),
        ("5", "must be a word"),
        ("'custom'", "detector.url='None': must be a path"),
        ("{ url = '/r' }", "needs exactly one of text, regex and json_path"),
        ("{ url = '/r', text = 'a', regex = 'b' }", "needs exactly one of text, regex and json_path"),
        ("{ url = '/r', regex = '(' }", "is not a regular expression"),
        ("{ url = '/r', regex = 5 }", "must be a text"),
        ("{ url = '/r', text = 5 }", "must be a text"),
        ("{ url = '/r', text = '' }", "must be a text"),
        ("{ url = '/r', json_path = 5 }", "must be a text"),
        ("{ url = '/r', json_path = '' }", "must be a text"),
        ("{ url = '/r', txt = 'x' }", "is not known here"),
        ("{ kind = 'history', time_to_live_seconds = 0 }", "must be a number from 1"),
    ],
)
def test_a_detector_that_could_not_tell_anything_is_refused(written: str, says: str) -> None:
    assert any(says in each for each in problems(SET + f"detector = {written}\n" + GROUP))


def test_the_list_detector_needs_keys() -> None:
    assert "needs wanted_keys" in problems("[[set]]\nname = 'm'\ndetector = 'list'\n" + GROUP)[0]


@pytest.mark.parametrize(
    ("address", "written_out"),
    [
        ("http://h", ["http://h"]),
        ("http://h{1..3}", ["http://h1", "http://h2", "http://h3"]),
        ("h{1..2}:{10..30..10}", ["h1:10", "h1:20", "h1:30", "h2:10", "h2:20", "h2:30"]),
        ("h{08..11}", ["h08", "h09", "h10", "h11"]),
        ("h{5..5}", ["h5"]),
    ],
)
def test_a_range_is_written_out(address: str, written_out: list[str]) -> None:
    assert expand_ranges(address) == written_out


@pytest.mark.parametrize("address", ["h{2..1}", "h{1..9..0}", "h{0..99999999999}", "h{1..200}.{1..200}", "h{0..20000}"])
def test_a_range_that_is_empty_or_far_too_long_is_refused(address: str) -> None:
    with pytest.raises(Invalid):
        expand_ranges(address)


def test_too_many_servers_are_refused_in_words() -> None:
    groups = "".join(f"[[group]]\nname = 'g{n}'\nservers = ['http://10.{n}.{{0..99}}.{{0..199}}']\n" for n in range(2))
    assert any("more than 20000 servers" in each for each in problems(groups))


def test_a_servers_short_name_is_its_host_port_and_path() -> None:
    assert server_name("http://10.0.0.1:8188/comfy") == "10.0.0.1:8188/comfy"


def test_nothing_is_a_fleet_of_nobody() -> None:
    assert good("") == ()


def test_any_value_in_any_place_is_a_problem_and_never_an_exception() -> None:
    values: list[Any] = [None, 5, 1.5, True, "x", [], {}, [5], [[]], [{}], {"a": 1}]
    keys = ("set", "group", "target")
    for key in keys:
        for value in values:
            FleetReader(load_workflow, SECRETS.get, 30.0, 600.0).read({key: value})
    inner = {
        "set": ("workflow", "wanted_keys", "priority", "detector", "timeout_seconds"),
        "group": ("servers", "sets", "headers", "headers_from_env", "labels", "verify_tls", "check_interval_seconds"),
    }
    for kind, names in inner.items():
        for name in names:
            for value in values:
                FleetReader(load_workflow, SECRETS.get, 30.0, 600.0).read({kind: [{"name": "n", name: value}]})
