"""What models are found to be, and what is wrong with their files, in words for people: (English, 中文).

JSON and the index of what was looked at keep the English of a detail; ``in_chinese`` reads it, as
``core.reason_phrases`` does for the checker.
"""

from __future__ import annotations

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

BOOK = Phrasebook(shapes={"who": PAIRED})
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
BAD_HEADER = _phrase("the safetensors header cannot be read: {words}", "无法读取 safetensors 文件头：{words}")
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
NOTE_UNREADABLE = _phrase("{name} cannot be read: {words}", "{name} 无法读取：{words}")
NOTE_TOO_LARGE = _phrase("{name} is too large", "{name} 过大")
NOTE_UNUSABLE = _phrase("{name} cannot be used: {words}", "{name} 无法使用：{words}")

# -- what is passed over, and what stays ---------------------------------------------------------------------

NO_MODEL = _phrase("no sign of a model in it", "其中没有模型")
LINK = _phrase("a link, which is not followed", "是链接，不予跟随")
LEFTOVER = _phrase("left by an interrupted clean; prune removes it", "清理中断的残留；可用 prune 移除")
PINNED = _phrase("{name} has been pinned", "{name} 已被固定")
USED = _phrase("{name} has been used meanwhile", "{name} 期间被使用过")
OPENED = _phrase("{name}: {who} has just been opened", "{name}：{who} 刚被打开")
DOWNLOADED = _phrase("being downloaded: {who}", "正在下载：{who}")
MOUNTED_AT = _phrase("something is mounted at {path}", "{path} 处有挂载")
OPEN_IN = _phrase("{path} is open in {who}", "{path} 被 {who} 打开")
REMOVED = _phrase("somebody else removed it", "已被他人移除")


def finding_text(fault: str, detail: str, *, chinese: bool) -> str:
    """Return what is wrong with a file, by its fault's name and the detail as kept, in words."""
    words = FAULT_WORDS.get(fault, (fault, fault))[chinese]
    if not detail:
        return words
    return f"{words}，{in_chinese(detail)}" if chinese else f"{words}, {detail}"
