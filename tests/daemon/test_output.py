"""main's output on its way into the log: divided into lines and control lines, at whatever bytes a read ends."""

from __future__ import annotations

import io
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from core.control import Beat, Control, Ready, encode
from supervisor.child import MAX_TAIL_BYTES, Splitter, describe_end
from supervisor.logfile import LogFile
from supervisor.tail import last_lines

from .conftest import SOURCE

lines = st.one_of(
    st.text(st.characters(exclude_characters="\n\x1e", codec="utf-8"), max_size=30).map(lambda text: text + "\n"),
    st.builds(Beat, st.none(), st.text(max_size=10)),
    st.builds(Ready, st.text(max_size=10)),
)


@given(st.lists(lines, max_size=20), st.lists(st.integers(0, 400), max_size=20))
def test_where_the_reads_end_makes_no_difference(written: list[str | Control], cuts: list[int]) -> None:
    stream = b"".join(line.encode() if isinstance(line, str) else encode(line) for line in written)
    ends = [0, *sorted(cuts), len(stream)]
    splitter = Splitter()
    text, controls = b"", []
    for begin, end in itertools.pairwise(ends):
        more, told = splitter.feed(stream[begin:end])
        assert more == b"" or more.endswith(b"\n")
        text += more
        controls += told
    assert text + splitter.rest() == "".join(line for line in written if isinstance(line, str)).encode()
    assert controls == [line for line in written if not isinstance(line, str)]


def test_a_control_line_behind_unfinished_text_is_still_heard() -> None:
    assert Splitter().feed(b"half a line" + encode(Ready("")) + b"more\n") == (b"half a line\nmore\n", [Ready("")])


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    splitter = Splitter()
    logged = 0
    for _ in range(1000):
        text, _ = splitter.feed(b"x" * 4096)
        logged += text.count(b"x")
    assert 1000 * 4096 - logged <= MAX_TAIL_BYTES


def test_the_last_words_of_a_dead_main_are_kept_though_their_line_never_ended() -> None:
    splitter = Splitter()
    splitter.feed(b"Segmentation")
    assert splitter.rest() == b"Segmentation\n"
    splitter.feed(b'\x1e{"event": "be')
    assert splitter.rest() == b""


def test_an_end_is_described_for_people() -> None:
    assert describe_end(0) == "exited with code 0"
    assert describe_end(-9) == "was killed by SIGKILL"
    assert describe_end(-77) == "was killed by signal 77"


def test_every_line_of_a_block_is_stamped(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"), 0, 0)
    log.open()
    log.lines(b"one\n\nthree\n")
    log.line("four\nstays one line")
    stamp = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]"
    expected = rf"{stamp} one\n{stamp} \n{stamp} three\n{stamp} four stays one line\n"
    assert re.fullmatch(expected, (tmp_path / "log").read_text())


def test_without_backups_a_full_log_is_begun_anew(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"), 100, 0)
    log.open()
    for number in range(10):
        log.line(f"line {number}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log"]
    assert (tmp_path / "log").read_text().endswith("line 9\n")
    assert (tmp_path / "log").stat().st_size <= 100


LIMITED = """
import resource, sys
sys.path.insert(0, {source!r})
from supervisor.logfile import LogFile

log = LogFile("log", 0, 0)
log.open()
# A limit on the size of files fails a write as a full disk does: in the middle of it, and without root.
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
for number in range(10):
    log.lines(b"number %d\\n" % number)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.lines(b"number 10\\n")
print(log.dropped_total)
"""


def test_a_write_that_is_cut_short_is_counted_and_the_next_line_begins_a_line(tmp_path: Path) -> None:
    code = LIMITED.format(source=str(SOURCE))
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    written = (tmp_path / "log").read_text().splitlines()
    # 100 bytes hold three lines of 31 bytes and 7 of the fourth.
    assert [line[22:] for line in written[:3]] == ["number 0", "number 1", "number 2"]
    assert len(written[3]) == 7
    assert [line[22:] for line in written[4:]] == ["7 log lines were dropped: File too large", "number 10"]
    assert run.stdout == "7\n"


@given(st.text("ab\n", max_size=60), st.integers(0, 12))
def test_the_last_lines_are_those_that_a_full_read_would_give(text: str, count: int) -> None:
    file = io.BytesIO(text.encode())
    expected = text.encode().splitlines(keepends=True)
    assert last_lines(file, count) == b"".join(expected[len(expected) - count :] if count < len(expected) else expected)
    assert file.tell() == len(text)


def test_a_closed_reader_of_the_echo_is_no_failure(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    log = LogFile(str(tmp_path / "log"), 0, 0, echo_fd=write_end)
    log.open()
    log.line("one")
    log.line("two")
    os.close(write_end)
    assert (tmp_path / "log").read_text().count("\n") == 2
