"""Opens what tells callers apart: the signing keys and the register of tokens, as the settings say."""

from __future__ import annotations

import os

from api.keys import FileKeys, Keys, SettingsKeys
from api.tokens import Tokens, sign
from config import Settings
from core.access import IssuedToken, Role
from core.errors import CacheKeeperError
from operations.callers import local_user
from store.issued_tokens import IssuedTokens

_LOCAL_SECONDS = 30.0
"""How long a command's own token lasts. It is judged as its request arrives; and where a stranger's program has taken
the daemon's port, it gets nothing that is of use later."""


def open_keys(settings: Settings) -> Keys:
    """Return the signing keys, making the file with a first one where it is missing; raises KeysUnusable."""
    keys = _keys(settings)
    if isinstance(keys, FileKeys):
        keys.ensure()
    return keys


def _keys(settings: Settings) -> FileKeys | SettingsKeys:
    return FileKeys(settings.api_keys) if settings.api_secret is None else SettingsKeys(settings.api_secret)


def open_tokens(settings: Settings, *, patience_seconds: float = 5.0) -> tuple[Tokens, IssuedTokens]:
    """Return what issues and judges tokens, and its register, which is to be closed.

    Raises KeysUnusable. The register is opened when it is first asked.
    """
    keys = open_keys(settings)
    register = IssuedTokens(settings.tokens_database, patience_seconds=patience_seconds)
    return Tokens(keys, register), register


def local_token(settings: Settings, role: Role, now: float) -> str:
    """Return a token for a command of this machine, empty where the key may not be read.

    Who may read the key may do everything anyway. Nothing is written down: it ends by itself in minutes.
    """
    try:
        key = _keys(settings).live()[0]
    except CacheKeeperError:
        return ""
    token = IssuedToken(f"local-{os.urandom(9).hex()}", local_user(), role, now, now + _LOCAL_SECONDS)
    return sign(key, token)
