"""Requests made from the API's own description: every answer is one that it describes.

    THOROUGH=1 .venv/bin/python -m pytest tests/api/test_described_behaviour.py

makes some 1,600 of them; the suite makes those that differ most.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.access import Role
from tests.api.serving import Service, serving
from tests.workspace import SOURCE

THOROUGH = bool(os.environ.get("THOROUGH"))
EVERYTHING = "."
VARIED = EVERYTHING if THOROUGH else "^/api/cache/(stats|details|cleanup|backend-info|refresh)$"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The API with two entries to show, and without a worker: what is accepted stays queued."""
    directory = tmp_path_factory.mktemp("described")
    images = directory / "resources" / "img" / "11"
    for name in ("task-1", "task-2"):
        (images / name).mkdir(parents=True)
        (images / name / "0.png").write_bytes(b"x")
    with serving(directory, ["http://127.0.0.1:9"]) as service:
        service.poll()
        service.index()
        yield service


@pytest.mark.parametrize(
    ("phases", "paths", "least"),
    [("examples,fuzzing", EVERYTHING, 50), ("coverage", VARIED, 100)],
    ids=["every route", "every bound of a route"],
)
def test_all_checks_of_schemathesis_pass(service: Service, tmp_path: Path, phases: str, paths: str, least: int) -> None:
    ran = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"), "run", f"http://127.0.0.1:{service.port}/openapi.json",
            "--header", f"Authorization: Bearer {service.token(Role.ADMIN)}",
            "--checks", "all", "--phases", phases, "--include-path-regex", paths,
            "--max-examples", "20" if THOROUGH else "2", "--generation-deterministic", "--workers", "2",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks", "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    (cases,) = re.findall(r"(\d+) generated", ran.stdout)
    assert int(cases) > least
