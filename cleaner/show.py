"""Reports as lines for people, in English or Chinese. Sizes are shown in units, JSON has bytes."""

from __future__ import annotations

from collections.abc import Iterable

from cleaner.report import SweepReport, Troubles
from core.entries import KEPT_REASONS, Line, Reason
from core.printable import printable
from core.reason_words import REASON_WORDS, reason_text


def size_text(size_bytes: int) -> str:
    """Given bytes, return them for a person, in powers of 1000."""
    from rich.filesize import decimal

    return str(decimal(size_bytes))


def measured_text(size_bytes: int | None) -> str:
    """Given bytes, or None for what was not measured, return them for a person."""
    return "-" if size_bytes is None else size_text(size_bytes)


def report_lines(report: SweepReport, *, shown: int = 10, chinese: bool = False) -> list[str]:
    """Given a report, return what a person needs to know of it, on one screen."""

    def say(english: str, translated: str) -> str:
        return translated if chinese else english

    head = f"{report.target}: {printable(report.root)}"
    if report.refused or report.busy:
        return [
            head,
            say("  refused: ", "  已拒绝：") + reason_text(str(report.refused or report.busy), chinese=chinese),
        ]
    lines = [head]
    if report.would_refuse:
        lines.append(
            say("  a run would be refused: ", "  实际执行会被拒绝：")
            + reason_text(report.would_refuse, chinese=chinese)
        )
    if not report.missing:
        going = say("would delete", "将删除") if report.dry_run else say("deleted", "已删除")
        if report.would_refuse:
            going = say("if it were let, it would delete", "若允许执行，将删除")
        lines.append(
            f"  {going} {_counted(report.deleted_units, 'unit', chinese)} "
            f"({_counted(report.deleted_files, 'file', chinese)}, "
            f"{_counted(report.deleted_dirs, 'directory', chinese)}), "
            f"{say('freeing', '释放')} {size_text(report.freed_bytes)}"
            + ("" if report.dry_run else f", {report.duration_seconds:.1f} s")
        )
        if report.trashed_units:
            lines.append(
                say("  moved to .trash, freed when it is purged: ", "  已移入 .trash，清空后才释放：")
                + f"{report.trashed_units:,}"
            )
        if report.purged_bytes:
            lines.append(say("  purged from .trash: ", "  从 .trash 清除：") + size_text(report.purged_bytes))
        lines += _reason_lines(report, chinese)
        if report.dry_run:
            lines += _entry_lines(say("first", "前几项"), report.plan.first[:shown], report.started)
            if report.deleted_units > shown:
                few = max(3, shown // 2)
                lines += _entry_lines(say("biggest", "最大"), report.plan.biggest[:few], report.started)
                lines += _entry_lines(say("oldest", "最旧"), report.plan.oldest[:few], report.started)
        if report.arrived_lately:
            lines.append(
                say(
                    f"  note: {report.arrived_lately:,} of them came here within the last hour with old times",
                    f"  注意：其中 {report.arrived_lately:,} 项在一小时内才到达，但带有旧的时间",
                )
            )
    lines += _trouble_lines(say("skipped", "已跳过"), report.skipped, chinese)
    lines += _trouble_lines(say("failed", "失败"), report.failed, chinese)
    lines += [
        f"  {say('warning', '警告')}: {printable(reason_text(warning, chinese=chinese))}" for warning in report.warnings
    ]
    if report.stopped:
        lines.append(say("  stopped before the end", "  未完成，提前停止"))
    return lines


def stopped_line(reports: Iterable[SweepReport], *, chinese: bool = False) -> str:
    """Given the reports of a run that was stopped, return what it deleted before."""
    units = files = freed_bytes = 0
    for report in reports:
        units, files = units + report.deleted_units, files + report.deleted_files
        freed_bytes += report.freed_bytes + report.purged_bytes
    if chinese:
        return f"提前停止：此前已删除 {units:,} 项（{files:,} 个文件），释放 {size_text(freed_bytes)}；其余内容未动"
    return (
        f"stopped before the end: {_counted(units, 'unit', chinese=False)} ({_counted(files, 'file', chinese=False)}) "
        f"had been deleted by then, freeing {size_text(freed_bytes)}; the rest is untouched"
    )


_NOUNS = {
    "unit": ("unit", "units", "项"),
    "file": ("file", "files", "个文件"),
    "directory": ("directory", "directories", "个目录"),
}


def _counted(count: int, noun: str, chinese: bool) -> str:
    singular, plural, chinese_noun = _NOUNS[noun]
    return f"{count:,} {chinese_noun if chinese else singular if count == 1 else plural}"


def _reason_lines(report: SweepReport, chinese: bool) -> Iterable[str]:
    order = list(Reason)
    for reason, tally in sorted(report.plan.tallies.items(), key=lambda item: order.index(item[0])):
        verb = ("keep", "保留") if reason in KEPT_REASONS else ("delete", "删除")
        size = measured_text(tally.measured_bytes)
        yield f"    {verb[chinese]:<6} {tally.entries:>9,}  {size:>9}  {REASON_WORDS[reason][chinese]}"


def _entry_lines(title: str, entries: list[Line], now: float) -> Iterable[str]:
    if entries:
        yield f"  {title}:"
    for line in entries:
        age = f"{(now - line.modified) / 86400:.1f} d"
        yield f"    {age:>9}  {size_text(line.allocated_bytes):>9}  {line.reason.value:<16}  {printable(line.name)}"


def _trouble_lines(title: str, troubles: Troubles, chinese: bool) -> Iterable[str]:
    if not troubles.total:
        return
    counts = ", ".join(
        f"{count:,} × {reason_text(reason, chinese=chinese)}" for reason, count in sorted(troubles.counts.items())
    )
    yield f"  {title}: {counts}"
    for path, reason in troubles.first[:5]:
        yield f"    {printable(path)}: {reason_text(reason, chinese=chinese)}"


def info_lines(info: dict[str, int], report: SweepReport | None, days: float, *, chinese: bool = False) -> list[str]:
    """Given the numbers of ``get_cache_info``, return them for a person."""
    where = f"{report.target}: {printable(report.root)}" if report is not None else ""
    old = f"older than {days:g} {'day' if days == 1 else 'days'}" if not chinese else f"超过 {days:g} 天"

    def line(title: str, which: str) -> str:
        files = _counted(info[f"{which}_files"], "file", chinese)
        directories = _counted(info[f"{which}_dirs"], "directory", chinese)
        return f"  {title}: {files}, {directories}, {size_text(info[f'{which}_size'])}"

    lines = [where, line("总计" if chinese else "total", "total"), line(old, "old")]
    if report is not None:
        freed = "deleting them would free on disk" if not chinese else "删除后磁盘可释放"
        lines.append(f"  {freed}: {size_text(report.freed_bytes)}")
        lines += _trouble_lines("skipped" if not chinese else "已跳过", report.skipped, chinese)
        lines += _trouble_lines("failed" if not chinese else "失败", report.failed, chinese)
        lines += [
            f"  {'警告' if chinese else 'warning'}: {printable(reason_text(warning, chinese=chinese))}"
            for warning in report.warnings
        ]
    return lines
