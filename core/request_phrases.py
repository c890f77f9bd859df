"""Why the API refuses a request, a token or a parameter, and what is wrong with a daemon's answer: (English, 中文).

In the book of ``core.store_phrases``; people read them by ``core.error_words``.
"""

from __future__ import annotations

from core.store_phrases import phrase

# -- tokens and roles ----------------------------------------------------------------------------------------

# Those of the kind ``denial`` may stand before the advice of a command.
TOKEN_NEEDED = phrase(
    "a token is needed: Authorization: Bearer …; python -m api token create makes one",
    "需要令牌：Authorization: Bearer …；可用 python -m api token create 签发",
    "reason",
    "denial",
)
TOKEN_NOT_VALID = phrase("the token is not valid", "令牌无效", "reason", "denial")
TOKEN_EXPIRED = phrase("the token has expired", "令牌已过期", "reason", "denial")
TOKEN_REVOKED = phrase("the token has been revoked", "令牌已被撤销", "reason", "denial")
TOKENS_NOT_JUDGED = phrase("tokens cannot be judged now; the log says why", "目前无法验证令牌；原因见日志")
ROLE_TOO_LOW = phrase(
    "this needs the role {role}; the token's is {other_role}", "此操作需要角色 {role}；令牌的角色是 {other_role}"
)
OPERATION_ROLE = phrase(
    "{operation} needs the role {role}; the token's is {other_role}",
    "{operation} 需要角色 {role}；令牌的角色是 {other_role}",
)
NEEDS_ROLE = phrase("needs the role {role}", "需要角色 {role}")
NO_SUCH_TOKEN = phrase("there is no such token", "没有此令牌")
NO_TOKEN_SHOWN = phrase(
    "there is no token {token!r}; python -m api token list --all shows them",
    "没有令牌 {token}；可用 python -m api token list --all 查看",
)
SECRET_SIGNS = phrase(
    "API_SECRET signs: write API_SECRET=NEW,FORMER and restart the daemon; the former still verifies then",
    "当前由 API_SECRET 签名：请改为 API_SECRET=新密钥,旧密钥 并重启守护进程；旧密钥仍可用于验证",
)

# -- the keys that sign them ---------------------------------------------------------------------------------

WEAK_SECRET = phrase("API_SECRET {words}", "API_SECRET 不可用：{words}")
KEYS_OPEN = phrase(
    "{path} has mode {mode}, so others may have read the keys: delete it and start again (all tokens end), "
    "or chmod 600 it where you know that nobody has",
    "{path} 的权限为 {mode}，密钥可能已被他人读取：请删除后重启（所有令牌失效），或确认无人读取后执行 chmod 600",
)
NO_KEYS = phrase(
    "{path} holds no keys: delete it, and new ones are made (all tokens end)",
    "{path} 中没有密钥：请删除，随后会新建（所有令牌失效）",
)

# -- requests ------------------------------------------------------------------------------------------------

TOO_MANY_READS = phrase(
    "too many requests (read); try again in {seconds:d} s", "读取请求过于频繁；请在 {seconds} 秒后重试"
)
TOO_MANY_WRITES = phrase(
    "too many requests (write); try again in {seconds:d} s", "写入请求过于频繁；请在 {seconds} 秒后重试"
)
TOO_MANY_SIGN_INS = phrase(
    "too many requests (failed sign-in); try again in {seconds:d} s", "登录失败次数过多；请在 {seconds} 秒后重试"
)
NOTHING_THERE = phrase("there is nothing at {path}; /docs lists what there is", "{path} 不存在；可用的地址见 /docs")
NOT_BY_METHOD = phrase(
    "{operation} is not possible here; the Allow header says what is", "此处不支持 {operation}；可用的方法见 Allow 头"
)
BROKE = phrase(
    "something broke; daemon.log tells what, under request={id}", "服务器出错；详情见 daemon.log 中的 request={id}"
)
NO_FILE = phrase("there is no such file", "没有此文件")
NOT_OUR_NAME = phrase(
    "this service is not called {host!r}; names besides HOST go into ALLOWED_HOSTS",
    "本服务的名称不是 {host}；HOST 之外的名称请填入 ALLOWED_HOSTS",
)
LENGTH_NEEDED = phrase("send the body with a Content-Length", "请求体须带 Content-Length")
BODY_TOO_LONG = phrase("a body may have {bytes:d} bytes", "请求体不能超过 {bytes} 字节")
OTHER_SITE = phrase("a page of another site may not do this", "其他网站的页面不能执行此操作")
NO_SERVER_LISTED = phrase(
    "there is no server {server!r}; GET /api/status lists them", "没有服务器 {server}；可用 GET /api/status 查看"
)
NO_SERVER_INDEX = phrase(
    "there is no server {number:d}; the last one has index {last:d}", "没有服务器 {number}；最后一台的序号是 {last}"
)
NO_SERVER_NOW = phrase("there is no server {server!r} any more", "服务器 {server} 已不存在")
NO_SET = phrase("{word} has no warm-up set {set!r}; it has {known}", "{word} 没有预热集 {set}；现有：{known}")
NO_BATCH = phrase("there is no batch {batch!r}", "没有批次 {batch}")
SOMEBODY_CANCELLED = phrase("somebody cancelled it", "已被取消")
THE_TASK_IS = phrase("the task is {place}", "任务地址：{place}")

# -- parameters ----------------------------------------------------------------------------------------------

UNKNOWN_PARAMETER = phrase("is no parameter of this; there are: {known}", "不是此接口的参数；可用：{known}")
NO_PARAMETERS = phrase("is no parameter of this; there are none here", "不是此接口的参数；此接口没有参数")
NOT_ISO = phrase(
    "must be a date and time in ISO 8601, such as 2026-11-23T00:00:00Z",
    "必须是 ISO 8601 日期时间，例如 2026-11-23T00:00:00Z",
)

# What Pydantic and FastAPI say of the parameters of this API: never called, only read.
for _english, _chinese in {
    "Field required": "必填",
    "Extra inputs are not permitted": "未知字段",
    "Input should be a valid integer, unable to parse string as an integer": "必须是整数",
    "Input should be a valid integer, got a number with a fractional part": "必须是整数",
    "Input should be a valid integer": "必须是整数",
    "Unable to parse input string as an integer, exceeded maximum size": "整数过大",
    "Input should be a valid number, unable to parse string as a number": "必须是数字",
    "Input should be a valid number": "必须是数字",
    "Input should be a finite number": "必须是有限的数字",
    "Input should be a valid boolean, unable to interpret input": "必须是 true 或 false",
    "Input should be a valid boolean": "必须是 true 或 false",
    "Input should be a valid string, unable to parse raw data as a unicode string": "必须是有效的 Unicode 文本",
    "Input should be a valid string": "必须是文本",
    "Input should be a valid list": "必须是列表",
    "Input should be a valid dictionary or object to extract fields from": "必须是 JSON 对象",
    "Input should be a valid dictionary or instance of {word}": "必须是 {word} 对象",
    "Input should be a valid datetime or date, {words}": "必须是日期时间（{words}）",
    "Input should be a valid datetime, {words}": "必须是日期时间（{words}）",
    "Input should be a valid datetime": "必须是日期时间",
    "Input should have timezone info": "必须带时区",
    "Input should be greater than or equal to {least:g}": "必须大于或等于 {least}",
    "Input should be greater than {least:g}": "必须大于 {least}",
    "Input should be less than or equal to {most:g}": "必须小于或等于 {most}",
    "Input should be less than {most:g}": "必须小于 {most}",
    "Input should be {choices} or {last!r}": "必须是 {choices} 或 {last} 之一",
    "Input should be {last!r}": "必须是 {last}",
    "String should have at least {least:d} characters": "至少 {least} 个字符",
    "String should have at least {least:d} character": "至少 {least} 个字符",
    "String should have at most {most:d} characters": "至多 {most} 个字符",
    "String should have at most {most:d} character": "至多 {most} 个字符",
    "String should match pattern {pattern!r}": "必须匹配 {pattern}",
    "List should have at least {least:d} item after validation, not {count:d}": "至少 {least} 项，现为 {count} 项",
    "List should have at least {least:d} items after validation, not {count:d}": "至少 {least} 项，现为 {count} 项",
    "List should have at most {most:d} item after validation, not {count:d}": "至多 {most} 项，现为 {count} 项",
    "List should have at most {most:d} items after validation, not {count:d}": "至多 {most} 项，现为 {count} 项",
    "Unable to extract tag using discriminator {name!r}": "缺少 {name}",
    "Input tag {tag!r} found using {name!r} does not match any of the expected tags: {known}": (
        "{name} 为 {tag}，只能是：{known}"
    ),
    "JSON decode error": "不是有效的 JSON",
    "There was an error parsing the body": "请求体无法解析",
}.items():
    phrase(_english, _chinese)
VALUE_ERROR = phrase("Value error, {reason}", "{reason}")

# -- a daemon elsewhere --------------------------------------------------------------------------------------

NO_ADDRESS = phrase(
    "--url {given!r} is no address such as http://10.0.0.5:8000",
    "--url {given} 不是有效地址，例如 http://10.0.0.5:8000",
)
BAD_TOKEN = phrase(
    "API_TOKEN has characters that no token has: copy it anew", "API_TOKEN 含有令牌中没有的字符：请重新复制"
)
NO_ANSWER = phrase("{url} does not answer: {words}", "{url} 没有应答：{words}")
NOT_OUR_DAEMON = phrase(
    "{url} answers something else than was asked for: is it our daemon?",
    "{url} 的应答不符合要求：是本程序的守护进程吗？",
)
NOT_OUR_ROOT = phrase(
    "{url} answers HTTP 404 and not as a cache keeper does: its address has no path",
    "{url} 应答 HTTP 404，且不像缓存管家：其地址不带路径",
)
SET_API_TOKEN = phrase("{denial} (set API_TOKEN to a token of {url})", "{denial}（请将 API_TOKEN 设为 {url} 的令牌）")
TRY_AGAIN = phrase("try again in {seconds} s", "请在 {seconds} 秒后重试")
ITS_REQUEST = phrase("{url}, request {id}: {reason}", "{url}，请求 {id}：{reason}")
ITS_ERROR = phrase("{url}: {reason}", "{url}：{reason}")
