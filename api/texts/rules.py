"""What each rule of the checker means, in a sentence: (English, 中文)."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    "not_polled": ("It has not been polled since the daemon knows it.", "守护进程尚未检测过它。"),
    "loaded": ("Every wanted key was seen in the server's cache.", "所有需要的缓存键都在服务器缓存中。"),
    "submit": ("Keys are missing and nothing stands in the way: a warm-up is sent.", "有缺失且没有阻碍：提交预热。"),
    "submitted": ("A warm-up was sent to the server.", "已向服务器提交预热。"),
    "next_key": ("One key is there; the next one follows.", "一个缓存键已就绪，继续下一个。"),
    "queued": ("Our warm-up waits in the server's queue.", "我们的预热正在服务器队列中等待。"),
    "running": ("Our warm-up is running.", "我们的预热正在运行。"),
    "post_unconfirmed": (
        "The server did not answer our request, which may still arrive: it is not sent twice.",
        "服务器未应答提交请求，请求可能仍会到达，因此不会重复提交。",
    ),
    "keeper_in_queue": ("Another cache keeper's prompt already stores these keys.", "另一缓存管家的任务会存入这些键。"),
    "other_in_queue": (
        "Somebody else's prompt in the queue already stores these keys.",
        "队列中他人的任务会存入这些键。",
    ),
    "claims_executing": (
        "The server says that it loads them by itself; its queue will show whether that is so.",
        "服务器声称正在自动执行；将由其队列证实。",
    ),
    "users_first": (
        "Users' jobs are waiting on this server, so the warm-up waits too, for a while.",
        "服务器上有用户任务在等待，预热暂时让行。",
    ),
    "backing_off": ("The last try failed; the next one comes after a pause.", "上次失败；稍后重试。"),
    "breaker_open": (
        "It has failed too often: it is left alone for a long while. Look at the error.",
        "失败次数过多，已长时间停止尝试。请查看错误信息。",
    ),
    "preflight": (
        "The server lacks node classes or files that the workflow needs.",
        "服务器缺少工作流需要的节点类型或文件。",
    ),
    "lru_overfull": (
        "The wanted keys do not fit into the server's cache: they would push each other out.",
        "需要的缓存键超出服务器缓存容量，会互相挤出。",
    ),
    "no_workflow": (
        "Keys are missing, but no workflow is configured that could store them.",
        "有缺失，但未配置可存入它们的工作流。",
    ),
    "one_at_a_time": ("Another set of this server is being warmed.", "此服务器的另一预热集正在预热。"),
    "fleet_cap": ("As many warm-ups run in the fleet as are allowed.", "整个集群的并发预热已达上限。"),
    "group_cap": ("As many warm-ups run in its group as are allowed.", "分组的并发预热已达上限。"),
    "start_gap": ("Another warm-up has only just started somewhere.", "刚刚启动过另一个预热，需要间隔。"),
    "zombie_worker": (
        "Jobs are pending and none runs: the worker of that ComfyUI has died. Restart it.",
        "有任务排队但无任务运行：该 ComfyUI 的工作线程已死，请重启。",
    ),
    "stuck_worker": (
        "One job has been running far too long: look whether that ComfyUI's worker is dead.",
        "某个任务运行时间过长：请检查该 ComfyUI 的工作线程。",
    ),
    "busy_while_warming": ("It answers late because our warm-up loads a model.", "正在加载模型，应答较慢。"),
    "unreachable": ("No connection could be made.", "无法建立连接。"),
    "busy": ("It accepted the connection and did not answer in time.", "已连接但未及时应答。"),
    "bad_answer": ("It answered something that cannot be understood.", "应答无法理解。"),
    "paused": ("It was paused by a person or a program.", "已被人工或程序暂停。"),
    "dry_run": ("The daemon runs with --dry-run: it only says what it would do.", "以 --dry-run 运行：只说明不执行。"),
    "not_sent": ("Another submission was found open in the meantime.", "期间发现已有进行中的提交。"),
    "verified": ("The key was seen in the cache after the run.", "运行后已在缓存中看到该键。"),
    "not_stored": (
        "The server reports success, but the key is not in its cache.",
        "服务器报告成功，但缓存中没有该键。",
    ),
    "failed": ("The run ended with an error, in the server's own words.", "运行出错，以下为服务器的说明。"),
    "rejected": ("The server refused the workflow.", "服务器拒绝了工作流。"),
    "timed_out": ("It ran longer than it may.", "运行超过时限。"),
    "lost": ("It is neither in the server's queue nor in its history.", "既不在服务器队列也不在历史中。"),
    "withdrawn": ("Another cache keeper was first; ours was taken back.", "另一缓存管家更早提交，已撤回我们的。"),
}
