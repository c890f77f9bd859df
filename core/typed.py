"""Reads what people type on a command line, with words of ours: argparse's own speak of Python's types."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

Word = TypeVar("Word", bound=StrEnum)


def number(low: float, high: float = math.inf) -> Callable[[str], float]:
    """Given bounds, return a reader of numbers within them; infinity is none. It raises ArgumentTypeError."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (low <= value <= high and math.isfinite(value)):
            raise argparse.ArgumentTypeError(_refused(text, "a number", "数值", low, high))
        return value

    return read


def whole(low: int, high: float = math.inf) -> Callable[[str], int]:
    """Given bounds, return a reader of whole numbers within them. It raises ArgumentTypeError."""

    def read(text: str) -> int:
        # Eighteen digits are enough for whatever is counted here, and Python refuses to read some thousands.
        value = int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(_refused(text, "a whole number", "整数", low, high))
        return value

    return read


def word(words: type[Word]) -> Callable[[str], Word]:
    """Given an enumeration, return a reader of its words. It raises ArgumentTypeError naming them all."""

    def read(text: str) -> Word:
        try:
            return words(text)
        except ValueError:
            allowed = ", ".join(words)
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is none of {allowed} / 可选值：{allowed}") from None

    return read


def _refused(text: str, english: str, chinese: str, low: float, high: float) -> str:
    bounds, chinese_bounds = (
        (f"from {low:g} to {high:g}", f"{low:g} 到 {high:g} 之间的") if math.isfinite(high) else
        (f"of {low:g} or more", f"不小于 {low:g} 的")
    )  # fmt: skip
    return f"{text[:40]!r} is not {english} {bounds} / 必须是{chinese_bounds}{chinese}"
