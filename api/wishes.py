"""The bodies of requests: each operation by its name, with the arguments that it takes.

Strict: a text is no number and 0 is not false, and a name that is not known is a mistake of the caller.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

ShortText = Annotated[str, StringConstraints(max_length=200)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Wish(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class WarmupWish(_Wish):
    """Which servers to warm, by name (none: all); ``set_name`` empty: all sets; ``force``: even what is loaded."""

    servers: list[ShortText] = Field(default=[], max_length=10_000, examples=[["gpu-7"]])
    set_name: ShortText = ""
    force: bool = False


class RefreshWish(_Wish):
    """Which target to walk; empty: all."""

    target: ShortText = Field(default="", examples=["images"])


class CleanupWish(_Wish):
    """What to clean; without ``days`` each target's own policy decides."""

    days: float | None = Field(default=None, ge=1, le=365, allow_inf_nan=False)
    family: Literal["all", "file", "database", "python", "model"] = "all"
    target: ShortText = ""
    dry_run: bool = False


class ClearWish(_Wish):
    """Which target to clear, or ``all``; ``confirm`` is its name again, except for a dry run."""

    target: Name = Field(examples=["images"])
    confirm: ShortText = Field(default="", examples=["images"])
    dry_run: bool = False


class VerifyModelsWish(_Wish):
    """Which models to check (empty: all); ``full``: by hash."""

    name: ShortText = ""
    full: bool = False


class RemoveModelWish(_Wish):
    """Which model to remove; ``confirm`` is its name again."""

    name: Name
    confirm: ShortText = ""


class NothingMore(_Wish):
    """No arguments."""


class Cleanup(_Wish):
    name: Literal["cleanup"]
    arguments: CleanupWish = CleanupWish()


class Clear(_Wish):
    name: Literal["clear"]
    arguments: ClearWish


class Refresh(_Wish):
    name: Literal["refresh"]
    arguments: RefreshWish = RefreshWish()


class Warmup(_Wish):
    name: Literal["warmup"]
    arguments: WarmupWish = WarmupWish()


class ListModels(_Wish):
    name: Literal["list_models"]
    arguments: NothingMore = NothingMore()


class VerifyModels(_Wish):
    name: Literal["verify_models"]
    arguments: VerifyModelsWish = VerifyModelsWish()


class RemoveModel(_Wish):
    name: Literal["remove_model"]
    arguments: RemoveModelWish


Operation = Annotated[
    Cleanup | Clear | Refresh | Warmup | ListModels | VerifyModels | RemoveModel, Field(discriminator="name")
]


class BatchWish(_Wish):
    """Several operations under one name."""

    batch: Name = Field(examples=["nightly-1"])
    operations: list[Operation] = Field(min_length=1, max_length=1000)
