"""The checker's numbers as configured; main.py and the commands use the same."""

from __future__ import annotations

from checker.places import Limits
from config import Settings
from core.model import Policy


def policy(settings: Settings) -> Policy:
    """Return what decide() goes by."""
    return Policy(
        timeout_seconds=settings.workflow_timeout_seconds,
        recheck_seconds=settings.auto_execute_recheck_seconds,
        follow_seconds=min(1.0, settings.check_interval_seconds),
        # A request that timed out may have been received, and is executed when the server gets to it.
        post_grace_seconds=settings.probe_timeout_seconds * 3,
        breaker_failures=settings.failures_before_breaker,
    )


def limits(settings: Settings) -> Limits:
    """Return the fleet-wide limits."""
    return Limits(
        check_interval_seconds=settings.check_interval_seconds,
        max_concurrent_warmups=settings.max_concurrent_warmups,
        warmup_start_gap_seconds=settings.warmup_start_gap_seconds,
    )
