"""Why an operation is refused or fails, and what its caches, tasks and records lack: (English, 中文).

Records, JSON and the log have the English; people read either, by ``core.error_words``. What is wrong with a store
is in ``core.store_phrases``, with a request of the API in ``core.request_phrases``; the book has all three.
"""

from __future__ import annotations

from core import request_phrases
from core.models import words
from core.store_phrases import BOOK, phrase

__all__ = ["BOOK", "request_phrases"]

# -- what is asked for ---------------------------------------------------------------------------------------

NO_TARGET = phrase("there is no target {name!r}; there are: {known}", "没有目标 {name}；现有：{known}")
NO_OPERATION = phrase("there is no operation {name!r}; there are: {known}", "没有操作 {name}；现有：{known}")
NO_SERVER = phrase(
    "there is no server {server!r}; python -m checker status and GET /api/status list them",
    "没有服务器 {server}；可用 python -m checker status 或 GET /api/status 查看",
)
NO_TASK_FUNCTION = phrase("there is no task {name!r}; there are: {known}", "没有任务函数 {name}；现有：{known}")
TASK_REFUSES = phrase("task {word}: {words}", "任务 {word}：{words}")
NO_TASK = phrase("there is no task {task!r}", "没有任务 {task}")
NO_TASKS_MODULE = phrase("--tasks {word}: {words}", "--tasks {word} 无法加载：{words}")
NO_QUEUE_KEY = phrase(
    "{key!r} is none of the queue's keys, such as global:pending or task:ID:progress",
    "{key} 不是队列的键，例如 global:pending 或 task:ID:progress",
)
NO_QUEUE_VALUE = phrase(
    "{key!r} is none of the queue's key names, or there is no such task", "{key} 不是队列的键，或没有该任务"
)
NO_WORKER = phrase(
    "no worker serves the machine {host!r}; there are: {known}", "机器 {host} 没有工作进程；现有：{known}"
)
NOTHING_TO_CANCEL = phrase(
    "task {id} is {state}: there is nothing to cancel any more", "任务 {id} {state}：没有可取消的内容"
)

# -- what python -m checker is asked for ---------------------------------------------------------------------

NO_SERVER_OR_GROUP = phrase(
    "there is no server or group {name!r}; there are: {known}", "没有服务器或分组 {name}；现有：{known}"
)
SEVERAL_SERVERS = phrase(
    "{name!r} is {count:d} servers; name one of: {known}", "{name} 对应 {count} 台服务器；请指定其中一台：{known}"
)
NO_SET_NAMED = phrase("there is no warm-up set {name!r}; there are: {known}", "没有预热集 {name}；现有：{known}")
FILE_NOT_JSON = phrase("{file} is not JSON: {words}", "{file} 不是 JSON：{words}")
NO_DURATION = phrase(
    "{text!r} is no duration such as 30m, 2h or 3d (3650d at most)",
    "{text} 不是有效时长，例如 30m、2h 或 3d（最长 3650d）",
)
NO_MOMENT = phrase(
    "{text!r} is no time such as 10:03 or 2026-02-17 10:03:00", "{text} 不是有效时间，例如 10:03 或 2026-02-17 10:03:00"
)

# -- arguments of an operation -------------------------------------------------------------------------------

FAMILY = phrase("family must be one of {known}", "family 必须是以下之一：{known}")
TARGET_NEEDED = phrase("target is needed: one of {known}", "必须给出 target，以下之一：{known}")
CONFIRM_TARGET = phrase("confirm must be the target's own name, {name!r}", "confirm 必须是目标的名称 {name}")
MODEL_NEEDED = phrase(
    "name is needed: the model's own, as GET /api/models lists it", "必须给出 name：即 GET /api/models 所列的模型名称"
)
CONFIRM_MODEL = phrase("confirm must be the model's own name, {name!r}", "confirm 必须是模型的名称 {name}")
NO_TEXT = phrase("{field} must be a text of at most 1000 characters", "{field} 必须是不超过 1000 个字符的文本")
NO_LIST = phrase("{field} must be a list of texts", "{field} 必须是文本列表")
NO_FLAG = phrase("{field} must be true or false", "{field} 必须是 true 或 false")
NO_NUMBER = phrase("{field} must be a number from {low:g} to {high:g}", "{field} 必须是 {low} 到 {high} 之间的数字")
NO_ARGUMENT = phrase("{name!r} is no argument of this operation", "{name} 不是此操作的参数")

WORKER_IS_LOCAL = phrase(
    "a worker runs on the machine that it works for: leave out --url", "工作进程须在所服务的机器上运行：请去掉 --url"
)
VERIFY_IS_LOCAL = phrase(
    "verify reads the log itself: run it on the daemon's machine", "verify 直接读取日志：请在守护进程所在机器上运行"
)
OTHER_OUTPUT = phrase("choose another --output", "请另选 --output")
HEADS_UNREAD = phrase(
    "{path} cannot be read, and it has heads to compare with: {words}", "{path} 无法读取，其中有要比对的链头：{words}"
)
NOT_INSTALLED = phrase(
    "QUEUE_URL needs the Python package {package}: run make setup-servers",
    "QUEUE_URL 需要 Python 包 {package}：请运行 make setup-servers",
)

# -- what went otherwise than wished -------------------------------------------------------------------------

NOT_ON_RECORD = phrase(
    "nothing was done: {action} of {item} cannot be put on record: {reason}",
    "未执行任何操作：{item} 的 {action} 无法写入审计日志：{reason}",
)
for _english, _chinese in {
    "in use": "正在使用",
    "pinned": "已固定",
    "read-only": "只读",
    "recent": "近期使用过",
    "future time": "时间在未来",
    "within limit": "未超出容量上限",
}.items():
    phrase(_english, _chinese, "kept")
for _each in (words.PINNED, words.USED, words.OPENED, words.DOWNLOADED, words.MOUNTED_AT, words.OPEN_IN, words.REMOVED):
    # A model's files are named from its directory on, not from the root.
    phrase(*(each.replace("{path}", "{file}") for each in (_each.english, _each.chinese)), "kept")
STAYS_FOR = phrase("{model} stays: {kept}, {words}", "{model} 保留：{kept}，{words}")
STAYS = phrase("{model} stays: {kept}", "{model} 保留：{kept}")
FIRST_TROUBLE = phrase("{count:d} failed, first {item}: {words}", "{count} 项失败，第一项 {item}：{words}")
ALL_LEFT_ALONE = phrase(
    "the daemon has carried out none of {left:d} wishes for {seconds:.0f} s: does it run?",
    "守护进程在 {seconds} 秒内未执行 {left} 个请求中的任何一个：是否在运行？请检查 python daemon.py status",
)
# As it was recorded until the errors had a language each.
phrase(
    "the daemon has carried out none of {left:d} wishes for {seconds:.0f} s: does it run? "
    "守护进程没有响应，请检查: python daemon.py status",
    ALL_LEFT_ALONE.chinese,
)
PUT_BACK = phrase("the worker is to end; the task is put back", "工作进程即将退出；任务放回队列")
WORKER_ENDS = phrase("the worker is to end", "工作进程即将退出")
TAKEN_OVER = phrase("another worker has taken the task over", "任务已由另一工作进程接管")
TASK_CANCELLED = phrase("task {id} has been cancelled", "任务 {id} 已取消")
INTERRUPTED = phrase("interrupted", "被中断")

# -- what is wrong with the audit log ------------------------------------------------------------------------

LEFTOVER = phrase(
    "record {seq:d} stands before the checkpoint: a pruning was killed, or it was put in",
    "记录 {seq} 位于检查点之前：清理被中断，或该记录是插入的",
)
CUT_OFF = phrase(
    "records {first:d} to {last:d} are missing at the end: they were cut off",
    "末尾缺少记录 {first} 至 {last}：已被截断",
)
MISPLACED = phrase("record {seq:d} stands after record {before:d}", "记录 {seq} 位于记录 {before} 之后")
REMOVED = phrase("record {seq:d} was removed", "记录 {seq} 被删除")
ALL_REMOVED = phrase("records {first:d} to {last:d} were removed", "记录 {first} 至 {last} 被删除")
REPLACED = phrase(
    "record {before:d} is not the one that record {seq:d} was chained to: it was put in, or changed with its hash",
    "记录 {before} 不是记录 {seq} 所链接的那一条：它是插入的，或连同哈希一起被修改",
)
CHANGED = phrase("record {seq:d} was changed: it does not have its hash", "记录 {seq} 被修改：与其哈希不符")
REWRITTEN = phrase(
    "record {seq:d} has another hash than was published: the log was rewritten up to it",
    "记录 {seq} 的哈希与已公布的不同：此前的日志被改写",
)
NO_HEAD = phrase(
    "{text!r} is no SEQ:HASH, as the daemon logs it every hour", "{text} 不是守护进程每小时记录的 SEQ:HASH"
)

# -- around what others say: last, since it fits much --------------------------------------------------------

PARAMETER = phrase("{parameter}: {reason}", "{parameter}：{reason}")
FAULT = phrase("{fault}: {reason}", "{fault}：{reason}")
