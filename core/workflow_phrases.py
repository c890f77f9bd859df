"""What is wrong with a workflow, a template or what is asked of one, and why images did not come: (English, 中文).

The errors have the English; people read either, by ``core.error_words``.
"""

from __future__ import annotations

from core import reason_phrases
from core.phrases import Phrasebook

# What a flaw begins with: by this only is the file before it told from any other word with a colon.
_FLAW = (
    r"(?:is not a (?:workflow|mapping): |was saved for the editor: |node .{1,200}? has (?:no class_type: |inputs that )"
    r"|error: node |has unknown entries: |maps .{1,200}?, which is no parameter|\w{1,20} is mapped to "
    r'|images are taken from node |"images" must |"largest_seed" must )'
)

BOOK = Phrasebook(
    shapes={
        **dict.fromkeys(("parameter", "again"), r"\w{1,20}"),
        "url": r"\S{1,2000}",
        "file": rf"[^;]{{1,300}}?(?=:? {_FLAW})",
        # A value of JSON as Python writes it, or of Python.
        "value": r".{1,600}?",
    }
)
_phrase = BOOK.phrase

# -- a workflow, by itself or after its file's name ----------------------------------------------------------

NO_WORKFLOW = _phrase(
    "is not a workflow: expected a JSON object of nodes", "不是工作流：应为由节点组成的 JSON 对象", "reason", "flaw"
)
EDITOR_FORMAT = _phrase(
    'was saved for the editor: in ComfyUI use "Export (API)" (导出 API 格式) and save that',
    "是编辑器格式：请在 ComfyUI 中使用“导出 API 格式”（Export (API)）另存",
    "reason",
    "flaw",
)
NO_CLASS = _phrase(
    "node {node!r} has no class_type: not a workflow in API format",
    "节点 {node} 没有 class_type：不是 API 格式的工作流",
    "reason",
    "flaw",
)
BAD_INPUTS = _phrase(
    "node {node!r} has inputs that are not an object", "节点 {node} 的 inputs 不是对象", "reason", "flaw"
)
NO_SUCH_KEY = _phrase("does not store the key {key!r}", "不存入缓存键 {key}")
BROKEN = _phrase("error: node {node}: {broken}", "错误：节点 {node}：{broken}", "reason", "flaw")
for _each in (reason_phrases.DANGLING_LINK, reason_phrases.CIRCLE):
    _phrase(_each.english, _each.chinese, "broken")

# -- a template's mapping ------------------------------------------------------------------------------------

NO_MAPPING = _phrase(
    'is not a mapping: expected {{"workflow": "file.json", "inputs": {{"prompt": "6.text", …}}}}',
    '不是映射：应为 {{"workflow": "file.json", "inputs": {{"prompt": "6.text", …}}}}',
    "reason",
    "flaw",
)
UNKNOWN_ENTRIES = _phrase("has unknown entries: {names}", "含有未知项：{names}", "reason", "flaw")
MAPS_OTHER = _phrase(
    "maps {typed!r}, which is no parameter: did you mean {parameter}?",
    "映射了 {typed}，但没有此参数：是否指 {parameter}？",
    "reason",
    "flaw",
)
MAPS_NONE = _phrase("maps {typed!r}, which is no parameter", "映射了 {typed}，但没有此参数", "reason", "flaw")
MAPPED_TO_LINK = _phrase(
    "{parameter} is mapped to {place}, which is linked to node {node}: map it there",
    "{parameter} 映射到 {place}，而它连接到节点 {node}：请映射到该节点",
    "reason",
    "flaw",
)
NO_LIST_OF_NODES = _phrase(
    '"images" must be a list of node ids such as ["9"]', '"images" 应为节点 ID 的列表，如 ["9"]', "reason", "flaw"
)
BAD_LARGEST_SEED = _phrase(
    '"largest_seed" must be a whole number from 0 to {largest:d}',
    '"largest_seed" 应为 0 到 {largest} 的整数',
    "reason",
    "flaw",
)
NO_IMAGE_NODE = _phrase(
    "images are taken from node {node}, which the workflow does not have; it has {known}",
    "图片取自节点 {node}，而工作流中没有该节点；现有 {known}",
    "reason",
    "flaw",
)

# -- a place, of a mapping or of an override -----------------------------------------------------------------

OVERRIDE = _phrase("override", "覆盖项", "giver")
MAPPED = _phrase("{parameter} is mapped to", "{parameter} 映射到", "giver")
NO_PLACE = _phrase(
    "{giver} {value!r}: a place is written node.input, as in 6.text",
    "{giver} {value}：位置应写作 node.input，如 6.text",
    "reason",
    "flaw",
)
NO_NODE = _phrase(
    "{giver} {place}: node {node}, which the workflow does not have; it has {known}",
    "{giver} {place}：工作流中没有节点 {node}；现有 {known}",
    "reason",
    "flaw",
)
NO_INPUT = _phrase(
    "{giver} {place}: node {node} ({node_class}) has no input {input!r}; it has {known}",
    "{giver} {place}：节点 {node}（{node_class}）没有输入 {input}；现有 {known}",
    "reason",
    "flaw",
)
NO_INPUTS = _phrase("none", "无", "known")

# -- what a generation asks of a template --------------------------------------------------------------------

NO_PLACE_FOR = _phrase(
    "the template has no place for {parameter}: add it to the mapping, or leave {again} out",
    "模板中没有 {parameter} 的位置：请加入映射，或不要给出 {again}",
)
OTHER_PARAMETER = _phrase(
    "{typed!r} is no parameter: did you mean {parameter}?; an override is written node.input: 95.sampler_name",
    "没有参数 {typed}：是否指 {parameter}？覆盖项应写作 node.input：95.sampler_name",
)
NO_PARAMETER = _phrase(
    "{typed!r} is no parameter; an override is written node.input: 95.sampler_name",
    "没有参数 {typed}；覆盖项应写作 node.input：95.sampler_name",
)
OVERRIDE_OF_LINK = _phrase(
    "override {place}: the input is linked to node {node}; change that node's input",
    "覆盖项 {place}：该输入连接到节点 {node}；请更改该节点的输入",
)
NO_TEXT = _phrase("{parameter} must be a text, not {type}", "{parameter} 应为文本，而不是 {type}")
NO_NUMBER = _phrase("{parameter} must be a number, not {value!r}", "{parameter} 应为数字，而不是 {value}")
BAD_SEED = _phrase(
    "seed must be a whole number from 0 to {largest:d}, not {value!r}",
    "seed 应为 0 到 {largest} 的整数，而不是 {value}",
)
NOT_SENDABLE = _phrase("a value cannot be sent as JSON: {words}", "有值无法以 JSON 发送：{words}")

# -- a file --------------------------------------------------------------------------------------------------

NO_WORKFLOW_NAMED = _phrase(
    '{path}: a mapping names its workflow, as in "workflow": "text_to_image.json"',
    '{path}：映射须指明工作流，如 "workflow": "text_to_image.json"',
)
TOO_LARGE = _phrase("{path}: is larger than {mebibytes:d} MiB", "{path}：超过 {mebibytes} MiB")
NOT_READ = _phrase("{path}: cannot be read: {words}", "{path}：无法读取：{words}")
NO_JSON = _phrase("{path}: is not JSON: {words}", "{path}：不是 JSON：{words}")
IN_FILE = _phrase("{file}: {flaw}", "{file}：{flaw}")
FILE_IS = _phrase("{file} {flaw}", "{file} {flaw}")

# -- a prompt's images, and where they are stored -------------------------------------------------------------

PROMPT_GONE = _phrase(
    "prompt {prompt} is neither in the queue nor in the history of {url}: the server restarted, or somebody deleted "
    "it; generate it again",
    "任务 {prompt} 既不在 {url} 的队列中也不在历史中：服务器重启过，或被人删除；请重新生成",
)
NOT_FINISHED = _phrase(
    "prompt {prompt} has not finished after {seconds:g} s ({step} on {url}); wait for it again, or look at the server",
    "任务 {prompt} 在 {seconds} 秒后仍未完成（{url} 上{step}）；请继续等待，或查看服务器",
)
NO_IMAGE_IN = _phrase(
    "prompt {prompt} finished without making an image in node {nodes}",
    "任务 {prompt} 已完成，但节点 {nodes} 没有生成图片",
)
NO_IMAGE = _phrase("prompt {prompt} finished without making an image", "任务 {prompt} 已完成，但没有生成图片")
IMAGE_GONE = _phrase(
    "{url} has {image} of prompt {prompt} no more: its output was cleaned meanwhile; generate it again with another "
    "seed",
    "{url} 上任务 {prompt} 的 {image} 已不存在：其输出期间被清理；请换一个种子重新生成",
)
for _english, _chinese in (("queued", "排队中"), ("running", "生成中"), ("busy", "繁忙"), ("unreachable", "无法连接")):
    _phrase(_english, _chinese, "step")

NO_SERVER = _phrase(
    "no server is configured: give server_address, or set it", "未配置服务器：请给出 server_address，或设置 SERVERS"
)
TASK_ID_LENGTH = _phrase(
    "task id {task!r}: must have 1 to {bytes:d} bytes", "任务 ID {task}：长度应为 1 到 {bytes} 字节"
)
TASK_ID_ENDS = _phrase(
    "task id {task!r}: must not begin with a dot, nor begin or end with a space",
    "任务 ID {task}：不能以点开头，首尾不能有空格",
)
TASK_ID_CHARACTERS = _phrase(
    'task id {task!r}: must not contain / \\ : * ? " < > | or control characters',
    '任务 ID {task}：不能含有 / \\ : * ? " < > | 或控制字符',
)
NO_RECORD = _phrase(
    "{path} is there, but not readable as a task: {words}", "{path} 已存在，但无法作为任务读取：{words}"
)
THERE_ALREADY = _phrase("{path} is there already: choose another task id", "{path} 已存在：请换一个任务 ID")
OTHER_PROMPT = _phrase(
    "{path} has the images of another prompt: choose another task id", "{path} 中是另一任务的图片：请换一个任务 ID"
)
NOT_STORED = _phrase(
    "images of task {task} not stored in {path}: {words}", "任务 {task} 的图片未能存入 {path}：{words}"
)
