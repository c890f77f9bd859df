"""The control lines between main and its supervisor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.control import MAX_LINE_BYTES, Beat, Control, Ready, StartWarning, encode, parse

CONTROLS: list[Control] = [
    Ready("http://127.0.0.1:8000/status"),
    Ready(""),
    Beat("2026-02-17T18:00:00Z", "3 servers, 2 loaded: 缓存已加载"),
    Beat(None, ""),
    StartWarning('port 8000 is taken by "other"\nso there is no page'),
]


@pytest.mark.parametrize("control", CONTROLS)
def test_what_is_encoded_parses_to_the_same(control: Control) -> None:
    line = encode(control)
    assert parse(line) == control
    assert type(parse(line)) is type(control)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_line_is_one_line_with_the_mark_in_front(control: Control) -> None:
    line = encode(control)
    assert line.startswith(b"\x1e{")
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert line.count(b"\x1e") == 1


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=3000))
def test_a_long_text_is_cut_so_that_one_write_stays_atomic(text: str) -> None:
    line = encode(StartWarning(text))
    assert len(line) <= MAX_LINE_BYTES
    assert line.count(b"\n") == 1
    parsed = parse(line)
    assert isinstance(parsed, StartWarning)
    assert text.encode("utf-8", "replace").decode().startswith(parsed.message)


def test_a_long_text_keeps_most_of_what_fits() -> None:
    assert len(encode(StartWarning("x" * 5000))) > MAX_LINE_BYTES - 8


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x1e",
        b"\x1e\n",
        b"\x1e{",
        b"\x1e[1, 2]",
        b"\x1e7",
        b"\x1enull",
        b'\x1e{"event": "unknown"}',
        b'\x1e{"event": ["beat"]}',
        b'\x1e{"page": "x"}',
        b"\x1e\xff\xfe\x00",
        b"\x1e" + b"[" * 100_000,
    ],
)
def test_garbage_says_nothing(garbage: bytes) -> None:
    assert parse(garbage) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_parse_raise(line: bytes) -> None:
    parse(line)


def test_fields_of_a_wrong_type_count_as_absent() -> None:
    assert parse(b'\x1e{"event": "beat", "last_poll": 7, "summary": null}') == Beat(None, "")
