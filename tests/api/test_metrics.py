"""/metrics, read as Prometheus reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.access import Role
from examples.fake_comfyui import FakeFleet
from tests.api.serving import Service, serving
from tests.workspace import wait_for

KEYS = ("pulid_eva_clip", "pulid_face_analysis", "pulid_model", "ben2_base", "sam3")
ODD = 'he said "\\n", twice'
FLEET = """
[[group]]
name = "room-1"
servers = [{{ name = '{odd}', url = "{first}" }}, {{ name = "two", url = "{second}" }}]

[[target]]
name = "previews"
roots = ["previews"]
older_than = "7d"
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("metrics")
    (directory / "previews").mkdir()
    (directory / "previews" / "a.png").write_bytes(b"12345")
    with FakeFleet(2) as fakes:
        fakes[0].store(*KEYS)
        fakes[1].set_loader(fail=True)
        fleet = FLEET.format(odd=ODD, first=fakes[0].url, second=fakes[1].url)
        with serving(directory, [], fleet=fleet) as service:

            def settled() -> bool:
                service.poll()
                counts = service.ask("/api/status").json()["counts"]
                return bool(counts == {"failed": 1, "loaded": 1})

            wait_for(settled)
            service.index()
            yield service


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(service: Service, role: Role | None = None) -> Samples:
    """Return the samples by name, without the prefix, and labels."""
    answer = service.ask("/metrics", role=role)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name.removeprefix("cache_keeper_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def by_server(samples: Samples, wanted: str) -> dict[str, float]:
    return {dict(labels)["server"]: value for (name, labels), value in samples.items() if name == wanted}


def test_servers_are_told_by_state_group_and_name_however_odd_the_name(service: Service) -> None:
    samples = scraped(service)
    assert of(samples, "servers", group="room-1", state="loaded") == 1
    assert of(samples, "servers", group="room-1", state="failed") == 1
    assert of(samples, "servers", group="room-1", state="unreachable") == 0, "a state without a server is no gap"
    assert of(samples, "server_loaded", server=ODD, group="room-1") == 1
    assert of(samples, "server_loaded", server="two", group="room-1") == 0
    assert by_server(samples, "server_missing_keys") == {ODD: 0, "two": len(KEYS)}
    failures = by_server(samples, "server_warmup_failures")
    assert failures[ODD] == 0
    assert failures["two"] >= 1
    assert time.time() - of(samples, "server_polled_timestamp_seconds", server="two", group="room-1") < 60


def test_caches_and_tasks_are_for_those_who_bring_a_token(service: Service) -> None:
    assert not {name for name, _ in scraped(service) if name.startswith(("cache_", "tasks", "workers"))}
    samples = scraped(service, Role.VIEWER)
    assert of(samples, "cache_entries", target="previews", type="directory") == 1
    assert of(samples, "cache_bytes", target="previews", type="directory") > 0
    assert time.time() - of(samples, "cache_indexed_timestamp_seconds", target="previews", type="directory") < 60
    assert of(samples, "tasks", state="queued") == 0
    assert of(samples, "workers") == 0
    assert of(samples, "read_error", part="caches") == 0


def test_a_damaged_queue_is_told_and_the_rest_is_there(tmp_path: Path) -> None:
    (tmp_path / "tasks.sqlite3").write_text("no database" * 1000)
    with serving(tmp_path, ["http://127.0.0.1:9"]) as service:
        service.poll()
        samples = scraped(service, Role.VIEWER)
        assert of(samples, "read_error", part="tasks") == 1
        assert of(samples, "read_error", part="caches") == 0
        assert not {name for name, _ in samples if name in ("tasks", "workers")}
        assert sum(value for (name, _), value in samples.items() if name == "servers") == 1


def test_a_bad_token_is_refused_here_too(service: Service) -> None:
    assert service.ask("/metrics", Authorization="Bearer nonsense").status == 401
