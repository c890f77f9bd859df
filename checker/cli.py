"""The command line of the checker: what it can be asked, and what it answers. Wired by ``__main__``."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TextIO

from checker.events import is_step
from checker.show import Words, clock, event_line, lint_lines, state_lines, status_table
from core import operation_phrases as phrases
from core.errors import CacheKeeperError, WorkflowError
from core.fleet import Server
from core.model import Event, Pause, State
from core.reason_phrases import LACKS
from core.typed import number, whole
from core.workflow import Finding, Graph, lint, read_graph, stored_keys

EXIT_OK, EXIT_NOT_LOADED, EXIT_USAGE = 0, 1, 2
MOST_EVENTS = 10_000
LONGEST_PAUSE_SECONDS = 3650 * 86400.0
_STEPS_PER_EVENT = 5
_SETTLED = frozenset({State.LOADED, State.FAILED, State.UNREACHABLE, State.PAUSED, State.UNKNOWN})


class UsageError(CacheKeeperError):
    """What was typed names something that is not there, or a time that is none."""


class Fleet(Protocol):
    """The fleet as the commands see it: the running daemon's, or one of this process's own."""

    def details(self) -> list[dict[str, Any]]: ...
    def check(self, names: Sequence[str]) -> None: ...
    def warm(self, name: str, set_name: str | None, *, force: bool) -> None: ...


class Journal(Protocol):
    """What the commands read and write on disk."""

    def pause(self, pause: Pause) -> None: ...
    def resume(self, name: str) -> bool: ...
    def pauses(self, now: float) -> dict[str, Pause]: ...
    def events(
        self, *, server: str | None = None, since: float | None = None, until: float | None = None, newest: int = 100
    ) -> list[Event]: ...


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m checker``."""
    top = argparse.ArgumentParser(
        prog="python -m checker", description="Knows which servers have their models loaded. 检测并预热模型缓存。"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, help_text: str, *, servers: str = "*") -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text, description=help_text)
        if servers:
            command.add_argument(
                "servers", nargs=servers, metavar="SERVER", help="server, group or all / 服务器、分组或 all"
            )
        return command

    status = add("status", "what is known, without asking any server / 查看已知状态")
    check = add("check", "one poll cycle now; exit 0 all loaded, 1 something is not / 立即检测一轮")
    warm = add("warm", "warm servers now, passing over back-off / 立即预热", servers="+")
    for command in (status, check, warm):
        command.add_argument("--json", action="store_true", help="for programs / 输出 JSON")
    check.add_argument("--dry-run", action="store_true", help="submit nothing / 试运行，不提交")
    warm.add_argument("--dry-run", action="store_true", help="submit nothing, say what would be / 试运行，不提交")
    warm.add_argument("--set", metavar="S", help="only this warm-up set / 只预热此预热集")
    warm.add_argument("--force", action="store_true", help="even when it is loaded / 即使已加载也执行")
    warm.add_argument("--wait", action="store_true", help="until loaded or failed / 等待完成")
    warm.add_argument(
        "--timeout", type=number(0), default=1800, metavar="SECONDS", help="of --wait (1800) / 等待的最长秒数"
    )
    pause = add("pause", "leave servers or groups alone / 暂停检测", servers="+")
    pause.add_argument(
        "--for", dest="duration", metavar="2h", help="30m, 2h, 3d; else until resumed / 时长，默认直到恢复"
    )
    add("resume", "end a pause / 恢复检测", servers="+")
    why = add("why", "why was a server (not) warmed / 查看原因", servers="")
    why.add_argument("server", metavar="SERVER")
    why.add_argument("--at", metavar="TIME", help="10:03 or 2026-02-17 10:03:00, local; default now / 时间，默认现在")
    why.add_argument(
        "--last", type=whole(1, MOST_EVENTS), default=10, metavar="N", help="events shown (10) / 显示的事件数"
    )
    why.add_argument("--json", action="store_true", help="for programs / 输出 JSON")
    workflow = commands.add_parser("workflow", help="look at a workflow file / 检查工作流文件")
    lint_command = workflow.add_subparsers(dest="workflow_command", required=True).add_parser(
        "lint", help="keys, tags against LRU sizes, links, classes / 检查缓存键、标签容量和连线"
    )
    lint_command.add_argument("file", type=Path, metavar="FILE")
    lint_command.add_argument("--on", metavar="SERVER", help="its classes, files and LRU sizes too / 同时对照该服务器")
    lint_command.add_argument("--json", action="store_true", help="for programs / 输出 JSON")
    return top


# -- which servers -------------------------------------------------------------------------------------------


def chosen(servers: Sequence[Server], wished: Iterable[str]) -> list[str]:
    """Given what was typed, return the names of the servers meant, each once; nothing typed means all.

    A word is a server's name or address, a group, or ``all``. Raises UsageError naming the first that is none.
    """
    names: dict[str, None] = {}
    words = list(wished) or ["all"]
    for word in words:
        found = [
            server.name
            for server in servers
            if word in ("all", server.name, server.url, server.group.name) or word.rstrip("/") == server.url
        ]
        if not found:
            raise UsageError(phrases.NO_SERVER_OR_GROUP(name=word, known=_known(servers)))
        names.update(dict.fromkeys(found))
    return list(names)


def the_one(servers: Sequence[Server], word: str) -> str:
    """Given what was typed, return the one server meant; raises UsageError when it is none or several."""
    names = chosen(servers, [word])
    if len(names) > 1:
        raise UsageError(phrases.SEVERAL_SERVERS(name=word, count=len(names), known=_known(servers)))
    return names[0]


def _known(servers: Sequence[Server]) -> str:
    groups = dict.fromkeys(server.group.name for server in servers)
    names = [server.name for server in servers[:10]]
    return ", ".join([*groups, *names, *(["…"] if len(servers) > 10 else [])])


# -- the commands --------------------------------------------------------------------------------------------


def show_status(fleet: Fleet, names: Sequence[str], out: TextIO, say: Words, *, as_json: bool) -> int:
    """Print what is known of the named servers; return 0 when all are loaded, else 1."""
    rows = [row for row in fleet.details() if row["name"] in set(names)]
    if as_json:
        json.dump({"servers": rows}, out, ensure_ascii=False, indent=2)
        out.write("\n")
    else:
        status_table(rows, say, out)
    return EXIT_OK if rows and all(row["cache_loaded"] for row in rows) else EXIT_NOT_LOADED


def check(fleet: Fleet, names: Sequence[str], out: TextIO, say: Words, *, as_json: bool) -> int:
    """Poll the named servers now, print the outcome; return 0 when all are loaded, else 1."""
    fleet.check(names)
    return show_status(fleet, names, out, say, as_json=as_json)


def warm(
    fleet: Fleet, names: Sequence[str], out: TextIO, say: Words, *, set_name: str | None, force: bool,
    as_json: bool, follow: Callable[[], None] | None,
) -> int:  # fmt: skip
    """Ask for a warm-up of the named servers; ``follow`` waits for its end. Return as ``check`` does."""
    sets = {row["name"]: {each["set"] for each in row["sets"]} for row in fleet.details() if row["name"] in set(names)}
    known = set().union(*sets.values())
    if set_name is not None and set_name not in known:
        raise UsageError(phrases.NO_SET_NAMED(name=set_name, known=", ".join(sorted(known))))
    for name in names:
        if set_name is None or set_name in sets[name]:
            fleet.warm(name, set_name, force=force)
    if follow is not None:
        follow()
    return show_status(fleet, names, out, say, as_json=as_json)


def settled(row: dict[str, Any], set_name: str | None) -> bool:
    """Whether a server's warm-up has come to an end, good or bad, or cannot come for want of a workflow."""
    return all(
        (each["state"] in _SETTLED or each["rule"] == "no_workflow") and each["prompt_id"] is None
        for each in row["sets"]
        if set_name in (None, each["set"])
    )


def pause(
    journal: Journal, servers: Sequence[Server], wished: Sequence[str], duration: str | None, now: float, say: Words
) -> str:
    """Pause servers or groups; return what to tell. ``now`` is UTC seconds."""
    until = now + seconds_of(duration) if duration else None
    for name in _names_or_groups(servers, wished):
        journal.pause(Pause(name, until))
    who = ", ".join(wished)
    if until is None:
        return say(f"Paused {who} until resumed.", f"已暂停 {who}，直到恢复。")
    return say(f"Paused {who} until {clock(until)}.", f"已暂停 {who}，至 {clock(until)}。")


def resume(journal: Journal, servers: Sequence[Server], wished: Sequence[str], now: float, say: Words) -> str:
    """End pauses; return what to tell. ``now`` is UTC seconds."""
    names = _names_or_groups(servers, wished)
    if "all" in wished:
        names += dict.fromkeys(server.group.name for server in servers)
    in_force = journal.pauses(now)
    ended = [name for name in names if journal.resume(name) and name in in_force]
    who = ", ".join(ended)
    told = say(f"Resumed {who}.", f"已恢复 {who}。") if ended else say("Nothing was paused.", "没有暂停的服务器。")
    groups = dict.fromkeys(server.group.name for server in servers if server.name in names)
    still = [group for group in groups if group in in_force and group not in ended]
    if not still:
        return told
    groups_told = ", ".join(still)
    return told + say(f" Still paused as a group: {groups_told}.", f"仍按分组暂停：{groups_told}。")


def _names_or_groups(servers: Sequence[Server], wished: Sequence[str]) -> list[str]:
    """A group stays a group: servers that join it later are paused too."""
    names: dict[str, None] = {}
    groups = {server.group.name for server in servers}
    for word in wished:
        names.update(dict.fromkeys([word] if word in groups else chosen(servers, [word])))
    return list(names)


def why(
    journal: Journal, server: str, at: float, newest: int, out: TextIO, say: Words, *, as_json: bool
) -> int:  # fmt: skip
    """Print the events that explain a server's state at a time (UTC seconds), and the state itself last.

    A person is spared the steps of a warm-up's ordinary course; JSON has every event.
    """
    events = journal.events(server=server, until=at, newest=newest if as_json else newest * _STEPS_PER_EVENT)
    if as_json:
        json.dump({"server": server, "events": [asdict(event) for event in events]}, out, ensure_ascii=False, indent=2)
        out.write("\n")
        return EXIT_OK
    several = len({event.set_name for event in events}) > 1
    for event in [event for event in events if not is_step(event)][-newest:]:
        out.write(f"{event_line(event, say, with_set=several)}\n")
    states: dict[str, Event] = {event.set_name: event for event in events if event.kind == "state"}
    if not states:
        out.write(
            say(f"Nothing is recorded of {server} up to {clock(at)}.", f"{clock(at)} 之前没有 {server} 的记录。") + "\n"
        )
    for set_name, event in states.items():
        out.write("\n" + "".join(f"{line}\n" for line in state_lines(set_name, event, at, say)))
    return EXIT_OK


def lint_file(
    path: Path,
    out: TextIO,
    say: Words,
    *,
    as_json: bool,
    ask: Callable[[Graph], tuple[tuple[str, ...], dict[str, int]]] | None = None,
) -> int:
    """Print a workflow's keys and findings; return 0 without errors, 1 with; raises UsageError for no workflow.

    ``ask`` returns what a server lacks for the workflow, and its LRU sizes by tag.
    """
    try:
        graph = read_graph(json.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(phrases.FILE_NOT_JSON(file=path, words=error)) from None
    except WorkflowError as error:
        raise UsageError(f"{path} {error}") from None
    lacking, sizes = ask(graph) if ask is not None else ((), {})
    keys, findings = stored_keys(graph), lint(graph, sizes)
    findings += [Finding("error", "", LACKS(lacking=each)) for each in lacking]
    if as_json:
        document = {
            "keys": [{"key": each.key, "tag": each.tag, "node": each.node_id} for each in keys],
            "findings": [asdict(finding) for finding in findings],
        }
        json.dump(document, out, ensure_ascii=False, indent=2)
        out.write("\n")
    else:
        out.write("".join(f"{line}\n" for line in lint_lines(path, graph, keys, findings, say)))
    return EXIT_NOT_LOADED if any(finding.severity == "error" for finding in findings) else EXIT_OK


# -- words and times -----------------------------------------------------------------------------------------


def seconds_of(duration: str) -> float:
    """Given 90, 30m, 2h or 3d, return seconds; raises UsageError. Ten years is the most that a clock can add."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", duration.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0
    if not 0 < seconds <= LONGEST_PAUSE_SECONDS:
        raise UsageError(phrases.NO_DURATION(text=duration))
    return seconds


def moment(text: str | None, now: float) -> float:
    """Given a local time as people type it, return UTC seconds; a time of day means the last such moment.

    Raises UsageError.
    """
    if text is None:
        return now
    local = datetime.fromtimestamp(now)
    match = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", text.strip())
    try:
        if match:
            begin = local.replace(hour=int(match[1]), minute=int(match[2]), second=int(match[3] or 0), microsecond=0)
            begin = begin if begin <= local else begin - timedelta(days=1)
            # 10:03 means the whole minute.
            return min((begin + timedelta(seconds=0.999 if match[3] else 59.999)).timestamp(), now)
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(phrases.NO_MOMENT(text=text)) from None
