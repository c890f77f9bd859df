"""Why entries are kept or deleted, in words for people: (English, 中文). The same on every surface."""

from __future__ import annotations

from core.entries import Reason

REASON_WORDS = {
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


def reason_text(reason: str, *, chinese: bool) -> str:
    """Given a reason's name as JSON and logs have it, return it in words; one that is none of ours stays as it is."""
    try:
        return REASON_WORDS[Reason(reason)][chinese]
    except (KeyError, ValueError):
        return reason.replace("_", " ")
