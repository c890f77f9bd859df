"""What the beginning and the end of a weight file say about the whole: is it there to the last byte?

Sources: the safetensors format description (8 bytes of header length, little endian, then JSON whose
``data_offsets`` cover the rest without holes; headers have at most 100 MB), GGUF's magic, the zip that
``torch.save`` writes, and the pointer files of Git LFS.
"""

from __future__ import annotations

import json
from math import prod
from typing import Any

from core.models import words as say

MAX_HEADER_BYTES = 100_000_000
HEAD_BYTES = 512
TAIL_BYTES = 65_558
"""A zip's end record with the longest comment it may have."""

_POINTER = b"version https://git-lfs.github.com/spec/"
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


class Malformed(ValueError):
    """A file is not what its name says; the text says what is wrong with it."""


def safetensors_header_bytes(first: bytes) -> int:
    """Given the first 8 bytes, return the length of the JSON that follows; raises Malformed."""
    if len(first) < 8:
        raise Malformed(say.SHORT_HEADER())
    length = int.from_bytes(first[:8], "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise Malformed(say.NO_HEADER())
    return length


def safetensors_size_bytes(header: bytes) -> int:
    """Given the JSON header, return how long the whole file must be, in bytes; raises Malformed."""
    try:
        tensors: Any = json.loads(header)
        spans = sorted(_span(name, each) for name, each in tensors.items() if name != "__metadata__")
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        raise Malformed(say.BAD_HEADER(header=str(error)[:120])) from None
    end = 0
    for start, stop in spans:
        if start != end:
            raise Malformed(say.HOLE())
        end = stop
    return 8 + len(header) + end


def _span(name: str, tensor: dict[str, Any]) -> tuple[int, int]:
    start, stop = tensor["data_offsets"]
    bits = _BITS.get(tensor["dtype"])
    if not 0 <= start <= stop or (bits is not None and (prod(tensor["shape"]) * bits + 7) // 8 != stop - start):
        raise ValueError(say.BAD_OFFSETS(tensor=name))
    return start, stop


def judge_head(path: str, head: bytes, size: int) -> None:
    """Given the first HEAD_BYTES of a weight file and its size, raise Malformed when it cannot be one."""
    if size == 0:
        raise Malformed(say.EMPTY())
    if head.startswith(_POINTER):
        raise Malformed(say.POINTER())
    if head.lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        raise Malformed(say.WEB_PAGE())
    if not any(head):
        raise Malformed(say.ZERO_HEADER())
    if path.lower().endswith(".gguf") and not head.startswith(b"GGUF"):
        raise Malformed(say.NO_GGUF_HEADER())


def judge_tail(head: bytes, tail: bytes) -> None:
    """Given the beginning and the last TAIL_BYTES of a ``torch.save`` zip, raise Malformed when its end is missing."""
    if head.startswith(b"PK\x03\x04") and b"PK\x05\x06" not in tail:
        raise Malformed(say.NO_ZIP_END())


def zeros_from(samples: list[tuple[int, bool]]) -> int | None:
    """Given (offset, is all zeros) of pages spread over a file in order, return where it seems to be zeros to its end.

    One empty page at the end can be a tensor of zeros; three of seventeen in a row, an eighth of the file, are a hole
    that a broken download left.
    """
    start = None
    run = 0
    for offset, empty in samples:
        run = run + 1 if empty else 0
        if run == 1:
            start = offset
    return start if run >= 3 else None
