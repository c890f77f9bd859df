"""The arguments of ``python -m modelcache``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import config
from core.error_words import error_text
from core.models import words
from core.models.names import repo_id, revision
from core.models.units import age_seconds, size_bytes

EXIT_DONE, EXIT_TROUBLE, EXIT_USAGE, EXIT_BUSY = 0, 1, 2, 75
"""75 is sysexits' EX_TEMPFAIL: another process works on the model, try again later."""


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(
        prog="python -m modelcache",
        description="Keeps large models: downloaded once, checked, found, passed on. "
        "管理大模型缓存：只下载一次，可校验、可查找、可转存。",
        epilog="exit code: 0 done, 1 something failed or is not whole, 2 bad usage, 75 another process is at work, "
        "78 settings that cannot be used / "
        "退出码：0 完成，1 有失败或不完整，2 用法错误，75 另一进程正在处理，78 配置错误",
    )
    commands = cli.add_subparsers(dest="command", required=True, metavar="COMMAND")

    listed = _command(commands, "list", "what is there, its state, the space / 列出模型、状态和空间", name="?")
    listed.add_argument("--sort", choices=("size", "used", "age"),
                        help="largest, least recently used or oldest first / 按大小、最久未用或最旧排序")  # fmt: skip
    listed.add_argument("--top", type=_checked(_count), metavar="N", help="only the first N / 只显示前 N 个")
    listed.add_argument("--fresh", action="store_true", help="read every file anew / 重新读取所有文件")

    _command(commands, "info", "everything known of a model / 模型详情", name=1)

    cleaned = _command(commands, "clean", "remove models; asks before / 删除模型，执行前询问", name="?")
    cleaned.add_argument("--older-than", type=_checked(age_seconds), metavar="30d",
                         help="only what has not been used for so long / 只删除长期未使用的")  # fmt: skip
    cleaned.add_argument("--keep-under", type=_checked(size_bytes), metavar="200GB",
                         help="the least recently used, until this is left / 先删最久未用的，直到不超过")  # fmt: skip
    _destructive(cleaned)

    verified = _command(commands, "verify", "check that models are whole / 校验模型是否完整", name="?")
    verified.add_argument("--full", action="store_true", help="hash every file / 计算每个文件的哈希")

    pruned = _command(commands, "prune", "remove partial downloads and superseded revisions / 清理未完成的下载和旧版本",
                      name="?")  # fmt: skip
    _destructive(pruned)

    pinned = _command(commands, "pin", "protect a model from clean and prune / 固定模型，不被清理", name=1)
    pinned.add_argument("--off", action="store_true", help="no longer / 取消固定")

    pulled = _command(commands, "pull", "download a model, once / 下载模型（只下载一次）")
    pulled.add_argument("repo", type=_checked(repo_id), metavar="REPO", help="such as black-forest-labs/FLUX.1-dev")
    _pulling(pulled)
    pulled.add_argument("--update", action="store_true",
                        help="ask for a newer commit though it is complete / 即使已完整也检查新版本")  # fmt: skip

    moved = _command(commands, "transfer", "copy a model to ModelScope and compare / 转存到 ModelScope 并比对")
    moved.add_argument("repo", type=_checked(repo_id), metavar="REPO", help="on Hugging Face / Hugging Face 上的仓库")
    moved.add_argument("target", type=_checked(repo_id), metavar="TARGET", help="on ModelScope / ModelScope 上的仓库")
    _pulling(moved)
    moved.add_argument("--visibility", choices=("private", "public"), default="private",
                       help="of a new repo; default private / 新仓库的可见性，默认私有")  # fmt: skip
    moved.add_argument("--license", default="Apache-2.0", metavar="SPDX",
                       help="of a new repo; default Apache-2.0 / 新仓库的许可证")  # fmt: skip
    moved.add_argument("--verify-only", action="store_true",
                       help="pull if needed and compare, upload nothing / 必要时下载并比对，不上传")  # fmt: skip
    return cli


def _command(commands: Any, name_: str, help_: str, *, name: int | str | None = None) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name_, help=help_, description=help_)
    if name == 1:
        command.add_argument("name", metavar="NAME", help="part of a model's name or repo / 名称或仓库的一部分")
    elif name == "?":
        command.add_argument("name", nargs="?", metavar="NAME",
                             help="part of a name or repo; default: all / 名称或仓库的一部分，默认全部")  # fmt: skip
    command.add_argument("--json", action="store_true", help="JSON on stdout, sizes in bytes / 以 JSON 输出，单位字节")
    return command


def _destructive(command: argparse.ArgumentParser) -> None:
    command.add_argument("--force", action="store_true",
                         help="do not ask; locks and use still protect / 不询问；仍不会动正在使用的模型")  # fmt: skip
    command.add_argument("--dry-run", action="store_true", help="show what would go, and why / 试运行，只预览")


def _pulling(command: argparse.ArgumentParser) -> None:
    command.add_argument("--revision", type=_checked(revision), default="main", metavar="R",
                         help="branch, tag or commit; default main / 分支、标签或提交，默认 main")  # fmt: skip
    command.add_argument("--into", type=Path, metavar="DIR",
                         help="which of MODEL_CACHE_DIRS a new model goes to; default: the first / "
                         "新模型存入 MODEL_CACHE_DIRS 中的哪个目录，默认第一个")  # fmt: skip


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ValueError(words.NO_COUNT(typed=text))
    return int(text)


def _checked(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let a reader's own words reach the user: argparse shows only those of ArgumentTypeError."""

    def checked(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(error_text(error, chinese=config.prefers_chinese())) from None

    return checked
