"""Names from disks and hubs, fit to be shown."""

from __future__ import annotations


def printable(name: str) -> str:
    """Given a name with any bytes in it, return it for a terminal, a log or JSON: one line, valid UTF-8."""
    if name.isprintable():
        return name
    shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in shown)
