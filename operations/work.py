"""The tasks themselves: what a worker does for each operation. Safe to run twice, as at-least-once delivery asks.

Each reads the settings anew, so a changed ``fleet.toml`` counts from the next task on. Each leaves its own intent
and result in the audit log; one that would delete and cannot leave its intent does not begin.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import config
from core import reason_phrases as say
from core.access import caller_at_work
from core.effects import Effect
from core.errors import BackendError, CacheKeeperError, TaskCancelled, TaskError
from core.listing import Backend, Family, Pulse
from core.operation_phrases import FIRST_TROUBLE
from core.tasks import TaskContext
from operations import backends as every_kind
from operations.arguments import ALL
from operations.auditing import Auditor, open_audit_log
from operations.indexing import refresh as refresh_index
from operations.opening import open_index
from operations.registry import task
from store.index import EntryIndex

ROOT = Path(__file__).resolve().parent.parent
DAY_SECONDS = 86400.0


@task("cleanup")
def cleanup(ctx: TaskContext, *, days: float | None, family: str, target: str, dry_run: bool) -> dict[str, Any]:
    """Expire entries older than ``days``, or by each target's own policy; return the effects, target by target."""
    age = None if days is None else days * DAY_SECONDS
    with _desk(ctx) as desk:
        chosen = desk.chosen(family, target)
        return desk.act(
            "cache.cleanup", chosen, {"days": days, "family": family, "dry_run": dry_run},
            lambda backend, pulse: backend.expire(age, now=time.time(), dry_run=dry_run, pulse=pulse),
            dry_run=dry_run,
        )  # fmt: skip


@task("clear")
def clear(ctx: TaskContext, *, target: str, dry_run: bool) -> dict[str, Any]:
    """Delete everything in one target, or with ``all`` in each but the models; return the effects."""
    with _desk(ctx) as desk:
        chosen = desk.chosen(ALL, "" if target == ALL else target)
        return desk.act(
            "cache.clear", chosen, {"dry_run": dry_run},
            lambda backend, pulse: backend.clear(now=time.time(), dry_run=dry_run, pulse=pulse),
            dry_run=dry_run,
        )  # fmt: skip


@task("refresh")
def refresh(ctx: TaskContext, *, target: str) -> dict[str, Any]:
    """Bring the index of one target, or of all, up to date; one that cannot be read does not hold up the others."""
    with _desk(ctx) as desk:
        chosen = [each for each in desk.backends if target in ("", each.name)]
        reports: dict[str, dict[str, Any]] = {}
        troubles: dict[str, str] = {}
        for number, backend in enumerate(chosen):
            walked = refresh_index(desk.index, backend, _pulse(ctx, backend.name, number, len(chosen)), time.time())
            if walked.error:
                troubles[backend.name] = walked.error
            else:
                reports[backend.name] = walked.as_dict()
        if not target:
            desk.index.keep_targets([each.name for each in desk.backends])
        if troubles and not reports:
            raise TaskError("; ".join(troubles.values()))
        return {"targets": reports, "errors": troubles}


@task("warmup")
def warmup(ctx: TaskContext, *, servers: Sequence[str], set_name: str, force: bool) -> dict[str, Any]:
    """Ask the daemon to warm servers, and follow them until their caches show the keys, or why not."""
    from operations.warming import warm
    from store.journal import Journal

    with _desk(ctx) as desk:
        wanted = set(servers)
        found = [server for server in desk.settings.servers if not wanted or server.name in wanted]
        if missing := wanted - {server.name for server in found}:
            raise TaskError(say.SERVERS_GONE(names=", ".join(sorted(missing)[:5])))
        caller = caller_at_work(ctx.task.caller)
        parameters = {"set": set_name, "force": force}
        with desk.auditor.operation(
            caller, "fleet.warmup", ",".join(list(servers)[:5]) or ALL, parameters, destructive=False
        ) as record:
            with closing(Journal(desk.settings.database)) as journal:
                result = warm(journal, found, set_name, force=force, ctx=ctx)
            record.effect = {"loaded": result["loaded"]}
            return result


@task("list_models")
def list_models(ctx: TaskContext) -> dict[str, Any]:
    """Look at the model cache; what is found is what ``GET /api/models`` shows until the next look."""
    from operations.models import listed

    ctx.progress(None, "reading")
    return listed(config.load(ROOT), time.time())


@task("verify_models")
def verify_models(ctx: TaskContext, *, name: str, full: bool) -> dict[str, Any]:
    """Check models against their manifests, with ``full`` by hash; return each one's state and findings."""
    from operations.models import verified

    with _desk(ctx) as desk:
        caller = caller_at_work(ctx.task.caller)
        with desk.auditor.operation(caller, "model.verify", name or ALL, {"full": full}, destructive=False) as record:
            result = verified(desk.settings, name, full=full, ctx=ctx, now=time.time())
            record.effect = {"models": len(result["models"]), "not_whole": result["not_whole"]}
            return result


@task("remove_model")
def remove_model(ctx: TaskContext, *, name: str) -> dict[str, Any]:
    """Remove one model by its exact name; one that is locked, open or pinned stays and says so."""
    from operations.models import removed

    with _desk(ctx) as desk:
        caller = caller_at_work(ctx.task.caller)
        with desk.auditor.operation(caller, "model.remove", name, {}, destructive=True) as record:
            result = removed(desk.settings, name, time.time())
            record.effect = {"bytes": result["freed_bytes"]}
        desk.reindex(each for each in desk.backends if each.family is Family.MODEL)
        return result


@dataclass
class _Desk:
    """What a task works with; opened for one task, and closed with it."""

    ctx: TaskContext
    settings: config.Settings
    backends: tuple[Backend, ...]
    index: EntryIndex
    auditor: Auditor

    def chosen(self, family: str, target: str) -> list[Backend]:
        """Return the backends that an operation is about; models only where they are asked for by name or family."""
        if target:
            found = [each for each in self.backends if each.name == target]
            if not found:
                raise TaskError(say.TARGET_GONE(target=target))
            return [each for each in found if family in (ALL, each.family)]
        if family == ALL:
            return [each for each in self.backends if each.family is not Family.MODEL]
        return [each for each in self.backends if each.family == family]

    def act(
        self,
        action: str,
        chosen: Sequence[Backend],
        parameters: dict[str, Any],
        do: Callable[[Backend, Pulse], Effect],
        *,
        dry_run: bool,
    ) -> dict[str, Any]:
        """Do it to one backend after the other, each with its own records; one that fails leaves the others be."""
        caller = caller_at_work(self.ctx.task.caller)
        effects: list[Effect] = []
        for number, backend in enumerate(chosen):
            pulse = _pulse(self.ctx, backend.name, number, len(chosen))
            with self.auditor.operation(caller, action, backend.name, parameters, destructive=not dry_run) as record:
                try:
                    effect = do(backend, pulse)
                except BackendError as error:
                    # Out of reach: refused, and why; the other backends have their turn.
                    effect = Effect(backend.name, backend.type.value, dry_run, refused=str(error))
                except TaskCancelled as cancelled:
                    # Told to stop: what was done so far belongs on record.
                    record.effect = cancelled.effect.numbers() if cancelled.effect is not None else {}
                    raise
                effects.append(effect)
                record.effect = effect.numbers()
                record.refused = effect.refused or effect.busy
                record.failed = _first_trouble(effect) if effect.failed.total else ""
        if not dry_run:
            self.reindex(each for each, effect in zip(chosen, effects, strict=True) if effect.deleted_entries)
        return {
            "dry_run": dry_run,
            "deleted_entries": sum(each.deleted_entries for each in effects),
            "deleted_files": sum(each.deleted_files for each in effects),
            "deleted_dirs": sum(each.deleted_dirs for each in effects),
            "freed_bytes": sum(each.freed_bytes for each in effects),
            "ok": all(each.ok for each in effects),
            "effects": [each.as_dict() for each in effects],
        }

    def reindex(self, changed: Iterable[Backend]) -> None:
        """Bring the index up to date; the next scheduled walk does it where this one cannot."""
        for backend in changed:
            try:
                refresh_index(self.index, backend, _pulse(self.ctx, backend.name, 0, 0), time.time())
            except CacheKeeperError as error:
                if isinstance(error, TaskCancelled):
                    raise


@contextmanager
def _desk(ctx: TaskContext) -> Iterator[_Desk]:
    settings = config.load(ROOT)
    # A machine that only works for others has never had a daemon to make it.
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    with closing(open_index(settings)) as index, closing(open_audit_log(settings)) as log:
        yield _Desk(ctx, settings, every_kind.configured(settings), index, Auditor(log))


def _first_trouble(effect: Effect) -> str:
    first = effect.failed.first[0] if effect.failed.first else {"path": "", "reason": "unknown"}
    return FIRST_TROUBLE(count=effect.failed.total, item=first["path"], words=first["reason"])


def _pulse(ctx: TaskContext, name: str, number: int, count: int) -> Pulse:
    """Return a pulse that tells a task's progress: this is backend ``number`` of ``count``; 0 of 0 is the end."""

    def beat(done: int, total: int | None = None) -> None:
        if not count:
            ctx.progress(99, "indexing", name)
            return
        within = min(done / total, 1.0) if total else 0.0
        known = total is not None or count > 1
        ctx.progress(99 * (number + within) / count if known else None, name, f"{done}/{total}" if total else str(done))

    return beat
