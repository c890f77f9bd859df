"""Whether a secret can sign tokens: long enough, and none that everybody knows."""

from __future__ import annotations

import re

from core import setting_phrases as say

SHORTEST_BYTES = 32
"""As long as the hash of HS256 (RFC 7518, 3.2)."""

_FEWEST_DISTINCT = 8
_LEAST_OF_ITS_OWN = 16

_WORDS = (
    "access", "admin", "adminadmin", "api", "apikey", "at", "auth", "b", "bit", "bits", "byte", "bytes", "cache",
    "change", "changeit", "changeme", "comfyui", "default", "dev", "development", "do", "example", "for", "foo", "bar",
    "generate", "here", "in", "insecure", "is", "it", "jwt", "keep", "keeper", "key", "least", "letmein", "long", "me",
    "my", "must", "not", "or", "password", "passw0rd", "placeholder", "please", "private", "prod", "production", "put",
    "qwerty", "random", "replace", "safe", "secret", "secretkey", "secure", "should", "sign", "signing", "some",
    "string", "super", "supersecret", "test", "testing", "that", "the", "this", "to", "token", "use", "very", "with",
    "your", "yoursecret", "a", "s", "256", "128", "512", "32", "64", "123456789", "12345678", "1234567890", "123456",
    "1234", "123", "0123456789abcdef", "0123456789", "abcdefghijklmnopqrstuvwxyz", "abcdef",
)  # fmt: skip

_PUBLISHED = frozenset({
    # FastAPI's and PyJWT's documents, and jwt.io's: strong once, and copied by everybody since.
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
    "asecretstringatleast256bitslong",
})  # fmt: skip


def weakness_of(secret: str) -> str:
    """Given a secret for signing, return what is wrong with it in words that do not repeat it, or an empty text."""
    size = len(secret.encode("utf-8", "surrogateescape"))
    if not size:
        return say.IS_MISSING()
    plain = re.sub(r"[^a-z0-9]", "", secret.lower())
    # Longer words first. Made here: every command loads this module, and few have a secret to judge.
    known = "|".join(sorted(_WORDS, key=len, reverse=True))
    if plain in _PUBLISHED or (plain and len(re.sub(known, "", plain)) < min(_LEAST_OF_ITS_OWN, len(plain) // 2)):
        return say.KNOWN_TO_ALL()
    if size < SHORTEST_BYTES:
        return say.TOO_SHORT(size=size, least=SHORTEST_BYTES)
    if len(set(secret)) < _FEWEST_DISTINCT or _repeats(secret):
        return say.REPEATS()
    return ""


def _repeats(secret: str) -> bool:
    """Whether it is one short piece over and over; such a secret is as strong as the piece."""
    # A text is a repetition exactly when it occurs in its own double before its own end.
    period = (secret + secret).find(secret, 1)
    return period < min(len(secret), _LEAST_OF_ITS_OWN)
