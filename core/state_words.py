"""The states of a server's warm-up set, in words for people: (English, 中文). The same on every surface."""

from __future__ import annotations

STATE_WORDS: dict[str, tuple[str, str]] = {
    "loaded": ("loaded", "缓存已加载"),
    "queued": ("queued", "排队中"),
    "warming": ("warming", "预热中"),
    "auto_executing": ("executing by itself", "后台执行中"),
    "needs_submission": ("needs submission", "缓存未加载"),
    "busy": ("busy", "繁忙"),
    "unreachable": ("unreachable", "无法连接"),
    "failed": ("failed", "失败"),
    "paused": ("paused", "已暂停"),
    "unknown": ("unknown", "未知"),
}
