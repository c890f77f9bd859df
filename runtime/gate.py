"""Wires the API's gate: keys, the register of tokens and the rates of the settings."""

from __future__ import annotations

from api.gate import FAILED_SIGN_INS_PER_MINUTE, Gate, Refusals
from api.keys import KeysUnusable
from api.rate import Kind, RateLimiter
from config import Settings
from core.errors import ConfigError, Problem
from runtime.access import open_tokens
from store.issued_tokens import IssuedTokens


def open_gate(
    settings: Settings, refusals: Refusals, *, failed_sign_ins_per_minute: int = FAILED_SIGN_INS_PER_MINUTE
) -> tuple[Gate, IssuedTokens]:
    """Return the API's gate and its register of tokens, which is to be closed.

    Raises ConfigError when the keys cannot be used: starting again would not help.
    """
    try:
        # The event loop asks the register, which is only read there: it need not wait for anybody.
        tokens, register = open_tokens(settings, patience_seconds=1.0)
    except KeysUnusable as error:
        raise ConfigError([Problem("API_SECRET", "", str(error))]) from None
    rates = {
        Kind.READ: settings.rate_limit_reads_per_minute,
        Kind.WRITE: settings.rate_limit_writes_per_minute,
        Kind.FAILED_SIGN_IN: failed_sign_ins_per_minute,
    }
    return Gate(tokens, RateLimiter(rates), refusals), register
