"""What the commands print: lines for people in English or Chinese; JSON has bytes and epoch seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from core.models.removal import Reason
from core.models.states import Check, Evidence, Finding
from core.models.units import ago_text, size_text
from core.models.words import STATE_WORDS, finding_text, in_chinese
from core.printable import printable
from modelcache.clean import CleanPlan, Outcome
from modelcache.listing import Listing
from modelcache.model import Model
from modelcache.prune import Pruned, Waste
from modelcache.pull import Pulled
from modelcache.transfer import Transferred

_EVIDENCE = {
    Evidence.HASH: ("by hash", "哈希一致"),
    Evidence.SIZE: ("by size", "大小一致"),
    Evidence.CONTENT: ("by its files", "文件齐全"),
}
_REASONS = {
    Reason.ASKED: ("asked for", "按要求"),
    Reason.OLD: ("not used for long", "长期未使用"),
    Reason.OVER_LIMIT: ("over the size limit, least recently used first", "超出容量上限，先删最久未用的"),
    Reason.PINNED: ("pinned", "已固定"),
    Reason.READ_ONLY: ("only viewed, never changed", "只读目录"),
    Reason.IN_USE: ("in use", "正在使用"),
    Reason.RECENT: ("used lately", "最近使用过"),
    Reason.WITHIN_LIMIT: ("within the size limit", "未超出容量上限"),
    Reason.FUTURE_TIME: ("its time lies in the future", "时间在未来"),
}


class Words:
    """Says a thing in the language of the terminal."""

    def __init__(self, *, chinese: bool) -> None:
        self._index = int(chinese)

    def __call__(self, english: str, chinese: str) -> str:
        return (english, chinese)[self._index]

    def state(self, check: Check) -> str:
        text = STATE_WORDS[check.state.value][self._index]
        return f"{text} ({_EVIDENCE[check.evidence][self._index]})" if check.evidence else text

    def finding(self, finding: Finding) -> str:
        return finding_text(finding.fault.value, finding.detail, chinese=bool(self._index))

    def told(self, detail: str) -> str:
        """Return what the model cache says of a model or a path, in the language of the terminal."""
        return in_chinese(detail) if self._index else detail

    def reason(self, reason: Reason) -> str:
        return _REASONS[reason][self._index]


def list_lines(listing: Listing, shown: list[Model], say: Words, now: float) -> list[str]:
    """Return the table of models, the totals, and the free space of each disk."""
    header = (
        say("NAME", "名称"), say("REPO", "仓库"), say("SIZE", "大小"), say("FILES", "文件"),
        say("LAST USED", "上次使用"), say("STATE", "状态"),
    )  # fmt: skip
    rows = [header] + [
        (
            printable(each.name), printable(each.repo or "-"), size_text(each.check.size_bytes), str(each.check.files),
            ago_text(now - each.last_used), say.state(each.check) + _marks(each, say),
        )
        for each in shown
    ]  # fmt: skip
    lines = _table(rows) if shown else [say("no models", "没有模型")]
    usage = listing.usage
    lines.append(
        say(f"models: {len(listing.models)}", f"模型: {len(listing.models)} 个") + ", "
        f"{size_text(sum(each.check.size_bytes for each in listing.models))}, "
        f"{say('on disk', '磁盘占用')} {size_text(usage.disk_bytes)}"
    )
    for path, (free, total) in listing.disks.items():
        lines.append(f"{printable(str(path))}: {say('free', '剩余')} {size_text(free)} / {size_text(total)}")
    lines += [
        f"{say('passed over', '已略过')}: {printable(path)}: {say.told(reason)}" for path, reason in listing.skipped
    ]
    return lines


def info_lines(model: Model, say: Words, now: float) -> list[str]:
    """Return everything known of one model."""
    check = model.check
    lines = [
        printable(model.place.path),
        f"  {say('repo', '仓库')}: {printable(model.repo or '-')} {model.revision or ''} {model.commit or ''}".rstrip(),
        f"  {say('size', '大小')}: {size_text(check.size_bytes)}, {check.files} {say('files', '个文件')}, "
        f"{say('on disk', '磁盘占用')} {size_text(model.usage.disk_bytes)}, "
        f"{say('removing it frees', '删除后释放')} {size_text(model.usage.freeable_bytes)}",
        f"  {say('last used', '上次使用')}: {ago_text(now - model.last_used)}",
        f"  {say('state', '状态')}: {say.state(check)}{_marks(model, say)}",
    ]
    if model.partial_bytes:
        lines.append(f"  {say('partial downloads', '未完成的下载')}: {size_text(model.partial_bytes)}")
    return lines + finding_lines(check.findings, say)


def finding_lines(findings: Iterable[Finding], say: Words, shown: int = 20) -> list[str]:
    """Return what is wrong, one line a file, and how many lines were left out."""
    findings = list(findings)
    lines = [f"    {printable(each.path)}: {printable(say.finding(each))}" for each in findings[:shown]]
    return lines + ([f"    … {len(findings) - shown}"] if len(findings) > shown else [])


def plan_lines(planned: CleanPlan, say: Words, now: float) -> list[str]:
    """Return what a clean would do to each model, and why."""
    lines = []
    for model, verdict in planned.verdicts:
        verb = say("delete", "删除") if verdict.deletes else say("keep", "保留")
        why = say.reason(verdict.reason)
        if verdict.candidate.in_use:
            why = f"{why}: {printable(say.told(verdict.candidate.in_use))}"
        lines.append(
            f"  {verb}  {printable(model.name)}  {size_text(model.usage.disk_bytes)}  "
            f"{ago_text(now - model.last_used)}  {why}"
        )
    count, freed = len(planned.doomed), size_text(planned.freeable_bytes)
    lines.append(say(f"to delete: {count}, freeing {freed}", f"将删除 {count} 个模型，释放 {freed}"))
    return lines


def outcome_lines(outcomes: Iterable[Outcome], say: Words) -> list[str]:
    """Return what a clean has done."""
    outcomes = list(outcomes)
    lines = []
    for each in outcomes:
        if each.deleted:
            freed = size_text(each.freed_bytes)
            lines.append(f"  {say('deleted', '已删除')}  {printable(each.model.name)}  {say('freed', '释放')} {freed}")
        if each.trouble:
            stays = say("skipped", "已跳过") if each.busy else say("failed", "失败")
            lines.append(f"  {stays}  {printable(say.told(each.trouble))}")
    freed = size_text(sum(each.freed_bytes for each in outcomes))
    gone = sum(each.deleted for each in outcomes)
    return [*lines, say(f"deleted: {gone}, freed {freed}", f"已删除 {gone} 个模型，释放 {freed}")]


def waste_lines(found: Iterable[Waste], say: Words) -> list[str]:
    """Return what a prune would remove."""
    found = list(found)
    lines = []
    for each in found:
        parts = []
        if each.partial:
            parts.append(say(f"partial files: {len(each.partial)}", f"未完成的文件: {len(each.partial)}"))
        if each.superseded:
            parts.append(say(f"superseded files: {len(each.superseded)}", f"旧版本文件: {len(each.superseded)}"))
        kept = f"  {say('kept', '保留')}: {printable(say.told(each.kept))}" if each.kept else ""
        lines.append(f"  {printable(each.name)}  {', '.join(parts)}  {size_text(each.freeable_bytes)}{kept}")
    going = [each for each in found if each.kept is None]
    freed = size_text(sum(each.freeable_bytes for each in going))
    return [*lines, say(f"to prune: {len(going)}, freeing {freed}", f"将清理 {len(going)} 项，释放 {freed}")]


def pruned_lines(results: Iterable[Pruned], say: Words) -> list[str]:
    results = list(results)
    lines = [
        f"  {say('skipped', '已跳过') if each.busy else say('failed', '失败')}  {printable(say.told(each.trouble))}"
        for each in results
        if each.trouble
    ]
    freed = size_text(sum(each.freed_bytes for each in results))
    return [*lines, say(f"pruned, freed {freed}", f"已清理，释放 {freed}")]


def transfer_lines(result: Transferred, target: str, say: Words) -> list[str]:
    """Return what a transfer has done and what the other side has."""
    comparison = result.comparison
    if comparison is None:
        return [say(f"❌ there is no {target} on the other side", f"❌ 目标仓库不存在: {target}")]
    lines = []
    if result.created:
        lines.append(say(f"created {target}", f"已创建仓库 {target}"))
    if result.uploaded_files:
        size = size_text(result.uploaded_bytes)
        lines.append(
            say(f"uploaded {result.uploaded_files} files, {size}", f"已上传 {result.uploaded_files} 个文件，{size}")
        )
    for title, paths in (
        (say("missing there", "目标缺少"), comparison.missing),
        (say("different there", "内容不同"), comparison.different),
        (say("no hash to compare there", "目标没有可比较的哈希"), comparison.unproven),
    ):
        lines += [f"  {title}: {printable(path)}" for path in paths[:20]]
    same = len(comparison.same)
    if result.verified:
        return [*lines, say(f"✅ {same} files are the same on both sides", f"✅ 两端一致: {same} 个文件")]
    wanting = len(comparison.wanting)
    return [*lines, say(f"❌ {wanting} files differ, {same} are the same", f"❌ {wanting} 个文件不一致，{same} 个一致")]


def model_as_json(model: Model) -> dict[str, Any]:
    """Return a model as JSON-ready values: sizes in bytes, times in epoch seconds."""
    place = model.place
    return {
        "name": printable(model.name), "path": printable(place.path), "layout": place.layout.value,
        "read_only": place.root.read_only, "repo": model.repo, "revision": model.revision, "commit": model.commit,
        "disk_bytes": model.usage.disk_bytes, "freeable_bytes": model.usage.freeable_bytes,
        "last_used": model.last_used, "modified": model.modified, "pinned": model.pinned,
        "partial_bytes": model.partial_bytes, **check_as_json(model.check),
    }  # fmt: skip


def check_as_json(check: Check) -> dict[str, Any]:
    return {
        "state": check.state.value, "evidence": check.evidence.value if check.evidence else None,
        "size_bytes": check.size_bytes, "files": check.files,
        "findings": [
            {"path": printable(each.path), "fault": each.fault.value, "detail": printable(each.detail)}
            for each in check.findings
        ],
    }  # fmt: skip


def pulled_as_json(pulled: Pulled) -> dict[str, Any]:
    manifest = pulled.manifest
    return {
        "path": printable(pulled.place.path), "repo": manifest.repo, "revision": manifest.revision,
        "commit": manifest.commit, "size_bytes": manifest.size_bytes, "files": len(manifest.files),
        "fetched_bytes": pulled.fetched_bytes, "skipped": pulled.skipped,
    }  # fmt: skip


def _marks(model: Model, say: Words) -> str:
    marks = []
    if model.pinned:
        marks.append(say("pinned", "已固定"))
    if model.place.root.read_only:
        marks.append(say("read-only", "只读"))
    return f" [{', '.join(marks)}]" if marks else ""


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
