"""``python -m cleaner``: see what is in the caches, what would go, and let it go."""

from __future__ import annotations

if __name__ == "__main__":
    # Before the imports: Ctrl-C during them is as quiet as later.
    import entry

    entry.begin()

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import config
from cleaner.configured import ROOT, aged, boundaries_of, bytecode_target, configured_targets
from cleaner.judge import Progress
from cleaner.recorded import Sweeper, sweep_on_record
from cleaner.report import SweepReport
from cleaner.show import info_lines, report_lines, size_text, stopped_line
from cleaner.stopping import Stopping, stopping_on_signals
from cleaner.sweep import DEFAULT_TRASH_HOURS, Run, count_units, sweep
from core import setting_phrases as say
from core.errors import ConfigError, RefusedTarget
from core.targets import Target, TargetKind
from core.typed import number, whole

EXIT_DONE, EXIT_TROUBLE, EXIT_USAGE, EXIT_BUSY = 0, 1, 2, 75
"""75 is sysexits' EX_TEMPFAIL: another cleaner works on the target, try again later."""


def days_number(text: str) -> float:
    """Given ``--days`` as typed, return it; raises ArgumentTypeError for an age below 0 or no number at all."""
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days above 0 / 不是有效的天数")
    return days


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(
        prog="python -m cleaner",
        description="Cleans caches by age, size and free space. 按保留天数、容量和剩余空间清理缓存。",
        epilog="exit code: 0 done, 1 something failed or was (in a dry run: would be) refused, 2 bad usage, "
        "75 another cleaner is at work, 78 settings that cannot be used, 130 interrupted / "
        "退出码：0 完成，1 有失败或被拒绝（试运行：将被拒绝），2 用法错误，75 另一清理进程正在运行，"
        "78 配置错误，130 被中断",
    )
    add = cli.add_argument
    add("--info", "--stats", action="store_true", dest="info", help="show what is there / 显示缓存统计")
    add("--fast", action="store_true", help="with --info: count directories only / 只统计目录，速度快")
    add("--dry-run", action="store_true", help="show what would be deleted, and why / 试运行，只预览")
    add("--days", type=days_number, metavar="N",
        help="age in days of the image cache, of bytecode, and of what --target names; default: as configured / "
        "图片缓存、字节码以及 --target 所指目标的保留天数；默认按配置")  # fmt: skip
    add("--type", choices=("all", "file", "database", "python"), default="file", dest="kind",
        help="which caches; default: file / 清理类型；默认 file")  # fmt: skip
    add("--target", action="append", metavar="NAME", help="only this target, may be repeated / 只处理该目标，可重复")
    add("--workers", type=whole(1), metavar="N", help="processes that share the work / 并行进程数")
    add("--trash", type=number(0), nargs="?", const=DEFAULT_TRASH_HOURS, metavar="HOURS",
        help="move aside instead, purge after hours (24) / 先移入 .trash，若干小时后清除（默认 24）")  # fmt: skip
    add("--list", type=whole(0), default=10, metavar="N", dest="shown", help="entries to list / 列出的条目数")
    add("--json", action="store_true", help="JSON on stdout, sizes in bytes / 以 JSON 输出，单位字节")
    add("--yes", action="store_true", help="do not ask / 不询问，直接执行")
    add("--allow-most", action="store_true",
        help="permit taking more than 90 %% of a target, or 0 days / 允许删除超过 90%% 的内容或 0 天")  # fmt: skip
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code; see the parser's epilog."""
    cli = parser()
    options = cli.parse_args(arguments)
    try:
        settings = config.load(ROOT)
        targets = _chosen(options, settings)
    except ConfigError as error:
        print(config.told(error), file=sys.stderr)
        return config.EXIT_CONFIG
    except LookupError as error:
        print(config.told(error.args[0]), file=sys.stderr)
        return EXIT_USAGE
    run = Run(
        boundaries_of(settings),
        time.time(),
        dry_run=options.dry_run,
        allow_most=options.allow_most,
        log_max_bytes=settings.log_max_bytes,
        log_backups=settings.log_backups,
        shown=max(options.shown, 0),
    )
    try:
        if options.info:
            return _info(options, targets, run)
        return _clean(options, targets, run, sweep if options.dry_run else recording(settings))
    except KeyboardInterrupt:
        return 130


def _chosen(options: argparse.Namespace, settings: config.Settings) -> list[Target]:
    """Return the targets that the options name; raises LookupError with a text for the user."""
    if options.kind == "database":
        # Databases are the store's, which the cleaner does not know; the operations know both.
        raise LookupError(say.ONLY_FILES())
    targets = list(configured_targets(settings))
    if not any(target.kind is TargetKind.PYTHON for target in targets):
        targets.append(bytecode_target(settings.root))
    if options.target:
        unknown = sorted(set(options.target) - {target.name for target in targets})
        if unknown:
            known = ", ".join(target.name for target in targets)
            raise LookupError(say.NO_SUCH_TARGETS(names=", ".join(unknown), known=known))
        targets = [target for target in targets if target.name in options.target]
    elif options.kind != "all":
        targets = [target for target in targets if (target.kind is TargetKind.PYTHON) == (options.kind == "python")]
    if options.days is not None:
        targets = [aged(each, options.days) if _is_meant_by_days(each, options) else each for each in targets]
    if options.workers is not None:
        targets = [replace(target, workers=max(options.workers, 1)) for target in targets]
    if options.trash is not None:
        targets = [replace(target, trash_hours=options.trash) for target in targets]
    return targets


def _is_meant_by_days(target: Target, options: argparse.Namespace) -> bool:
    """``--days`` is for the image cache, bytecode, and what ``--target`` names; other targets keep their own age.

    Otherwise ``--days 1``, typed for the images, would empty a target that is configured to last for months.
    """
    return bool(options.target) or target.kind in (TargetKind.IMAGES, TargetKind.PYTHON)


def _info(options: argparse.Namespace, targets: list[Target], run: Run) -> int:
    days = 1.0 if options.days is None else options.days
    found: list[dict[str, object]] = []
    code = EXIT_DONE
    for target in targets:
        if options.days is None and target.policy.older_than_seconds is None:
            target = aged(target, days)
        if options.fast:
            try:
                total, old = count_units(target, run)
            except RefusedTarget as refusal:
                print(config.told(refusal), file=sys.stderr)
                code = EXIT_TROUBLE
                continue
            found.append({"target": target.name, "total_dirs": total, "old_dirs": old})
            if not options.json:
                print(
                    f"{target.name}：{total:,} 个目录，{old:,} 个已过期"
                    if config.prefers_chinese()
                    else f"{target.name}: {total:,} directories, {old:,} look expired"
                )
            continue
        with _progress(options) as progress:
            reports = sweep(target, replace(run, dry_run=True, measure_all=True, progress=progress))
        for report in reports:
            info = report.info()
            found.append({"target": target.name, "root": report.as_dict()["root"], **info, "refused": report.refused})
            if report.refused:
                print(config.told(report.refused), file=sys.stderr)
            elif not options.json:
                age = (target.policy.older_than_seconds or 0) / 86400
                print("\n".join(info_lines(info, report, age, chinese=config.prefers_chinese())))
            code = code if report.ok else EXIT_TROUBLE
    if options.json:
        print(json.dumps(found, indent=2))
    return code


def recording(settings: config.Settings, *, scheduled: bool = False) -> Sweeper:
    """Return a sweep that leaves audit records, as of the person at the terminal or of the timetable."""
    # Here: a dry run and --info leave no record, and start without these imports.
    from operations.auditing import Auditor, LazyAuditLog
    from operations.callers import command_caller, schedule_caller

    return sweep_on_record(Auditor(LazyAuditLog(settings)), schedule_caller() if scheduled else command_caller())


def _clean(options: argparse.Namespace, targets: list[Target], run: Run, sweeper: Sweeper) -> int:
    if not options.dry_run and not options.yes and not options.json and sys.stdin.isatty() and sys.stdout.isatty():
        with stopping_on_signals() as stopping:
            planned = _sweep_all(options, targets, replace(run, dry_run=True), sweep, stopping)
        if stopping.cut_short:
            return stopping.exit_code
        _print(planned, options)
        if not _confirmed(planned):
            return EXIT_TROUBLE
        run = replace(run, now=time.time())
    with stopping_on_signals() as stopping:
        reports = _sweep_all(options, targets, run, sweeper, stopping)
    if options.json:
        print(json.dumps([report.as_dict() for report in reports], indent=2))
    else:
        _print(reports, options)
    if stopping.cut_short:
        if not run.dry_run:
            print(stopped_line(reports, chinese=config.prefers_chinese()), file=sys.stderr)
        return stopping.exit_code
    return exit_code(reports)


def exit_code(reports: Sequence[SweepReport]) -> int:
    """Given reports, return the process's exit code; busy only when nothing worse happened."""
    if any(report.refused or report.would_refuse or report.failed.total for report in reports):
        return EXIT_TROUBLE
    return EXIT_BUSY if any(report.busy for report in reports) else EXIT_DONE


def _sweep_all(
    options: argparse.Namespace, targets: list[Target], run: Run, sweeper: Sweeper, stopping: Stopping
) -> list[SweepReport]:
    reports: list[SweepReport] = []
    with _progress(options) as progress:
        for target in targets:
            if not stopping.asked():
                reports += sweeper(target, replace(run, progress=stopping.heeded_by(progress)))
    return reports


def _print(reports: list[SweepReport], options: argparse.Namespace) -> None:
    for report in reports:
        print("\n".join(report_lines(report, shown=options.shown, chinese=config.prefers_chinese())))


def _confirmed(planned: list[SweepReport]) -> bool:
    going = [report for report in planned if not report.would_refuse]
    units = sum(report.deleted_units for report in going)
    if not units:
        return True
    freed = size_text(sum(report.freed_bytes for report in going))
    try:
        answer = input(f"Delete {units:,} and free {freed}? / 确认删除 {units:,} 项？ [y/N] ")
    except EOFError:
        # Ctrl-D leaves the cursor behind the question.
        answer = ""
        print()
    if answer.strip().lower() in ("y", "yes", "是"):
        return True
    print("未删除任何内容" if config.prefers_chinese() else "nothing was deleted")
    return False


def _progress(options: argparse.Namespace) -> AbstractContextManager[Progress | None]:
    """A progress display where a person watches; otherwise nothing, and rich is not even loaded."""
    if options.json or not sys.stderr.isatty():
        return nullcontext()
    from cleaner.bar import progress_bar

    return progress_bar()


if __name__ == "__main__":
    sys.exit(entry.run(main))
