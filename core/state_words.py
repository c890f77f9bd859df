"""What states are called and what has happened, in words for people: (English, 中文). The same on every surface."""

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

EVENT_WORDS: dict[str, tuple[str, str]] = {
    "state": ("State", "状态变化"),
    "restart": ("The server restarted", "服务器已重启"),
    "eviction": ("Keys were evicted", "缓存键被淘汰"),
    "submitted": ("Submitted", "已提交"),
    "verified": ("Verified in the cache", "已在缓存中验证"),
    "not_stored": ("Ran, but nothing was stored", "已运行但未存入"),
    "failed": ("Warm-up failed", "预热失败"),
    "rejected": ("The server refused it", "服务器拒绝"),
    "timed_out": ("Ran too long", "运行超时"),
    "lost": ("Lost by the server", "服务器丢失任务"),
    "withdrawn": ("Withdrawn", "已撤回"),
}
