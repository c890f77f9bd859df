"""How commands begin and end: interrupted while they import, without a reader, a disk, a terminal or a stream."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from tests.workspace import Workspace

# Each writes something at once, and needs no server.
COMMANDS = {
    "daemon.py": ["daemon.py", "status"],
    "main.py": ["main.py", "--help"],
    "api": ["-m", "api", "token", "list"],
    "checker": ["-m", "checker", "--help"],
    "cleaner": ["-m", "cleaner", "--info"],
    "cleaner.scheduler": ["-m", "cleaner.scheduler", "--help"],
    "modelcache": ["-m", "modelcache", "list", "--json"],
    "operations": ["-m", "operations", "stats"],
}
EACH = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


def in_shell(workspace: Workspace, command: list[str], redirection: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, *command], cwd=workspace.root,
        env=workspace.environment, text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip


@EACH
def test_ctrl_c_while_a_command_imports_ends_it_without_a_word(workspace: Workspace, command: list[str]) -> None:
    # Python tells of each module that it has imported, into a pipe that soon is full: until somebody reads on, it
    # stays where it is, however fast the machine.
    for after in (1, 12):
        read_end, write_end = os.pipe()
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", *command], cwd=workspace.root, env=workspace.environment,
            stdout=subprocess.PIPE, stderr=write_end, text=True,
        )  # fmt: skip
        os.close(write_end)
        with open(read_end, "rb", buffering=0) as told:
            while told.readline().split(b"|")[-1].strip() != b"entry":
                assert process.poll() is None
            for _ in range(after):
                told.readline()
            process.send_signal(signal.SIGINT)
            err = told.readall().decode()
        out, _ = process.communicate(timeout=30)
        assert [line for line in err.splitlines() if not line.startswith("import time:")] == []
        assert (process.returncode, out) == (130, "")


@EACH
def test_a_reader_that_has_enough_ends_a_command_without_a_word(workspace: Workspace, command: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, *command], cwd=workspace.root, env=workspace.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (141, ""), "as a shell says of a program that SIGPIPE has ended"


@EACH
def test_a_full_disk_under_the_output_is_one_line_and_a_failure(workspace: Workspace, command: list[str]) -> None:
    # What little it writes is in a buffer up to the end, or it is not, as here with half of them.
    workspace.settings["PYTHONUNBUFFERED"] = "1" if "--help" in command else ""
    result = in_shell(workspace, command, ">/dev/full")
    assert result.returncode == 74
    assert len(result.stderr.splitlines()) == 1
    assert "No space left on device" in result.stderr


@EACH
def test_closed_standard_streams_are_no_fault_of_a_command(workspace: Workspace, command: list[str]) -> None:
    usual = in_shell(workspace, command, "")
    result = in_shell(workspace, command, "<&- >&-")
    assert (result.returncode, result.stderr) == (usual.returncode, usual.stderr)


@pytest.mark.parametrize("encoding", ["gbk", "ascii", "latin-1"])
def test_a_terminal_without_the_characters_shows_question_marks(workspace: Workspace, encoding: str) -> None:
    workspace.settings |= {"PYTHONIOENCODING": encoding, "HF_ENDPOINT": "http://127.0.0.1:9"}
    for command in (*COMMANDS.values(), ["-m", "modelcache", "pull", "a/b"]):
        result = subprocess.run(
            [sys.executable, *command], cwd=workspace.root, env=workspace.environment, capture_output=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert b"Traceback" not in result.stderr, command
    assert b"?" in result.stdout


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("operations cleanup --days abc", "'abc' is not a number of 0 or more"),
        ("operations refresh --timeout nan", "'nan' is not a number"),
        ("operations cleanup --days nan", "'nan' is not a number"),
        ("operations audit list --outcome good", "'good' is none of pending, success"),
        ("operations audit list --stage x", "'x' is none of intent, "),
        ("api token create --user li --role boss", "'boss' is none of viewer, operator, admin"),
        ("cleaner --workers x", "'x' is not a whole number of 1 or more"),
        ("cleaner --trash x", "'x' is not a number of 0 or more"),
        ("checker warm --timeout x", "'x' is not a number of 0 or more"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_explained_in_our_own_words(workspace: Workspace, command: str, says: str) -> None:
    result = workspace.run("-m", *command.split())
    assert result.returncode == 2
    assert "invalid" not in result.stderr
    assert says in result.stderr


def test_an_export_that_cannot_be_written_names_the_file(workspace: Workspace) -> None:
    result = workspace.run("-m", "operations", "audit", "export", "--output", "/nonexistent/x.csv")
    assert result.returncode == 1
    assert "/nonexistent/x.csv cannot be written: No such file or directory" in result.stderr
    assert "Errno" not in result.stderr
