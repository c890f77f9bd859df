"""``python -m api token``: give out, list and revoke API tokens, and change the key that signs them."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO
from unicodedata import east_asian_width

from api.keys import SigningKey
from api.tokens import LONGEST_SECONDS, Tokens
from core import request_phrases as say
from core.access import Caller, IssuedToken, Role
from core.audit import Records
from core.error_words import error_text
from core.printable import printable
from core.typed import word

EXIT_OK, EXIT_TROUBLE = 0, 1
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Register(Protocol):
    """Which tokens were given out; see store/issued_tokens.py."""

    def all(self) -> list[IssuedToken]: ...
    def revoke(self, token_id: str, now: float) -> IssuedToken | None: ...


class Rotating(Protocol):
    """Keys that can be changed; see ``api.keys.FileKeys``."""

    def rotate(self) -> tuple[SigningKey, ...]: ...


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m api``."""
    top = argparse.ArgumentParser(
        prog="python -m api", description="Who may use the API. 管理 API 令牌。",
        epilog="exit code: 0 done, 1 not possible, 2 bad usage, 78 settings that cannot be used / "
        "退出码：0 完成，1 无法完成，2 用法错误，78 配置错误",
    )  # fmt: skip
    token = top.add_subparsers(dest="room", required=True, metavar="COMMAND").add_parser(
        "token", help="create, list, revoke, rotate / 令牌管理"
    )
    commands = token.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="for programs / 输出 JSON")
        return command

    create = add("create", "give out a token; it is printed once, alone on stdout / 签发令牌，仅在标准输出显示一次")
    create.add_argument("--user", required=True, type=user_name, metavar="U", help="whom the records name / 用户名")
    create.add_argument(
        "--role", required=True, type=word(Role), choices=list(Role),
        help="viewer looks; operator cleans, warms, pauses; admin also clears and exports / 角色",
    )  # fmt: skip
    create.add_argument(
        "--ttl",
        type=duration_seconds,
        default="8h",
        metavar="8h",
        help="30m, 8h, 90d; default 8h / 有效期，默认 8 小时",
    )
    listing = add("list", "tokens given out, without the tokens themselves / 列出已签发的令牌")
    listing.add_argument("--all", action="store_true", help="expired and revoked ones too / 包括已过期和已撤销的")
    add("revoke", "refuse a token from now on / 撤销令牌").add_argument(
        "id", metavar="JTI", help="as list shows it / 令牌编号"
    )
    add("rotate", "sign with a new key; the former still verifies, the one before no more / 更换签名密钥")
    return top


def user_name(text: str) -> str:
    """Given a user's name as typed, return it; raises ArgumentTypeError."""
    # ``local:`` and ``schedule`` are given by the program itself, and must not be forged in its records.
    if not re.fullmatch(r"[\w.@+-]{1,64}", text) or text == "schedule":
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is no user name: up to 64 letters, digits and . _ @ + - / "
            "用户名只能包含字母、数字和 . _ @ + -"
        )
    return text


def duration_seconds(text: str) -> float:
    """Given 90s, 30m, 8h or 90d, return seconds; raises ArgumentTypeError."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30m, 8h or 90d (366d at most) / 时长格式不正确")
    return float(seconds)


@dataclass(frozen=True)
class TokenDesk:
    """The commands, one method each; they print and return the exit code.

    ``keys`` is None where the settings have them. Methods raise StoreError and KeysUnusable.
    """

    tokens: Tokens
    register: Register
    keys: Rotating | None
    records: Records
    caller: Caller
    out: TextIO
    err: TextIO
    chinese: bool = False

    def run(self, options: argparse.Namespace, now: float) -> int:
        """Carry out what was typed; ``now`` is UTC seconds."""
        commands = {"create": self.create, "list": self.list, "revoke": self.revoke, "rotate": self.rotate}
        return commands[options.command](options, now)

    def create(self, options: argparse.Namespace, now: float) -> int:
        """Give out a token and print it. Not without a record: it would be a power that nobody knows of."""
        parameters = {"user": options.user, "role": options.role.value, "ttl_seconds": options.ttl}
        with self.records.operation(
            self.caller, "token.create", options.user, parameters, destructive=True
        ) as operation:
            token, issued = self.tokens.issue(options.user, options.role, options.ttl, now)
            operation.effect = {"token_id": issued.id, "expires_at": _iso(issued.expires_at)}
        if options.json:
            self._json({"token": token, **_as_dict(issued, now)})
            return EXIT_OK
        self.out.write(f"{token}\n")
        until = _local(issued.expires_at)
        self.err.write(
            f"{issued.user} 的令牌 {issued.id}，角色 {issued.role}，有效期至 {until}；仅显示这一次\n"
            if self.chinese
            else f"token {issued.id} of {issued.user}, {issued.role}, until {until}; it is not shown again\n"
        )
        return EXIT_OK

    def list(self, options: argparse.Namespace, now: float) -> int:
        """Print the tokens that were given out; those that are over only when asked for."""
        self.records.read(self.caller, "token.list")
        shown = [each for each in self.register.all() if options.all or each.state(now) == "live"]
        if options.json:
            self._json([_as_dict(each, now) for each in shown])
            return EXIT_OK
        if shown:
            self.out.write(_aligned(_HEADERS[self.chinese]) + "\n")
        for each in shown:
            row = (each.id, each.role, each.state(now), _local(each.issued_at), _local(each.expires_at), each.user)
            self.out.write(printable(_aligned(row)) + "\n")
        if not shown:
            self.out.write("没有令牌。\n" if self.chinese else "No tokens.\n")
        return EXIT_OK

    def revoke(self, options: argparse.Namespace, now: float) -> int:
        """Refuse a token from now on. Also where the audit log cannot be written: it takes a power away."""
        with self.records.operation(self.caller, "token.revoke", options.id, {}) as operation:
            revoked = self.register.revoke(options.id, now)
            operation.failed = "" if revoked else say.NO_SUCH_TOKEN()
        if revoked is None:
            self._refuse(say.NO_TOKEN_SHOWN(token=printable(options.id[:80])))
            return EXIT_TROUBLE
        if options.json:
            self._json(_as_dict(revoked, now))
        else:
            self.out.write(
                f"{revoked.user} 的令牌 {revoked.id} 已撤销\n"
                if self.chinese
                else f"token {revoked.id} of {revoked.user} is refused from now on\n"
            )
        return EXIT_OK

    def rotate(self, options: argparse.Namespace, _: float) -> int:
        """Sign with a new key; the former one still verifies."""
        if self.keys is None:
            self._refuse(say.SECRET_SIGNS())
            return EXIT_TROUBLE
        with self.records.operation(self.caller, "token.rotate", "", {}, destructive=True) as operation:
            live = self.keys.rotate()
            operation.effect = {"signs": live[0].kid, "verifies": [each.kid for each in live]}
        if options.json:
            self._json({"signs": live[0].kid, "verifies": [each.kid for each in live]})
        else:
            self.out.write(self._rotated([each.kid for each in live]) + "\n")
        return EXIT_OK

    def _rotated(self, live: Sequence[str]) -> str:
        new, *former = live
        if self.chinese:
            return f"已更换签名密钥：{new}；" + (f"{former[0]} 仍可用于验证" if former else "此前没有密钥")
        return f"key {new} signs from now on; " + (f"{former[0]} still verifies" if former else "there was none before")

    def _refuse(self, words: str) -> None:
        self.err.write(error_text(words, chinese=self.chinese) + "\n")

    def _json(self, document: object) -> None:
        json.dump(document, self.out, ensure_ascii=False, indent=2)
        self.out.write("\n")


_HEADERS = ("ID", "ROLE", "STATE", "ISSUED", "EXPIRES", "USER"), ("编号", "角色", "状态", "签发", "到期", "用户")
_WIDTHS = (16, 9, 10, 19, 19, 0)


def _aligned(row: Sequence[str]) -> str:
    # A Chinese character is as wide as two others.
    wide = (sum(2 if east_asian_width(each) in "WF" else 1 for each in text) for text in row)
    cells = (text + " " * (width - taken) for text, width, taken in zip(row, _WIDTHS, wide, strict=True))
    return "  ".join(cells)


def _as_dict(token: IssuedToken, now: float) -> dict[str, Any]:
    return {
        "id": token.id, "user": token.user, "role": token.role.value, "state": token.state(now),
        "issued_at": _iso(token.issued_at), "expires_at": _iso(token.expires_at),
        "revoked_at": None if token.revoked_at is None else _iso(token.revoked_at),
    }  # fmt: skip


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _local(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
