"""Large models on disk: every one downloaded once, checked, found, passed on, and removed when asked.

    from modelcache import check_model_exists
    check_model_exists("black-forest-labs/FLUX.1-dev")   # true when it is there and whole

Listing, verifying and cleaning need no client library; pulling and transferring do (requirements-models.txt).
"""

from __future__ import annotations

from core.models.names import safe_name
from modelcache.check import check_model_exists
from modelcache.listing import Listing, list_models
from modelcache.model import Model

__all__ = ["Listing", "Model", "check_model_exists", "list_models", "safe_name"]
