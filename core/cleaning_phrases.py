"""Why a target is not cleaned, or not as wished, and why a cache cannot be used: (English, 中文).

Records and JSON have the English; people read either, as with ``core.reason_phrases``. The rules by which single
entries stay or go are named in ``core.reason_words``.
"""

from __future__ import annotations

from core.phrases import PAIRED, Phrasebook

BOOK = Phrasebook(shapes={"target": r"\S{1,300}", "why": PAIRED})
in_chinese = BOOK.in_chinese
_phrase = BOOK.phrase

TARGET = _phrase("target {target}: {reason}", "目标 {target}：{reason}")

# -- what is too dangerous to clean --------------------------------------------------------------------------

UNSAFE_SYSTEM = _phrase(
    "this system cannot open files relative to a directory, so it is unsafe", "此系统无法相对目录打开文件，不安全"
)
EMPTY_PATH = _phrase(
    "an empty path would mean the current directory; give the full path", "空路径即当前目录；请给出完整路径"
)
OUTSIDE = _phrase(
    "{path} is outside the project, given as the relative path {given!r}; give the full path",
    "{path} 在项目之外，却以相对路径 {given} 给出；请给出完整路径",
)
SYMBOLIC_LINK = _phrase(
    "{path} is a symbolic link to {other}; give the directory itself",
    "{path} 是指向 {other} 的符号链接；请给出目录本身",
)
NOT_SEEN = _phrase("{path} cannot be looked at: {words}", "{path} 无法查看：{words}")
NO_DIRECTORY = _phrase("{path} is not a directory", "{path} 不是目录")
MOUNT_POINT = _phrase(
    "{path} is a mount point; set allow_mount_point = true for this target if that is meant",
    "{path} 是挂载点；如确需清理，请为此目标设置 allow_mount_point = true",
)
NEAR_ROOT = _phrase(
    "{path} is too close to the root of the file system; a target is at least two levels below",
    "{path} 离文件系统根目录太近；目标至少在其下两级",
)
SYSTEM_PATH = _phrase("{path} belongs to the operating system ({directory})", "{path} 属于操作系统（{directory}）")
HOME = _phrase(
    "{path} is a home directory, or contains one; give a directory inside it",
    "{path} 是或包含用户主目录；请给出其中的目录",
)
OWN_DIRECTORY = _phrase("{path} is this program's own directory, or contains it", "{path} 是或包含本程序的目录")
STATE_DIRECTORY = _phrase(
    "{path} is CACHE_DIR, where the daemon keeps its state, or contains it",
    "{path} 是或包含守护进程的状态目录 CACHE_DIR",
)
INPUTS = _phrase(
    "{path} is a server's input directory: what people uploaded is never cleaned",
    "{path} 是服务器的输入目录：用户上传的内容从不清理",
)
COMFYUI = _phrase(
    "{path} contains {neighbour}/: this is a ComfyUI installation; give its output directory",
    "{path} 含有 {neighbour}/：这是 ComfyUI 安装目录；请给出其 output 目录",
)
REPLACED = _phrase(
    "{path} cannot be opened: {why} (replaced by a link while it was opened?)",
    "{path} 无法打开：{why}（打开时被换成了链接？）",
)
NOT_OPENED = _phrase("{path} cannot be opened: {words}", "{path} 无法打开：{words}")
NO_LOCK = _phrase(
    "the lock {path} cannot be opened ({why}); without it two cleaners could work on the same directory",
    "锁 {path} 无法打开（{why}）；没有锁，两个清理程序可能同时处理同一目录",
)
BEING_CLEANED = _phrase("{path} is being cleaned by {words}", "{path} 正在被清理：{words}")
ALL_EXPIRED = _phrase(
    "an age of {seconds:g} seconds would expire everything; if that is meant: {words}",
    "{seconds} 秒的期限会使全部内容过期；如确需如此：{words}",
)
NEGATIVE_AGE = _phrase(
    "an age of {seconds:g} seconds would expire everything; an age cannot be negative",
    "{seconds} 秒的期限会使全部内容过期；期限不能为负",
)
CLEAR_IT = _phrase(
    "an age of {seconds:g} seconds would expire everything; to empty it, clear it",
    "{seconds} 秒的期限会使全部内容过期；要清空请使用清空操作",
)
CLOCK_FORWARD = _phrase(
    "the clock went forward by {days:.1f} days since the last run: nothing is deleted this time; "
    "the next scheduled run trusts the clock again",
    "自上次清理以来时钟前跳了 {days} 天：本次不删除任何内容；下次定时清理将重新信任时钟",
)
CLOCK_BACK = _phrase(
    "the clock went back by {days:.1f} days since the last run: nothing is deleted this time; "
    "the next scheduled run trusts the clock again",
    "自上次清理以来时钟回退了 {days} 天：本次不删除任何内容；下次定时清理将重新信任时钟",
)
TOO_MUCH = _phrase(
    "{going:d} of {total:d} entries ({share}) would go, more than {limit}: is the clock right, and the directory? "
    "If that is meant: {words}",
    "{total} 个条目中有 {going} 个（{share}）将被删除，超过 {limit}：时钟和目录是否正确？如确需如此：{words}",
)
NO_FAST_STATISTICS = _phrase(
    "fast statistics need directories as units; files must be read", "快速统计需要以目录为单位；否则必须读取文件"
)

# -- what went otherwise than wished -------------------------------------------------------------------------

NO_ROOM_FOR_LOCK = _phrase(
    "no room for the lock file {path}: {why}; locking the directory itself",
    "锁文件 {path} 没有空间：{why}；改为锁定目录本身",
)
STOPPED = _phrase("stopped before the end", "提前停止")
NOT_DELETED = _phrase("{count:d} could not be deleted", "{count} 项无法删除")
NOTHING_THERE = _phrase("{path} does not exist (yet): nothing to clean", "{path}（尚）不存在：无需清理")
READ_ONLY = _phrase("the file system is read-only: nothing more can be removed", "文件系统只读：无法再删除")
TRASH_USELESS = _phrase(
    "the disk is nearly full: deleted at once, since the trash would free nothing",
    "磁盘将满：已直接删除，移入 .trash 不会释放空间",
)
NO_TRASH = _phrase("the trash cannot be used ({why}): deleted at once", ".trash 无法使用（{why}）：已直接删除")

# -- a cache that cannot be used -----------------------------------------------------------------------------

NO_ANSWER = _phrase("no answer within {seconds:d} s", "{seconds} 秒内没有应答")
REDIS = _phrase("Redis at {address}: {words}", "位于 {address} 的 Redis：{words}")
MONGODB = _phrase("MongoDB at {address}: {words}", "位于 {address} 的 MongoDB：{words}")
NO_CLIENT = _phrase(
    "the client of {server} is not installed: make setup-servers", "未安装 {server} 客户端：请运行 make setup-servers"
)
FOREIGN_KEY = _phrase("a key without the prefix was to be removed; nothing was", "要删除的键没有该前缀；未删除任何内容")
NO_PREFIX = _phrase(
    "REDIS_CACHE_PREFIX is empty: every key of the server would be meant",
    "REDIS_CACHE_PREFIX 为空：将涉及服务器的所有键",
)
SEVERAL = _phrase("{words} (and {more:d} more)", "{words}（另有 {more} 处）")
