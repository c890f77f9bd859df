"""What can be set in ``.env``: every key once, with its unit, default, check and two-language description.

``.env.example`` is rendered from this table, and a test compares the two, so that they cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath, PureWindowsPath
from typing import Any

from core import setting_phrases as say
from core.amounts import parse_size_bytes
from core.errors import Problem
from core.secret import Secret

MAX_DAYS = 36500.0


class Invalid(Exception):
    """A value that is not allowed; the text says what is."""


@dataclass(frozen=True)
class Key:
    """One setting: its name in ``.env``, how it is read, its default as text, and what it means."""

    name: str
    parse: Callable[[str], Any]
    default: str
    english: str
    chinese: str
    aliases: tuple[str, ...] = ()


def number(low: float, high: float, *, whole: bool = False) -> Callable[[str], float]:
    """Given bounds, return a reader of numbers within them; raises Invalid."""
    range_of = say.WHOLE_NUMBER if whole else say.NUMBER

    def read(text: str) -> float:
        try:
            value: float = int(text) if whole else float(text)
        except ValueError:
            raise Invalid(range_of(low=f"{low:g}", high=f"{high:g}")) from None
        # "nan" is a float too, and every comparison with it is false.
        if not low <= value <= high:
            raise Invalid(range_of(low=f"{low:g}", high=f"{high:g}"))
        return value

    return read


def optional(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Given a reader, return one that takes an empty text (or ``off``) as None."""

    def read_or_none(text: str) -> Any:
        return None if text.lower() in ("", "off", "none") else read(text)

    return read_or_none


def one_of(*allowed: str) -> Callable[[str], str]:
    """Given the allowed words, return a reader that ignores case; raises Invalid."""

    def read(text: str) -> str:
        for word in allowed:
            if text.lower() == word.lower():
                return word
        raise Invalid(say.ONE_OF(words=", ".join(allowed)))

    return read


def clock_time(text: str) -> str:
    """Given ``H:MM`` or ``HH:MM`` on a 24-hour clock, return ``HH:MM``; raises Invalid."""
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if not match:
        raise Invalid(say.CLOCK_TIME())
    return f"{int(match[1]):02d}:{match[2]}"


def path_text(text: str) -> str:
    """Given a path as written, return it; raises Invalid for one that was mangled by quoting."""
    if any(ord(character) < 32 for character in text):
        # python-dotenv decodes backslash escapes inside double quotes: "r:\api" has a bell in it.
        raise Invalid(say.CONTROL_CHARACTER())
    return text


def path_list(text: str) -> tuple[str, ...]:
    """Given paths separated by commas or semicolons, return them as written, each once; raises Invalid.

    Not by spaces as other lists are: a path may contain some.
    """
    parts = (part.strip() for part in re.split(r"[,，;；\n]+", text))
    return tuple(dict.fromkeys(path_text(part) for part in parts if part))


def resolve_path(text: str, *, root: PurePath, home: PurePath, windows: bool) -> PurePath:
    """Given a path as written, return it absolute: ``~`` is the home, a relative one hangs on ``root``.

    Raises Invalid for a Windows or UNC path on another system, where it would silently become a
    file name with backslashes in it.
    """
    foreign = PureWindowsPath(text)
    if not windows and (foreign.drive or (text.startswith("\\\\") and foreign.anchor)):
        raise Invalid(say.WINDOWS_PATH())
    if text == "~" or text.startswith(("~/", "~\\")):
        return home / text[2:]
    return root / text


def separated(text: str) -> list[str]:
    """Given a list as people type it (commas in either width, semicolons, spaces), return its parts, each once."""
    return list(dict.fromkeys(part for part in re.split(r"[,，;；\s]+", text) if part))


def masked(text: str) -> str:
    """Given something that may be an address, return it fit to be printed: without a password or a query."""
    return re.sub(r"\?.*", "?***", re.sub(r"^(\w+://)?.*@", r"\1***@", text, flags=re.DOTALL), flags=re.DOTALL)


def server_url(text: str) -> str:
    """Given an address with or without ``http://``, return it normalised, no trailing slash; raises Invalid."""
    url = text if "://" in text else f"http://{text}"
    if "@" in text:
        raise Invalid(say.PASSWORD_IN_ADDRESS())
    match = re.fullmatch(r"(https?)://(\[[0-9a-f:.%]+\]|[\w.-]+)(?::(\d{1,9}))?((?:/[^\s?#\\]*)?)", url, re.IGNORECASE)
    if not match:
        raise Invalid(say.NO_SERVER_ADDRESS(text=masked(text)))
    scheme, host, port, path = match.groups()
    if port is not None and not 1 <= int(port) <= 65535:
        raise Invalid(say.PORT_RANGE(text=masked(text)))
    return f"{scheme.lower()}://{host.lower()}{f':{int(port)}' if port else ''}{path.rstrip('/')}"


def _each(parts: list[str], read: Callable[[str], str]) -> list[str]:
    """Given the parts of a list, return what ``read`` makes of them; raises Invalid with what it says of all bad ones."""
    found, wrong = [], []
    for part in parts:
        try:
            found.append(read(part))
        except Invalid as invalid:
            wrong.append(str(invalid))
    if wrong:
        raise Invalid("; ".join(wrong))
    return found


def server_list(text: str) -> tuple[str, ...]:
    """Given a list of addresses, return the normalised addresses, each once; raises Invalid naming the bad ones."""
    if "@" in text:
        # Before it is cut up: a password may contain a comma.
        raise Invalid(say.PASSWORD_IN_ADDRESS())
    return tuple(dict.fromkeys(_each(separated(text), server_url)))


def hub_url(text: str) -> str:
    """Given a hub's address, return it normalised; without a scheme it is https, as the hubs' own clients take it."""
    return server_url(text if "://" in text else f"https://{text}")


def host_names(text: str) -> tuple[str, ...]:
    """Given host names (or ``*``), return them in lower case; raises Invalid naming the bad ones."""
    return tuple(_each(separated(text.lower()), _host_name))


def _host_name(name: str) -> str:
    if name != "*" and not re.fullmatch(r"[a-z0-9._-]+|\[?[0-9a-f:.]+\]?", name):
        raise Invalid(say.NO_HOST_NAME(text=name[:200]))
    return name


def networks(text: str) -> tuple[str, ...]:
    """Given addresses or networks (10.0.0.0/8), return them normalised; raises Invalid naming the bad ones."""
    return tuple(_each(separated(text), _network))


def _network(text: str) -> str:
    # Here: every command reads the settings, and few are given a network.
    from ipaddress import ip_network

    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise Invalid(say.NO_NETWORK(text=text[:200])) from None


def size(text: str) -> int:
    """Given a size such as 500GB, return bytes; raises Invalid."""
    try:
        return parse_size_bytes(text)
    except ValueError:
        raise Invalid(say.SIZE()) from None


def server_address(*schemes: str) -> Callable[[str], Secret]:
    """Given the schemes allowed, return a reader of a server's address, which may hold a password; raises Invalid."""

    def read(text: str) -> Secret:
        scheme, separator, rest = text.partition("://")
        if scheme not in schemes or not separator or not rest:
            raise Invalid(say.ADDRESS(example=f"{schemes[0]}://127.0.0.1"))
        return Secret(text)

    return read


_seconds = number(0.05, 86400 * 7)

KEYS: tuple[Key, ...] = (
    Key("CACHE_DIR", path_text, "",
        "Directory for daemon.pid, daemon.log and the databases; empty = the project's root. One machine per directory.",
        "存放 daemon.pid、daemon.log 和数据库的目录；留空 = 项目根目录。每台机器用自己的目录。"),
    Key("SERVERS", server_list, "http://127.0.0.1:8188",
        "ComfyUI servers, separated by commas (the old name SERVERS_STR works too). For many servers: fleet.toml.",
        "ComfyUI 服务器地址，用逗号分隔（旧名称 SERVERS_STR 同样有效）。服务器很多时请用 fleet.toml。",
        aliases=("SERVERS_STR",)),
    Key("WORKFLOW_PATH", path_text, "",
        "The warm-up workflow, saved by ComfyUI's \"Export (API)\"; empty = watch only, submit nothing.",
        "预热（缓存模型）工作流，用 ComfyUI 的“导出 (API)”保存；留空 = 只检测，不提交。"),
    Key("FLEET_FILE", path_text, "fleet.toml",
        "Optional file with groups, several warm-up sets, headers and cleaning targets; read when it exists.",
        "可选文件：分组、多个预热集、请求头和清理目标；存在时才读取。"),
    Key("CHECK_INTERVAL_SECONDS", _seconds, "30",
        "Seconds between two polls of a server.", "两次检测之间的秒数。"),
    Key("PROBE_TIMEOUT_SECONDS", number(0.05, 600), "10",
        "Seconds that a server may take to answer one question before it counts as busy.",
        "服务器回答一次询问的最长秒数，超过则视为繁忙。"),
    Key("CONNECT_TIMEOUT_SECONDS", number(0.05, 600), "3",
        "Seconds to wait for a connection before a server counts as unreachable.",
        "建立连接的最长秒数，超过则视为无法连接。"),
    Key("WORKFLOW_TIMEOUT_SECONDS", number(1, 86400), "600",
        "Seconds that one warm-up submission may run; shorter once past runs have shown how long it takes.",
        "一次预热提交最长可运行的秒数；有历史记录后会按实际耗时收紧。"),
    Key("AUTO_EXECUTE_RECHECK_SECONDS", number(0.05, 3600), "5",
        "Seconds until a server that claims to be executing by itself is looked at again.",
        "服务器声称“已经自动在后台执行”后，再次检查前等待的秒数。"),
    Key("MAX_CONCURRENT_WARMUPS", number(1, 10000, whole=True), "4",
        "Warm-ups running at the same time in the whole fleet.", "整个集群同时进行的预热数量上限。"),
    Key("WARMUP_START_GAP_SECONDS", number(0, 3600), "1",
        "Seconds between the starts of two warm-ups, so that a restarted fleet does not load everything at once.",
        "两次预热开始之间的秒数，避免集群重启后同时加载。"),
    Key("FAILURES_BEFORE_BREAKER", number(1, 1000, whole=True), "5",
        "Failed warm-ups in a row after which a server is only retried slowly.",
        "连续失败多少次后改为慢速重试。"),
    Key("EVENT_RETENTION_DAYS", number(1, MAX_DAYS), "30",
        "Days that the event log is kept.", "事件日志保留的天数。"),
    Key("IMAGE_CACHE_DIR", path_text, "resources/img",
        "Generated images, as <month>/<task-id>/0.png.", "生成图片的缓存目录，结构为 <月份>/<任务ID>/0.png。"),
    Key("CLEAN_DAYS", optional(number(0.001, MAX_DAYS)), "1",
        "Days after which a task's images expire; off = the scheduled cleaner deletes nothing.",
        "图片过期天数；off = 定时清理不删除任何内容。"),
    Key("CLEAN_TIME", optional(clock_time), "02:00",
        "Time of day of the daily cleaning, local time; off = none.", "每天清理的时间（本地时间）；off = 不执行。"),
    Key("CLEAN_INTERVAL_HOURS", optional(number(0.01, 24 * 365)), "",
        "Hours between additional cleanings; empty = only the daily one.", "额外清理的间隔小时数；留空 = 只每天清理一次。"),
    Key("MODEL_CACHE_DIRS", path_list, "~/flux_model_cache,~/.cache/model_transfer,~/.cache/simple_model_transfer",
        "Directories with downloaded models, separated by commas; new models go into the first.",
        "存放已下载模型的目录，用逗号分隔；新模型下载到第一个目录。"),
    Key("MODEL_VIEW_DIRS", path_list, "~/.cache/huggingface/hub",
        "Directories with models that are shown and verified, never changed: other hub caches, ComfyUI's models folder.",
        "只查看和校验、从不修改的模型目录：其他 Hugging Face 缓存、ComfyUI 的 models 目录。"),
    Key("HF_ENDPOINT", hub_url, "https://huggingface.co",
        "Where models are pulled from; a mirror's address works too.", "下载模型的地址；也可填写镜像站。"),
    Key("HF_TOKEN", optional(Secret), "",
        "Hugging Face token for private and gated models; better in the environment than in this file.",
        "访问私有或受限模型的 Hugging Face 令牌；建议放在环境变量中。", aliases=("HUGGING_FACE_HUB_TOKEN",)),
    Key("MODELSCOPE_ENDPOINT", hub_url, "https://modelscope.cn",
        "Where models are transferred to.", "转存模型的目标地址。"),
    Key("MODELSCOPE_API_TOKEN", optional(Secret), "",
        "ModelScope token for transfers; better in the environment than in this file.",
        "转存所需的 ModelScope 令牌；建议放在环境变量中。", aliases=("MODELSCOPE_TOKEN",)),
    Key("HOST", str, "127.0.0.1",
        "Address that the web pages and the API listen on.", "网页和 API 监听的地址。"),
    Key("PORT", number(1, 65535, whole=True), "8000",
        "Port of the web pages and the API.", "网页和 API 的端口。"),
    Key("ALLOWED_HOSTS", host_names, "",
        "Names by which browsers may call this service besides HOST, separated by commas; * = any.",
        "除 HOST 外，浏览器可以用来访问本服务的主机名，用逗号分隔；* = 任意。"),
    Key("TRUSTED_PROXIES", networks, "",
        "Addresses or networks of reverse proxies whose X-Forwarded-For is believed, separated by commas.",
        "可信反向代理的地址或网段，用逗号分隔；只有来自它们的 X-Forwarded-For 才会被采信。"),
    Key("API_SECRET", optional(Secret), "",
        "Key that signs API tokens, 32 bytes or more (NEW,FORMER while one is changed); needed where HOST is not a loopback "
        "address; empty = one is generated into CACHE_DIR/api_keys.json (0600).",
        "签发 API 令牌的密钥，至少 32 字节（更换时写 新密钥,旧密钥）；HOST 不是本机回环地址时必填；"
        "留空 = 自动生成到 CACHE_DIR/api_keys.json（权限 0600）。"),
    Key("API_TOKEN", optional(Secret), "",
        "Token that commands send with --url; better in the environment than in this file.",
        "命令使用 --url 时发送的令牌；建议放在环境变量中。"),
    Key("RATE_LIMIT_READS_PER_MINUTE", number(1, 1e6, whole=True), "1200",
        "API requests that only read, a minute and caller.", "每个调用者每分钟的只读 API 请求上限。"),
    Key("RATE_LIMIT_WRITES_PER_MINUTE", number(1, 1e6, whole=True), "60",
        "API requests that change something, a minute and caller.", "每个调用者每分钟的写入类 API 请求上限。"),
    Key("TASK_WORKERS", number(0, 64, whole=True), "1",
        "Worker processes that the daemon runs for queued tasks; 0 = none here.",
        "守护进程运行的任务工作进程数量；0 = 本机不运行。"),
    Key("TASKS_PER_USER", number(1, 1000, whole=True), "2",
        "Tasks of one user that may run at the same time.", "同一用户可同时运行的任务数量。"),
    Key("TASK_STALL_SECONDS", number(0, 7 * 86400), "3600",
        "Seconds without any progress after which a running task is ended with its worker and tried again; 0 = never.",
        "运行中的任务超过这么多秒没有任何进展时，连同其工作进程一起结束并重试；0 = 不限。"),
    Key("TASK_RETENTION_DAYS", number(0.01, MAX_DAYS), "30",
        "Days that ended tasks are kept.", "已结束任务保留的天数。"),
    Key("INDEX_INTERVAL_HOURS", number(0.01, 24 * 365), "6",
        "Hours between two walks that bring the index of cache entries up to date.",
        "两次更新缓存条目索引的间隔小时数。"),
    Key("MAX_CACHE_SIZE", optional(size), "",
        "Size that the caches should stay under, such as 500GB; shown as maxSize, enforced by a target's max_size.",
        "缓存总大小上限，例如 500GB；显示为 maxSize，由各清理目标的 max_size 执行。"),
    Key("AUDIT_RETENTION_DAYS", number(1, MAX_DAYS), "365",
        "Days that audit records are kept.", "审计记录保留的天数。"),
    Key("HOST_QUEUE", path_text, "",
        "This machine's name among many on one queue; empty = its host name.",
        "多台机器共用一个队列时本机的名称；留空 = 主机名。"),
    Key("QUEUE_URL", optional(server_address("redis", "rediss", "unix")), "",
        "Redis for a queue of many machines, redis://host:6379/0; empty = the embedded queue of this machine.",
        "多机队列使用的 Redis，例如 redis://host:6379/0；留空 = 使用本机内置队列。"),
    Key("QUEUE_PREFIX", path_text, "cache-keeper:",
        "Prefix of the queue's readable keys in Redis.", "队列在 Redis 中可读键名的前缀。"),
    Key("REDIS_URL", optional(server_address("redis", "rediss", "unix")), "",
        "Redis with a cache to be managed; empty = none.", "需要管理的 Redis 缓存；留空 = 没有。"),
    Key("REDIS_CACHE_PREFIX", path_text, "",
        "Keys of the managed Redis cache begin with this; only these are ever touched. Needed with REDIS_URL.",
        "所管理的 Redis 缓存键的前缀；只会操作这些键。设置 REDIS_URL 时必填。"),
    Key("MONGODB_URL", optional(server_address("mongodb", "mongodb+srv")), "",
        "MongoDB for the audit log, mongodb://host:27017/database; empty = the audit log is kept in SQLite.",
        "存放审计日志的 MongoDB，例如 mongodb://host:27017/database；留空 = 存放在 SQLite。"),
    Key("MONGODB_CACHE_COLLECTION", path_text, "",
        "Collection in that database with a cache to be managed; empty = none.",
        "该数据库中需要管理的缓存集合；留空 = 没有。"),
    Key("MONGODB_TIME_FIELD", path_text, "created_at",
        "Field of its documents that holds their time.", "集合文档中表示时间的字段。"),
    Key("LOG_LEVEL", one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO",
        "How much is logged: DEBUG, INFO, WARNING or ERROR.", "日志级别：DEBUG、INFO、WARNING 或 ERROR。"),
    Key("LOG_MAX_BYTES", number(4096, 1 << 40, whole=True), "10485760",
        "Bytes after which daemon.log is rotated.", "daemon.log 达到多少字节后轮换。"),
    Key("LOG_BACKUPS", number(0, 1000, whole=True), "5",
        "Rotated logs that are kept.", "保留的历史日志文件数量。"),
    Key("HEARTBEAT_TIMEOUT_SECONDS", number(0.2, 86400), "60",
        "Seconds without progress after which the main program is restarted.", "主程序多少秒没有进展就会被重启。"),
    Key("START_TIMEOUT_SECONDS", number(0.2, 3600), "30",
        "Seconds that the main program may take to get ready.", "主程序启动就绪的最长秒数。"),
    Key("STOP_GRACE_SECONDS", number(0.05, 3600), "10",
        "Seconds that the main program gets to stop by itself before it is killed.",
        "停止时给主程序自行退出的秒数，之后强制结束。"),
    Key("BACKOFF_INITIAL_SECONDS", number(0.01, 3600), "1",
        "Seconds before the first restart after a crash; doubles with each crash.",
        "崩溃后首次重启前等待的秒数；每次崩溃加倍。"),
    Key("BACKOFF_MAX_SECONDS", number(0.01, 86400), "60",
        "Most seconds between two restarts.", "两次重启之间最长的秒数。"),
    Key("HEALTHY_AFTER_SECONDS", number(0.05, 86400), "60",
        "Seconds of running after which earlier crashes are forgotten.", "持续运行多少秒后不再计入之前的崩溃。"),
)  # fmt: skip


def parse(values: Mapping[str, str]) -> tuple[dict[str, Any], list[Problem]]:
    """Given raw texts by key, return the values by lower-case name and every problem found.

    An empty text means the default, as it does in a shell's ``${KEY:-default}``.
    """
    parsed: dict[str, Any] = {}
    problems: list[Problem] = []
    for key in KEYS:
        given = [name for name in (key.name, *key.aliases) if values.get(name, "").strip()]
        # A .env made from .env.example has the new name at its default beside the old line that the user kept.
        written = next((name for name in given if values[name].strip() != key.default), given[0] if given else None)
        text = values[written].strip() if written else key.default
        try:
            parsed[key.name.lower()] = key.parse(text)
        except Invalid as invalid:
            problems.append(Problem(written or key.name, masked(text)[:200], str(invalid)))
    return parsed, problems


def literal_paths(dotenv: str) -> str:
    """Given the text of a ``.env`` file, return it with quoted Windows paths escaped, as the reader will take them.

    python-dotenv decodes backslash escapes inside quotes: ``"r:\\api"`` would come out with a bell in it and
    ``'\\\\server\\share'`` without its first backslash. A UNC path that somebody has escaped already is left alone.
    """
    names = "|".join(key.name for key in KEYS if key.parse in (path_text, path_list))

    def escape(match: re.Match[str]) -> str:
        before, _, path, after = match.groups()
        plain = path.replace("\\\\", "\\") if path.startswith("\\" * 4) else path
        escaped = plain.replace("\\", "\\" * 2)
        return f"{before}'{escaped}'{after}"

    line = rf"""^(\s*(?:export\s+)?(?:{names})\s*=\s*)(["'])([^"'\n]*\\[^"'\n]*)\2(\s*(?:#.*)?)$"""
    return re.sub(line, escape, dotenv, flags=re.MULTILINE)


def misspelt(names: Mapping[str, object]) -> list[str]:
    """Given the names in a ``.env`` file, return a warning for each that is nearly one of ours."""
    from difflib import get_close_matches

    known = {name for key in KEYS for name in (key.name, *key.aliases)}
    warnings = []
    for name in names:
        close = [] if name in known else get_close_matches(name, known, n=1, cutoff=0.88)
        if close:
            warnings.append(say.MISSPELT(setting=name, other=close[0]))
    return warnings


def render_example() -> str:
    """Return the text of ``.env.example``: each key with its two descriptions and its default."""
    lines = [
        "# Copy to .env and change what you need. An environment variable of the same name wins over this file.",
        "# 复制为 .env 并按需修改。同名环境变量优先于本文件。",
    ]
    for key in KEYS:
        lines += ["", f"# {key.english}", f"# {key.chinese}", f"{key.name}={key.default}"]
    return "\n".join(lines) + "\n"
