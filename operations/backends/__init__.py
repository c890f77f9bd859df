"""Every cache that the settings name, behind one protocol: ``core.listing.Backend``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cleaner.configured import boundaries_of, bytecode_target, configured_targets
from core.listing import Backend
from core.targets import TargetKind
from modelcache.configured import configured_roots
from operations.backends.files import FileBackend
from operations.backends.models import ModelBackend
from operations.backends.mongodb import MongoBackend
from operations.backends.redis import RedisBackend
from store.mongo_cache import MongoCache
from store.redis_cache import RedisCache

if TYPE_CHECKING:
    from config import Settings

MODEL_INDEX = "modelcache_index.json"
"""The same file as ``python -m modelcache list`` uses: what either has read, neither reads again."""


def configured(settings: Settings) -> tuple[Backend, ...]:
    """Return the backends of these settings, each under a name of its own; none of them is touched yet.

    What is not configured is not among them. What cannot be reached is: its ``health`` says why, and the others work.
    """
    names: set[str] = set()
    boundaries = boundaries_of(settings)
    targets = list(configured_targets(settings))
    if not any(target.kind is TargetKind.PYTHON for target in targets):
        targets.append(bytecode_target(settings.root))
    backends: list[Backend] = [
        FileBackend(
            replace(target, name=free_name(target.name, names)),
            boundaries,
            log_max_bytes=settings.log_max_bytes,
            log_backups=settings.log_backups,
        )
        for target in targets
    ]
    roots = configured_roots(settings)
    if roots:
        protected = (settings.root, settings.cache_dir)
        name = free_name("models", names)
        backends.append(ModelBackend(name, roots, protected, settings.cache_dir / MODEL_INDEX))
    if settings.redis_url is not None:
        cache = RedisCache(settings.redis_url, settings.redis_cache_prefix)
        backends.append(RedisBackend(free_name("redis", names), cache))
    if settings.mongodb_url is not None and settings.mongodb_cache_collection:
        collection = MongoCache(settings.mongodb_url, settings.mongodb_cache_collection, settings.mongodb_time_field)
        backends.append(MongoBackend(free_name("mongodb", names), collection))
    return tuple(backends)


def free_name(wished: str, taken: set[str]) -> str:
    """Return the name, or the name with a number where a target of ``fleet.toml`` has it already; takes it."""
    name, number = wished, 1
    while name in taken:
        number += 1
        name = f"{wished}-{number}"
    taken.add(name)
    return name
