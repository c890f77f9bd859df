"""The supervisor: one loop that waits for main's output, for signals and for the next tick.

Order within a turn, which is the algorithm: read what main said (a heartbeat that lies in the pipe counts before
any deadline), then main's death and the other signals, then the checks of every tick, then the deadlines.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
import traceback
from types import FrameType

from core.control import Beat, Control, Ready
from core.restart import EXIT_CONFIG, Action, Child, Ended, Event, State, backoff_seconds, first_child, next_state
from supervisor.child import READ_BYTES, MainProcess, Splitter, describe_end
from supervisor.files import files_in
from supervisor.handover import Handover
from supervisor.logfile import LogFile
from supervisor.notify import Systemd
from supervisor.presence import Presence
from supervisor.report import Report

EXIT_CANNOT_CREATE = 73
"""EX_CANTCREAT: CACHE_DIR cannot be used; a restart will not help (RestartPreventExitStatus in the unit)."""
EXIT_LOST = 74
"""EX_IOERR: CACHE_DIR or the lock was taken away. A restart does help: it makes the directory again."""

# How soon a lost CACHE_DIR is noticed. A wake-up costs 0.2 CPU-ms, so each second would be most of the budget.
TICK_SECONDS = 2.0
# Under a flood, 5,000 wake-ups a second would cost more than the lines: read at most 50 times a second.
# A full read (a pipe's whole capacity) is followed by the next at once, so that main is never held up.
READ_PAUSE_SECONDS = 0.02
CHILD_SIGNAL = getattr(signal, "SIGCHLD", None)  # Windows has none: there every turn looks
FROZEN_SECONDS = 5.0
LAST_WORDS_BYTES = 4000


class Supervisor:
    """Runs main until it is stopped. Everything is monotonic time; the wall clock only stamps log lines."""

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self._files = files_in(handover.cache_dir)
        self._script = os.path.join(handover.root, "main.py")
        self._log = LogFile(
            self._files.log, handover.log_max_bytes, handover.log_backups, echo_fd=1 if handover.echo else None
        )
        self._systemd = Systemd(handover.notify_socket)
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._main: MainProcess | None = None
        self._presence = Presence(self._files, handover.lock_fd)
        self._splitter = Splitter()
        self._started = self._awake = self._last_read = time.monotonic()
        # Often enough for any watchdog: systemd advises half of its time (sd_watchdog_enabled(3)).
        self._tick_seconds = min(TICK_SECONDS, (handover.watchdog_seconds or 60) / 3)
        self._next_tick = self._started + self._tick_seconds
        self._next_watchdog = self._started
        self._child: Child
        self._report = Report(awaited=handover.report)
        self._ready_told = False
        self._reload_wanted = False
        self._last_words = b""
        self._last_end: str | None = None
        self._page = ""
        self._beat = Beat(None, "")
        self._state_is_old = True

    def run(self) -> int:
        """Supervise until the end; return the exit code of the process."""
        self._catch_signals()
        try:
            self._log.open()
            self._presence.announce()
        except OSError as error:
            path = error.filename2 or error.filename
            self._report.say(f"Cannot write {path or self._files.pid}: {error.strerror or error}")
            return EXIT_CANNOT_CREATE
        try:
            self._log_start()
            self._child, action = first_child(self._handover.limits, time.monotonic())
            self._do(action)
            while self._child.state not in (State.EXITED, State.FATAL):
                self._turn()
            return self._finish()
        except Exception:
            # The leash breaks as this process ends, so main stops; the log must say why.
            for line in traceback.format_exc().splitlines():
                self._log.line(line)
            raise

    def _turn(self) -> None:
        wake_at = min(self._next_tick, self._child.deadline or self._next_tick)
        awake = [key.data for key, _ in self._selector.select(max(wake_at - time.monotonic(), 0))]
        if "signal" in awake:
            self._wake_reader.recv(4096)
        now = time.monotonic()
        if now - self._awake > FROZEN_SECONDS:
            # The whole machine or container was paused, main as well as we: judge its heartbeat from now.
            self._feed(Event.BEAT)
        self._awake = now
        if "output" in awake:
            self._read_output()
        if self._signals or self._reload_wanted or CHILD_SIGNAL is None:
            self._handle_signals()
        if now >= self._next_tick:
            self._next_tick = now + self._tick_seconds
            self._every_tick(now)
        if self._child.deadline is not None and now >= self._child.deadline:
            self._feed(Event.TICK)

    # Main's output

    def _read_output(self) -> None:
        if self._main is None:
            return
        chunk = self._main.read()
        if chunk is None:
            return
        if chunk == b"":
            self._unregister()
            return
        self._take(chunk)
        pause = self._last_read + READ_PAUSE_SECONDS - time.monotonic()
        if pause > 0 and len(chunk) < READ_BYTES:
            time.sleep(pause)
        self._last_read = time.monotonic()

    def _take(self, chunk: bytes) -> None:
        text, controls = self._splitter.feed(chunk)
        self._write_output(text)
        for control in controls:
            self._obey(control)

    def _write_output(self, text: bytes) -> None:
        if text:
            self._log.lines(text)
            self._last_words = (self._last_words + text)[-LAST_WORDS_BYTES:]

    def _obey(self, control: Control) -> None:
        if isinstance(control, Ready):
            self._page = control.page
            self._feed(Event.READY)
        elif isinstance(control, Beat):
            self._state_is_old = self._state_is_old or control != self._beat
            self._beat = control
            self._feed(Event.BEAT)
        else:
            self._report.pass_on(control)

    # Signals

    def _catch_signals(self) -> None:
        """Handlers only note the signal; Python itself writes to the wake-up socket."""
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, "signal")
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD"):
            if hasattr(signal, name):  # Windows has the first two
                signal.signal(getattr(signal, name), self._note_signal)
        if hasattr(signal, "pthread_sigmask"):
            # A mask inherited from whatever started us would make us and main deaf.
            signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _note_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _handle_signals(self) -> None:
        noted, self._signals = self._signals, []
        if CHILD_SIGNAL is None or CHILD_SIGNAL in noted:
            self._notice_end()
        if signal.SIGTERM in noted or signal.SIGINT in noted:
            if not self._child.stop_asked:
                self._log.line("Stop requested")
                self._systemd.tell("STOPPING=1")
            self._feed(Event.STOP)
        if hasattr(signal, "SIGHUP"):
            self._reload_wanted = self._reload_wanted or signal.SIGHUP in noted
            # Before main is ready it has no handler yet, and the signal would kill it.
            if self._reload_wanted and self._main is not None and self._child.state is State.RUNNING:
                self._reload_wanted = False
                self._log.line("Reload requested")
                self._main.signal(signal.SIGHUP)

    # Main's life

    def _feed(self, event: Event | Ended) -> None:
        before = self._child
        self._child, action = next_state(before, event, time.monotonic())
        if self._child.state is not before.state:
            self._show_state()  # before anybody is told, who may look at once
            self._entered(before, event)
        self._do(action)

    def _do(self, action: Action) -> None:
        if action is Action.SPAWN:
            self._spawn()
        elif self._main is None:
            return
        elif action is Action.TERMINATE:
            self._main.terminate()
        elif action is Action.ABORT:
            self._main.abort()
        elif action is Action.KILL:
            self._log.line(f"Main program (PID: {self._main.pid}) does not end: killing its process group")
            self._main.kill()

    def _spawn(self) -> None:
        self._reload_wanted = False  # a fresh main reads the configuration of now
        self._splitter = Splitter()
        self._last_words = b""
        try:
            self._main = MainProcess(self._handover.python, self._script, self._handover.root, self._handover.lock_fd)
        except OSError as error:
            self._write_output(f"Cannot start {self._script}: {error.strerror or error}\n".encode())
            self._feed(Ended(127))
            return
        self._selector.register(self._main.output_fd, selectors.EVENT_READ, "output")
        self._log.line(f"Main program started (PID: {self._main.pid})")
        self._show_state()

    def _notice_end(self) -> None:
        if self._main is None:
            return
        code = self._main.ended()
        if code is None:
            return
        for _ in range(64):  # a stranger that took the pipe along must not keep us here
            chunk = self._main.read()
            if not chunk:
                break
            self._take(chunk)
        self._write_output(self._splitter.rest())
        self._unregister()
        self._main.close()
        self._main = None
        self._last_end = describe_end(code)
        self._feed(Ended(code))

    def _unregister(self) -> None:
        if self._main is not None and self._main.output_fd in self._selector.get_map():
            self._selector.unregister(self._main.output_fd)

    # core/setting_phrases.py reads what is reported; to word it too, it would cost this process memory for months.
    def _entered(self, before: Child, event: Event | Ended) -> None:
        state, limits = self._child.state, self._handover.limits
        if state is State.RUNNING:
            self._report.pass_on(Ready(self._page))
            self._report.close()
            self._systemd.tell(*(() if self._ready_told else ("READY=1",)), "STATUS=Main program is running")
            self._ready_told = True
        elif state is State.STOPPING and event is Event.TICK:
            waited = (
                limits.start_timeout_seconds if before.state is State.STARTING else limits.heartbeat_timeout_seconds
            )
            lacks = "did not become ready" if before.state is State.STARTING else "made no progress"
            self._log.line(f"Main program {lacks} for {waited:g} s: asking for its stacks (SIGABRT), then killing it")
        elif state is State.BACKOFF:
            pause = backoff_seconds(limits, self._child.failures)
            text = f"Main program {self._last_end or 'could not be started'}; restart in {pause:g} s"
            self._log.line(text)
            self._systemd.tell(f"STATUS={text}")
            self._report.failure(self._with_last_words(f"{text}. To stop trying: python daemon.py stop"))
            self._report.close()
        elif state is State.FATAL:
            self._log.line(f"Main program {self._last_end}: its configuration is wrong, so it is not restarted")
            self._report.failure(self._with_last_words(f"Main program {self._last_end}: its configuration is wrong."))
        elif state is State.EXITED:
            self._log.line(f"Main program {self._last_end or 'was not running'}")
            self._report.failure("The daemon was stopped before the main program was ready.")

    def _with_last_words(self, text: str) -> str:
        words = self._last_words.decode("utf-8", "replace").splitlines()[-20:]
        return "\n".join([text, *(["Its last words:"] if words else []), *(f"  {word}" for word in words)])

    # Every tick

    def _every_tick(self, now: float) -> None:
        was_lost = self._presence.lost
        self._presence.check()
        if not self._presence.lost:
            self._log.check()
        elif not was_lost:
            # Whoever makes a new lock file can start a second daemon, so this one has to go.
            self._log.stay()
            self._log.line(f"{self._files.lock} was deleted or replaced while running: stopping")
            self._feed(Event.STOP)
        if self._state_is_old:
            self._show_state()
        if self._handover.watchdog_seconds is not None and now >= self._next_watchdog:
            self._next_watchdog = now + self._handover.watchdog_seconds / 3
            self._systemd.tell("WATCHDOG=1")

    def _show_state(self) -> None:
        shown = self._presence.show(
            {
                "started_monotonic": self._started,
                "main_pid": self._main.pid if self._main else None,
                "main_state": self._child.state.value,
                "main_last_end": self._last_end,
                "restarts": self._child.restarts,
                "last_poll": self._beat.last_poll,
                "summary": self._beat.summary,
                "page": self._page,
                "dropped_log_lines": self._log.dropped_total,
                "stop_grace_seconds": self._handover.limits.stop_grace_seconds,
            }
        )
        self._state_is_old = not shown

    # Beginning and end

    def _log_start(self) -> None:
        for note in self._handover.notes:
            self._log.line(note)
        self._log.line("Daemon starting")
        self._log.line(f"Working directory: {self._handover.root}")
        self._log.line(f"Main script: {self._script}")
        self._log.line(f"Cache directory: {self._files.cache_dir}")
        self._log.line(f"Log file: {self._files.log}")
        self._log.line(f"PID file: {self._files.pid}")

    def _finish(self) -> int:
        self._log.line("Daemon stopped")
        self._presence.withdraw()
        self._be_deaf()
        if self._presence.lost:
            return EXIT_LOST
        return EXIT_CONFIG if self._child.state is State.FATAL else 0

    def _be_deaf(self) -> None:
        """All is over. Python takes its handlers away as it ends, and a second TERM would make that end a death."""
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
