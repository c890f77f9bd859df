"""What is the matter with our files, Redis or MongoDB, or with what was asked of them: (English, 中文).

Exceptions, records and the log have the English; people read either, by ``core.error_words``. The book is that of
``core.operation_phrases`` and ``core.request_phrases`` too: their errors quote these.
"""

from __future__ import annotations

from core.cleaning_phrases import REPLACED
from core.phrases import PAIRED, Phrasebook
from core.tasks import TaskState

BOOK = Phrasebook(
    shapes={
        # Absolute, in either system's manner: other sentences, of other books, begin with a word and go on alike.
        "path": r"(?=[/\\]|[A-Za-z]:[\\/]).{1,400}?",
        "url": r"https?://\S{1,300}?",
        "field": r"[a-z_]\w{0,60}",
        # Of what Pydantic says; any other word may stand before a colon.
        "parameter": r"[a-z_]\w{0,60}(?:\.\w{1,60}){0,8}"
        r"(?=: (?:Input|String|List|Field|Extra|Unable|Value|JSON|is no parameter))",
        "who": PAIRED,
        "known": r".{1,3000}?",
        **dict.fromkeys(("id", "package"), r"[\w.-]{1,100}"),
        **dict.fromkeys(("operation", "role", "other_role", "sort"), r"[\w-]{1,60}"),
        **dict.fromkeys(("word", "place", "action", "target", "model"), r"\S{1,300}"),
        "fault": "StoreError|StoreUnavailable|BackendError",
    }
)
phrase = BOOK.phrase

# -- a file ---------------------------------------------------------------------------------------------------

# What a cleaner says of a directory, where it begins as ours do.
phrase(REPLACED.english, REPLACED.chinese)
CANNOT_OPEN = phrase("{path} cannot be opened: {reason}", "{path} 无法打开：{reason}")
CANNOT_READ = phrase("{path} cannot be read: {reason}", "{path} 无法读取：{reason}")
CANNOT_WRITE = phrase("{path} cannot be written: {reason}", "{path} 无法写入：{reason}")
CANNOT_USE = phrase("{path} cannot be used: {reason}", "{path} 无法使用：{reason}")
THE_INDEX = phrase("the index {path} cannot be used: {reason}", "索引 {path} 无法使用：{reason}")
THE_AUDIT_LOG = phrase("the audit log {path}: {reason}", "审计日志 {path}：{reason}")

DAMAGED = phrase(
    "it is damaged ({words}); move it aside to start with an empty one",
    "已损坏（{words}）；请将其移走，随后会新建空文件",
)
DISK_ERROR = phrase(
    "the disk reports an error ({words}); see the system's log", "磁盘报告错误（{words}）；请查看系统日志"
)
LOCKED = phrase("another process has had it for too long ({words}); try again", "被另一进程占用过久（{words}）；请重试")
DISK_FULL = phrase("the disk is full; free some space and try again", "磁盘已满；请释放空间后重试")
NO_DIRECTORY = phrase("there is no directory {path}", "目录 {path} 不存在")
READ_ONLY = phrase("the file system is read-only; mount it for writing", "文件系统只读；请以可写方式挂载")
OTHERS_FILE = phrase(
    "no permission: it belongs to another user; run this as another user, or change its owner",
    "没有权限：属于其他用户；请以该用户运行，或更改其所有者",
)
NO_PERMISSION = phrase(
    "no permission: it belongs to {user}; run this as {owner}, or change its owner",
    "没有权限：属于用户 {user}；请以 {owner} 运行，或更改其所有者",
)
NEWER = phrase(
    "the database is of a newer version ({version:d}) of this program: upgrade the program",
    "数据库由本程序的更新版本（{version}）创建：请升级程序",
)

# -- the index, opened late as the others are ------------------------------------------------------------------

INDEX_UNOPENED = phrase("the index of entries cannot be opened: {reason}", "缓存索引无法打开：{reason}")
QUEUE_UNOPENED = phrase("the queue of tasks cannot be opened: {reason}", "任务队列无法打开：{reason}")
AUDIT_UNOPENED = phrase("the audit log cannot be opened: {reason}", "审计日志无法打开：{reason}")

INDEX_DAMAGED = phrase("the index was damaged ({words}): {reason}", "索引已损坏（{words}）：{reason}")
INDEX_SET_ASIDE = phrase(
    "a damaged index was set aside as {file}; the next walks fill a new one",
    "损坏的索引已移为 {file}；下次刷新会重建索引",
)
INDEX_STUCK = phrase(
    "the index {path} is damaged ({why}) and cannot be set aside: {words}",
    "索引 {path} 已损坏（{why}）且无法移走：{words}",
)
LEFT_THE_INDEX = phrase(
    "{target} left the index while it was walked; its next walk brings it back",
    "{target} 在扫描期间被移出索引；下次刷新会重新加入",
)
INDEX_BEGUN_ANEW = phrase(
    "the index was begun anew while {target} was walked; the next walk fills it",
    "扫描 {target} 期间索引被重建；下次刷新会补全",
)

# -- the audit log -------------------------------------------------------------------------------------------

OTHERS_QUICKER = phrase(
    "the audit log: {tries:d} others were quicker; is something appending without end?",
    "审计日志：连续 {tries} 次被其他进程抢先；是否有程序在不停写入？",
)
AUDIT_IN_MONGODB = phrase("the audit log in MongoDB: {words}", "MongoDB 中的审计日志：{words}")
NO_PYMONGO = phrase(
    "MONGODB_URL is set and PyMongo is not installed: make setup-servers",
    "设置了 MONGODB_URL 但未安装 PyMongo：请运行 make setup-servers",
)

# -- a page of a list ----------------------------------------------------------------------------------------

NO_CURSOR = phrase("{cursor!r} is no cursor of this list", "{cursor} 不是此列表的游标")
NO_TASK_CURSOR = phrase("{cursor!r} is not a cursor of this list", "{cursor} 不是此列表的游标")
FOREIGN_CURSOR = phrase("the cursor is not one that this service gave out", "游标不是由本服务给出的")
OTHER_ORDER = phrase("the cursor belongs to another order than {sort}", "游标属于另一种排序，而不是 {sort}")

# -- the queue -----------------------------------------------------------------------------------------------

for _state, _chinese in {
    TaskState.QUEUED: "在排队",
    TaskState.RUNNING: "正在执行",
    TaskState.DONE: "已完成",
    TaskState.FAILED: "已失败",
    TaskState.CANCELLED: "已取消",
}.items():
    phrase(_state.value, _chinese, "state")
ARGUMENTS_OF = phrase("arguments of {word}", "{word} 的参数", "part")
RESULT_OF = phrase("the result of {word}", "{word} 的结果", "part")
THE_CALLER = phrase("the caller", "调用者", "part")
STEPS = phrase("steps", "步骤", "part")

ONLY_ENDED = phrase(
    "task {id} is {state}: only a failed or cancelled one can be run again",
    "任务 {id} {state}：只有失败或已取消的任务可以重试",
)
TASK_VANISHED = phrase("task {id} is not there after it was written", "任务 {id} 写入后不见了")
NO_NAME = phrase(
    "{text!r} cannot name anything: it has characters that cannot be printed", "{text} 不能用作名称：含有不可打印的字符"
)
NO_JSON = phrase("{part} cannot be written as JSON: {words}", "{part}无法写成 JSON：{words}")

REDIS_DENIES = phrase(
    "Redis at {place} refuses the user or password: check QUEUE_URL",
    "位于 {place} 的 Redis 拒绝了用户名或密码：请检查 QUEUE_URL",
)
REDIS_SILENT = phrase(
    "Redis at {place} does not answer ({words}): see that it runs and that QUEUE_URL is right",
    "位于 {place} 的 Redis 没有应答（{words}）：请检查其是否运行以及 QUEUE_URL 是否正确",
)
REDIS_REFUSES = phrase("Redis at {place} refuses: {words}", "位于 {place} 的 Redis 拒绝：{words}")
REDIS_GONE = phrase(
    "Redis at {place} does not answer for {seconds:d} s: the worker ends",
    "位于 {place} 的 Redis 已 {seconds} 秒没有应答：工作进程退出",
)
BAD_QUEUE_URL = phrase("QUEUE_URL cannot be used: {words}", "QUEUE_URL 无法使用：{words}")
KEY_PREFIX_SET = phrase(
    "RQ_KEY_PREFIX is set in the environment: unset it, QUEUE_PREFIX is what parts queues of one Redis",
    "环境变量中设置了 RQ_KEY_PREFIX：请删除它，同一 Redis 中的队列由 QUEUE_PREFIX 区分",
)
