"""The targets and surroundings that the settings describe; the only part of the cleaner that asks ``config``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cleaner.roots import Boundaries
from core.retention import DAY_SECONDS, RetentionPolicy
from core.targets import Target, TargetKind, default_largest_share, images_target

if TYPE_CHECKING:
    from config import Settings

ROOT = Path(__file__).resolve().parent.parent


def load_settings() -> Settings:
    """Return the project's settings; raises ConfigError. Imported late: most callers bring values of their own."""
    import config

    return config.load(ROOT)


def boundaries_of(settings: Settings) -> Boundaries:
    return Boundaries(settings.root, settings.cache_dir)


def configured_targets(settings: Settings) -> tuple[Target, ...]:
    """Return the image cache of ``.env`` and the targets of ``fleet.toml``; one named "images" there replaces it."""
    if any(target.name == "images" for target in settings.targets):
        return settings.targets
    days = settings.clean_days
    policy = RetentionPolicy(older_than_seconds=None if days is None else days * DAY_SECONDS)
    return (images_target(str(settings.image_cache_dir), policy), *settings.targets)


def bytecode_target(root: Path) -> Target:
    """The project's own bytecode, for ``--type python`` where fleet.toml names no other.

    Not that of installed packages: no edit ever makes it stale, and without it every start is slower.
    """
    kind = TargetKind.PYTHON
    return Target("python", kind, (str(root),), exclude=(".venv",), largest_share=default_largest_share(kind))


def aged(target: Target, days: float) -> Target:
    """Given a target, return it with an age of ``days`` in place of its own."""
    return replace(target, policy=replace(target.policy, older_than_seconds=days * DAY_SECONDS))
