"""Reads ``fleet.toml``'s table into servers, without any I/O, and gathers everything that is wrong with it.

What a file or the environment must supply (a workflow's text, a secret) is asked for through functions
that ``config.py`` hands in, so that the whole reading can be tested with plain values.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core import setting_phrases as say
from core.errors import Problem
from core.fleet import Detector, Expectation, Group, Secret, Server, WarmupSet, server_name
from core.settings import Invalid, masked, number, one_of, server_url
from core.workflow import Graph, Key, wanted_keys

MAX_SERVERS = 20_000


@dataclass
class FleetReader:
    """Reads one ``fleet.toml`` table and gathers everything that is wrong with it.

    ``load_workflow(path)`` returns the API-format graph or raises Invalid; ``secret(name)`` returns an
    environment variable's value or None.
    """

    load_workflow: Callable[[str], Graph]
    secret: Callable[[str], str | None]
    base_interval_seconds: float
    base_timeout_seconds: float
    problems: list[Problem] = field(default_factory=list)

    def read(self, table: Mapping[str, Any]) -> tuple[Server, ...]:
        """Return the servers that the table describes; look at ``problems`` before using them."""
        self._refuse_unknown("fleet.toml", table, {"set", "group", "target"})
        sets = {warmup.name: warmup for warmup in self._each(table, "set", self._read_set)}
        groups = self._each(table, "group", lambda where, entry: self._read_group(where, entry, sets))
        servers = tuple(itertools.chain.from_iterable(groups))
        self._refuse_duplicates(servers)
        return servers

    def _each(self, table: Mapping[str, Any], kind: str, read: Callable[[str, Mapping[str, Any]], Any]) -> list[Any]:
        entries = table.get(kind, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            self._problem(kind, entries, say.LIST_OF_TABLES(table=kind))
            return []
        found, seen = [], set[str]()
        for index, entry in enumerate(entries):
            name = entry.get("name")
            where = f"{kind}[{name if isinstance(name, str) and name else index}]"
            if not isinstance(name, str) or not re.fullmatch(r"[\w.\-:\[\]]+", name):
                self._problem(f"{where}.name", name, say.NAME())
                continue
            if name in seen:
                self._problem(f"{where}.name", name, say.TWICE())
            seen.add(name)
            result = read(where, entry)
            if result is not None:
                found.append(result)
        return found

    def _read_set(self, where: str, entry: Mapping[str, Any]) -> WarmupSet | None:
        self._refuse_unknown(
            where,
            entry,
            {
                "name",
                "workflow",
                "wanted_keys",
                "priority",
                "patience_seconds",
                "timeout_seconds",
                "detector",
            },
        )
        before = len(self.problems)
        path = self._value(where, entry, "workflow", "", str)
        graph = self._workflow(f"{where}.workflow", path) if path else None
        keys: tuple[Key, ...] = tuple(wanted_keys(graph)) if graph else ()
        if "wanted_keys" in entry:
            keys = self._keys(f"{where}.wanted_keys", entry["wanted_keys"])
        warmup = WarmupSet(
            name=entry["name"],
            graph=graph,
            keys=keys,
            priority=self._value(where, entry, "priority", "wait", one_of("wait", "queue", "front")),
            patience_seconds=self._value(where, entry, "patience_seconds", 600.0, number(0, 86400)),
            timeout_seconds=self._value(where, entry, "timeout_seconds", self.base_timeout_seconds, number(1, 86400)),
            detector=self._read_detector(f"{where}.detector", entry.get("detector", "auto")),
            workflow_path=path,
        )
        if warmup.detector.kind == "list" and not keys:
            self._problem(f"{where}.detector", "list", say.NEEDS_KEYS())
        return warmup if len(self.problems) == before else None

    def _read_detector(self, where: str, entry: object) -> Detector:
        if isinstance(entry, str):
            entry = {"kind": entry}
        if not isinstance(entry, dict):
            self._problem(where, entry, say.DETECTOR())
            return Detector()
        self._refuse_unknown(
            where, entry, {"kind", "url", "text", "regex", "json_path", "json_value", "time_to_live_seconds"}
        )
        kind = self._value(
            where, entry, "kind", "custom" if "url" in entry else "auto",
            one_of("auto", "list", "determine", "history", "custom"),
        )  # fmt: skip
        expect = Expectation(entry.get("text"), entry.get("regex"), entry.get("json_path"), entry.get("json_value"))
        if kind == "custom":
            if not isinstance(entry.get("url"), str):
                self._problem(f"{where}.url", entry.get("url"), say.DETECTOR_URL())
            if [expect.text, expect.regex, expect.json_path].count(None) != 2:
                self._problem(where, sorted(entry), say.ONE_EXPECTATION())
            for name in ("text", "regex", "json_path"):
                if name in entry and not (isinstance(entry[name], str) and entry[name]):
                    # An empty text is in every answer, so it would call any server loaded.
                    self._problem(f"{where}.{name}", entry[name], say.TEXT_FOR_DETECTOR())
            if isinstance(expect.regex, str):
                try:
                    re.compile(expect.regex)
                except re.error as error:
                    self._problem(f"{where}.regex", expect.regex, say.NO_EXPRESSION(words=error))
        return Detector(
            kind,
            str(entry.get("url", "")),
            expect,
            self._value(where, entry, "time_to_live_seconds", 3600.0, number(1, 86400 * 365)),
        )

    def _read_group(self, where: str, entry: Mapping[str, Any], sets: Mapping[str, WarmupSet]) -> list[Server] | None:
        self._refuse_unknown(
            where, entry,
            {"name", "labels", "servers", "sets", "headers", "headers_from_env", "check_interval_seconds",
             "max_concurrent_warmups", "verify_tls"},
        )  # fmt: skip
        headers, secrets = self._headers(where, entry)
        group = Group(
            name=entry["name"],
            labels=tuple(sorted(self._pairs(f"{where}.labels", entry.get("labels", {})).items())),
            headers=headers,
            secrets=secrets,
            check_interval_seconds=self._value(
                where, entry, "check_interval_seconds", self.base_interval_seconds, number(0.05, 86400 * 7)
            ),
            max_concurrent_warmups=self._value(
                where, entry, "max_concurrent_warmups", None, number(1, 10000, whole=True)
            ),
            verify_tls=self._value(where, entry, "verify_tls", True, _boolean),
        )
        chosen = []
        for name in self._texts(f"{where}.sets", entry.get("sets", list(sets))):
            if name in sets:
                chosen.append(sets[name])
            elif not any(problem.key.startswith(f"set[{name}]") for problem in self.problems):
                known = say.NO_SUCH_SET(words=", ".join(sets)) if sets else say.NO_SETS_AT_ALL()
                self._problem(f"{where}.sets", name, known)
        if entry.get("sets") == []:
            self._problem(f"{where}.sets", "[]", say.NAMES_NO_SET())
        servers: list[Server] = []
        written = entry.get("servers")
        if not isinstance(written, list) or not written:
            self._problem(f"{where}.servers", written, say.SERVERS())
            return None
        for item in written:
            name, address = ("", item) if isinstance(item, str) else _name_and_url(item)
            try:
                addresses = expand_ranges(address)
                urls = [server_url(each) for each in addresses]
                if name and len(urls) > 1:
                    raise Invalid(say.NAMED_RANGE())
            except Invalid as invalid:
                self._problem(f"{where}.servers", masked(str(item)), str(invalid))
                continue
            servers += [Server(name or server_name(url), url, group, tuple(chosen)) for url in urls]
        return servers

    def _headers(
        self, where: str, entry: Mapping[str, Any]
    ) -> tuple[tuple[tuple[str, Secret], ...], tuple[Secret, ...]]:
        """Return all headers, and the values among them that came from the environment."""
        headers = {
            name: Secret(value) for name, value in self._pairs(f"{where}.headers", entry.get("headers", {})).items()
        }
        secrets = []
        for name, variable in self._pairs(f"{where}.headers_from_env", entry.get("headers_from_env", {})).items():
            value = self.secret(variable)
            if value is None:
                self._problem(f"{where}.headers_from_env", variable, say.NOT_SET())
            else:
                headers[name] = Secret(value)
                secrets.append(headers[name])
        for name, secret in headers.items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(r"[\r\n\0]", secret.reveal()):
                self._problem(f"{where}.headers", name, say.HEADER())
        return tuple(headers.items()), tuple(secrets)

    def _workflow(self, where: str, path: str) -> Graph | None:
        try:
            return self.load_workflow(path)
        except Invalid as invalid:
            self._problem(where, path, str(invalid))
            return None

    def _value(self, where: str, entry: Mapping[str, Any], key: str, default: Any, read: Callable[[str], Any]) -> Any:
        if key not in entry:
            return default
        try:
            return read(str(entry[key]))
        except Invalid as invalid:
            self._problem(f"{where}.{key}", entry[key], str(invalid))
            return default

    def _texts(self, where: str, value: object) -> tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(item, str | int) and item != "" for item in value):
            return tuple(dict.fromkeys(str(item) for item in value))
        self._problem(where, value, say.TEXTS())
        return ()

    def _keys(self, where: str, value: object) -> tuple[Key, ...]:
        # A number in TOML is a key of the two NumberKey classes, a text is a key of the others.
        if isinstance(value, list) and all(type(item) in (str, int) and item != "" for item in value):
            return tuple(dict.fromkeys(value))
        self._problem(where, value, say.KEYS())
        return ()

    def _pairs(self, where: str, value: object) -> dict[str, str]:
        if isinstance(value, dict) and all(isinstance(item, str | int | float) for item in value.values()):
            return {str(key): str(item) for key, item in value.items()}
        self._problem(where, "…", say.PAIRS())
        return {}

    def _refuse_unknown(self, where: str, entry: Mapping[str, Any], known: set[str]) -> None:
        for key in sorted(set(entry) - known):
            self._problem(f"{where}.{key}", "…", say.NOT_KNOWN(words=", ".join(sorted(known))))

    def _refuse_duplicates(self, servers: Sequence[Server]) -> None:
        if len(servers) > MAX_SERVERS:
            self._problem("group", len(servers), say.TOO_MANY_SERVERS(most=MAX_SERVERS))
        seen: dict[str, Server] = {}
        for server in servers:
            for mark in (server.url, server.name):
                if mark in seen and seen[mark] is not server:
                    self._problem(f"group[{server.group.name}].servers", mark, say.SERVER_TWICE())
                    break
            seen.setdefault(server.url, server)
            seen.setdefault(server.name, server)

    def _problem(self, key: str, value: object, allowed: str) -> None:
        self.problems.append(Problem(key, str(value)[:200], allowed))


def _boolean(text: str) -> bool:
    if text not in ("True", "False"):
        raise Invalid(say.TRUE_OR_FALSE())
    return text == "True"


def _name_and_url(item: object) -> tuple[str, str]:
    if isinstance(item, dict) and set(item) == {"name", "url"}:
        return str(item["name"]), str(item["url"])
    return "", ""


def expand_ranges(address: str) -> list[str]:
    """Given an address, return it with each ``{first..last}`` or ``{first..last..step}`` written out.

    ``http://10.0.0.{144..150}:{8188..8488..100}`` is 7 × 4 servers, ``gpu{08..11}`` keeps the zeros. Raises
    Invalid for an empty or a far too long range.
    """
    pieces: list[list[str]] = []
    for part in re.split(r"(\{\d+\.\.\d+(?:\.\.\d+)?\})", address):
        match = re.fullmatch(r"\{(\d+)\.\.(\d+)(?:\.\.(\d+))?\}", part)
        if not match:
            pieces.append([part])
            continue
        first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
        if step == 0 or last < first or (last - first) // step >= MAX_SERVERS:
            raise Invalid(say.NO_RANGE(range=part, most=MAX_SERVERS))
        width = len(match[1]) if match[1].startswith("0") else 0
        pieces.append([str(value).zfill(width) for value in range(first, last + 1, step)])
    count = 1
    for piece in pieces:
        count *= len(piece)
    if count > MAX_SERVERS:
        raise Invalid(say.LONG_RANGE(address=address, count=count, most=MAX_SERVERS))
    return ["".join(parts) for parts in itertools.product(*pieces)]
