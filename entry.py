"""What every command does first and last, so that it never ends with a traceback that is nobody's fault.

A command begins before its own imports, which take most of its start, and is run last of all::

    if __name__ == "__main__":
        import entry

        entry.begin()

    import argparse
    ...
    if __name__ == "__main__":
        sys.exit(entry.run(main))

It imports next to nothing: the supervisor, which lives for months, begins here too.
"""

from __future__ import annotations

import io
import os
import sys

# Not from typing: until ``begin`` is called, Ctrl-C is shown in full, and typing and signal take their time to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import SIGINT, default_int_handler, getsignal, signal
    from typing import Any
else:
    # What signal wraps in enumerations.
    from _signal import SIGINT, default_int_handler, getsignal, signal

EXIT_UNWRITABLE = 74
"""sysexits' EX_IOERR: the output could not be written."""

EXIT_INTERRUPTED, EXIT_NO_READER = 128 + 2, 128 + 13
"""What a shell says of a program that SIGINT or SIGPIPE ended; Python itself ignores the latter."""


def begin() -> None:
    """Open what is closed, print what the terminal cannot as ``?``, and let Ctrl-C end the process at once."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    _end_at_once_when_interrupted()


def run(main: Callable[[list[str]], int]) -> int:
    """Call ``main`` with the arguments; return the exit code, also when somebody or its output puts an end to it."""
    _watch_output()
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    try:
        try:
            if getsignal(SIGINT) is _leave:
                signal(SIGINT, interrupt)
            code = main(sys.argv[1:])
        finally:
            if getsignal(SIGINT) is interrupt:
                signal(SIGINT, _leave)
            # Here, where it can be told; Python would only complain while it ends. After ``--help`` too.
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except RuntimeError:
        # What Python before 3.12 makes of an interrupt in the middle of a class of a module that is imported.
        if not interrupted:
            raise
        return EXIT_INTERRUPTED
    except OutputLost as lost:
        # What is still in the buffer has to go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(lost.reason, BrokenPipeError):
            # ``… | head``: the reader has enough.
            return EXIT_NO_READER
        print(f"the output cannot be written 无法写出结果: {lost.reason.strerror}", file=sys.stderr)
        return EXIT_UNWRITABLE


class OutputLost(Exception):
    """Standard output takes no more. No OSError: commands catch those, and blame the file that they work on."""

    def __init__(self, reason: OSError) -> None:
        self.reason = reason
        super().__init__(reason.strerror)


class _Output(io.RawIOBase):
    """The bottom of standard output."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        # Kept, since it closes what is under it when nobody has it any more.
        self._stream = stream
        # Without a buffer, as under PYTHONUNBUFFERED, it is the bottom itself.
        self._raw: Any = getattr(stream.buffer, "raw", stream.buffer)

    def write(self, data: Any) -> int | None:
        try:
            written: int | None = self._raw.write(data)
        except OSError as error:
            raise OutputLost(error) from None
        return written

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        return int(self._raw.fileno())


def _watch_output() -> None:
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        return
    stream.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(stream)), stream.encoding, stream.errors, line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )  # fmt: skip


def _open_standard_streams() -> None:
    """Fill 0, 1 and 2 where they are closed, lest a pipe or a file of ours get such a number and be taken for it."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Python has None in their place, which nobody expects.
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as the process
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _end_at_once_when_interrupted() -> None:
    # Whoever starts us may have it ignored, as nohup and a shell's background do.
    if getsignal(SIGINT) is default_int_handler:
        signal(SIGINT, _leave)


def _leave(*_: object) -> None:
    """Nothing has been begun yet, or all is over. Raising would show where an import was."""
    os._exit(EXIT_INTERRUPTED)
