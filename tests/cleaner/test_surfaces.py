"""What users type: the Python names, the command line, the scheduler and the example."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cleaner import CacheCleaner
from cleaner.scheduled import is_due, run_scheduled
from cleaner.show import report_lines
from cleaner.stamp import STAMP_NAME, read_clock, read_stamp, write_stamp
from core.clean_schedule import ClockReading
from core.errors import RefusedTarget
from core.retention import DAY_SECONDS, RetentionPolicy
from core.targets import images_target
from tests.cleaner.conftest import Cache, eventually

PROJECT = Path(__file__).parents[2]


def environment(cache: Cache, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    own = {
        "CACHE_DIR": str(cache.state),
        "IMAGE_CACHE_DIR": str(cache.root),
        "FLEET_FILE": str(cache.base / "fleet.toml"),
    }
    return {**kept, **own, "PYTHONUTF8": "1", **more}


def run(cache: Cache, *arguments: str, module: str = "cleaner", **more: str) -> subprocess.CompletedProcess[str]:
    (cache.base / "fleet.toml").touch()
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,
        env=environment(cache, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def half_expired(cache: Cache) -> None:
    cache.task("11/old", 3)
    cache.task("12/young", 0.1)


def stamp_of_the_run_before(cache: Cache, shift: ClockReading) -> None:
    """Write a stamp as if the last run was at the present time of both clocks, shifted."""
    now = read_clock()
    before = ClockReading(now.wall + shift.wall, now.since_boot_seconds + shift.since_boot_seconds, now.boot)
    write_stamp(cache.state / STAMP_NAME, before)


def test_the_guides_python_calls_return_the_guides_numbers(cache: Cache) -> None:
    half_expired(cache)
    cleaner = CacheCleaner(str(cache.root), state_dir=cache.state)
    assert cleaner.get_cache_info(days_threshold=1) == {
        "total_size": 4004,
        "total_dirs": 2,
        "total_files": 6,
        "old_dirs": 1,
        "old_files": 3,
        "old_size": 2002,
    }
    planned = cleaner.clean_old_cache(days_threshold=1, dry_run=True)
    assert planned == cleaner.clean_old_cache(1)
    assert planned == {"deleted_files": 3, "deleted_dirs": 2, "freed_space": planned["freed_space"]}
    assert planned["freed_space"] > 0
    assert cleaner.clean_old_cache(1) == {"deleted_files": 0, "deleted_dirs": 0, "freed_space": 0}


def test_refusals_are_exceptions_in_python(cache: Cache) -> None:
    cache.task("11/old", 3)
    with pytest.raises(RefusedTarget, match="100%"):
        CacheCleaner(str(cache.root), state_dir=cache.state).clean_old_cache(1)
    with pytest.raises(RefusedTarget, match="allow_most"):
        CacheCleaner(str(cache.root), state_dir=cache.state).clean_old_cache(0)
    with pytest.raises(RefusedTarget, match="current directory"):
        CacheCleaner("", state_dir=cache.state).clean_old_cache(1)


def test_auto_clean_remembers_its_last_run_across_objects(cache: Cache) -> None:
    half_expired(cache)

    def auto() -> dict[str, int] | None:
        return CacheCleaner(str(cache.root), state_dir=cache.state).auto_clean_cache(1, check_interval_hours=24)

    first = auto()
    assert first is not None
    assert first["deleted_files"] == 3
    assert auto() is None


def test_info_and_stats_are_one(cache: Cache) -> None:
    half_expired(cache)
    shown = run(cache, "--info", "--days", "1")
    assert shown.returncode == 0
    assert "total: 6 files, 2 directories, 4.0 kB" in shown.stdout
    assert "older than 1 day: 3 files, 1 directory, 2.0 kB" in shown.stdout
    assert run(cache, "--stats", "--days", "1").stdout == shown.stdout
    chinese = run(cache, "--info", LC_ALL="zh_CN.UTF-8").stdout
    assert "总计: 6 个文件" in chinese
    (found,) = json.loads(run(cache, "--info", "--json").stdout)
    assert (found["total_size"], found["old_files"]) == (4004, 3)


def test_fast_statistics_count_directories(cache: Cache) -> None:
    half_expired(cache)
    assert "2 directories, 1 look expired" in run(cache, "--info", "--fast").stdout


def test_a_dry_run_lists_what_would_go_and_why_and_deletes_nothing(cache: Cache) -> None:
    half_expired(cache)
    before = cache.left()
    shown = run(cache, "--dry-run", "--days", "1")
    assert shown.returncode == 0
    assert "would delete 1 unit (3 files, 2 directories)" in shown.stdout
    assert re.search(r"3\.0 d .* older_than +11/old", shown.stdout)
    assert re.search(r"keep +1 +- +not old enough", shown.stdout)
    assert cache.left() == before
    (plan,) = json.loads(run(cache, "--dry-run", "--days", "1", "--json").stdout)
    assert plan["reasons"]["young"] == {"entries": 1, "bytes": None}
    (plan,) = json.loads(run(cache, "--dry-run", "--json").stdout)
    assert plan["first"][0]["name"] == "11/old"
    assert plan["reasons"]["older_than"]["entries"] == 1


def test_without_a_terminal_the_guides_command_cleans_unasked(cache: Cache) -> None:
    half_expired(cache)
    done = run(cache, "--days", "1")
    assert done.returncode == 0
    assert "deleted 1 unit (3 files, 2 directories)" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "11" not in cache.left()


@pytest.mark.parametrize(("answer", "goes"), [("y", True), ("n", False), ("", False)])
def test_on_a_terminal_a_deletion_asks_with_its_numbers(cache: Cache, answer: str, goes: bool) -> None:
    half_expired(cache)
    (cache.base / "fleet.toml").touch()
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "cleaner", "--days", "1"],
        cwd=PROJECT,
        env=environment(cache, TERM="dumb"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 20
    try:
        while b"[y/N]" not in shown:
            assert select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0], shown
            shown += os.read(ours, 65536)
        assert b"Delete 1 and free " in shown
        assert "11/old" in cache.left()
        os.write(ours, answer.encode() + b"\n")
        assert child.wait(20) == (0 if goes else 1)
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    assert ("11/old" not in cache.left()) is goes


@pytest.mark.parametrize("arguments", [("--days", "-1"), ("--days", "nan"), ("--days", "soon"), ("--target", "nope"),
                                       ("--type", "database"), ("--nonsense",)])  # fmt: skip
def test_bad_usage_is_exit_code_2_with_one_clear_line(cache: Cache, arguments: tuple[str, ...]) -> None:
    half_expired(cache)
    done = run(cache, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    assert "11/old" in cache.left()


def test_for_databases_the_command_that_cleans_them_is_named(cache: Cache) -> None:
    assert "python -m operations cleanup --type database" in run(cache, "--type", "database").stderr


def test_refusals_are_exit_code_1_and_name_their_flag(cache: Cache) -> None:
    cache.task("11/old", 3)
    for arguments in (("--days", "1", "--yes"), ("--days", "0", "--yes")):
        done = run(cache, *arguments)
        assert done.returncode == 1
        assert "--allow-most" in done.stdout
    assert "11/old" in cache.left()
    assert run(cache, "--days", "1", "--yes", "--allow-most").returncode == 0
    assert "11/old" not in cache.left()


def test_a_busy_target_is_exit_code_75_and_says_who(cache: Cache) -> None:
    half_expired(cache)
    root = os.open(cache.root, os.O_RDONLY)
    from cleaner.lock import TargetLock

    with TargetLock(cache.state, cache.root, root, since="2026-02-17T02:00:00+00:00"):
        done = run(cache, "--days", "1")
    os.close(root)
    assert done.returncode == 75
    assert f"is being cleaned by process {os.getpid()} " in done.stdout
    assert "since 2026-02-17T02:00:00" in done.stdout


def test_bad_settings_are_exit_code_78(cache: Cache) -> None:
    done = run(cache, "--info", CLEAN_DAYS="yesterday")
    assert done.returncode == 78
    assert "CLEAN_DAYS" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "chinese", "english"),
    [
        (("--info",), 78, "PORT='x'：必须是 1 到 65535 之间的整数", "PORT='x': must be a whole number from 1 to 65535"),
        (
            ("--target", "nope"),
            2,
            "没有目标 nope；现有：images, python",
            "no such target: nope; there are: images, python",
        ),
        (
            ("--type", "database"),
            2,
            "本命令只清理文件；清理 Redis 和 MongoDB 请用：python -m operations cleanup --type database",
            "this command cleans files; for Redis and MongoDB: python -m operations cleanup --type database",
        ),
    ],
)
def test_errors_are_told_in_the_language_of_the_terminal(
    cache: Cache, arguments: tuple[str, ...], code: int, chinese: str, english: str
) -> None:
    more = {"PORT": "x"} if code == 78 else {}
    for words, locale in ((chinese, "zh_CN.UTF-8"), (english, "C.UTF-8")):
        done = run(cache, *arguments, LC_ALL=locale, **more)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", f"{words}\n")
    if more:
        done = run(cache, "--run-once", module="cleaner.scheduler", LC_ALL="zh_CN.UTF-8", **more)
        assert (done.returncode, done.stderr) == (code, f"{chinese}\n")


def test_a_refusal_and_what_is_there_are_told_in_the_language_of_the_terminal(cache: Cache) -> None:
    half_expired(cache)
    chinese = {"LC_ALL": "zh_CN.UTF-8"}
    assert "images：2 个目录，1 个已过期\n" in run(cache, "--info", "--fast", **chinese).stdout
    for arguments in (("--info",), ("--info", "--fast")):
        refused = {"IMAGE_CACHE_DIR": "/etc/ssl", **chinese}
        told = run(cache, *arguments, "--target", "images", **refused).stderr
        assert told.startswith("目标 images：")
    wrong = run(cache, "--time", "25:00", module="cleaner.scheduler", **chinese)
    assert wrong.returncode == 2
    assert wrong.stderr.endswith("error: '25:00' 不是有效时间，例如 02:00\n")


def test_days_typed_for_the_images_do_not_shorten_other_targets(cache: Cache) -> None:
    half_expired(cache)
    archive = cache.base / "archive" / "previews"
    archive.mkdir(parents=True)
    (archive / "month-old.png").write_text("x")
    cache.age_all(archive, 30)
    (cache.base / "fleet.toml").write_text(
        f'[[target]]\nname = "archive"\nkind = "directory"\nroots = ["{archive}"]\nolder_than = "90d"\n'
        "largest_share = 1.0\n"
    )
    assert run(cache, "--days", "1").returncode == 0
    assert (archive / "month-old.png").exists()
    assert run(cache, "--target", "archive", "--days", "7").returncode == 0
    assert not (archive / "month-old.png").exists()


def test_trash_and_workers_are_options_of_the_command_line(cache: Cache) -> None:
    half_expired(cache)
    assert run(cache, "--days", "1", "--trash").returncode == 0
    assert len(list((cache.root / ".trash").glob("*/11/old"))) == 1
    cache.task("10/old", 3)
    assert run(cache, "--days", "1", "--workers", "2").returncode == 0
    assert "10" not in cache.left()


def test_a_dry_run_says_that_the_run_would_be_refused_and_ends_as_it_does(cache: Cache) -> None:
    for number in range(20):
        cache.task(f"11/old-{number}", 3)
    cache.task("12/young", 0.1)
    planned = run(cache, "--days", "1", "--dry-run")
    refused = run(cache, "--days", "1", "--yes")
    assert (planned.returncode, refused.returncode) == (1, 1)
    why = refused.stdout.partition("refused: ")[2].strip()
    assert "20 of 21 entries (95%) would go" in why
    assert f"a run would be refused: {why}" in planned.stdout
    assert "if it were let, it would delete 20 units" in planned.stdout
    (plan,) = json.loads(run(cache, "--days", "1", "--dry-run", "--json").stdout)
    assert (plan["would_refuse"], plan["refused"]) == (why, None)
    scheduled = run(cache, "--days", "1", "--dry-run", module="cleaner.scheduler")
    assert (scheduled.returncode, why in scheduled.stdout) == (1, True)
    # To look at what there is, is not refused.
    assert run(cache, "--info", "--days", "1").returncode == 0
    allowed = run(cache, "--days", "1", "--dry-run", "--allow-most")
    assert (allowed.returncode, "would delete 20 units" in allowed.stdout) == (0, True)
    assert "refused" not in allowed.stdout


def test_the_scheduler_runs_once_and_in_dry_run(cache: Cache) -> None:
    half_expired(cache)
    dry = run(cache, "--days", "1", "--dry-run", module="cleaner.scheduler")
    assert (dry.returncode, "would delete 1 unit" in dry.stdout) == (0, True)
    assert "11/old" in cache.left()
    assert not (cache.state / STAMP_NAME).exists()
    once = run(cache, "--days", "1", "--run-once", module="cleaner.scheduler")
    assert (once.returncode, "deleted 1 unit" in once.stdout) == (0, True)
    assert "11/old" not in cache.left()
    assert run(cache, "--time", "25:00", module="cleaner.scheduler").returncode == 2


def test_the_scheduler_makes_up_for_a_missed_night_and_stops_on_a_signal(cache: Cache) -> None:
    half_expired(cache)
    clock = read_clock()
    (cache.base / "fleet.toml").touch()
    two_days = 2 * DAY_SECONDS
    write_stamp(
        cache.state / STAMP_NAME, ClockReading(clock.wall - two_days, clock.since_boot_seconds - two_days, clock.boot)
    )
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "cleaner.scheduler", "--days", "1", "--time", "02:00"],
        cwd=PROJECT,
        env=environment(cache),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: "11/old" not in cache.left())
    finally:
        scheduler.send_signal(signal.SIGTERM)
        _, log = scheduler.communicate(timeout=20)
    assert scheduler.returncode == 0
    assert "cleaned target=images units=1" in log


def test_a_clock_that_jumped_refuses_once_with_a_warning(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    half_expired(cache)
    clock = read_clock()
    write_stamp(
        cache.state / STAMP_NAME, ClockReading(clock.wall + 3 * DAY_SECONDS, clock.since_boot_seconds, clock.boot)
    )
    (refused,) = run_scheduled([cache.target()], cache.run(), clock)
    assert "the clock went back by 3.0 days" in str(refused.refused)
    assert "the clock went back" in caplog.text
    assert "11/old" in cache.left()
    (second,) = run_scheduled([cache.target()], cache.run(), read_clock())
    assert second.deleted_units == 1


def test_a_scheduled_run_never_takes_nearly_everything_unasked(cache: Cache) -> None:
    cache.task("11/old", 3)
    (report,) = run_scheduled([cache.target()], cache.run(allow_most=True), read_clock())
    assert report.refused


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'{"wall": "x"}', b'{"wall": NaN}', b"\xff\xfe", b'{"a": 1}'])
def test_a_stamp_that_is_garbage_counts_as_never_with_a_warning(
    cache: Cache, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (cache.state / STAMP_NAME).write_bytes(content)
    assert read_stamp(cache.state / STAMP_NAME) is None
    assert "counts as never" in caplog.text
    assert is_due(cache.state, read_clock(), None, 3600)


def test_a_stamp_is_replaced_whole(cache: Cache) -> None:
    stamp = cache.state / STAMP_NAME
    clock = read_clock()
    write_stamp(stamp, ClockReading(1.0))
    write_stamp(stamp, clock)
    assert read_stamp(stamp) == clock
    assert [each.name for each in cache.state.iterdir()] == [STAMP_NAME]


@pytest.mark.parametrize("example", ["manual", "auto", "standalone"])
def test_the_examples_run(cache: Cache, example: str) -> None:
    half_expired(cache)
    (cache.base / "fleet.toml").touch()
    done = subprocess.run(
        [sys.executable, str(PROJECT / "examples" / "clean_cache_example.py"), "--example", example],
        cwd=cache.base,
        env=environment(cache),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "'deleted_files': 3" in done.stdout
    assert "11/old" not in cache.left()


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, cleaner; print([name for name in ('rich', 'config', 'store', 'requests') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_why_nothing_was_cleaned_is_told_in_the_language_of_the_terminal(cache: Cache) -> None:
    gone = images_target(str(cache.base / "gone"), RetentionPolicy())
    report = cache.sweep(gone)
    assert any("does not exist (yet): nothing to clean" in line for line in report_lines(report))
    assert any("（尚）不存在：无需清理" in line for line in report_lines(report, chinese=True))
    refused = cache.sweep(images_target("/etc", RetentionPolicy()))
    told = report_lines(refused, chinese=True)[1]
    assert told == "  已拒绝：目标 images：/etc 离文件系统根目录太近；目标至少在其下两级"
