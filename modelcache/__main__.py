"""``python -m modelcache``: what models are here, are they whole, bring one, pass it on, make room."""

from __future__ import annotations

if __name__ == "__main__":
    # Before the imports: Ctrl-C during them is as quiet as later.
    import entry

    entry.begin()

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import config
from core.error_words import error_text
from core.errors import CacheKeeperError, ConfigError, ModelBusy
from core.models import words
from core.models.removal import CleanPolicy, Reason
from core.models.units import size_text
from core.printable import printable
from modelcache.check import Progress, check_place, locate
from modelcache.clean import clean, plan_clean
from modelcache.configured import ROOT, configured_roots
from modelcache.huggingface import HuggingFace
from modelcache.listing import Listing, find, list_models
from modelcache.lock import ModelLock
from modelcache.model import Layout, Model
from modelcache.modelscope import ModelScope
from modelcache.own import set_pin
from modelcache.parser import EXIT_BUSY, EXIT_DONE, EXIT_TROUBLE, EXIT_USAGE, parser
from modelcache.prune import find_waste, prune
from modelcache.pull import Pulled, PullOptions, pull
from modelcache.reading import reading
from modelcache.roots import refuse_unsafe
from modelcache.show import (
    Words,
    check_as_json,
    finding_lines,
    info_lines,
    list_lines,
    model_as_json,
    outcome_lines,
    plan_lines,
    pruned_lines,
    pulled_as_json,
    transfer_lines,
    waste_lines,
)
from modelcache.transfer import TransferOptions, transfer

if TYPE_CHECKING:
    from core.audit import Operation

INDEX_NAME = "modelcache_index.json"


class Commands:
    """One method a command; each returns the exit code and prints lines, or with ``--json`` one document."""

    def __init__(self, options: argparse.Namespace, settings: config.Settings) -> None:
        self.options = options
        self.settings = settings
        self.roots = configured_roots(settings)
        self.say = Words(chinese=config.prefers_chinese())
        self.now = time.time()
        self.protected = (settings.root, settings.cache_dir)

    def run(self) -> int:
        code = getattr(self, f"run_{self.options.command}")()
        assert isinstance(code, int), "every command returns an exit code"
        return code

    def run_list(self) -> int:
        listing = self._listing(fresh=self.options.fresh)
        shown = find(listing.models, self.options.name)
        keys = {
            "size": lambda each: -each.usage.disk_bytes,
            "used": lambda each: each.last_used,
            "age": lambda each: each.modified,
        }
        if self.options.sort:
            shown = sorted(shown, key=keys[self.options.sort])
        shown = shown[: self.options.top]
        if self.options.json:
            disks = [{"path": str(path), "free_bytes": free, "total_bytes": total}
                     for path, (free, total) in listing.disks.items()]  # fmt: skip
            self._json({
                "models": [model_as_json(each) for each in shown],
                "total": {"models": len(listing.models), "disk_bytes": listing.usage.disk_bytes,
                          "size_bytes": sum(each.check.size_bytes for each in listing.models)},
                "disks": disks, "skipped": [{"path": printable(path), "reason": why} for path, why in listing.skipped],
            })  # fmt: skip
        else:
            self._print(list_lines(listing, shown, self.say, self.now))
        return EXIT_DONE

    def run_info(self) -> int:
        found = self._named()
        if self.options.json:
            self._json([model_as_json(each) for each in found])
        for each in found if not self.options.json else ():
            self._print(info_lines(each, self.say, self.now))
            with reading(each.place) as opened:
                for path, tree_path in sorted(opened.where.items()):
                    print(f"    {size_text(opened.tree.files[tree_path].st_size):>10}  {printable(path)}")
                for copy in opened.manifest.transfers if opened.manifest else ():
                    print(f"  {self.say('transferred to', '已转存到')} {copy.target} ({copy.endpoint})")
        return EXIT_DONE if found else EXIT_USAGE

    def run_clean(self) -> int:
        policy = CleanPolicy(self.options.older_than, self.options.keep_under)
        models = [each for each in self._named() if not each.place.root.read_only]
        if not models:
            if self.options.name:
                return EXIT_USAGE
            self._tell(self.say("no models that could be deleted", "没有可删除的模型"))
            return self._done([])
        planned = plan_clean(models, policy, self.now)
        if not self.options.json:
            self._print(plan_lines(planned, self.say, self.now))
        if self.options.dry_run or not planned.doomed:
            rows = [{**model_as_json(model), "delete": verdict.deletes, "reason": verdict.reason.value,
                     "in_use": verdict.candidate.in_use} for model, verdict in planned.verdicts]  # fmt: skip
            if self.options.json:
                self._json({"plan": rows, "freeable_bytes": planned.freeable_bytes})
            if self.options.dry_run or not self.options.name:
                return EXIT_DONE
            # What was named and is protected is not done.
            reasons = {verdict.reason for _, verdict in planned.verdicts}
            return EXIT_BUSY if Reason.IN_USE in reasons else EXIT_TROUBLE if Reason.PINNED in reasons else EXIT_DONE
        if not self._confirmed(len(planned.doomed), planned.freeable_bytes):
            return EXIT_TROUBLE
        with self._on_record("model.clean", [model.name for model, _ in planned.doomed]) as operation:
            outcomes = clean(planned, self.protected)
            freed = sum(each.freed_bytes for each in outcomes)
            operation.effect = {"models": sum(each.deleted for each in outcomes), "freed_bytes": freed}
            operation.failed = "; ".join(each.trouble for each in outcomes if each.trouble)
        if self.options.json:
            self._json([{"name": printable(each.model.name), "path": printable(each.model.key), "deleted": each.deleted,
                         "freed_bytes": each.freed_bytes, "trouble": each.trouble} for each in outcomes])  # fmt: skip
        else:
            self._print(outcome_lines(outcomes, self.say))
        return _code([(each.trouble, each.busy) for each in outcomes])

    def run_verify(self) -> int:
        found = self._named()
        results = []
        for each in found:
            with self._progress() as progress:
                # The listing has just made the quick check, of every file: it was read afresh.
                check = check_place(each.place, full=True, progress=progress) if self.options.full else each.check
            results.append((each, check))
            if not self.options.json:
                sign = "✅" if check else "❌"
                print(f"{sign} {printable(each.name)}: {self.say.state(check)}, {size_text(check.size_bytes)}")
                self._print(finding_lines(check.findings, self.say))
        if self.options.json:
            self._json([{**model_as_json(each), **check_as_json(check)} for each, check in results])
        elif not found and not self.options.name:
            self._tell(self.say("no models to verify", "没有可校验的模型"))
        if self.options.name and not found:
            return EXIT_USAGE
        return EXIT_DONE if all(check for _, check in results) else EXIT_TROUBLE

    def run_prune(self) -> int:
        found = find_waste(self._named(), self.roots if not self.options.name else (), self.now)
        if not self.options.json:
            self._print(waste_lines(found, self.say))
        going = [each for each in found if each.kept is None]
        if self.options.dry_run or not going:
            return self._done([{"name": printable(each.name), "root": str(each.root.path), "partial": len(each.partial),
                                "superseded": len(each.superseded), "freeable_bytes": each.freeable_bytes,
                                "kept": each.kept} for each in found])  # fmt: skip
        if not self._confirmed(len(going), sum(each.freeable_bytes for each in going)):
            return EXIT_TROUBLE
        with self._on_record("model.prune", [each.name for each in going]) as operation:
            results = prune(going, self.now, self.protected)
            operation.effect = {"models": len(results), "freed_bytes": sum(each.freed_bytes for each in results)}
            operation.failed = "; ".join(each.trouble for each in results if each.trouble)
        if self.options.json:
            self._json([{"name": printable(each.waste.name), "freed_bytes": each.freed_bytes, "trouble": each.trouble}
                        for each in results])  # fmt: skip
        else:
            self._print(pruned_lines(results, self.say))
        return _code([(each.trouble, each.busy) for each in results])

    def run_pin(self) -> int:
        found = [each for each in self._named() if each.place.layout is not Layout.FILE]
        for each in found:
            refuse_unsafe(each.place.root, self.protected)
            with ModelLock(each.place.root, each.name, "pin"), reading(each.place) as opened:
                set_pin(opened.top, not self.options.off)
            if not self.options.json:
                done = self.say("no longer pinned", "已取消固定") if self.options.off else self.say("pinned", "已固定")
                print(f"{printable(each.name)}: {done}")
        if self.options.json:
            self._json([{"name": printable(each.name), "pinned": not self.options.off} for each in found])
        return EXIT_DONE if found else EXIT_USAGE

    def run_pull(self) -> int:
        pulled = self._pull(update=self.options.update)
        if self.options.json:
            self._json(pulled_as_json(pulled))
        return EXIT_DONE

    def run_transfer(self) -> int:
        pulled = self._pull(update=False)
        settings, options = self.settings, self.options

        def connect() -> ModelScope:
            return ModelScope(settings.modelscope_endpoint, settings.modelscope_api_token, settings.cache_dir)

        asked = TransferOptions(options.visibility, options.license, options.verify_only)
        with self._progress() as progress:
            result = transfer(connect, pulled.place, options.target, asked, self.now, progress)
        if options.json:
            comparison = result.comparison
            self._json({
                **pulled_as_json(pulled), "target": options.target, "verified": result.verified,
                "created": result.created, "uploaded_files": result.uploaded_files,
                "uploaded_bytes": result.uploaded_bytes, "comparison": vars(comparison) if comparison else None,
            })  # fmt: skip
        else:
            self._print(transfer_lines(result, options.target, self.say))
        return EXIT_DONE if result.verified else EXIT_TROUBLE

    def _pull(self, *, update: bool) -> Pulled:
        settings, options = self.settings, self.options
        wished = PullOptions(options.revision, update, options.into, self.protected)
        # The guide has these lines in Chinese for everybody; a terminal of another language gets its own words too.
        self._tell("🔍 检查模型是否已存在..." + self.say(f" / is {options.repo} here already?", ""))
        if (place := locate(options.repo, self.roots)) is not None:
            self._tell(f"📁 检查目录: {printable(place.path)}")

        def connect() -> HuggingFace:
            self._tell(f"📥 开始从 {settings.hf_endpoint} 下载 {options.repo}" + self.say(" / downloading", ""))
            return HuggingFace(settings.hf_endpoint, settings.hf_token)

        with self._progress() as progress:
            pulled = pull(connect, options.repo, self.roots, wished, self.now, progress)
        size = size_text(pulled.manifest.size_bytes)
        if pulled.skipped:
            self._tell(f"✅ 模型已存在且完整: {size}")
            self._tell("✅ 模型已存在，跳过下载！" + self.say(" / complete, nothing to download", ""))
        else:
            fetched, path = size_text(pulled.fetched_bytes), pulled.place.path
            told = self.say(f" / downloaded {fetched} into {path}", f"，本次下载 {fetched}，存入 {path}")
            self._tell(f"✅ 下载完成！ {size}{told}")
        return pulled

    def _listing(self, *, fresh: bool) -> Listing:
        index_file = self.settings.cache_dir / INDEX_NAME
        return list_models(self.roots, now=self.now, index_file=index_file, fresh=fresh)

    def _named(self) -> list[Model]:
        """Return the models that NAME means, read anew; what decides must not go by the index."""
        listing = self._listing(fresh=True)
        found = find(listing.models, self.options.name)
        if self.options.name and not found:
            here = ", ".join(printable(each.name) for each in listing.models) or words.NOTHING_HERE()
            _complain(words.NOT_HERE(typed=self.options.name, models=here))
        return found

    def _confirmed(self, count: int, freeable_bytes: int) -> bool:
        if self.options.force:
            return True
        if self.options.json or not sys.stdin.isatty():
            _complain(words.NOBODY_ASKED())
            return False
        try:
            size = size_text(freeable_bytes)
            answer = input(self.say(f"Delete {count}, {size}? (y/N) ", f"确认删除 {count} 项（{size}）？(y/N) "))
        except EOFError:
            # Ctrl-D leaves the cursor behind the question.
            answer = ""
            print()
        if answer.strip().lower() in ("y", "yes", "是"):
            return True
        print(self.say("nothing was deleted", "未删除任何内容"))
        return False

    def _on_record(self, action: str, names: Sequence[str]) -> AbstractContextManager[Operation]:
        """Put a deletion on record; raises StoreError, before anything is deleted, where that cannot be."""
        # Here: what only looks leaves no record, and starts without these imports.
        from operations.auditing import Auditor, LazyAuditLog
        from operations.callers import command_caller

        parameters = {name: value for name, value in vars(self.options).items() if value is not None}
        target = self.options.name or "all"
        records = Auditor(LazyAuditLog(self.settings))
        return records.operation(
            command_caller(), action, target, {**parameters, "models": list(names)}, destructive=True
        )

    def _progress(self) -> AbstractContextManager[Progress]:
        if self.options.json or not sys.stderr.isatty():
            return nullcontext(_unseen)
        from modelcache.bar import progress_bar

        return progress_bar(chinese=config.prefers_chinese())

    def _done(self, document: object) -> int:
        if self.options.json:
            self._json(document)
        return EXIT_DONE

    def _tell(self, line: str) -> None:
        if not self.options.json:
            print(line, flush=True)

    def _print(self, lines: Sequence[str]) -> None:
        for line in lines:
            print(line)

    def _json(self, document: object) -> None:
        print(json.dumps(document, indent=2))


def _complain(english: str) -> None:
    """Print what is wrong, in the language of the terminal."""
    print(printable(error_text(english, chinese=config.prefers_chinese())), file=sys.stderr)


def _unseen(*_: object) -> None:
    """A Progress where nobody watches."""


def _code(troubles: Sequence[tuple[str | None, bool]]) -> int:
    """Given (trouble, busy) of each model, return the exit code; busy only when nothing worse happened."""
    if any(trouble and not busy for trouble, busy in troubles):
        return EXIT_TROUBLE
    return EXIT_BUSY if any(trouble for trouble, _ in troubles) else EXIT_DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code; see the parser's epilog."""
    options = parser().parse_args(arguments)
    try:
        return Commands(options, config.load(ROOT)).run()
    except ConfigError as error:
        print(error_text(error, chinese=config.prefers_chinese()), file=sys.stderr)
        return config.EXIT_CONFIG
    except ModelBusy as error:
        _complain(str(error))
        return EXIT_BUSY
    except (CacheKeeperError, OSError) as error:
        _complain(str(error))
        return EXIT_TROUBLE
    except KeyboardInterrupt:
        say = Words(chinese=config.prefers_chinese())
        print(
            say("interrupted; run the same command again to go on", "已中断；重新运行同一命令即可继续"), file=sys.stderr
        )
        return 130


if __name__ == "__main__":
    sys.exit(entry.run(main))
