"""Every cache that the settings name, behind one protocol: ``core.listing.Backend``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from core.listing import Backend

if TYPE_CHECKING:
    from config import Settings


def configured(settings: Settings) -> tuple[Backend, ...]:
    """Return the backends of these settings, each under a name of its own; none of them is touched yet.

    What is configured and cannot be reached is among them: its ``health`` says why.
    """
    from cleaner.configured import boundaries_of, bytecode_target, configured_targets
    from core.targets import TargetKind
    from operations.backends.files import FileBackend

    boundaries = boundaries_of(settings)
    targets = list(configured_targets(settings))
    if not any(target.kind is TargetKind.PYTHON for target in targets):
        targets.append(bytecode_target(settings.root))
    backends: list[Backend] = []
    names: set[str] = set()
    for target in targets:
        name = free_name(target.name, names)
        backends.append(
            FileBackend(
                target if name == target.name else replace(target, name=name),
                boundaries,
                log_max_bytes=settings.log_max_bytes,
                log_backups=settings.log_backups,
            )
        )
    return tuple(backends)


def free_name(wished: str, taken: set[str]) -> str:
    """Return the name, or the name with a number where a target of ``fleet.toml`` has it already; takes it."""
    name, number = wished, 1
    while name in taken:
        number += 1
        name = f"{wished}-{number}"
    taken.add(name)
    return name
