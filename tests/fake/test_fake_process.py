"""The fake fleet as a command: what it prints, how it ends, and how another process steers it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def _fleet(*arguments: str, servers: int = 1) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The process and its URLs; killed at the end if it still runs."""
    command = [sys.executable, "-m", "examples.fake_comfyui", "--servers", str(servers), *arguments]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
    try:
        assert process.stdout is not None
        urls = [process.stdout.readline().partition("\t")[0] for _ in range(servers)]
        yield process, urls
    finally:
        process.kill()
        process.communicate()


def test_the_demo_starts_with_servers_in_different_states() -> None:
    with _fleet("--scenario", "demo", servers=6) as (_, urls):
        lists = [requests.get(f"{url}/inspire/cache/list", timeout=5).text for url in urls]
        assert [text.count("N/A(tag)") for text in lists] == [5, 0, 0, 3, 5, 5]
        sentence = requests.get(f"{urls[2]}/inspire/cache/determine", timeout=5).text
        assert sentence.startswith("未查询到缓存pulid_eva_clip,pulid_face_analysis,pulid_model,ben2_base,sam3，")


def test_it_ends_when_its_leash_is_dropped_and_on_a_signal() -> None:
    with _fleet("--leash") as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        assert process.wait(timeout=5) == 0
    for number in (signal.SIGTERM, signal.SIGINT):
        with _fleet() as (process, _):
            process.send_signal(number)
            assert process.wait(timeout=5) == 0


def test_it_is_steered_from_another_process_only_when_asked_for() -> None:
    with _fleet("--control", "--load-seconds", "0") as (_, urls):
        control = f"{urls[0]}/_fake"
        assert requests.post(f"{control}/store", json={"keys": ["a", "b"]}, timeout=5).json()["ok"]
        requests.post(f"{control}/evict", json={"key": "a"}, timeout=5)
        assert requests.get(f"{control}/keys", timeout=5).json() == {"ok": True, "result": ["b"]}
        requests.post(f"{control}/misbehave", json={"route": "/queue", "status": 500, "body": "no"}, timeout=5)
        assert requests.get(f"{urls[0]}/queue", timeout=5).status_code == 500
        requests.post(f"{control}/behave", timeout=5)
        assert requests.get(f"{urls[0]}/queue", timeout=5).status_code == 200
        seen = requests.get(f"{control}/requests", timeout=5).json()["result"]
        assert [each["path"] for each in seen] == ["/queue", "/queue"]
        job = requests.post(f"{control}/occupy", json={"seconds": 5}, timeout=5).json()["result"]
        assert requests.get(f"{control}/queue", timeout=5).json()["result"] == [[job], []]
        wrong = requests.post(f"{control}/explode", timeout=5)
        assert wrong.status_code == 400
        assert "no such action" in wrong.json()["error"]
        assert requests.post(f"{control}/restart", json={}, timeout=5).json()["ok"]
    with _fleet() as (_, urls):
        assert requests.get(f"{urls[0]}/_fake/keys", timeout=5).status_code == 404


@pytest.mark.parametrize("wrong", [["--flavour", "sweet"], ["--servers", "x"]])
def test_wrong_usage_ends_with_2(wrong: list[str]) -> None:
    command = [sys.executable, "-m", "examples.fake_comfyui", *wrong]
    assert subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False).returncode == 2
