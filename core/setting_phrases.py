"""What is wrong with a configuration, and why the daemon does not start or stop: (English, 中文).

The log has the English; people read either, by ``core.error_words``. What a setting must be stands in a PROBLEM. The
supervisor words what it reports itself, since it is to stay small; it is read here.
"""

from __future__ import annotations

from core.phrases import PAIRED, Phrase, Phrasebook
from core.reason_phrases import CIRCLE, DANGLING_LINK

_AMOUNT = r"-?[\d.]{1,30}(?:e[+-]\d{1,3})?"

BOOK = Phrasebook(
    shapes={
        # target[a b].roots
        "key": r"[^\s=][^=\n]{0,300}?",
        # As it is printed, where what cannot be printed is several characters long.
        "value": r"(?:'(?:[^'\\]|\\.){0,2000}'|\"(?:[^\"\\]|\\.){0,2000}\")",
        **dict.fromkeys(("low", "high"), _AMOUNT),
        "host": PAIRED,
        "setting": r"\S{1,100}",
    }
)
_phrase = BOOK.phrase


def _allowed(english: str, chinese: str, *kinds: str) -> Phrase:
    return _phrase(english, chinese, "allowed", *kinds)


# -- a setting, and what it must be --------------------------------------------------------------------------

PROBLEM = _phrase("{key}={value!r}: {allowed}", "{key}={value}：{allowed}")
MISSPELT = _phrase(
    "{setting} in .env is not a setting: did you mean {other}?", ".env 中的 {setting} 不是配置项：是否应为 {other}？"
)

WHOLE_NUMBER = _allowed("must be a whole number from {low} to {high}", "必须是 {low} 到 {high} 之间的整数")
NUMBER = _allowed("must be a number from {low} to {high}", "必须是 {low} 到 {high} 之间的数")
NUMBER_UP_TO = _allowed("must be a number above {low}, up to {high}", "必须大于 {low}，且不超过 {high}")
NUMBER_ABOVE = _allowed("must be a number above {low}", "必须是大于 {low} 的数")
ONE_OF = _allowed("must be one of {words}", "必须是以下之一：{words}")
TRUE_OR_FALSE = _allowed("must be true or false", "必须是 true 或 false")
CLOCK_TIME = _allowed(
    "must be a time of day on a 24-hour clock, HH:MM, such as 02:00", "必须是 24 小时制的时间 HH:MM，例如 02:00"
)
SIZE = _allowed("must be a size such as 500GB", "必须是容量，例如 500GB")
ADDRESS = _allowed("must be an address such as {example}", "必须是地址，例如 {example}")
CONTROL_CHARACTER = _allowed(
    r"has a control character: write a Windows path without double quotes, r:\api_proxy_cache",
    r"含有控制字符：Windows 路径请勿加双引号，例如 r:\api_proxy_cache",
)
WINDOWS_PATH = _allowed(
    "is a Windows path, and this machine does not run Windows: give a path such as /var/lib/cache",
    "是 Windows 路径，而本机不是 Windows：请填写 /var/lib/cache 这样的路径",
)
PASSWORD_IN_ADDRESS = _allowed(
    "an address with a password in it: give the password as a header in fleet.toml",
    "地址中含有密码：请在 fleet.toml 中以请求头给出密码",
)
# One of several in a list may be wrong, and then another.
NO_SERVER_ADDRESS = _allowed(
    "{text!r} is not a server address such as http://127.0.0.1:8188",
    "{text} 不是服务器地址（例如 http://127.0.0.1:8188）",
    "reason",
)
PORT_RANGE = _allowed("{text!r}: a port is from 1 to 65535", "{text}：端口必须在 1 到 65535 之间", "reason")
NO_HOST_NAME = _allowed(
    "{text!r} is not a host name, without scheme and port", "{text} 不是主机名（不带协议和端口）", "reason"
)
NO_NETWORK = _allowed(
    "{text!r} is not an address or a network such as 10.0.0.0/8", "{text} 不是地址或网段（例如 10.0.0.0/8）", "reason"
)

IS_NEEDED_WITH_REDIS = _allowed(
    "is needed with REDIS_URL: only its keys are touched", "设置 REDIS_URL 时必须设置：只会操作带此前缀的键"
)
IS_NEEDED_WITH_COLLECTION = _allowed(
    "is needed with MONGODB_CACHE_COLLECTION", "设置 MONGODB_CACHE_COLLECTION 时必须设置"
)

# -- a secret ------------------------------------------------------------------------------------------------

_COMMAND = 'python -c "import secrets; print(secrets.token_urlsafe(48))"'
NO_SECRET = _allowed(
    f"is needed where HOST is not a loopback address ({{host}}): put a random one into .env: {_COMMAND}",
    f"HOST 不是本机回环地址（{{host}}）时必须设置：请在 .env 中设置随机密钥：{_COMMAND}",
)
WEAK_SECRET = _allowed(
    f"{{weakness}}: put a random one into .env: {_COMMAND}", f"{{weakness}}：请在 .env 中设置随机密钥：{_COMMAND}"
)
SEVERAL_SECRETS = _allowed(
    "is at most two secrets, the new and the former one; none has a comma",
    "最多两个密钥，即新密钥和旧密钥；密钥中不能有逗号",
)
IS_MISSING = _phrase("is missing", "缺少密钥", "weakness")
KNOWN_TO_ALL = _phrase("is one that everybody knows", "是众所周知的密钥", "weakness")
TOO_SHORT = _phrase(
    "is only {size:d} bytes long, and must have at least {least:d}",
    "只有 {size} 字节，至少需要 {least} 字节",
    "weakness",
)
REPEATS = _phrase("repeats itself", "由重复内容构成", "weakness")

# -- a file --------------------------------------------------------------------------------------------------

NOT_READ = _allowed("cannot be read: {trouble}", "无法读取：{trouble}")
NOT_JSON = _allowed("is not JSON: {trouble}", "不是 JSON：{trouble}")
TOO_LARGE = _phrase("larger than {size:d} MiB", "超过 {size} MiB", "trouble")
NO_ASSIGNMENT = _allowed(
    "is not NAME=value (a = that is missing, a quote that is not closed)",
    "不是 NAME=value 的形式（缺少 = 或引号未闭合）",
)
FAULTY_NODE = _allowed("error: node {node}: {fault}", "错误：节点 {node}：{fault}")
BOOK.kinds["fault"] = [CIRCLE, DANGLING_LINK]

# -- fleet.toml ----------------------------------------------------------------------------------------------

NOT_KNOWN = _allowed("is not known here; known are {words}", "此处没有该项；可用的有 {words}")
NO_SUCH_SETTING = _allowed("no such setting; known are {words}", "没有该设置；可用的有 {words}")
LIST_OF_TABLES = _allowed("must be a list of tables: [[{table}]]", "必须是表的列表：[[{table}]]")
NAME = _allowed("must be letters, digits, '.', '-', ':' or '_'", "只能包含字母、数字、'.'、'-'、':' 或 '_'")
TWICE = _allowed("is there twice; each needs a name of its own", "重复出现；名称必须各不相同")
TARGET_TWICE = _allowed("is there twice; each target needs a name of its own", "重复出现；各目标的名称必须各不相同")
SERVER_TWICE = _allowed("is listed twice", "重复列出")
TOO_MANY_SERVERS = _allowed("more than {most:d} servers", "服务器超过 {most} 台")
SERVERS = _allowed('must be a list such as ["http://10.0.0.1:8188"]', '必须是列表，例如 ["http://10.0.0.1:8188"]')
NAMED_RANGE = _allowed("a range of servers cannot have one name", "一个服务器范围不能共用一个名称")
NO_RANGE = _allowed("{range} is not a rising range of at most {most:d}", "{range} 不是递增的范围（最多 {most} 项）")
LONG_RANGE = _allowed(
    "{address} stands for {count:d} servers; at most {most:d}", "{address} 代表 {count} 台服务器；最多 {most} 台"
)
NO_SETS_AT_ALL = _allowed("is not a [[set]]: there are none", "不是 [[set]]：没有配置任何 [[set]]")
NO_SUCH_SET = _allowed("is not a [[set]]: there are {words}", "不是 [[set]]：现有 {words}")
NAMES_NO_SET = _allowed(
    "names no set, so that nothing would be watched; leave it out for all",
    "没有列出预热集，将不会检测任何内容；要包括全部请删去此项",
)
NEEDS_KEYS = _allowed("needs wanted_keys or a workflow that stores keys", "需要 wanted_keys，或会存入缓存键的工作流")
DETECTOR = _allowed(
    "must be a word (auto, list, determine, history) or a table with a url",
    "必须是一个词（auto、list、determine、history）或含 url 的表",
)
DETECTOR_URL = _allowed("must be a path on the server or a whole address", "必须是服务器上的路径或完整地址")
ONE_EXPECTATION = _allowed(
    "needs exactly one of text, regex and json_path", "text、regex 和 json_path 必须且只能有一个"
)
NO_EXPRESSION = _allowed("is not a regular expression: {words}", "不是正则表达式：{words}")
NOT_SET = _allowed("is not set in the environment or .env", "环境变量和 .env 中都没有设置")
HEADER = _allowed("is not a header name with a one-line value", "不是请求头名称，或其值不止一行")
TEXT_FOR_DETECTOR = _allowed("must be a text, not an empty one", "必须是非空文本")
TEXT = _allowed("must be a text that is not empty", "必须是非空文本")
TEXT_OR_TEXTS = _allowed("must be a text or a list of texts", "必须是文本或文本列表")
KEYS = _allowed("must be a list of texts and whole numbers", "必须是文本和整数的列表")
TEXTS = _allowed("must be a list of texts", "必须是文本列表")
PAIRS = _allowed("must be a table of texts", "必须是文本的表")

# -- a [[target]] --------------------------------------------------------------------------------------------

NO_ROOTS = _allowed("one path or more to clean is needed", "至少需要一个要清理的路径")
ROOT = _allowed(
    "must be the full path of a directory, or one below the project", "必须是目录的完整路径，或项目之下的路径"
)
FIXED_UNIT = _allowed(
    "a target of kind {target_kind} always uses the unit {unit!r}", "{target_kind} 类型的目标总是以 {unit} 为单位"
)
AGE = _allowed("must be {examples} or days as a number, above 0", "必须是 {examples} 这样的时长，或大于 0 的天数")
SIZE_OR_BYTES = _allowed("must be a size as 500MB, 50GB or bytes", "必须是容量，例如 500MB、50GB 或字节数")
FREE_SPACE = _allowed("must be {percent} or a size as {example}", "必须是 {percent} 这样的比例或 {example} 这样的容量")
NEEDS_MIN_FREE = _allowed("needs min_free, which says when to start", "需要 min_free，由它决定何时开始")
AS_MIN_FREE = _allowed(
    "must be given as min_free is: both in percent or both as a size", "必须与 min_free 形式一致：同为百分比或同为容量"
)
BELOW_MIN_FREE = _allowed("must not be below min_free", "不能小于 min_free")

# -- the cleaner's command line ------------------------------------------------------------------------------

ONLY_FILES = _phrase(
    "this command cleans files; for Redis and MongoDB: python -m operations cleanup --type database",
    "本命令只清理文件；清理 Redis 和 MongoDB 请用：python -m operations cleanup --type database",
)
NO_SUCH_TARGETS = _phrase("no such target: {names}; there are: {known}", "没有目标 {names}；现有：{known}")
NO_CLOCK_TIME = _phrase("{text!r} is not a time of day such as 02:00", "{text} 不是有效时间，例如 02:00")

# -- taking CACHE_DIR ----------------------------------------------------------------------------------------

CACHE_DIR_NOT_MADE = _phrase("Failed to create cache directory: {path}: {words}", "无法创建缓存目录：{path}：{words}")
CACHE_DIR_NO_DIRECTORY = _phrase("CACHE_DIR {path} is not a directory", "CACHE_DIR {path} 不是目录")
MAY_NOT_OPEN = _phrase(
    "No permission to open {path} ({owner}): run as that user, or chown it",
    "没有权限打开 {path}（{owner}）：请以该用户运行，或用 chown 更改所有者",
)
MAY_NOT_WRITE = _phrase(
    "No permission to write in CACHE_DIR {path} ({owner})", "没有权限写入 CACHE_DIR {path}（{owner}）"
)
OWNER_UNKNOWN = _phrase("its owner is unknown", "所有者未知", "owner")
OWNER_NUMBER = _phrase("it belongs to user number {number:d}", "属于编号为 {number} 的用户", "owner")
OWNER = _phrase("it belongs to {name}", "属于 {name}", "owner")
NOT_OPENED = _phrase("Cannot open {path}: {words}", "无法打开 {path}：{words}")
NOT_WRITTEN = _phrase("Cannot write {path}: {words}", "无法写入 {path}：{words}")
HELD_BY_STRANGER = _phrase(
    "{path} is held by a process that cannot be recognised: another container or user? Find it with: fuser -v {lock}",
    "{path} 被一个无法识别的进程占用：可能属于其他容器或用户。查找该进程：fuser -v {lock}",
)
ORPHAN_AWAITED = _phrase(
    "Waiting for the main program of a killed daemon to end (PID: {pid:d})",
    "正在等待已被杀死的守护进程的主程序结束（PID: {pid}）",
)
ORPHAN_KILLED = _phrase(
    "Killing the main program of a killed daemon, which did not end by itself (PID: {pid:d})",
    "已被杀死的守护进程的主程序没有自行结束，强制结束（PID: {pid}）",
)
MAY_NOT_STOP_MAIN = _phrase(
    "No permission to stop the main program (PID: {pid:d}): it runs as another user",
    "没有权限停止主程序（PID: {pid}）：它以其他用户运行",
)

# -- start, stop, status and logs ----------------------------------------------------------------------------

MAY_NOT_STOP = _phrase(
    "No permission to stop the daemon (PID: {pid:d}): it runs as another user",
    "没有权限停止守护进程（PID: {pid}）：它以其他用户运行",
)
DOES_NOT_END = _phrase(
    "{path} is held by a process that does not end. Find it: fuser -v {lock}",
    "占用 {path} 的进程一直不结束。查找该进程：fuser -v {lock}",
)
WITHOUT_A_WORD = _phrase("The daemon ended without a word", "守护进程没有留下信息就结束了")
LOG = _phrase("Log: {path}", "日志：{path}")
LOG_NOT_READ = _phrase("Cannot read the log {path}: {words}", "无法读取日志 {path}：{words}")
STATUS_UNKNOWN = _phrase("Daemon status is unknown: {path}: {words}", "守护进程状态未知：{path}：{words}")
STATUS_BETWEEN = _phrase(
    "Daemon is just starting or stopping, or a stranger holds {path}",
    "守护进程正在启动或停止，或者 {path} 被其他程序占用",
)
STATUS_ORPHAN = _phrase(
    "Daemon is dead, its main program still ends (PID: {pid:d})", "守护进程已死，其主程序正在结束（PID: {pid}）"
)
STATUS_DEAD = _phrase("Daemon is dead, and its PID file is left: {path}", "守护进程已死，留下了 PID 文件：{path}")

# -- what the supervisor reports to who starts it (supervisor/loop.py) ----------------------------------------

_phrase(
    "Main program {end}; restart in {seconds:g} s. To stop trying: python daemon.py stop",
    "主程序{end}；{seconds} 秒后重启。要停止重试：python daemon.py stop",
)
_phrase("Main program {end}: its configuration is wrong.", "主程序{end}：配置有误。")
_phrase("exited with code {code:d}", "已退出，退出码 {code}", "end")
_phrase("was killed by signal {number:d}", "被信号 {number} 终止", "end")
_phrase("was killed by {signal}", "被 {signal} 终止", "end")
_phrase("could not be started", "无法启动", "end")
_phrase("The daemon was stopped before the main program was ready.", "守护进程在主程序就绪之前被停止。")
_phrase("Its last words:", "主程序最后的输出：")
_phrase("Cannot start {path}: {words}", "无法启动 {path}：{words}", "reason")
# A line of main's, further in.
_phrase("  {reason}", "  {reason}")

# -- what main warns of, and a command without it ------------------------------------------------------------

NO_PAGE = _phrase(
    "no page and no API on {address}: {words}; set HOST or PORT",
    "{address} 上没有网页和 API：{words}；请设置 HOST 或 PORT",
)
NOTHING_DELETED = _phrase("nothing will be deleted", "不会删除任何内容")
NO_TASKS = _phrase("no task will be carried out", "不会执行任何任务")
TOKENS_REFUSED = _phrase("tokens will be refused", "令牌将被拒绝")
NO_DAEMON = _phrase(
    "The daemon is not running; this command asks the servers itself.", "守护进程未运行，由本命令直接检测。"
)
NO_DAEMON_STATUS = _phrase(
    "The daemon is not running; this is what was last recorded.", "守护进程未运行，以下为最后记录。"
)
OTHER_FLEET = _phrase(
    "the daemon at {url} does not know {names}: it has another configuration; "
    "let it reload (SIGHUP) or restart it: python daemon.py restart",
    "位于 {url} 的守护进程不认识 {names}：其配置不同；请重新加载（SIGHUP）或重启守护进程：python daemon.py restart",
)
NO_ANSWER = _phrase("the daemon does not answer: {words}", "守护进程没有应答：{words}")
REFUSED_AS_CALLER = _phrase(
    "the daemon refused: {detail}; run this as the daemon's user, with the same CACHE_DIR and API_SECRET",
    "守护进程拒绝了请求：{detail}；请以守护进程的用户运行，并使用相同的 CACHE_DIR 和 API_SECRET",
)
REFUSED = _phrase("the daemon refused: {detail}", "守护进程拒绝了请求：{detail}")

# -- the service of systemd ----------------------------------------------------------------------------------

BELOW_TEMPORARY = _phrase(
    "{place} is below a directory for temporary files: {path}. The service has a private one, so it "
    "would not see it, and its lock would exclude nobody. Move it, or pass --shared-tmp",
    "{place}位于临时目录之下：{path}。服务使用私有的临时目录，看不到它，它的锁也不起作用。请移走，或使用 --shared-tmp",
)
for _name in ("CACHE_DIR", "IMAGE_CACHE_DIR"):
    _phrase(_name, f"{_name} ", "place")
THE_PROJECT = _phrase("The project", "项目", "place")
THE_TARGET = _phrase("The cleaning target {target!r}", "清理目标 {target} ", "place")
NEEDS_SUDO = _phrase("No permission to write {path}: run it with sudo", "没有权限写入 {path}：请使用 sudo 运行")
NO_USER = _phrase(
    "There is no user {name!r}: pass --user with one that exists", "没有用户 {name}：请用 --user 指定存在的用户"
)
