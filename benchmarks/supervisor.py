"""What the supervisor costs, beside the floor of the same machine in the same run: ``python benchmarks/supervisor.py``.

Linux only (reads /proc). Takes about a minute and a half; ``--seconds`` shortens the idle and flood phases.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
FLOOD_LINES_PER_SECOND = 5000

MAIN = """\
import os, sys, threading, time

threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
os.write(1, b'\\x1e{"event": "ready", "page": ""}\\n')
lines_per_second = int(os.environ["BENCHMARK_LINES_PER_SECOND"])
line = "x" * 79 + "\\n"
began, written, beaten = time.monotonic(), 0, 0.0
while True:
    now = time.monotonic() - began
    if now - beaten >= 5:
        beaten = now
        # A heartbeat every 5 s, and a poll every 30 s as by default.
        os.write(1, b'\\x1e{"event": "beat", "last_poll": "%d", "summary": ""}\\n' % (now // 30))
    due = int(now * lines_per_second)
    while written < due:
        os.write(1, line.encode())  # each line on its own, as an unbuffered logger does: the worst case
        written += 1
    time.sleep(0.002 if lines_per_second else 1)
"""


class Daemon:
    """A daemon of its own in a temporary project, with a trivial main."""

    def __init__(self, root: Path, lines_per_second: int = 0) -> None:
        self.root = root
        root.mkdir()
        for name in ("daemon.py", "config.py", "entry.py"):
            shutil.copy(SOURCE / name, root / name)
        for name in ("core", "supervisor"):
            (root / name).symlink_to(SOURCE / name)
        (root / "main.py").write_text(MAIN)
        self.environment = {
            **os.environ,
            "CACHE_DIR": "",
            "LOG_MAX_BYTES": "10485760",
            "BENCHMARK_LINES_PER_SECOND": str(lines_per_second),
        }

    def command(self, *arguments: str) -> float:
        """Run a command; return how many seconds it took."""
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, str(self.root / "daemon.py"), *arguments],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return time.perf_counter() - began

    @property
    def pid(self) -> int:
        return int((self.root / "daemon.pid").read_text())


def memory_mib(pid: int) -> tuple[float, float]:
    """Return the resident and the private memory of a process in MiB."""
    fields = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    kib = {name: int(value.split()[0]) for name, value in fields.items()}
    return kib["Rss"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, from the scheduler's nanoseconds (ticks are too coarse here)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def floor() -> tuple[float, float]:
    """Return the memory of the least Python process that there is."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        time.sleep(1)
        memory = memory_mib(process.pid)
        process.kill()
    return memory


def repeated(times: int, measure: Callable[[], float]) -> str:
    seconds = [measure() for _ in range(times)]
    return f"median {statistics.median(seconds) * 1000:.0f} ms, worst {max(seconds) * 1000:.0f} ms of {times}"


def machine() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = names[0].partition(":")[2].strip() if names else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="length of the idle phase; the flood takes a third")
    seconds = parser.parse_args().seconds
    print(machine())
    with tempfile.TemporaryDirectory() as directory:
        idle = Daemon(Path(directory) / "idle")
        idle.command("start")
        time.sleep(2)
        began = cpu_seconds(idle.pid)
        time.sleep(seconds)
        spent = (cpu_seconds(idle.pid) - began) * 1000 * 60 / seconds
        least, resident = floor(), memory_mib(idle.pid)
        print(f"floor     RSS {least[0]:.1f} MiB, private {least[1]:.1f} MiB  (python -c 'time.sleep(60)')")
        print(
            f"idle      RSS {resident[0]:.1f} MiB = {resident[0] / least[0]:.2f} x floor (at most 1.8), "
            f"private {resident[1]:.1f} MiB"
        )
        print(f"idle      {spent:.1f} CPU-ms a minute (at most 15)")
        print(f"status    {repeated(10, lambda: idle.command('status'))} (under 250 ms)")
        idle.command("stop")

        def start_and_stop() -> float:
            taken = idle.command("start")
            idle.command("stop")
            return taken

        print(f"start     {repeated(5, start_and_stop)} (under 1500 ms, trivial main)")
        flood = Daemon(Path(directory) / "flood", FLOOD_LINES_PER_SECOND)
        flood.command("start")
        time.sleep(2)
        before, wall = cpu_seconds(flood.pid), time.monotonic()
        time.sleep(seconds / 3)
        share = (cpu_seconds(flood.pid) - before) / (time.monotonic() - wall)
        resident = memory_mib(flood.pid)
        flood.command("stop")
        print(f"flood     {share:.1%} of a core at {FLOOD_LINES_PER_SECOND} lines/s (at most 25 %)")
        print(f"flood     RSS {resident[0]:.1f} MiB = {resident[0] / least[0]:.2f} x floor")


if __name__ == "__main__":
    main()
