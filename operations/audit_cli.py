"""``python -m operations audit``: look at the audit log, verify its chain, export it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TextIO

from config import Settings, prefers_chinese
from core import operation_phrases as say
from core.audit import AuditLog, AuditOutcome, AuditQuery, AuditRecord, Head, Stage, is_dry_run
from core.audit_chain import CSV_FIELDS, Verdict, as_dict, csv_line, csv_row, heads_in, json_line, parse_head, verify
from core.error_words import error_text
from core.errors import BadRequest, CacheKeeperError, StoreError
from core.printable import printable
from core.reason_phrases import also
from core.reason_words import reason_text
from core.store_phrases import CANNOT_WRITE
from core.typed import whole, word
from operations.auditing import Auditor, open_audit_log
from operations.callers import command_caller
from operations.remote import RemoteOperations

EXIT_OK, EXIT_TROUBLE = 0, 1

KINDS = {
    "changed": "被修改",
    "replaced": "被替换",
    "removed": "被删除",
    "misplaced": "顺序错误",
    "leftover": "残留",
    "cut": "被截断",
    "rewritten": "被改写",
}
"""What a finding is called in Chinese."""


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    """Add ``audit`` to the commands of ``python -m operations`` and return its own commands; ``run`` carries it out."""
    text = "the audit log: who did what, when, by which way / 审计日志"
    audit = commands.add_parser("audit", help=text, description=text)
    inner = audit.add_subparsers(dest="audit_command", required=True, metavar="COMMAND")

    shown = inner.add_parser("list", help="newest first / 列出记录，最新在前")
    shown.add_argument("--limit", type=whole(1, 10_000), default=50, metavar="N", help="records (50) / 条数")
    shown.add_argument("--cursor", default="", help="go on after an earlier page / 接着上一页")
    shown.add_argument("--json", action="store_true", help="for programs / 输出 JSON")
    export = inner.add_parser("export", help="everything that matches, oldest first / 导出")
    export.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="default: jsonl / 格式")
    export.add_argument("--output", type=Path, metavar="FILE", help="default: stdout / 输出文件")
    for command in (shown, export):
        add = command.add_argument
        add("--actor", default="", help="a token's subject, or local:<login> / 操作者")
        add("--action", default="", help="such as cache.cleanup / 操作")
        add("--target", default="", help="what it was done to / 对象")
        add("--request-id", default="", metavar="ID", help="all records of one request / 请求编号")
        add("--stage", type=word(Stage), choices=list(Stage), help="阶段")
        add("--outcome", type=word(AuditOutcome), choices=list(AuditOutcome), help="结果")
        add("--since", type=_moment, metavar="TIME", help="ISO 8601, local time without a zone / 起始时间")
        add("--until", type=_moment, metavar="TIME", help="ISO 8601 / 截止时间")
    check = inner.add_parser(
        "verify", help="exit 0 the chain is whole, 1 it is not / 校验链，完整返回 0，否则返回 1",
    )  # fmt: skip
    check.add_argument(
        "--head", type=_head, action="append", default=[], metavar="SEQ:HASH",
        help="as the daemon logs it every hour; those in daemon.log are found without / 守护进程每小时记录的链头",
    )  # fmt: skip
    check.add_argument("--json", action="store_true", help="for programs / 输出 JSON")
    return inner


def run(options: argparse.Namespace, settings: Settings, out: TextIO | None = None) -> int:
    """Carry out a parsed ``audit`` command; return the exit code. Raises CacheKeeperError, OSError."""
    out = sys.stdout if out is None else out
    if options.audit_command == "verify":
        if options.url is not None:
            raise BadRequest("url", say.VERIFY_IS_LOCAL())
        with closing(open_audit_log(settings)) as log:
            return _verify(log, options, settings, out)
    query = AuditQuery(
        options.actor, options.action, options.target, options.request_id, options.stage, options.outcome,
        options.since, options.until,
    )  # fmt: skip
    with ExitStack() as stack:
        source: _Source
        if options.url is not None:
            source = RemoteOperations(options.url, settings.api_token)
        else:
            source = _LocalSource(stack.enter_context(closing(open_audit_log(settings))))
        if options.audit_command == "list":
            return _list(source.audit_page(query, options.cursor, options.limit), options, out)
        pieces = source.audit_export(query, options.format)
        if options.output is None:
            out.writelines(pieces)
        else:
            _write(options.output, pieces)
        return EXIT_OK


def _write(path: Path, pieces: Iterable[str]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
    except OSError as error:
        words = CANNOT_WRITE(path=path, reason=error.strerror or error)
        raise CacheKeeperError(also(words, say.OTHER_OUTPUT())) from None


class _Source(Protocol):
    """Where records come from: this machine's log, or a daemon's API."""

    def audit_page(self, query: AuditQuery, cursor: str, limit: int) -> dict[str, Any]: ...
    def audit_export(self, query: AuditQuery, form: str) -> Iterator[str]: ...


class _LocalSource:
    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def audit_page(self, query: AuditQuery, cursor: str, limit: int) -> dict[str, Any]:
        page = self._log.page(query, cursor=cursor, limit=limit)
        records = [{**as_dict(each), "unfinished": each.seq in page.unfinished} for each in page.records]
        return {"records": records, "next_cursor": page.next_cursor}

    def audit_export(self, query: AuditQuery, form: str) -> Iterator[str]:
        yield from export_lines(self._log.records(query), form)
        # Afterwards: an export of everything is what it was asked for.
        Auditor(self._log).read(command_caller(), "audit.export", form, vars(query))


def export_lines(records: Iterable[AuditRecord], form: str) -> Iterable[str]:
    """Given ``jsonl`` or ``csv``, yield the lines of an export with their ends."""
    if form == "csv":
        yield csv_line(CSV_FIELDS)
        yield from map(csv_row, records)
    else:
        yield from map(json_line, records)


def _list(page: Mapping[str, Any], options: argparse.Namespace, out: TextIO) -> int:
    if options.json:
        json.dump(page, out, ensure_ascii=False, indent=2)
        out.write("\n")
        return EXIT_OK
    for each in page["records"]:
        out.write(f"{_line(each)}\n")
    if not page["records"]:
        out.write("没有记录。\n" if prefers_chinese() else "No records.\n")
    if page["next_cursor"]:
        more = "更多记录" if prefers_chinese() else "More"
        out.write(f"{more}: --cursor {page['next_cursor']}\n")
    return EXIT_OK


def _line(record: Mapping[str, Any]) -> str:
    """Given a record as JSON has it, here or from afar, return it as one line."""
    when = datetime.fromisoformat(record["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    stage = "unfinished" if record["unfinished"] else record["stage"]
    who = f"{record['actor'] or '-'} ({record['channel']})"
    parts = [
        f"{record['seq']:>6}  {when}  {stage:<10} {record['outcome']:<8} {who}",
        record["action"],
        record["target"],
        "dry-run" if is_dry_run(record["parameters"]) else "",
    ]
    if record["duration_seconds"] is not None:
        parts.append(f"{record['duration_seconds']:.2f} s")
    parts += [f"{name}={value}" for name, value in record["effect"].items()]
    chinese = prefers_chinese()
    error = reason_text(error_text(record["error"], chinese=chinese), chinese=chinese)
    # Names and errors come from outside, and a terminal obeys what is written to it.
    return printable("  ".join(part for part in [*parts, error] if part))


def _verify(log: AuditLog, options: argparse.Namespace, settings: Settings, out: TextIO) -> int:
    checkpoint, verdict, compared = _judged(log, [*options.head, *_logged_heads(settings)])
    if not verdict.ok and log.checkpoint() != checkpoint:
        # The daemon has pruned while this was reading.
        checkpoint, verdict, compared = _judged(log, [*options.head, *_logged_heads(settings)])
    head = f"{verdict.head.seq}:{verdict.head.hash}" if verdict.head else None
    if options.json:
        document = {
            "ok": verdict.ok, "records": verdict.records, "head": head, "checkpoint": checkpoint and checkpoint.seq,
            "heads_compared": compared,
            "findings": [vars(each) for each in verdict.findings],
        }  # fmt: skip
        json.dump(document, out, ensure_ascii=False, indent=2)
        out.write("\n")
        return EXIT_OK if verdict.ok else EXIT_TROUBLE
    tell_verdict(verdict, compared, head, out, chinese=prefers_chinese())
    return EXIT_OK if verdict.ok else EXIT_TROUBLE


def tell_verdict(verdict: Verdict, compared: int, head: str | None, out: TextIO, *, chinese: bool) -> None:
    """Print what a verification has found; ``head`` is the last record's SEQ:HASH."""
    for finding in verdict.findings:
        words = error_text(finding.words, chinese=chinese)
        out.write(f"{KINDS[finding.kind]}：{words}\n" if chinese else f"{finding.kind}: {words}\n")
    if chinese:
        told = "链完整" if verdict.ok else "链已被破坏"
        out.write(f"共 {verdict.records} 条记录，比对了 {compared} 个已知链头：{told}\n")
    else:
        told = "the chain is whole" if verdict.ok else "THE CHAIN IS BROKEN"
        out.write(f"{verdict.records} records, {compared} known heads compared: {told}\n")
    if head is not None:
        out.write(f"链头 {head}\n" if chinese else f"head {head}\n")


def _judged(log: AuditLog, published: list[Head]) -> tuple[Head | None, Verdict, int]:
    # The heads before the rows: what is appended meanwhile comes behind them.
    checkpoint, remembered = log.checkpoint(), log.head()
    known = {*published, *([remembered] if remembered else [])}
    # A head that was published before a pruning tells nothing of what is left.
    heads = [head for head in known if checkpoint is None or head.seq > checkpoint.seq]
    return checkpoint, verify(log.rows(), checkpoint, heads), len(heads)


def _logged_heads(settings: Settings) -> list[Head]:
    """The heads that the daemon has published in its log and in the rotated ones; without a log there are none."""
    found: list[Head] = []
    for path in sorted(settings.cache_dir.glob("daemon.log*")):
        try:
            found += heads_in(path.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            raise StoreError(say.HEADS_UNREAD(path=path, words=error.strerror)) from None
    return found


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-02-17T10:03 / 时间格式不正确") from None


def _head(text: str) -> Head:
    try:
        return parse_head(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
