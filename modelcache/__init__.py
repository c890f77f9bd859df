"""Large models on disk: every one downloaded once, checked, found, passed on, and removed when asked.

    from modelcache import check_model_exists
    check_model_exists("black-forest-labs/FLUX.1-dev")   # true when it is there and whole

Listing, verifying and cleaning need no client library; pulling and transferring do (requirements-models.txt).
The names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module

# Not from typing, whose import takes longer than all the rest: commands begin here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from core.models.names import safe_name
    from modelcache.check import check_model_exists
    from modelcache.listing import Listing, list_models
    from modelcache.model import Model

__all__ = ["Listing", "Model", "check_model_exists", "list_models", "safe_name"]

_HOMES = {
    "Listing": "modelcache.listing", "Model": "modelcache.model", "check_model_exists": "modelcache.check",
    "list_models": "modelcache.listing", "safe_name": "core.models.names",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
