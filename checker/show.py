"""What the commands print for people, in English or Chinese; JSON has the same in English, by stable names."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from core.model import Event
from core.printable import printable
from core.reason_phrases import in_chinese
from core.state_words import EVENT_WORDS, STATE_WORDS
from core.workflow import Finding, Graph, StoredKey


class Words:
    """Says a thing in the language of the terminal."""

    def __init__(self, *, chinese: bool) -> None:
        self._chinese = chinese

    def __call__(self, english: str, chinese: str) -> str:
        return chinese if self._chinese else english

    def reason(self, reason: str) -> str:
        return in_chinese(reason) if self._chinese else reason

    def state(self, state: str) -> str:
        """Return a state's stable name, which programs and filters know, or its Chinese word."""
        return self(state, STATE_WORDS.get(state, (state, state))[1])

    def event(self, kind: str) -> str:
        return self(kind, EVENT_WORDS.get(kind, (kind, kind))[1])


def status_table(rows: Sequence[Mapping[str, Any]], say: Words, out: TextIO) -> None:
    """Print a line for each set of each server."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, folds in (
        (say("server", "服务器"), True), (say("group", "分组"), False), (say("set", "预热集"), False),
        (say("state", "状态"), False), (say("for", "已持续"), False), (say("keys", "缓存键"), False),
        (say("why", "原因"), True),
    ):  # fmt: skip
        table.add_column(title, overflow="fold", no_wrap=not folds)
    for row in rows:
        for each in row["sets"]:
            wanted = len(each["wanted_keys"])
            seen = "?" if each["missing_keys"] is None else wanted - len(each["missing_keys"])
            age = str(timedelta(seconds=int(each["age_seconds"]))) if each["age_seconds"] is not None else "-"
            # Text, not markup: a server's words may contain square brackets.
            cells = (row["name"], row["group"], each["set"], say.state(each["state"]), age, f"{seen}/{wanted}",
                     say.reason(each["reason"]))  # fmt: skip
            table.add_row(*(Text(str(cell)) for cell in cells))
    # A pipe has no width: let nothing be folded for a program such as grep.
    Console(file=out, width=None if out.isatty() else 400, soft_wrap=not out.isatty()).print(table)


def event_line(event: Event, say: Words, *, with_set: bool) -> str:
    """Return an event as a person reads it: when, what, for how long it had been so, why, by which rule."""
    words = say.event(event.kind)
    if event.kind == "state":
        words = f"{say.state(event.from_state)} {say('->', '→')} {say.state(event.to_state)}"
    if event.seconds is not None and event.seconds >= 0.5:
        words += say(f" after {event.seconds:.0f} s", f"，历时 {event.seconds:.0f} 秒")
    colon = say(": ", "：")
    if with_set:
        words = f"{event.set_name}{colon}{words}"
    return f"{clock(event.at)}  {words}{colon}{say.reason(event.reason)} [{event.rule}]"


def state_lines(set_name: str, event: Event, at: float, say: Words) -> list[str]:
    """Return how a set stood at a time (UTC seconds), and why; ``event`` brought it there."""
    age, state = timedelta(seconds=int(at - event.at)), say.state(event.to_state)
    head = say(
        f"At {clock(at)} set {set_name} was {state}, for {age}, by rule {event.rule}:",
        f"{clock(at)} 时预热集 {set_name}：{state}，已持续 {age}，依据规则 {event.rule}：",
    )
    return [head, f"  {say.reason(event.reason)}"]


def lint_lines(
    path: Path, graph: Graph, keys: Sequence[StoredKey], findings: Iterable[Finding], say: Words
) -> list[str]:  # fmt: skip
    """Return what a workflow stores and is made of, and what is wrong with it."""
    lines = [
        say(
            f"key {each.key!r} with tag {each.tag!r}, stored by node {each.node_id}",
            f"缓存键 {each.key!r}，标签 {each.tag!r}，由节点 {each.node_id} 存入",
        )
        for each in keys
    ]
    classes = Counter(node["class_type"] for node in graph.values())
    lines.append(
        say("classes: ", "节点类型：") + ", ".join(f"{name} ×{count}" for name, count in sorted(classes.items()))
    )
    found = [_finding_line(each, say) for each in findings]
    nothing = say(
        f"{path}: {len(graph)} nodes, {len(keys)} keys, no findings.",
        f"{path}：{len(graph)} 个节点，{len(keys)} 个缓存键，没有发现问题。",
    )
    return lines + (found or [nothing])


def _finding_line(finding: Finding, say: Words) -> str:
    severity = say(finding.severity, {"error": "错误", "warning": "警告"}[finding.severity])
    where = say(f"node {finding.node_id}: ", f"节点 {finding.node_id}：") if finding.node_id else ""
    return printable(f"{severity}{say(': ', '：')}{where}{say.reason(finding.message)}")


def clock(at: float) -> str:
    """Return UTC seconds as this machine's date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
