"""The arguments of each operation: typed, complete, and about what there is. Pure.

The API checks the same by its models first; a command, and the generic route, only here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core import operation_phrases as say
from core.errors import BadRequest, NotConfirmed, NotFound
from core.listing import Family

ALL = "all"
LEAST_DAYS, MOST_DAYS = 1.0, 365.0


@dataclass(frozen=True)
class Known:
    """The targets and servers that there are; None on another machine, whose worker will know."""

    targets: Sequence[str] | None
    servers: Sequence[str] | None


def checked_arguments(operation: str, given: Mapping[str, Any], known: Known) -> dict[str, Any]:
    """Given an operation's name and what was asked for, return all of its arguments.

    Raises BadRequest (NotConfirmed) naming the argument, NotFound for a target or server that does not exist.
    """
    take = _Arguments(dict(given))
    found = _CHECKS[operation](take, known)
    take.refuse_rest()
    return found


def refuse_unknown_target(target: str, targets: Sequence[str] | None) -> None:
    """Raise NotFound, naming those that there are."""
    if targets is not None and target not in targets:
        raise NotFound(say.NO_TARGET(name=target[:200], known=", ".join(targets)))


def _cleanup(take: _Arguments, known: Known) -> dict[str, Any]:
    days, family = take.number("days", LEAST_DAYS, MOST_DAYS), take.text("family") or ALL
    families = [ALL, *(each.value for each in Family)]
    if family not in families:
        raise BadRequest("family", say.FAMILY(known=", ".join(families)))
    return {"days": days, "family": family, "target": _target(take, known), "dry_run": take.flag("dry_run")}


def _clear(take: _Arguments, known: Known) -> dict[str, Any]:
    target, confirm, dry_run = take.text("target"), take.text("confirm"), take.flag("dry_run")
    if not target:
        raise BadRequest("target", say.TARGET_NEEDED(known=", ".join([*(known.targets or ()), ALL])))
    if target != ALL:
        refuse_unknown_target(target, known.targets)
    if confirm != target and not dry_run:
        raise NotConfirmed("confirm", say.CONFIRM_TARGET(name=target))
    return {"target": target, "dry_run": dry_run}


def _refresh(take: _Arguments, known: Known) -> dict[str, Any]:
    return {"target": _target(take, known)}


def _warmup(take: _Arguments, known: Known) -> dict[str, Any]:
    servers = take.texts("servers")
    if known.servers is not None:
        there = set(known.servers)
        if unknown := [name for name in servers if name not in there]:
            raise NotFound(say.NO_SERVER(server=unknown[0][:200]))
    return {"servers": servers, "set_name": take.text("set_name"), "force": take.flag("force")}


def _nothing(_: _Arguments, __: Known) -> dict[str, Any]:
    return {}


def _verify_models(take: _Arguments, _: Known) -> dict[str, Any]:
    return {"name": take.text("name"), "full": take.flag("full")}


def _remove_model(take: _Arguments, _: Known) -> dict[str, Any]:
    name, confirm = take.text("name"), take.text("confirm")
    if not name:
        raise BadRequest("name", say.MODEL_NEEDED())
    if confirm != name:
        raise NotConfirmed("confirm", say.CONFIRM_MODEL(name=name))
    return {"name": name}


def _target(take: _Arguments, known: Known) -> str:
    target = take.text("target")
    if target:
        refuse_unknown_target(target, known.targets)
    return target


class _Arguments:
    """Reads typed values of one operation's arguments; whatever is not asked for is refused."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given

    def text(self, name: str) -> str:
        value = self._given.pop(name, None)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > 1000:
            raise BadRequest(name, say.NO_TEXT(field=name))
        return value

    def texts(self, name: str) -> list[str]:
        value = self._given.pop(name, None)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > 10_000 or not all(isinstance(each, str) for each in value):
            raise BadRequest(name, say.NO_LIST(field=name))
        return list(dict.fromkeys(value))

    def flag(self, name: str) -> bool:
        value = self._given.pop(name, None)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise BadRequest(name, say.NO_FLAG(field=name))
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self._given.pop(name, None)
        if value is None:
            return None
        # "not inside" instead of "outside": nan is refused too; True is an int in Python.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise BadRequest(name, say.NO_NUMBER(field=name, low=low, high=high))
        return float(value)

    def refuse_rest(self) -> None:
        for name in self._given:
            raise BadRequest(name[:100], say.NO_ARGUMENT(name=name[:100]))


_CHECKS: Mapping[str, Callable[[_Arguments, Known], dict[str, Any]]] = {
    "cleanup": _cleanup,
    "clear": _clear,
    "refresh": _refresh,
    "warmup": _warmup,
    "list_models": _nothing,
    "verify_models": _verify_models,
    "remove_model": _remove_model,
}
