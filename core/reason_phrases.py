"""Every reason that the checker gives, for a state, the end of a warm-up or a fault of a workflow: (English, 中文).

Programs, the log and the journal have the English; people read either, the Chinese by ``in_chinese``. A reason of a
new kind is added here, and nowhere else. One that joins several does so by ``also``. A server's words stand in it as
they are. How a task failed is here too, since a warm-up fails with the reasons of its sets.
"""

from __future__ import annotations

from core.phrases import PAIRED, Phrasebook
from core.state_words import STATE_WORDS

_WORD = r"\S{1,2000}"

BOOK = Phrasebook(
    shapes={
        **dict.fromkeys(("url", "path", "server", "set", "name"), _WORD),
        "id": r"[\w-]{1,100}",
        "server_url": r"https?://\S{1,300}",
        "clock": r"[\d :-]{1,30}",
        "detector": r"\w{1,30}",
        "node_class": PAIRED,
        # A value of JSON as Python writes it.
        **dict.fromkeys(("value", "other"), r"""(?=['"\[{\dTFN-]).{1,300}?"""),
    },
    lists=frozenset({"lacking"}),
)
in_chinese = BOOK.in_chinese
_phrase = BOOK.phrase


def also(*reasons: str) -> str:
    """Return several reasons as one; an empty one is none."""
    return "; ".join(filter(None, reasons))


def submission(prompt_id: str, key: str | int | None, *, whole: bool = False) -> str:
    """Return a submission by name, for a field ``submission``; without a key, ``whole`` says that it is everything."""
    if key is not None:
        return SUBMISSION_OF(id=prompt_id, key=key)
    return (SUBMISSION_OF_ALL if whole else SUBMISSION)(id=prompt_id)


def part(key: str | int | None) -> str:
    """Return what is submitted, for a field ``part``; ``key`` is None for the whole workflow."""
    return KEY(key=key) if key is not None else WHOLE_WORKFLOW()


# -- what is seen of a cache ---------------------------------------------------------------------------------

NOT_POLLED = _phrase("not polled yet", "尚未检测")
NEVER_POLLED = _phrase("never polled", "从未检测")
LOADED = _phrase("seen by {detector}", "{detector} 检测到已加载")
MISSING = _phrase("missing: {missing}", "缺少：{missing}")
NOTHING = _phrase("nothing", "无", "missing")
ASKED_FOR = _phrase("asked for by an operator", "由操作员请求")
KEYS = _phrase("keys are missing", "服务器未列出的缓存键", "missing")
NO_RUN = _phrase("no run of ours in its history", "历史中没有我们的运行", "missing")
OLD_RUN = _phrase("our last run is older than {seconds:.0f} s", "我们的上次运行已超过 {seconds} 秒", "missing")
GONE_RUN = _phrase("our run {prompt} is gone from its history", "我们的运行 {prompt} 已不在历史中", "missing")
NOT_CONTAINED = _phrase("does not contain {expected!r}: {words}", "应答不含 {expected}：{words}", "missing")
NOT_MATCHED = _phrase("does not match {expected!r}: {words}", "应答不匹配 {expected}：{words}", "missing")
NO_VALUE = _phrase("has no {field}: {words}", "应答没有 {field}：{words}", "missing")
OTHER_VALUE = _phrase("{field} is {value!r}, not {other!r}", "{field} 为 {value}，而不是 {other}", "missing")
EMPTY_VALUE = _phrase("{field} is {value!r}", "{field} 为 {value}", "missing")
CLAIMS_EXECUTING = _phrase("the server says that it is executing by itself", "服务器称正在自动执行")
NO_DETECTOR = _phrase(
    "nothing tells what is loaded: no workflow is configured and there is no determine route",
    "无从得知加载情况：未配置工作流，也没有 determine 接口",
)

# -- why nothing is submitted, or not now --------------------------------------------------------------------

DEAD_WORKER = _phrase(
    "{pending:d} pending and nothing running over {polls:d} polls: the server's worker has died; restart that ComfyUI",
    "连续 {polls} 次检测都有 {pending} 个任务排队而无任务运行：该服务器的工作线程已死；请重启该 ComfyUI",
)
STUCK_WORKER = _phrase(
    "prompt {prompt} has been running for {seconds:.0f} s: look whether its worker is dead",
    "任务 {prompt} 已运行 {seconds} 秒：请检查其工作线程是否已死",
)
KEEPER_RUNS = _phrase(
    "prompt {prompt} of a cache keeper runs and stores keys", "缓存管家的任务 {prompt} 正在运行，会存入缓存键"
)
KEEPER_WAITS = _phrase(
    "prompt {prompt} of a cache keeper is queued and stores keys", "缓存管家的任务 {prompt} 正在排队，会存入缓存键"
)
OTHER_RUNS = _phrase(
    "prompt {prompt} of another client runs and stores keys", "其他客户端的任务 {prompt} 正在运行，会存入缓存键"
)
OTHER_WAITS = _phrase(
    "prompt {prompt} of another client is queued and stores keys", "其他客户端的任务 {prompt} 正在排队，会存入缓存键"
)
NO_WORKFLOW = _phrase(
    "no workflow is configured, so nothing can be submitted (WORKFLOW_PATH)", "未配置工作流，无法提交（WORKFLOW_PATH）"
)
OVERFULL = _phrase(
    "{count:d} keys wanted with tag {tag!r}, whose LRU holds {size:d}: they would evict each other for ever; "
    "use several tags, or raise the size with POST /inspire/cache/settings",
    "标签 {tag} 需要 {count} 个缓存键，而其 LRU 只容 {size} 个：会不断互相挤出；"
    "请分用多个标签，或用 POST /inspire/cache/settings 调大容量",
)
FAILED_BEFORE = _phrase(
    "failed {failures:d} times, next try in {seconds:.0f} s", "已失败 {failures} 次，{seconds} 秒后重试"
)
LACKS = _phrase("the server lacks {lacking}", "服务器缺少{lacking}")
NODE_CLASS = _phrase("node class {class_name!r}", "节点类型 {class_name}", "lacking")
INPUT_VALUE = _phrase("{input} {file!r} for {node_class}", "{node_class} 的 {input} {file}", "lacking")
USERS_FIRST = _phrase(
    "{jobs:d} jobs of users are queued; waiting at most {seconds:.0f} s more",
    "有 {jobs} 个用户任务在排队；最多再等 {seconds} 秒",
)
ONE_AT_A_TIME = _phrase("another set of this server is being warmed", "此服务器的另一预热集正在预热")
FLEET_FULL = _phrase(
    "{warming:d} warm-ups run in the fleet (MAX_CONCURRENT_WARMUPS)",
    "集群中有 {warming} 个预热正在进行（MAX_CONCURRENT_WARMUPS）",
)
GROUP_FULL = _phrase(
    "{warming:d} warm-ups run in the group (max_concurrent_warmups)",
    "分组中有 {warming} 个预热正在进行（max_concurrent_warmups）",
)
START_GAP = _phrase(
    "another warm-up has just started (WARMUP_START_GAP_SECONDS)", "刚刚启动了另一个预热（WARMUP_START_GAP_SECONDS）"
)
PAUSED = _phrase("{name} is paused", "{name} 已暂停")
PAUSED_UNTIL = _phrase("{name} is paused until {clock}", "{name} 已暂停至 {clock}")

# -- our submission, from the beginning to the end -----------------------------------------------------------

KEY = _phrase("key {key!r}", "缓存键 {key}", "part")
WHOLE_WORKFLOW = _phrase("the whole workflow", "整个工作流", "part")
SUBMISSION_OF = _phrase("submission {id} for {key!r}", "提交 {id}（缓存键 {key}）", "submission")
SUBMISSION_OF_ALL = _phrase("submission {id} for the whole workflow", "提交 {id}（整个工作流）", "submission")
SUBMISSION = _phrase("submission {id}", "提交 {id}（整个工作流）", "submission")

SUBMITTING = _phrase("submitting {part}", "提交{part}")
WOULD_SUBMIT = _phrase("would submit {part}", "将提交{part}")
SUBMITTED = _phrase("{submission}: {reason}", "{submission}：{reason}")
ACCEPTED = _phrase("accepted", "已接受")
JUST_QUEUED = _phrase(
    "another client's prompt for the same key has just been queued", "其他客户端刚把相同缓存键的任务加入队列"
)
JUST_STORED = _phrase("another client has just stored the key", "其他客户端刚存入该缓存键")
JUST_WARMED = _phrase("another process of this machine has just warmed this server", "本机的另一进程刚预热过此服务器")
OTHER_PROCESS = _phrase(
    "another process of this machine is warming this server (submission {id})",
    "本机的另一进程正在预热此服务器（提交 {id}）",
)
NOT_SENT = _phrase("not sent: {reason}", "未发送：{reason}")
NOT_ANSWERED = _phrase("sent, and not answered as it should be: {reason}", "已发送，但应答不正常：{reason}")
UNCONFIRMED = _phrase(
    "{submission} was sent without an answer; it may still arrive", "{submission}已发送但没有应答；可能仍会到达"
)
BUSY_WHILE_WARMING = _phrase(
    "answers late while our submission is open: {reason}", "我们的提交尚未结束，服务器应答缓慢：{reason}"
)
QUEUED = _phrase("{submission} waits behind {ahead:d} others", "{submission}在排队，前面有 {ahead} 个任务")
RUNNING = _phrase("{submission} is running", "{submission}正在运行")
TIMED_OUT = _phrase("{submission} has run longer than {seconds:.0f} s", "{submission}运行已超过 {seconds} 秒")
WITHDRAWN = _phrase(
    "withdrawn: another cache keeper's {prompt} is ahead with the same keys",
    "已撤回：另一缓存管家的任务 {prompt} 排在前面，会存入相同的缓存键",
)
IS_WITHDRAWN = _phrase(
    "{submission} is withdrawn: another cache keeper's {prompt} is ahead with the same keys",
    "{submission}已撤回：另一缓存管家的任务 {prompt} 排在前面，会存入相同的缓存键",
)
RESTARTED = _phrase(
    "{submission} is neither in the queue nor in the history: the server restarted",
    "{submission}既不在队列中也不在历史中：服务器重启过",
)
LOST = _phrase(
    "{submission} is neither in the queue nor in the history: lost", "{submission}既不在队列中也不在历史中：已丢失"
)
NOT_STORED = _phrase(
    "the server reports success, but it is not loaded: {missing}", "服务器报告成功，但缓存未加载：{missing}"
)
NOT_STORED_CACHED = _phrase(
    "the server reports success, {nodes:d} nodes were taken from its cache, but it is not loaded: {missing}",
    "服务器报告成功，{nodes} 个节点取自其节点缓存，但缓存未加载：{missing}",
)
KEY_SEEN = _phrase("key {key!r} is seen in the cache", "缓存中已有缓存键 {key}")
ALL_SEEN = _phrase("what was wanted is seen in the cache", "缓存中已有所需内容")
RESTART = _phrase("the server restarted: its keys and its history are gone", "服务器重启，缓存键和历史都已丢失")
EVICTION = _phrase("keys left the cache while the server stayed up", "服务器未重启，但缓存键被淘汰")
# -- how a task ended otherwise than wished -------------------------------------------------------------------

COLD_SETS = _phrase("{cold:d} of {sets:d} not loaded: {reason}", "{sets} 个中有 {cold} 个未加载：{reason}")
AND_MORE = _phrase("and {more:d} more", "还有 {more} 个")
SET_STANDS = _phrase("{server} {set}: {state} ({reason}", "{server} {set}：{state} ({reason}")

NO_SUCH_SET = _phrase("none of the servers has a warm-up set {wanted!r}", "没有服务器有预热集 {wanted}")
SERVERS_GONE = _phrase("no longer configured: {names}", "已不在配置中：{names}")
TARGET_GONE = _phrase("the target {target!r} is no longer configured", "目标 {target} 已不在配置中")
NO_MODEL = _phrase("no model matches {model!r}", "没有模型匹配 {model}")
NO_SUCH_MODEL = _phrase(
    "there is no model {model!r} in the directories of MODEL_CACHE_DIRS", "MODEL_CACHE_DIRS 的目录中没有模型 {model}"
)
SEVERAL_MODELS = _phrase("{model!r} is there more than once: {names}", "{model} 不止一处：{names}")
CANCELLED = _phrase("the task was cancelled", "任务已取消")
WORKER_DIED = _phrase("its worker {worker} died", "其工作进程 {worker} 已死")
PROCESS_DIED = _phrase("its process died by {how}", "其进程因 {how} 终止")
NO_MEMORY = _phrase("for want of memory?", "可能是内存不足")
NO_SIGN_OF_LIFE = _phrase(
    "it gave no sign of life for {seconds:g} s (TASK_STALL_SECONDS)", "{seconds} 秒没有动静（TASK_STALL_SECONDS）"
)

# -- what a run or a prompt came to, around the server's own words -------------------------------------------

REPORTS_ERROR = _phrase("the server reports an error", "服务器报告出错")
NOTHING_QUEUED = _phrase("answered 200 with an empty body: nothing was queued", "应答 200 但内容为空：未加入队列")
NO_PROMPT_ID = _phrase("answered 200 without a prompt_id: {words}", "应答 200 但没有 prompt_id：{words}")
OTHER_PROMPT_ID = _phrase("took the prompt under another id: {words}", "以另一 ID 接受了任务：{words}")
TAKEN_IN_PART = _phrase("took only a part of the prompt: {words}", "只接受了任务的一部分：{words}")
REFUSED = _phrase("refused the prompt with status {status:d}: {words}", "拒绝了任务，状态码 {status}：{words}")

NODE_FAILED = _phrase("node {node} ({node_class}): {words}", "节点 {node}（{node_class}）：{words}", "reason", "words")
INTERRUPTED = _phrase("interrupted at node {node} ({node_class})", "在节点 {node}（{node_class}）处被中断")
BAD_NODES = _phrase("nodes {nodes}", "节点 {nodes}", "words")

# -- what was wrong with a connection or an answer -----------------------------------------------------------

NO_CONNECTION_IN_TIME = _phrase("no connection to {url} in time", "未能及时连接 {url}")
NO_CONNECTION = _phrase("no connection to {url}: {words}", "无法连接 {url}：{words}")
CONNECTION_CLOSED = _phrase("{url} closed the connection: {words}", "{url} 关闭了连接：{words}")
CONNECTION_LOST = _phrase("lost the connection to {url}: {words}", "与 {url} 的连接中断：{words}")
NOT_IN_TIME = _phrase("{path} was not answered in time", "{path} 未及时应答")
NOT_WHOLE_IN_TIME = _phrase("{path} was not answered completely in time", "{path} 未及时应答完整")
CUT_OFF = _phrase("{path} answered a body that was cut off: {words}", "{path} 的应答不完整：{words}")
TOO_LONG = _phrase("{path} answered more than {bytes:d} bytes", "{path} 的应答超过 {bytes} 字节")
NOT_UTF8 = _phrase("{path} answered text that is not UTF-8", "{path} 的应答不是 UTF-8 文本")
NO_HTTP = _phrase("{path} answered no valid HTTP: {words}", "{path} 的应答不是有效的 HTTP：{words}")
NO_ROUTE = _phrase("{path} does not exist on this server (404)", "此服务器没有 {path}（404）")
OTHER_STATUS = _phrase("{path} answered status {status:d}: {words}", "{path} 应答状态码 {status}：{words}")
HTML_PAGE = _phrase(
    "{path} answered an HTML page, perhaps a login: {words}", "{path} 应答 HTML 页面，可能是登录页：{words}"
)
NO_JSON = _phrase("{path} answered no JSON: {words}", "{path} 的应答不是 JSON：{words}")
NO_OBJECT = _phrase("{path} answered no object: {words}", "{path} 的应答不是 JSON 对象：{words}")
NO_QUEUE = _phrase("{path} answered no queue: {words}", "{path} 的应答不是队列：{words}")
NO_CACHE_LIST = _phrase("{path} answered no cache list: {words}", "{path} 的应答不是缓存列表：{words}")
NO_SENTENCE = _phrase("{path} answered neither sentence: {words}", "{path} 的应答不是约定的句子：{words}")
NOT_WITHDRAWN = _phrase(
    "{path} refused to delete {prompt} with status {status:d}: {words}",
    "{path} 拒绝删除 {prompt}，状态码 {status}：{words}",
)
NOT_AN_IMAGE = _phrase(
    "{path} answered {content} instead of an image: {words}", "{path} 应答的是 {content} 而不是图片：{words}"
)
EMPTY_IMAGE = _phrase("{path} answered an empty image for {file}", "{path} 对 {file} 应答了空图片")
BAD_OUTPUTS = _phrase("{path} has outputs that are no object: {words}", "{path} 中的 outputs 不是对象：{words}")
NAMELESS_IMAGE = _phrase("{path} lists an image without a name: {words}", "{path} 列出了没有名称的图片：{words}")
NO_ENTRY = _phrase("{path} has no entry for {prompt}: {words}", "{path} 中没有 {prompt}：{words}")
REDIRECT = _phrase("a redirect to {url}, perhaps a login", "重定向到 {url}，可能是登录页", "words")
BLANK = _phrase("(empty)", "（空）", "words")

# -- why the images of a prompt did not come -----------------------------------------------------------------

MAY_STILL_TAKE = _phrase(
    "it may still take the prompt: wait({prompt!r}) before sending again",
    "服务器仍可能接受该任务：再次提交前请先 wait({prompt})",
)
FAILED_ON = _phrase("prompt {prompt} failed on {url}: {reason}", "任务 {prompt} 在 {url} 上失败：{reason}")
BY_SERVER = _phrase("{server_url} {reason}", "{server_url} {reason}")

# -- what is wrong with a workflow ---------------------------------------------------------------------------

DANGLING_LINK = _phrase(
    "input {input!r} is linked to node {node!r}, which does not exist", "输入 {input} 连接到节点 {node}，而该节点不存在"
)
CIRCLE = _phrase("is part of a circle of links", "处于循环连线中")
STORED_TWICE = _phrase("stores {key!r}, as node {node} does too", "存入 {key}，与节点 {node} 重复")
READ_ONLY = _phrase("mode 'Read Only' stores nothing", "'Read Only' 模式不存入任何内容")
NO_CONSTANT_KEY = _phrase(
    "its key is not a constant, so it cannot be watched: give wanted_keys in fleet.toml",
    "缓存键不是常量，无法检测：请在 fleet.toml 中填写 wanted_keys",
)
RESERVED_KEY = _phrase("the key '*' is reserved: the server drops it silently", "缓存键 '*' 是保留字：服务器会直接丢弃")
NO_OUTPUT_NODE = _phrase(
    "no output node depends on this loader, so ComfyUI will not run it", "没有输出节点依赖此加载器，ComfyUI 不会运行它"
)
NO_KEY = _phrase(
    "stores no backend-cache key: only the run itself can be verified", "不存入任何后端缓存键：只能验证运行本身"
)

for _state, (_, _chinese) in STATE_WORDS.items():
    _phrase(_state, _chinese, "state")
