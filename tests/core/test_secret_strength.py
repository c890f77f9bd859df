"""A secret that signs tokens: what is too short, too well known or too regular, and that random ones pass."""

from __future__ import annotations

import re
import secrets

import pytest

from core.secret_strength import weakness_of
from tests.workspace import SOURCE


@pytest.mark.parametrize(
    "secret",
    [
        "changeme", "secret", "CHANGE-ME", "your-secret-key", "your_secret_key_here", "password123", "token",
        "your-256-bit-secret", "a-string-secret-at-least-256-bits-long", "change-me-in-production-please-do-it",
        "changemechangemechangemechangeme", "supersecretkeysupersecretkeysupersecretkey",
        "comfyui-cache-keeper-secret-key",
        "this-is-a-very-long-secret-key-for-testing-1234567890", "0123456789abcdef0123456789abcdef",
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7", "abcdefghijklmnopqrstuvwxyz0123456789",
    ],
)  # fmt: skip
def test_what_everybody_knows_is_refused(secret: str) -> None:
    assert weakness_of(secret) == "is one that everybody knows"


@pytest.mark.parametrize(
    "secret", ["x" * 40, "ab" * 30, "Zq7!" * 10, "kT9#pW2$" * 8, "111111112222222233333333444444445"]
)
def test_what_repeats_itself_is_refused(secret: str) -> None:
    assert weakness_of(secret)


def test_what_is_short_is_refused_to_the_byte() -> None:
    whole = "qZ7vN2xK8mW4tJ6yB1cF5hD9gL3pSaEu"
    assert weakness_of(whole) == ""
    assert weakness_of(whole[:-1]) == "is only 31 bytes long, and must have at least 32"
    assert weakness_of("") == "is missing"


def test_random_secrets_of_every_usual_kind_pass() -> None:
    for _ in range(2000):
        for secret in (
            secrets.token_urlsafe(32),
            secrets.token_hex(32),
            secrets.token_hex(16),
            secrets.token_urlsafe(48),
        ):
            assert weakness_of(secret) == "", secret


def test_no_secret_that_our_documents_show_can_be_used() -> None:
    shown = []
    for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "ARCHITECTURE.md", ".env.example"):
        shown += re.findall(r"API_SECRET=([^\s`'\"]+)", (SOURCE / name).read_text(encoding="utf-8"))
    assert [secret for secret in shown if not weakness_of(secret)] == []
