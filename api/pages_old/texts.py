"""Every text of the pages, in English and 中文."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "title": "ComfyUI fleet",
        "servers": "servers",
        "all": "all",
        "server": "Server",
        "group": "Group",
        "set": "Set",
        "state": "State",
        "reason": "Why",
        "age": "For",
        "cache_keys": "Keys",
        "queue": "Queue",
        "warmed": "Last warm-up",
        "polled": "Last poll",
        "ago": "ago",
        "never": "not polled yet",
        "check_now": "Check now",
        "hidden": "more are not shown: choose a state",
        "none": "No server is in this state.",
        "other_language": "中文",
        "loaded": "loaded",
        "queued": "queued",
        "warming": "warming",
        "auto_executing": "executing by itself",
        "needs_submission": "needs submission",
        "busy": "busy",
        "unreachable": "unreachable",
        "failed": "failed",
        "paused": "paused",
        "unknown": "unknown",
    },
    "zh": {
        "title": "ComfyUI 集群",
        "servers": "台服务器",
        "all": "全部",
        "server": "服务器",
        "group": "分组",
        "set": "预热集",
        "state": "状态",
        "reason": "原因",
        "age": "持续",
        "cache_keys": "缓存键",
        "queue": "队列",
        "warmed": "上次预热",
        "polled": "上次检测",
        "ago": "前",
        "never": "尚未检测",
        "check_now": "立即开始缓存检测",
        "hidden": "台未显示：请选择状态",
        "none": "没有处于此状态的服务器。",
        "other_language": "English",
        "loaded": "缓存已加载",
        "queued": "排队中",
        "warming": "预热中",
        "auto_executing": "后台执行中",
        "needs_submission": "缓存未加载",
        "busy": "繁忙",
        "unreachable": "无法连接",
        "failed": "失败",
        "paused": "已暂停",
        "unknown": "未知",
    },
}


def language_of(wished: str, accept_language: str) -> str:
    """Given a choice in the address and the browser's header, return ``zh`` or ``en``."""
    if wished in TEXTS:
        return wished
    best, best_weight = "en", 0.0
    for part in accept_language.split(","):
        tag, _, parameters = part.strip().partition(";")
        try:
            weight = float(parameters.strip().removeprefix("q=") or 1)
        except ValueError:
            weight = 0.0
        language = tag.lower().split("-")[0]
        if language in TEXTS and weight > best_weight:
            best, best_weight = language, weight
    return best
