"""Reads the environment, ``.env`` and ``fleet.toml`` into one frozen Settings. The only reader of ``os.environ``.

An environment variable wins over ``.env``, ``.env`` over the default. Everything that is wrong is reported
at once (ConfigError.problems). What only some settings need is imported where they are read: every command
reads the settings first, and its user waits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import setting_phrases as say
from core import settings
from core.errors import ConfigError, Problem, WorkflowError
from core.secret import Secret
from core.secret_strength import weakness_of
from core.settings import Invalid

if TYPE_CHECKING:
    from core.fleet import Server, WarmupSet
    from core.targets import Target
    from core.workflow import Graph

EXIT_CONFIG = 78
"""sysexits' EX_CONFIG: the configuration is wrong, starting again will not help."""

NEED_RESTART = (
    "cache_dir", "host", "port", "connect_timeout_seconds", "probe_timeout_seconds", "log_max_bytes", "log_backups",
    "heartbeat_timeout_seconds", "stop_grace_seconds", "allowed_hosts", "trusted_proxies", "api_secret", "queue_url",
    "queue_prefix", "host_queue", "task_workers", "tasks_per_user", "rate_limit_reads_per_minute",
    "rate_limit_writes_per_minute", "redis_url", "redis_cache_prefix", "mongodb_url", "mongodb_cache_collection",
    "mongodb_time_field", "index_interval_hours", "max_cache_size",
)  # fmt: skip
"""Settings that a reload (SIGHUP) does not change; the rest it does."""

MAX_FILE_BYTES = 16 << 20


@dataclass(frozen=True)
class Settings:
    """Everything that can be configured; paths are absolute, durations in seconds unless named otherwise."""

    root: Path
    cache_dir: Path
    servers: tuple[Server, ...]
    warnings: tuple[str, ...]
    check_interval_seconds: float
    probe_timeout_seconds: float
    connect_timeout_seconds: float
    workflow_timeout_seconds: float
    auto_execute_recheck_seconds: float
    max_concurrent_warmups: int
    warmup_start_gap_seconds: float
    failures_before_breaker: int
    event_retention_days: float
    image_cache_dir: Path
    targets: tuple[Target, ...]
    clean_days: float | None
    clean_time: str | None
    clean_interval_hours: float | None
    model_cache_dirs: tuple[Path, ...]
    model_view_dirs: tuple[Path, ...]
    hf_endpoint: str
    hf_token: Secret | None
    modelscope_endpoint: str
    modelscope_api_token: Secret | None
    host: str
    port: int
    allowed_hosts: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    api_secret: Secret | None
    api_token: Secret | None
    rate_limit_reads_per_minute: int
    rate_limit_writes_per_minute: int
    task_workers: int
    tasks_per_user: int
    task_stall_seconds: float
    task_retention_days: float
    index_interval_hours: float
    max_cache_size: int | None
    audit_retention_days: float
    host_queue: str
    queue_url: Secret | None
    queue_prefix: str
    redis_url: Secret | None
    redis_cache_prefix: str
    mongodb_url: Secret | None
    mongodb_cache_collection: str
    mongodb_time_field: str
    log_level: str
    log_max_bytes: int
    log_backups: int
    heartbeat_timeout_seconds: float
    start_timeout_seconds: float
    stop_grace_seconds: float
    backoff_initial_seconds: float
    backoff_max_seconds: float
    healthy_after_seconds: float
    supervised: bool = False

    @property
    def daemon_log(self) -> Path:
        return self.cache_dir / "daemon.log"

    @property
    def database(self) -> Path:
        return self.cache_dir / "cache_keeper.sqlite3"

    @property
    def tasks_database(self) -> Path:
        return self.cache_dir / "tasks.sqlite3"

    @property
    def audit_database(self) -> Path:
        return self.cache_dir / "audit.sqlite3"

    @property
    def index_database(self) -> Path:
        return self.cache_dir / "index.sqlite3"

    @property
    def api_keys(self) -> Path:
        return self.cache_dir / "api_keys.json"

    @property
    def tokens_database(self) -> Path:
        return self.cache_dir / "tokens.sqlite3"

    @property
    def page(self) -> str:
        """The address of the status page, as a person on this machine would type it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{self.port}/status"


def load(root: Path, environ: Mapping[str, str] | None = None, *, serving: bool = False) -> Settings:
    """Given the project's root, return the Settings; raises ConfigError with every problem found.

    ``serving`` is for the daemon, which opens the API to others: only there a secret that is missing or known to
    everybody is a problem, and a cleaning by hand goes on beside it.
    """
    # Here: `daemon.py status` and `stop` need CACHE_DIR alone.
    from core.fleet import Group, Server, server_name

    root = root.resolve()
    environ = os.environ if environ is None else environ
    written, warnings, problems = _read_dotenv(root / ".env")
    merged = {**written, **environ}
    # An old name in the environment must win over the new name in .env: the environment wins, whatever the name.
    for key in settings.KEYS:
        for alias in key.aliases:
            if environ.get(key.name, "").strip():
                merged.pop(alias, None)
            elif environ.get(alias, "").strip():
                merged[key.name] = environ[alias]
    values, found = settings.parse(merged)
    problems += found
    for name in ("cache_dir", "image_cache_dir", "fleet_file", "workflow_path"):
        try:
            values[name] = _path(values.get(name, ""), root)
        except Invalid as invalid:
            problems.append(Problem(name.upper(), values.pop(name), str(invalid)))
    for name in ("model_cache_dirs", "model_view_dirs"):
        try:
            values[name] = tuple(path for each in values.get(name, ()) if (path := _path(each, root)))
        except Invalid as invalid:
            problems.append(Problem(name.upper(), ", ".join(values.pop(name)), str(invalid)))
    fleet_file, workflow_path = values.pop("fleet_file", None), values.pop("workflow_path", None)
    addresses = values.pop("servers", ())
    # .env made from .env.example sets every key to its default, so only another value counts as a wish.
    table = _read_toml(fleet_file, problems, must_exist=_wished(merged, "FLEET_FILE"))
    servers: tuple[Server, ...] = ()
    if table is not None:
        from core.fleet_file import FleetReader

        reader = FleetReader(
            load_workflow=lambda path: _load_workflow(_path(path, root) or root),
            secret=lambda name: merged.get(name) or None,
            base_interval_seconds=values.get("check_interval_seconds", 30.0),
            base_timeout_seconds=values.get("workflow_timeout_seconds", 600.0),
            problems=problems,
        )
        servers = reader.read(table)
    targets = _targets(table or {}, problems)
    own_sets = bool(table and table.get("set"))
    listed = _wished(merged, "SERVERS") or not servers
    if listed or not own_sets:
        warmup = _default_set(workflow_path, values.get("workflow_timeout_seconds", 600.0), problems)
    if not own_sets:
        # Groups without any [[set]] are warmed with the one workflow of .env.
        servers = tuple(replace(server, sets=(warmup,)) for server in servers)
    if listed:
        known = {server.url for server in servers}
        group = Group("default", check_interval_seconds=values.get("check_interval_seconds", 30.0))
        servers += tuple(Server(server_name(url), url, group, (warmup,)) for url in addresses if url not in known)
    if values.get("redis_url") and not values["redis_cache_prefix"]:
        problems.append(Problem("REDIS_CACHE_PREFIX", "", say.IS_NEEDED_WITH_REDIS()))
    if values.get("mongodb_cache_collection") and not values.get("mongodb_url"):
        problems.append(Problem("MONGODB_URL", "", say.IS_NEEDED_WITH_COLLECTION()))
    if serving:
        problems += _api_secret_problems(values.get("api_secret"), values.get("host", ""))
    if problems:
        raise ConfigError(problems)
    values["cache_dir"] = values["cache_dir"] or root
    values["host_queue"] = values["host_queue"] or _machine_name()
    return Settings(
        root=root,
        servers=servers,
        targets=targets,
        warnings=tuple(warnings),
        supervised=environ.get("CACHE_KEEPER_SUPERVISED") == "1",
        **values,
    )


def cache_dir(root: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Return CACHE_DIR alone: a running daemon must be found and stopped though other values have become wrong.

    Raises ConfigError when CACHE_DIR itself cannot be known.
    """
    root = root.resolve()
    environ = os.environ if environ is None else environ
    written, _, problems = _read_dotenv(root / ".env", needed="CACHE_DIR")
    values, found = settings.parse({**written, **environ})
    problems += [problem for problem in found if problem.key == "CACHE_DIR"]
    try:
        path = _path(values.get("cache_dir", ""), root)
    except Invalid as invalid:
        problems.append(Problem("CACHE_DIR", values["cache_dir"], str(invalid)))
    if problems:
        raise ConfigError(problems)
    return path or root


def systemd_environment(environ: Mapping[str, str] | None = None) -> tuple[str | None, float | None]:
    """Return systemd's notify socket and watchdog interval in seconds, each None when systemd gave none.

    ``WATCHDOG_PID`` names the process that is meant; see sd_watchdog_enabled(3).
    """
    environ = os.environ if environ is None else environ
    socket = environ.get("NOTIFY_SOCKET") or None
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
        meant = int(environ.get("WATCHDOG_PID", "") or os.getpid())
    except ValueError:
        return socket, None
    return socket, microseconds / 1e6 if microseconds > 0 and meant == os.getpid() else None


def inherited_environment() -> dict[str, str]:
    """Return a copy of this process's environment, for a child that is to get it with changes."""
    return dict(os.environ)


def prefers_chinese(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the terminal's locale asks for Chinese (LC_ALL before LC_MESSAGES before LANG, as POSIX says).

    Never below the supervisor: what is printed there is a line of the log, which is in English.
    """
    environ = os.environ if environ is None else environ
    if environ.get("CACHE_KEEPER_SUPERVISED") == "1":
        return False
    locale = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return locale.lower().startswith("zh")


def told(error: Exception | str) -> str:
    """Return what an error says, in the language of the terminal."""
    if not prefers_chinese():
        return str(error)
    # Here: only who is told of an error needs it.
    from core.error_words import error_text

    return error_text(error, chinese=True)


def _api_secret_problems(secret: Secret | None, host: str) -> list[Problem]:
    """An API that other machines can reach must not be opened by a key that was made up without anybody knowing."""
    if secret is None:
        from core.addresses import is_loopback

        return [] if is_loopback(host.strip("[]")) else [Problem("API_SECRET", "", say.NO_SECRET(host=host))]
    parts = [part.strip() for part in secret.reveal().split(",")]
    if len(parts) > 2:
        return [Problem("API_SECRET", "***", say.SEVERAL_SECRETS())]
    weak = next(filter(None, map(weakness_of, parts)), "")
    # The value stays unsaid: what is weak here may be somebody's password elsewhere.
    return [Problem("API_SECRET", "***", say.WEAK_SECRET(weakness=weak))] if weak else []


def _machine_name() -> str:
    if hasattr(os, "uname"):
        return os.uname().nodename or "localhost"
    import platform  # Windows

    return platform.node() or "localhost"


def _path(text: str, root: Path) -> Path | None:
    if not text:
        return None
    return Path(os.path.normpath(settings.resolve_path(text, root=root, home=Path.home(), windows=os.name == "nt")))


def _wished(values: Mapping[str, str], name: str) -> bool:
    key = next(key for key in settings.KEYS if key.name == name)
    return any(values.get(each, "").strip() not in ("", key.default) for each in (name, *key.aliases))


def _read_dotenv(path: Path, *, needed: str = "") -> tuple[dict[str, str], list[str], list[Problem]]:
    """Return the settings, the warnings and the problems of a ``.env``; of bad lines only those with ``needed``."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}, [], []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [], [Problem(".env", str(path), say.NOT_READ(trouble=error))]
    from io import StringIO

    # Not dotenv_values: it logs a bad line without the file's name, and goes on without it.
    from dotenv.parser import parse_stream

    written: dict[str, str] = {}
    problems = []
    for binding in parse_stream(StringIO(settings.literal_paths(text))):
        original = binding.original.string
        if binding.error or (binding.key and binding.value is None and not original.lstrip().startswith("export")):
            # The statement begins with the empty lines before it. What is in it may be a secret.
            line = binding.original.line + original[: -len(original.lstrip())].count("\n")
            if needed in original:
                problems.append(Problem(".env", f"{path}, line {line}", say.NO_ASSIGNMENT()))
        elif binding.key and binding.value:
            written[binding.key] = binding.value
        elif binding.key:
            # The last one counts, also when it is empty.
            written.pop(binding.key, None)
    return written, settings.misspelt(written), problems


def _default_set(path: Path | None, timeout_seconds: float, problems: list[Problem]) -> WarmupSet:
    from core.fleet import WarmupSet
    from core.workflow import wanted_keys

    graph: Graph | None = None
    if path is not None:
        try:
            graph = _load_workflow(path)
        except Invalid as invalid:
            problems.append(Problem("WORKFLOW_PATH", str(path), str(invalid)))
    return WarmupSet(
        name="default",
        graph=graph,
        keys=tuple(wanted_keys(graph)) if graph else (),
        timeout_seconds=timeout_seconds,
        workflow_path=str(path or ""),
    )


def _targets(table: Mapping[str, Any], problems: list[Problem]) -> tuple[Target, ...]:
    entries = table.get("target", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        problems.append(Problem("target", "…", say.LIST_OF_TABLES(table="target")))
        return ()
    if not entries:
        return ()
    from core.targets import target_from_table

    targets: dict[str, Target] = {}
    for index, entry in enumerate(entries):
        target, found = target_from_table(entry, key=f"target[{entry.get('name', index)}]")
        problems += found
        if target is not None and target.name in targets:
            problems.append(Problem("target", target.name, say.TARGET_TWICE()))
        elif target is not None:
            targets[target.name] = target
    return tuple(targets.values())


def _read_toml(path: Path | None, problems: list[Problem], *, must_exist: bool) -> dict[str, Any] | None:
    if path is None or not (must_exist or path.exists()):
        return None
    import tomllib

    try:
        return tomllib.loads(_read_bounded(path))
    except (OSError, ValueError) as error:
        # tomllib's errors and UnicodeDecodeError are ValueErrors; the text names line and column.
        problems.append(Problem("FLEET_FILE", str(path), say.NOT_READ(trouble=error)))
        return None


def _load_workflow(path: Path) -> Graph:
    from core.workflow import broken_links, read_graph

    try:
        graph = read_graph(json.loads(_read_bounded(path)))
    except OSError as error:
        raise Invalid(say.NOT_READ(trouble=error.strerror or error)) from None
    except (ValueError, RecursionError) as error:
        raise Invalid(say.NOT_JSON(trouble=error)) from None
    except WorkflowError as error:
        raise Invalid(str(error)) from None
    for finding in broken_links(graph):
        raise Invalid(say.FAULTY_NODE(node=finding.node_id, fault=finding.message))
    return graph


def _read_bounded(path: Path) -> str:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(say.TOO_LARGE(size=MAX_FILE_BYTES >> 20))
    return path.read_text(encoding="utf-8-sig")
