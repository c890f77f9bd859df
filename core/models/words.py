"""What models are found to be, what is wrong with them, and why they cannot be had or removed: (English, 中文).

JSON, the index of what was looked at and errors have the English; ``in_chinese`` reads it, as ``core.reason_phrases``
does for the checker.
"""

from __future__ import annotations

from core import cleaning_phrases
from core.phrases import PAIRED, Phrasebook

STATE_WORDS = {
    "complete": ("complete", "完整"),
    "partial": ("partial", "不完整"),
    "corrupt": ("corrupt", "已损坏"),
    "absent": ("absent", "不存在"),
}
FAULT_WORDS = {
    "missing": ("missing", "缺失"),
    "unfinished": ("unfinished", "未完成"),
    "wrong size": ("wrong size", "大小不符"),
    "wrong hash": ("wrong hash", "哈希不符"),
    "malformed": ("malformed", "格式错误"),
    "unreadable": ("unreadable", "无法读取"),
}

# What is said of a model in use, after its name: by this only is the name told from any other word with a colon.
_USE = r"(?:pinned\b|being downloaded: |something is mounted at |a file is open in |[^;]{1,300}? is open in )"

BOOK = Phrasebook(
    shapes={
        **dict.fromkeys(("who", "why"), PAIRED),
        "file": r"[\w.-]{1,100}",
        "endpoint": r"https?://\S{1,300}?",
        "repo": r"\S{1,500}?",
        "needed": r"[\d.]{1,20} [KMGT]?B",
        "free": r"[\d.]{1,20} [KMGT]?B",
        "model": rf"[^;]{{1,255}}?(?=: {_USE})",
    }
)
in_chinese = BOOK.in_chinese
_phrase = BOOK.phrase

# -- what is wrong with a file -------------------------------------------------------------------------------

BYTES = _phrase("{size:d} bytes", "{size} 字节")
BYTES_OF = _phrase("{size:d} of {wanted:d} bytes", "{size} / {wanted} 字节")
TRUNCATED = _phrase("truncated: {size:d} of {wanted:d} bytes", "被截断：{size} / {wanted} 字节")
TOO_LONG = _phrase("too long: {size:d} of {wanted:d} bytes", "过长：{size} / {wanted} 字节")
CHANGED = _phrase("it changed while it was read", "读取期间发生变化")
ZEROS_FROM = _phrase("zeros from about byte {offset:d} to its end", "约从第 {offset} 字节到末尾全为零")
NOT_JSON = _phrase("not JSON", "不是 JSON")
EMPTY = _phrase("empty", "空文件")
POINTER = _phrase("a Git LFS pointer, not the weights", "是 Git LFS 指针，不是权重")
WEB_PAGE = _phrase("a web page, not the weights", "是网页，不是权重")
ZERO_HEADER = _phrase("zeros where its header should be", "文件头全为零")
NO_GGUF_HEADER = _phrase("no GGUF header", "没有 GGUF 文件头")
NO_ZIP_END = _phrase("the end of its zip archive is missing", "zip 结尾缺失")
SHORT_HEADER = _phrase("shorter than a safetensors header", "短于 safetensors 文件头")
NO_HEADER = _phrase("no safetensors header: its length is impossible", "没有 safetensors 文件头：长度不可能")
BAD_HEADER = _phrase("the safetensors header cannot be read: {header}", "无法读取 safetensors 文件头：{header}")
BAD_OFFSETS = _phrase("tensor {tensor!r} has impossible offsets", "张量 {tensor} 的偏移量不可能", "header")
HOLE = _phrase("the safetensors header leaves a hole between its tensors", "safetensors 文件头中张量之间有空洞")

# -- what is missing in a model ------------------------------------------------------------------------------

NO_WEIGHTS = _phrase("no weights", "没有权重")
COMPONENT = _phrase("a component of model_index.json", "model_index.json 中的组件")
ITS_WEIGHTS = _phrase("its weights", "其权重")
NAMED_IN = _phrase("named in {path}", "{path} 中列出")
INTERRUPTED = _phrase("the pull was interrupted; run it again", "拉取被中断；请重新拉取")
NOTHING_DOWNLOADED = _phrase("nothing has been downloaded", "尚未下载任何内容")
LINK_TO = _phrase("a link to {target}, which is not followed", "指向 {target} 的链接，不予跟随")
LINK_LEADS = _phrase("its link leads to {target}", "其链接指向 {target}")
MOUNTED = _phrase("another file system is mounted there", "该处挂载了另一文件系统")
TOO_DEEP = _phrase("too deep", "层级过深")
NOTE_UNREADABLE = _phrase("{file} cannot be read: {words}", "{file} 无法读取：{words}")
NOTE_TOO_LARGE = _phrase("{file} is too large", "{file} 过大")
NOTE_UNUSABLE = _phrase("{file} cannot be used: {note}", "{file} 无法使用：{note}")
OTHER_FORMAT = _phrase("format {format!r}, this program knows {known:d}", "格式 {format}，本程序只支持 {known}", "note")
OTHER_VERSION = _phrase("format_version {version!r}", "format_version 为 {version}", "note")
NO_MANIFEST = _phrase("not a manifest: {words}", "不是清单：{words}", "note")
NO_TREE = _phrase("not a tree listing: {words}", "不是文件列表：{words}", "note")
LEADS_OUT = _phrase("the path {path!r} leads out of the model's directory", "路径 {path} 超出模型目录", "note")
BAD_SIZE = _phrase("{path!r} has the size {size!r}", "{path} 的大小为 {size}", "note")

# -- what is passed over, and what stays ---------------------------------------------------------------------

NO_MODEL = _phrase("no sign of a model in it", "其中没有模型")
LINK = _phrase("a link, which is not followed", "是链接，不予跟随")
LEFTOVER = _phrase("left by an interrupted clean; prune removes it", "清理中断的残留；可用 prune 移除")
PINNED = _phrase("{name} has been pinned", "{name} 已被固定")
USED = _phrase("{name} has been used meanwhile", "{name} 期间被使用过")
OPENED = _phrase("{name}: {who} has just been opened", "{name}：{who} 刚被打开")
REMOVED = _phrase("somebody else removed it", "已被他人移除")

AT_WORK = _phrase(
    "process {pid} is at it ({doing}) since {since}", "进程 {pid} 自 {since} 起正在处理（{doing}）", "holder"
)
SOMEBODY = _phrase("another process is at it", "另一进程正在处理", "holder")
LOCKED = _phrase("locked: {holder}", "已锁定：{holder}")
BUSY = _phrase("{name}: {holder}; try again later", "{name}：{holder}；请稍后重试")

# Before what it contains: a path may have a colon in it too.
IN_USE = _phrase("{model}: {use}", "{model}：{use}")
IS_PINNED = _phrase("pinned", "已固定", "reason", "use")
DOWNLOADED = _phrase("being downloaded: {holder}", "正在下载：{holder}", "reason", "use")
MOUNTED_AT = _phrase("something is mounted at {path}", "{path} 处有挂载", "reason", "use")
OPEN_SOMEWHERE = _phrase("a file is open in {who}", "有文件被 {who} 打开", "reason", "use")
OPEN_IN_ANOTHERS = _phrase(
    "{path} is open in a process of another user", "{path} 被其他用户的进程打开", "reason", "use"
)
OPEN_IN = _phrase("{path} is open in {who}", "{path} 被 {who} 打开", "reason", "use")

# -- why a model cannot be brought, changed or passed on -----------------------------------------------------

RUN_AGAIN = _phrase("run the same command again", "请重新运行同一命令")
NO_LIBRARY = _phrase(
    "{library} is not installed: make setup-models, or pip install -r requirements-models.txt",
    "未安装 {library}：请运行 make setup-models 或 pip install -r requirements-models.txt",
)
OUTSIDE = _phrase(
    "{repo} has a file {path!r}, which would lie outside of its directory", "{repo} 含有文件 {path}，会落在其目录之外"
)
NO_HASH = _phrase(
    "{endpoint} names no hash for {path} of {repo}, so nothing could be verified",
    "{endpoint} 没有给出 {repo} 中 {path} 的哈希，无法校验",
)
NO_FILES = _phrase("{endpoint} lists no files for {repo} at {revision}", "{endpoint} 上 {repo} 的 {revision} 没有文件")
NOT_SEEN = _phrase(
    "{endpoint} does not let us see {repo} (401): it does not exist, or it is private; check the name, or set HF_TOKEN",
    "{endpoint} 不允许查看 {repo}（401）：仓库不存在或为私有；请检查名称，或设置 HF_TOKEN",
)
FORBIDDEN = _phrase(
    "{endpoint} refuses {repo} (403): accept its licence on its page, and use a token that may read it",
    "{endpoint} 拒绝访问 {repo}（403）：请在其页面接受许可协议，并使用有读取权限的令牌",
)
NO_SUCH_FILE = _phrase(
    "{endpoint} has no such repo, revision or file: {repo} (404)", "{endpoint} 没有此仓库、版本或文件：{repo}（404）"
)
SLOW_DOWN = _phrase(
    "{endpoint} asks to slow down (429) and still does after several waits; try later",
    "{endpoint} 要求降低请求频率（429），多次等待后仍然如此；请稍后重试",
)
ANSWERED = _phrase(
    "{endpoint} answered {status:d} for {repo}: {answer}", "{endpoint} 对 {repo} 应答状态码 {status}：{answer}"
)
NOT_ASKED = _phrase("{endpoint} could not be asked about {repo}: {answer}", "无法向 {endpoint} 查询 {repo}：{answer}")
OTHER_CONTENT = _phrase(
    "{endpoint} serves {path} of {repo} with another content than it lists",
    "{endpoint} 提供的 {repo} 文件 {path} 与其列出的内容不符",
)
NO_TOKEN = _phrase(
    "{endpoint} lets nobody write to {repo} without a token: set MODELSCOPE_API_TOKEN",
    "没有令牌无法写入 {endpoint} 的 {repo}：请设置 MODELSCOPE_API_TOKEN",
)
REFUSED = _phrase(
    "{endpoint} refuses {repo}: check MODELSCOPE_API_TOKEN and who owns the name ({why})",
    "{endpoint} 拒绝访问 {repo}：请检查 MODELSCOPE_API_TOKEN 以及该名称的所有者（{why}）",
)
HUB_FAILED = _phrase("{endpoint}, {repo}: {answer}", "{endpoint}，{repo}：{answer}")

CANNOT_CONTINUE = _phrase("it cannot continue ({words})", "无法续传（{words}）", "answer")
IT_ANSWERED = _phrase("it answered {status:d}", "应答状态码 {status}", "answer")
CUT = _phrase("the connection was cut", "连接中断", "answer")
NO_CONNECTION = _phrase("the connection failed ({words})", "连接失败（{words}）", "answer")

DISK_FULL = _phrase(
    "the disk is full: {path} stays as far as it is; free space and go on",
    "磁盘已满：{path} 保留已下载部分；腾出空间后可继续",
)
NO_ROOM = _phrase(
    "{path} needs {needed}, and its disk has {free} free: python -m modelcache clean or prune frees space",
    "{path} 需要 {needed}，而磁盘仅剩 {free}：可用 python -m modelcache clean 或 prune 腾出空间",
)
NO_INODES = _phrase(
    "{path} needs {files:d} files, and its disk has room for {left:d} more",
    "{path} 需要 {files} 个文件，而磁盘只能再容纳 {left} 个",
)
NOT_WRITTEN = _phrase("{path} cannot be written: {words}", "{path} 无法写入：{words}")
NOT_REMOVED = _phrase("{path} cannot be removed: {words}", "{path} 无法删除：{words}")
NOT_OPENED = _phrase("{path} cannot be opened: {words}", "{path} 无法打开：{words}")
NO_LOCK = _phrase(
    "no lock for {name} in {path}: {words}; without it two processes could change the same model",
    "无法锁定 {path} 中的 {name}：{words}；没有锁，两个进程可能同时更改同一模型",
)
NOT_WHOLE = _phrase(
    "{path} is not complete by its manifest; python -m modelcache pull repairs it",
    "按清单 {path} 不完整；可用 python -m modelcache pull 修复",
)
TAKEN = _phrase(
    "{path} has just become the directory of {repo}; run the same command again",
    "{path} 刚成为 {repo} 的目录；请重新运行同一命令",
)
NO_ROOT = _phrase("{path} is not one of MODEL_CACHE_DIRS", "{path} 不在 MODEL_CACHE_DIRS 中")
NO_WRITABLE_ROOT = _phrase(
    "MODEL_CACHE_DIRS names no directory that may be written to", "MODEL_CACHE_DIRS 中没有可写入的目录"
)
VIEW_ONLY = _phrase(
    "{path} is only viewed, never changed; see MODEL_CACHE_DIRS and MODEL_VIEW_DIRS",
    "{path} 只供查看，从不更改；参见 MODEL_CACHE_DIRS 和 MODEL_VIEW_DIRS",
)
NEAR_ROOT = _phrase(
    "{path} is too close to the root of the file system to be a model cache",
    "{path} 离文件系统根目录太近，不能作为模型缓存",
)
SYSTEM_PATH = _phrase("{path} belongs to the operating system", "{path} 属于操作系统")
HOME = _phrase(cleaning_phrases.HOME.english, cleaning_phrases.HOME.chinese)
OWN_FILES = _phrase(
    "{path} contains {directory}, where this program keeps its own files", "{path} 含有本程序自身文件所在的 {directory}"
)

# -- what was typed ------------------------------------------------------------------------------------------

NOT_HERE = _phrase("no model matches {typed!r}; there are: {models}", "没有模型匹配 {typed}；现有：{models}")
NOTHING_HERE = _phrase("-", "无", "models")
NOBODY_ASKED = _phrase(
    "refused: nobody is here to say yes; --force does it without asking",
    "已拒绝：此处无人可确认；--force 可不经询问直接执行",
)
NO_REPO_ID = _phrase(
    "{typed!r} is not a repo id such as black-forest-labs/FLUX.1-dev",
    "{typed} 不是仓库 ID，应如 black-forest-labs/FLUX.1-dev",
)
NO_REVISION = _phrase("{typed!r} is not a branch, a tag or a commit", "{typed} 不是分支、标签或提交")
NO_SIZE = _phrase("{typed!r} is not a size such as 200GB", "{typed} 不是大小，应如 200GB")
NO_AGE = _phrase("{typed!r} is not an age above 0 such as 30d", "{typed} 不是大于 0 的期限，应如 30d")
NO_COUNT = _phrase("{typed!r} is not a number above 0", "{typed} 不是大于 0 的整数")


def finding_text(fault: str, detail: str, *, chinese: bool) -> str:
    """Return what is wrong with a file, by its fault's name and the detail as kept, in words."""
    words = FAULT_WORDS.get(fault, (fault, fault))[chinese]
    if not detail:
        return words
    return f"{words}，{in_chinese(detail)}" if chinese else f"{words}, {detail}"
