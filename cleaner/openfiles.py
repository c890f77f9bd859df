"""Which files some process has open or mapped, so that nothing is deleted under its writer.

Identified by device and inode, not by path: a ComfyUI in a container sees the same file under another name.
Without root only the processes of our own user can be read; there the grace period has to do.
"""

from __future__ import annotations

import os
import stat

_MAPPED_DEVICE_FIELD, _MAPPED_INODE_FIELD = 3, 4


def open_inodes(device: int) -> frozenset[int]:
    """Given a device number, return the inodes of its regular files that any readable process uses.

    Costs some milliseconds: one stat for each open file of the machine.
    """
    found: set[int] = set()
    try:
        processes = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    except OSError:
        return frozenset()
    mapped_device = f"{os.major(device):02x}:{os.minor(device):02x}".encode()
    for process in processes:
        _add_open(f"/proc/{process}/fd", device, found)
        _add_mapped(f"/proc/{process}/maps", mapped_device, found)
    return frozenset(found)


def _add_open(directory: str, device: int, found: set[int]) -> None:
    try:
        descriptors = os.listdir(directory)  # noqa: PTH208
    except OSError:  # the process ended, or belongs to somebody else
        return
    for descriptor in descriptors:
        path = f"{directory}/{descriptor}"
        try:
            # Sockets, pipes and devices are told by the link's text, without touching what it points to.
            if not os.readlink(path).startswith("/") or os.readlink(path).startswith(("/dev/", "/proc/")):  # noqa: PTH115
                continue
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            continue
        if status.st_dev == device and stat.S_ISREG(status.st_mode):
            found.add(status.st_ino)


def _add_mapped(path: str, mapped_device: bytes, found: set[int]) -> None:
    try:
        with open(path, "rb") as maps:
            text = maps.read()
    except OSError:
        return
    if mapped_device not in text:
        return
    for line in text.splitlines():
        fields = line.split(None, 5)
        # Only shared mappings can write to the file; libraries are private ones.
        if (
            len(fields) > _MAPPED_INODE_FIELD
            and fields[1].endswith(b"s")
            and fields[_MAPPED_DEVICE_FIELD] == mapped_device
        ):
            found.add(int(fields[_MAPPED_INODE_FIELD]))
