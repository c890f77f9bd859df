"""Why entries are kept or deleted, in words for people: (English, 中文). The same on every surface."""

from __future__ import annotations

from core import cleaning_phrases
from core.entries import Reason
from core.models import words

REASON_WORDS: dict[str, tuple[str, str]] = {
    Reason.EMPTY_POLICY: ("no rule is set, so nothing is deleted", "未设置任何规则，不删除"),
    Reason.KEEP_FILE: ("protected by a keep file", "有保留标记文件"),
    Reason.PINNED: ("pinned by name", "按名称保留"),
    Reason.IN_USE: ("open in some process", "正被某个进程使用"),
    Reason.FUTURE_TIME: ("its time lies in the future", "修改时间在未来"),
    Reason.RECENTLY_MODIFIED: ("modified within the grace period", "宽限期内被修改过"),
    Reason.RECENTLY_ARRIVED: ("arrived within the grace period", "宽限期内才出现"),
    Reason.KEEP_LAST: ("among the newest that are kept", "属于保留的最新若干项"),
    Reason.YOUNG: ("not old enough", "未到期"),
    Reason.WITHIN_LIMITS: ("within the limits", "未超出限额"),
    Reason.OLDER_THAN: ("older than the age limit", "超过保留天数"),
    Reason.MAX_SIZE: ("over the size limit, oldest first", "超出容量上限，先删最旧的"),
    Reason.MIN_FREE: ("the disk is nearly full, oldest first", "磁盘空间不足，先删最旧的"),
    Reason.BEYOND_KEEP_LAST: ("beyond the newest that are kept", "超出保留的最新若干项"),
    Reason.CLEARED: ("cleared as asked", "按要求清空"),
}
OTHER_WORDS = {
    "over_limit": ("over the size limit, least recently used first", "超出容量上限，先删最久未用的"),
    "within_limit": ("within the size limit", "未超出容量上限"),
    "read_only": ("only viewed, never changed", "只读，从不更改"),
    "no_time": ("of unknown age", "时间未知"),
    "expires_by_itself": ("expires by itself", "会自行过期"),
    "used_meanwhile": ("used meanwhile", "期间被使用过"),
}
"""Reasons that only models and databases have."""

TROUBLE_WORDS = {
    "mount": ("another file system is mounted there", "该处挂载了另一文件系统"),
    "written to meanwhile": ("written to meanwhile", "期间被写入"),
    "holds other files than bytecode": ("holds other files than bytecode", "含有字节码以外的文件"),
    "in use": ("in use", "正在使用"),
    "future time": ("its time lies in the future", "时间在未来"),
    "Redis keeps no idle time of it (maxmemory-policy)": (
        "Redis keeps no idle time of it (maxmemory-policy)",
        "Redis 没有它的空闲时间（maxmemory-policy）",
    ),
}
"""Why something was passed over that no rule judged."""

_WORDS = {**REASON_WORDS, **TROUBLE_WORDS, **OTHER_WORDS}


def reason_text(reason: str, *, chinese: bool) -> str:
    """Given a reason's name as JSON and logs have it, or a sentence about a target or a model, return it in words.

    One that is none of ours, such as the system's own words, stays as it is.
    """
    if reason in _WORDS:
        return _WORDS[reason][chinese]
    if not chinese:
        return reason
    told = cleaning_phrases.in_chinese(reason)
    return told if told != reason else words.in_chinese(reason)
