"""What a fake server is set to. Survives a restart of the server, and may be changed while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from examples.fake_comfyui.backend_cache import SHIPPED_TAG_SIZES
from examples.fake_comfyui.node_classes import ModelFiles
from examples.fake_comfyui.node_library import SAMPLE_FILES

Flavour = Literal["stock", "fork", "plain"]
"""Inspire Pack as published; with the fork's ``/inspire/cache/determine``; ComfyUI without the pack."""

Dialect = Literal["old", "new"]
"""ComfyUI 0.3.64 or 0.12.1, where their answers differ."""

DetermineMode = Literal["starts", "claims", "silent"]
"""With keys missing, the fork's route really starts the warm-up; only says so; does not even say so."""


@dataclass
class Loader:
    """How one loader class behaves. ``message`` with "out of memory" is raised as torch's own error.

    ``failures``: how many times to fail before working; -1 fails for ever.
    """

    seconds: float = 0.0
    failures: int = 0
    message: str = "Error while loading the model"
    holds_lock: bool = False


@dataclass
class Settings:
    """``wanted_keys`` and ``warmup_workflow`` are what the fork's route looks for, and starts."""

    flavour: Flavour = "stock"
    dialect: Dialect = "old"
    files: ModelFiles = field(default_factory=lambda: dict(SAMPLE_FILES))
    tag_sizes: Mapping[str, int] = field(default_factory=lambda: dict(SHIPPED_TAG_SIZES))
    default_loader: Loader = field(default_factory=Loader)
    loaders: dict[str, Loader] = field(default_factory=dict)
    sample_step_seconds: float = 0.0
    #: False: ComfyUI's --cache-none.
    node_cache: bool = True
    #: Every prompt reports success, and carries an execution_error for its last output all the same.
    error_inside_success: bool = False
    determine_mode: DetermineMode = "starts"
    wanted_keys: Sequence[str] = ()
    warmup_workflow: Mapping[str, Any] | None = None
    #: ``Authorization: Bearer …`` that every request must carry; None asks for nothing.
    token: str | None = None
    #: Where SaveImage writes; None makes a temporary directory that goes with the server.
    output_directory: Path | None = None
    #: Seed of everything that differs from process to process in the original.
    seed: int | None = None
    #: How many of the newest requests are kept for assertions; benchmarks set 0.
    keep_requests: int = 10_000

    def loader(self, class_type: str) -> Loader:
        return self.loaders.get(class_type, self.default_loader)
