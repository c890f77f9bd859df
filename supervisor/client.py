"""start, run, stop, restart: what the commands of daemon.py do. Short-lived, so it may import what it needs."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import config
from core import setting_phrases as said
from core.errors import DaemonError
from core.restart import ABORT_GRACE_SECONDS, Limits
from supervisor import handover
from supervisor.claim import POLL_SECONDS, STRANGER_PATIENCE_SECONDS, claim, kill_orphan, make_cache_dir
from supervisor.files import Files, files_in, read_state, remove
from supervisor.identity import is_supervisor, orphan_of, send_if, supervisor_command, supervisor_of
from supervisor.lock import is_held, try_lock
from supervisor.report import hear

DEFAULT_GRACE_SECONDS = 10.0
SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has none; its SIGTERM kills


def start(root: Path) -> int:
    """Start a detached supervisor; return 0 once main is ready. Raises ConfigError, DaemonError."""
    settings = config.load(root, serving=True)
    values = _prepare(settings, echo=False, report=True)
    command = supervisor_command(sys.executable, str(settings.root / "daemon.py"), values.cache_dir)
    inherited: tuple[int, ...] = ()
    if sys.platform == "win32":
        # Neither locks nor file descriptors are inherited there: let it take the lock anew. Untested.
        os.close(values.lock_fd)
        command.append("--report")
    else:
        inherited = (values.lock_fd, handover.send(values))
        command += [handover.FLAG, str(inherited[1])]
    # Here, for whoever finds that the daemon runs already has nothing to start.
    import subprocess

    process = subprocess.Popen(
        command,
        cwd=root,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,  # the report
        # Its own session: the end of this terminal, or cron's cleaning up, is not for the daemon.
        start_new_session=True,
        pass_fds=inherited,
        creationflags=getattr(subprocess, "DETACHED_PROCESS", 0),
    )
    for fd in inherited:
        os.close(fd)  # the lock must be the daemon's alone, or it would outlive it here
    assert process.stderr is not None  # a pipe, as asked
    with process.stderr as report:
        outcome = hear(report)
    for warning in outcome.warnings:
        print(_warning(warning), file=sys.stderr)
    files = files_in(str(settings.cache_dir))
    if outcome.ready is not None:
        print(f"Daemon started (PID: {process.pid})")
        if outcome.ready.page:
            print(f"Page: {outcome.ready.page}")
        print(f"Log: {files.log}")
        return 0
    try:
        code = process.wait(1)
    except subprocess.TimeoutExpired:
        code = 1  # it stays, in BACKOFF, and tries again
    text = f"{outcome.text or said.WITHOUT_A_WORD()}\n{said.LOG(path=files.log)}"
    raise DaemonError(text, code if code > 0 else 1)


def run(root: Path, *, report: bool = False) -> int:
    """Become the supervisor, in the foreground. Raises ConfigError, DaemonError."""
    settings = config.load(root, serving=True)
    values = _prepare(settings, echo=not report, report=report)
    if sys.platform != "win32":
        sys.stdout.flush()
        os.set_inheritable(values.lock_fd, True)
        command = supervisor_command(sys.executable, str(settings.root / "daemon.py"), values.cache_dir)
        os.execve(sys.executable, [*command, handover.FLAG, str(handover.send(values))], _environment())
    # On Windows exec is a new process, and the caller would take the old one's end for ours. Untested.
    from supervisor.loop import Supervisor

    for name, value in _environment().items():
        os.putenv(name, value)
    return Supervisor(values).run()


def stop(root: Path) -> int:
    """Stop the daemon, and a main that a killed daemon left; return 0 once nothing runs. Raises DaemonError."""
    files = files_in(str(config.cache_dir(root)))
    stopped = stop_all(files)
    print(f"Daemon stopped (PID: {stopped})" if stopped else "Daemon is not running")
    return 0


def restart(root: Path) -> int:
    """Stop, then start. Raises ConfigError before anything is stopped, DaemonError."""
    config.load(root, serving=True)  # a daemon that runs is worth more than one that will not start
    stop(root)
    return start(root)


def stop_all(files: Files) -> int | None:
    """Stop whoever holds the lock; return the PID that was told to stop, None when nobody held it.

    Politely first (SIGTERM, and the supervisor gives main its grace), then SIGKILL. Nothing is signalled that is
    not recognised. Raises DaemonError when the lock is still held in the end.
    """
    grace = _grace_seconds(files)
    # Longer than the supervisor's own way from SIGTERM to SIGKILL of a main that hangs already.
    patience = grace + ABORT_GRACE_SECONDS
    began = recognised = time.monotonic()
    told: int | None = None
    while _held(files):
        now = time.monotonic()
        running, orphan = supervisor_of(files), orphan_of(files)
        if running is not None:
            recognised = now
            if running != told or now - began > patience:
                _signal(running, files, SIGKILL if now - began > patience else signal.SIGTERM)
                told = running
        elif orphan is not None:
            # Its leash is broken, so it is ending already; it gets the same grace.
            recognised = now
            told = told or orphan
            if now - began > grace:
                kill_orphan(orphan, files)
        if now - recognised > STRANGER_PATIENCE_SECONDS or now - began > patience + STRANGER_PATIENCE_SECONDS:
            raise DaemonError(said.DOES_NOT_END(path=files.lock, lock=files.lock))
        time.sleep(POLL_SECONDS)
    _tidy(files)
    return told


def _warning(text: str) -> str:
    if not config.prefers_chinese():
        return f"Warning: {text}"
    chinese = config.told(text)
    what, _, why = text.partition(": ")
    if chinese == text and why and config.told(what) != what:
        # What main cannot do, and then why, which is of another subject.
        chinese = f"{config.told(what)}：{config.told(why)}"
    return f"警告：{chinese}"


def _prepare(settings: config.Settings, *, echo: bool, report: bool) -> handover.Handover:
    """Make CACHE_DIR, take the lock; return what the supervisor needs to know. Raises DaemonError."""
    files = files_in(str(settings.cache_dir))
    notes: list[str] = []

    def say(text: str) -> None:
        notes.append(text)
        print(config.told(text), flush=True)

    _no_group_or_world_writing()
    if make_cache_dir(files.cache_dir):
        # The same in every language, as the documents have it.
        notes.append(f"Created cache directory: {files.cache_dir}")
        print(notes[0], flush=True)
    lock_fd = claim(files, settings.stop_grace_seconds, say)
    notify_socket, watchdog_seconds = config.systemd_environment()
    return handover.Handover(
        root=str(settings.root),
        cache_dir=files.cache_dir,
        python=sys.executable,
        lock_fd=lock_fd,
        limits=Limits(
            start_timeout_seconds=settings.start_timeout_seconds,
            heartbeat_timeout_seconds=settings.heartbeat_timeout_seconds,
            stop_grace_seconds=settings.stop_grace_seconds,
            backoff_initial_seconds=settings.backoff_initial_seconds,
            backoff_max_seconds=settings.backoff_max_seconds,
            healthy_after_seconds=settings.healthy_after_seconds,
        ),
        log_max_bytes=settings.log_max_bytes,
        log_backups=settings.log_backups,
        notes=notes,
        echo=echo,
        report=report,
        notify_socket=notify_socket,
        watchdog_seconds=watchdog_seconds,
    )


def _environment() -> dict[str, str]:
    """Return the supervisor's environment, which is main's as well."""
    environment = config.inherited_environment()
    environment["CACHE_KEEPER_SUPERVISED"] = "1"
    # The log is UTF-8 whatever the locale of whoever started us (cron's is C).
    environment["PYTHONUTF8"] = "1"
    # For the supervisor alone, which has them already: a main that inherits them could answer in its place.
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        environment.pop(name, None)
    return environment


def _no_group_or_world_writing() -> None:
    """Make files of ours and of main safe even where we were started with umask 0."""
    os.umask(os.umask(0o077) | 0o022)


def _grace_seconds(files: Files) -> float:
    grace = read_state(files.state).get("stop_grace_seconds")
    return float(grace) if isinstance(grace, int | float) else DEFAULT_GRACE_SECONDS


def _held(files: Files) -> bool:
    try:
        return is_held(files.lock)
    except OSError as error:
        raise DaemonError(said.NOT_OPENED(path=files.lock, words=error.strerror or error)) from None


def _signal(pid: int, files: Files, number: int) -> None:
    try:
        send_if(pid, lambda candidate: is_supervisor(candidate, files), number)
    except PermissionError:
        raise DaemonError(said.MAY_NOT_STOP(pid=pid)) from None


def _tidy(files: Files) -> None:
    """Remove what a killed daemon left. Under the lock: a daemon that starts just now must keep its PID file."""
    if not os.path.lexists(files.pid) and not os.path.lexists(files.state):
        return
    try:
        fd = try_lock(files.lock)
    except OSError:
        return
    if fd is not None:
        remove(files.pid)
        remove(files.state)
        os.close(fd)
