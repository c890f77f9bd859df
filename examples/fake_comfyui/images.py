"""PNG files with the standard library only, numbered as ComfyUI numbers its outputs."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

from examples.fake_comfyui.node_classes import Image


def png(image: Image) -> bytes:
    """A valid 8-bit RGB PNG of one colour."""
    row = b"\0" + image.colour.to_bytes(3, "big") * image.width
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * image.height, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def save_images(image: Image, root: Path, prefix: str, kind: str) -> list[dict[str, str]]:
    """Write ``<root>/<subfolder>/<prefix>_00001_.png`` and so on, after the highest number present.

    Given a prefix that leads out of ``root``, raise ValueError, as the original does.
    """
    folder = root / Path(prefix).parent
    if not folder.resolve().is_relative_to(root.resolve()):
        raise ValueError("**** ERROR: Saving image outside the output folder is not allowed.")
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(prefix).name
    pattern = re.compile(rf"{re.escape(name)}_(\d+)_\..*", re.IGNORECASE)
    taken = [int(match[1]) for entry in folder.iterdir() if (match := pattern.fullmatch(entry.name))]
    first = max(taken, default=0) + 1
    entries = []
    for number in range(first, first + image.batch_size):
        filename = f"{name}_{number:05}_.png"
        (folder / filename).write_bytes(png(image))
        subfolder = "" if folder == root else folder.relative_to(root).as_posix()
        entries.append({"filename": filename, "subfolder": subfolder, "type": kind})
    return entries
