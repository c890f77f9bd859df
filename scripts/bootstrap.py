"""Makes .venv and installs a requirements file into it; quick and offline when that has been done before.

    python3 scripts/bootstrap.py requirements.txt

Standard library only: it runs on the bare machine. A half-made .venv is made anew; two runs at once wait for
each other.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def main(arguments: list[str]) -> int:
    """Return 0 once everything in the given requirements files is installed."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this runs before anything has checked the version
        print(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}. "
              "需要 Python 3.11 或更高版本：make PYTHON=python3.12 run", file=sys.stderr)  # fmt: skip
        return 1
    requirements = ROOT / arguments[0]
    with _one_at_a_time():
        stamp = VENV / f".installed-{requirements.stem}"
        wanted = fingerprint(requirements)
        if stamp.exists() and stamp.read_text() == wanted and _works():
            return 0
        if not _works():
            shutil.rmtree(VENV, ignore_errors=True)
            print("Making .venv …")
            if subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False).returncode:
                print("No virtual environment could be made. On Debian: apt-get install python3-venv", file=sys.stderr)
                return 1
        print(f"Installing {requirements.name} …")
        command = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--require-hashes"]
        if subprocess.run([*command, "-r", str(requirements)], check=False).returncode:
            print(
                f"{requirements.name} could not be installed; see above. Run the same command again.", file=sys.stderr
            )
            return 1
        # Written last: without it, whatever is there is half made.
        stamp.write_text(wanted)
    return 0


def fingerprint(requirements: Path) -> str:
    """Return what the stamp of an installation says: these packages, for this Python."""
    return hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()


def _works() -> bool:
    """Whether .venv has a Python of this version that starts and can install."""
    if not PYTHON.exists():
        return False
    probe = "import pip, sys; print(sys.version)"
    result = subprocess.run([str(PYTHON), "-c", probe], capture_output=True, text=True, check=False)
    return result.returncode == 0 and result.stdout.strip() == sys.version


class _one_at_a_time:
    """Holds a lock on the project while .venv is being made; without flock (Windows) it holds nothing."""

    def __enter__(self) -> None:
        self._file = open(ROOT / "pyproject.toml")
        try:
            import fcntl

            fcntl.flock(self._file, fcntl.LOCK_EX)
        except ImportError:
            pass

    def __exit__(self, *_: object) -> None:
        self._file.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
