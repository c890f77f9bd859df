"""What operations have found and done, as lines for people in English or 中文; JSON has the same values, in bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from cleaner.show import measured_text, size_text
from core.effects import Shortfall, shortfall
from core.error_words import error_text
from core.printable import printable
from core.reason_phrases import in_chinese
from core.reason_words import reason_text
from core.state_words import STATE_WORDS


class Say:
    """Chooses the language of a line."""

    def __init__(self, *, chinese: bool) -> None:
        self._chinese = chinese

    def __call__(self, english: str, chinese: str) -> str:
        return chinese if self._chinese else english

    def reason(self, name: str) -> str:
        """Return why an entry went or stayed, in words."""
        return reason_text(name, chinese=self._chinese)

    def told(self, reason: str) -> str:
        """Return what the checker says of a set or a warm-up, in the language of the line."""
        return in_chinese(reason) if self._chinese else reason

    def error(self, error: str) -> str:
        """Return why a task failed, or an operation was refused, in the language of the line."""
        return self.reason(error_text(error, chinese=self._chinese))

    def state(self, state: str) -> str:
        """Return a warm-up set's state by its stable name, or its Chinese word."""
        return self(state, STATE_WORDS.get(state, (state, state))[1])


STATES = {
    "queued": "排队中", "running": "执行中", "done": "已完成", "failed": "失败（死信）", "cancelled": "已取消",
}  # fmt: skip


SHORTFALLS = {
    Shortfall.REFUSED: (": refused", "：被拒绝"), Shortfall.PARTLY: (": in part", "：部分未完成"),
}  # fmt: skip


def stats_lines(found: Mapping[str, Any], say: Say, out: TextIO) -> None:
    """Print the totals, and a row for each target."""
    cap = found["maxSize"]
    out.write(
        f"{found['totalFiles']:,} {say('files', '个文件')}, {size_text(found['totalSize'])}"
        + (f" / {size_text(cap)}" if cap is not None else "")
        + f"  ({say('indexed', '索引时间')}: {_when(found['indexed_at'], say)})\n"
    )
    _table(
        (say("target", "目标"), say("type", "类型"), say("entries", "条目"), say("files", "文件"), say("size", "大小"),
         say("indexed", "索引时间"), say("problem", "问题")),
        [(row["target"], row["type"], f"{row['entries']:,}", f"{row['files']:,}", size_text(row["size"]),
          _when(row["indexed_at"], say), say.error(row["error"])) for row in found["backends"]],
        out, right=(2, 3, 4),
    )  # fmt: skip
    if any(row["indexed_at"] is None for row in found["backends"]):
        out.write(say("never indexed: the daemon does it soon, python -m operations refresh now",
                      "从未索引：守护进程会尽快完成，也可立即运行 python -m operations refresh") + "\n")  # fmt: skip


def details_lines(found: Mapping[str, Any], say: Say, out: TextIO) -> None:
    """Print a page of entries, and how to get the next one."""
    _table(
        (say("target", "目标"), say("name", "名称"), say("size", "大小"), say("files", "文件"),
         say("created", "创建时间"), say("last used", "最后访问")),
        [(row["target"], row["name"], size_text(row["size"]), f"{row['files']:,}", _when(row["created_at"], say),
          _when(row["last_accessed"], say)) for row in found["items"]],
        out, right=(2, 3),
    )  # fmt: skip
    out.write(f"{say('in all', '共计')}: {found['total']:,}\n")
    if found["next_cursor"]:
        out.write(f"{say('next page', '下一页')}: --cursor {found['next_cursor']}\n")


def backend_lines(found: Mapping[str, Any], say: Say, out: TextIO) -> None:
    """Print each backend with its availability."""
    _table(
        (say("target", "目标"), say("type", "类型"), say("available", "可用"), say("problem", "问题")),
        [(row["name"], row["type"], say("yes", "是") if row["available"] else say("no", "否"), say.error(row["error"]))
         for row in found["backends"]],
        out,
    )  # fmt: skip


def tasks_lines(found: Mapping[str, Any], say: Say, out: TextIO) -> None:
    """Print a page of tasks, newest first."""
    _table(
        ("id", say("task", "任务"), say("state", "状态"), say("progress", "进度"), say("user", "用户"),
         say("created", "创建时间"), say("attempts", "次数"), say("problem", "问题")),
        [(row["id"], row["name"], _outcome_text(row, say), _percent(row["progress"]["percent"]), row["user"],
          _when(row["created_at"], say), f"{row['attempts']}/{row['max_attempts']}", say.error(row["error"]))
         for row in found["items"]],
        out,
    )  # fmt: skip
    if found["next_cursor"]:
        out.write(f"{say('next page', '下一页')}: --cursor {found['next_cursor']}\n")


def workers_lines(found: Sequence[Mapping[str, Any]], say: Say, out: TextIO) -> None:
    """Print the workers that are alive."""
    _table(
        (say("worker", "工作进程"), say("host", "主机"), "pid", say("queues", "队列"),
         say("task", "任务"), say("done", "完成数")),
        [(row["name"], row["host"], row["pid"], ",".join(row["queues"]), row["task"], row["done"]) for row in found],
        out, right=(2, 5),
    )  # fmt: skip


_WALKED = {
    "entries": ("entries", "项"),
    "added": ("new", "项新增"),
    "changed": ("changed", "项变化"),
    "removed": ("gone", "项消失"),
}


def task_lines(found: Mapping[str, Any], say: Say, out: TextIO) -> None:
    """Print one task as it stands, and what it did to each target."""
    out.write(f"{say('task', '任务')} {found['id']}: {found['name']}, {_outcome_text(found, say)}\n")
    if found["error"]:
        out.write(f"  {say('error', '错误')}: {printable(say.error(found['error']))}\n")
    result = found["result"]
    if not isinstance(result, dict):
        return
    for effect in result.get("effects", ()):
        _effect_lines(effect, say, out)
    if "freed_bytes" in result and "effects" in result:
        going = say("would free", "将释放") if result["dry_run"] else say("freed", "已释放")
        out.write(f"{going}: {size_text(result['freed_bytes'])}\n")
    for row in result.get("sets", ()):
        out.write(f"  {row['server']} {row['set']}: {say.state(row['state'])} ({printable(say.told(row['reason']))})\n")
    for target, report in result.get("targets", {}).items():
        counts = ", ".join(f"{report[name]:,} {say(*words)}" for name, words in _WALKED.items())
        out.write(f"  {target}: {counts}; {report['duration_seconds']:.2f} {say('s', '秒')}\n")
    for target, why in result.get("errors", {}).items():
        out.write(f"  {target}: {printable(say.error(why))}\n")


def _effect_lines(effect: Mapping[str, Any], say: Say, out: TextIO) -> None:
    out.write(f"  {effect['target']}: ")
    if problem := effect["refused"] or effect["busy"]:
        out.write(f"{say('refused', '已拒绝')}: {printable(say.reason(problem))}\n")
        return
    if problem := effect.get("would_refuse"):
        out.write(f"{say('would be refused', '执行时会被拒绝')}: {printable(say.reason(problem))}\n    ")
    going = say("would delete", "将删除") if effect["dry_run"] else say("deleted", "已删除")
    out.write(
        f"{going} {effect['deleted_entries']:,} {say('entries', '项')} "
        f"({effect['deleted_files']:,} {say('files', '个文件')}), {size_text(effect['freed_bytes'])}\n"
    )
    for reason, tally in effect["reasons"].items():
        size = measured_text(tally.get("bytes"))
        out.write(f"    {tally.get('entries', 0):>9,}  {size:>9}  {say.reason(reason)}\n")
    for title, trouble in ((say("skipped", "已跳过"), effect["skipped"]), (say("failed", "失败"), effect["failed"])):
        if trouble["total"]:
            out.write(f"    {title}: {trouble['total']:,}\n")
        for each in list(trouble["first"])[:5]:
            out.write(f"      {printable(each['path'])}: {printable(say.reason(each['reason']))}\n")
    for warning in effect["warnings"]:
        out.write(f"    {say('warning', '警告')}: {printable(say.reason(warning))}\n")


def state_text(state: str, say: Say) -> str:
    """Return a task's state in the language of the line."""
    return say(state, STATES.get(state, state))


def _outcome_text(found: Mapping[str, Any], say: Say) -> str:
    """A task's state, and that it left something undone: "done" alone is for what was done."""
    left = shortfall(found["result"])
    return state_text(found["state"], say) + (say(*SHORTFALLS[left]) if left else "")


class Watch(Protocol):
    """Told of a task at every look."""

    def __call__(self, found: Mapping[str, Any], /) -> None: ...


@contextmanager
def watching(say: Say, out: TextIO, *, shown: bool) -> Iterator[Watch]:
    """Yield a Watch that shows a progress bar on a terminal, and nothing where there is none."""
    if not shown or not out.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(file=out), transient=True) as bar:
        line = bar.add_task("", total=None, note="")

        def show(found: Mapping[str, Any]) -> None:
            progress = found["progress"]
            bar.update(
                line, description=f"{found['name']} {state_text(found['state'], say)}",
                total=None if progress["percent"] is None else 100, completed=progress["percent"] or 0,
                note=printable(f"{progress['step']} {progress['message']}")[:60],
            )  # fmt: skip

        yield show


def _percent(percent: float | None) -> str:
    return "" if percent is None else f"{percent:.0f} %"


def _when(moment: str | None, say: Say) -> str:
    return say("never", "从未") if moment is None else moment[:19].replace("T", " ")


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]], out: TextIO, right: Sequence[int] = ()) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(titles):
        table.add_column(title, overflow="fold", justify="right" if number in right else "left")
    for row in rows:
        # Text, not markup: a name may contain square brackets.
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    # A pipe has no width: let nothing be folded for a program such as grep.
    Console(file=out, width=None if out.isatty() else 400, soft_wrap=not out.isatty()).print(table)
