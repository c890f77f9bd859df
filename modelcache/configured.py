"""What the settings say about models; the only part of modelcache that asks ``config``, and it imports it late."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelcache.roots import CacheRoot, cache_roots

if TYPE_CHECKING:
    from config import Settings

ROOT = Path(__file__).resolve().parent.parent


def load_settings() -> Settings:
    """Return the project's settings; raises ConfigError."""
    import config

    return config.load(ROOT)


def configured_roots(settings: Settings | None = None) -> tuple[CacheRoot, ...]:
    """Return the directories of MODEL_CACHE_DIRS and MODEL_VIEW_DIRS."""
    settings = settings or load_settings()
    return cache_roots(settings.model_cache_dirs, settings.model_view_dirs)
