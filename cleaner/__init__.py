"""Cleans caches: scan, plan, execute. ``from cleaner import CacheCleaner, clean_cache, show_cache_info``.

    python -m cleaner --info          what is there
    python -m cleaner --dry-run       what would go, and why
    python -m cleaner --days 1        delete it
    python -m cleaner.scheduler       every day at 02:00

The names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

# Not from typing, whose import takes longer than all the rest: commands begin here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cleaner.convenience import CacheCleaner, clean_cache, show_cache_info

__all__ = ["CacheCleaner", "clean_cache", "show_cache_info"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from cleaner import convenience

        return getattr(convenience, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
