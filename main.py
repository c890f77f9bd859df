"""The composition root: reads the settings, wires the parts, and runs the loop until told to stop.

``python main.py`` runs in the foreground; under ``daemon.py`` it is the supervised child. ``--once`` polls the
fleet once, plans one cleaning and exits; ``--dry-run`` submits and deletes nothing and says what it would do.
"""

from __future__ import annotations

if __name__ == "__main__":
    # Before the imports: Ctrl-C during them is as quiet as later.
    import entry

    entry.begin()

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NoReturn

import config
from checker.poll import Checker
from cleaner.stamp import read_clock
from client.server_client import FleetSession
from core.control import Beat, Ready, StartWarning
from core.errors import CacheKeeperError, ConfigError
from core.lanes import Lanes
from operations.auditing import Auditor, LazyAuditLog
from runtime import supervised
from runtime.cleaning import Cleaning
from runtime.fleet import RunningFleet
from runtime.jobs import Timetable, local_seconds
from runtime.limits import calm_collector, raise_open_files
from runtime.logs import set_up
from runtime.numbers import limits, policy
from runtime.web import WebThread
from runtime.wishes import Wishes
from store.journal import Journal

ROOT = Path(__file__).resolve().parent
TICK_SECONDS = 0.25
TROUBLES_SECONDS = 1.0
POLL, CLEAN = "poll", "clean"

log = logging.getLogger("main")


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 stopped as asked, 78 settings that cannot be used, 1 anything else."""
    # The supervisor asks a main that hangs for its stacks with SIGABRT before it kills it.
    faulthandler.enable()
    calm_collector()
    options = _parser().parse_args(arguments)
    try:
        settings = config.load(ROOT, serving=True)
    except ConfigError as error:
        print(config.told(error), file=sys.stderr)
        return config.EXIT_CONFIG
    set_up(settings.log_level, supervised=settings.supervised)
    try:
        settings.cache_dir.mkdir(parents=True, exist_ok=True)
        with asyncio.Runner() as runner:
            code = runner.run(Program(settings, dry_run=options.dry_run).run(once=options.once))
            if not options.once:
                _leave(code)
            return code
    except ConfigError as error:
        print(config.told(error), file=sys.stderr)
        return config.EXIT_CONFIG
    except (CacheKeeperError, OSError) as error:
        print(("无法运行：" if config.prefers_chinese() else "cannot run: ") + config.told(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _leave(code: int) -> NoReturn:
    """End at once. Python would wait for its threads, and a name lookup that hangs in one cannot be cancelled."""
    logging.shutdown()
    os._exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="main.py",
        description="Keeps ComfyUI servers' models loaded and cleans caches. 保持模型缓存已加载，并清理缓存。",
    )
    parser.add_argument("--once", action="store_true", help="one poll cycle, one cleaning plan, then exit / 只运行一次")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="submit and delete nothing, say what would be / 试运行",
    )
    return parser


class Program:
    """Everything that runs, and the loop over it. Signal handlers only set flags; the loop acts on them."""

    def __init__(self, settings: config.Settings, *, dry_run: bool) -> None:
        self._settings = settings
        self._dry_run = dry_run
        self._stopping = asyncio.Event()
        self._reload_wanted = False
        self._timetable = Timetable()
        self._lanes = Lanes()
        self._stuck: list[str] = []
        self._cycles: set[asyncio.Task[None]] = set()
        # The event loop itself keeps no task alive.
        self._chores: set[asyncio.Task[None]] = set()
        self._clean_task: asyncio.Task[None] | None = None
        self._began = read_clock()
        # What cannot be put on record is not deleted; the polls go on without it.
        self._auditor = Auditor(LazyAuditLog(settings, patience_seconds=2.0))
        self._cleaning = self._new_cleaning()

    async def run(self, *, once: bool) -> int:
        """Run until told to stop (or once through); return the exit code."""
        settings = self._settings
        raise_open_files(sum(1 for _ in settings.servers) + 500)
        for warning in settings.warnings:
            log.warning("%s", warning)
        # What cannot be written now is written later: a command that holds the file must not hold up the polls.
        journal = Journal(settings.database, patience_seconds=1.0)
        session = FleetSession(
            connect_timeout_seconds=settings.connect_timeout_seconds,
            answer_timeout_seconds=settings.probe_timeout_seconds,
            progress=self._progress(POLL),
        )
        # No silence is longer than one request that times out; ten seconds for everything in between.
        self._lanes.add(POLL, settings.connect_timeout_seconds + settings.probe_timeout_seconds + 10)
        self._lanes.add(CLEAN, 60)
        try:
            async with session:
                self._journal = journal
                self._checker = Checker(
                    settings.servers, session, journal, policy(settings), limits(settings), dry_run=self._dry_run
                )
                return await (self._once() if once else self._forever())
        finally:
            journal.close()
            if once:
                self._auditor.log.close()

    async def _once(self) -> int:
        report = await self._checker.poll_cycle()
        for track in self._checker.tracks.values():
            for each in track.sets:
                print(f"{track.server.name} {each.warmup.name}: {each.memory.state} ({each.decision.reason})")
        for line in self._cleaning.plan():
            print(line)
        return 0 if set(report.states) <= {"loaded"} else 1

    async def _forever(self) -> int:
        settings, loop = self._settings, asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._want_reload)
        if settings.supervised:
            supervised.watch_leash(loop, self._stopping.set)
        self._fleet = RunningFleet(self._checker, self._journal, loop, settings.check_interval_seconds)
        wishes = Wishes(self._journal, self._checker)
        # Here, not above: `--once` needs no web server and should not pay for its imports.
        from runtime.operating import Operating

        self._operating = Operating(settings, self._fleet, self._auditor)
        web = WebThread(self._operating.app, settings.host, settings.port)
        # Beside the web server's start. What hangs is told by the log later on: a start waits for nobody.
        looked = loop.run_in_executor(None, self._operating.troubles)
        page_problem = web.start()
        with contextlib.suppress(TimeoutError):
            for trouble in await asyncio.wait_for(looked, TROUBLES_SECONDS):
                self._warn_who_starts(trouble)
        self._say_page(page_problem)
        self._in_thread(self._operating.begin)
        self._fill_timetable()
        self._start_cycle()
        # Often enough for the supervisor, seldom enough to cost it nothing.
        # Every second until the first poll is told, which whoever has just typed `start` wants to see.
        polled = False
        beaten_at, beat_seconds = -math.inf, min(5.0, settings.heartbeat_timeout_seconds / 4)
        while not self._stopping.is_set():
            self._timetable.tick(local_seconds(), time.monotonic())
            wishes.look()
            self._start_cycle()
            if not self._dry_run:
                # What is queued is meant: a worker would do it.
                self._operating.workers.tick(time.monotonic())
            if web.is_due():
                self._say_page(web.start(), again=True)
            if self._reload_wanted:
                self._reload()
            if settings.supervised and time.monotonic() - beaten_at >= (beat_seconds if polled else 1):
                polled = self._checker.polled_at is not None
                beaten_at = self._beat(beaten_at)
            try:
                await asyncio.wait_for(self._stopping.wait(), TICK_SECONDS)
            except TimeoutError:
                continue
        log.info("Stopping")
        web.stop()
        for task in self._cycles:
            task.cancel()
        await asyncio.gather(*self._cycles, return_exceptions=True)
        # All have been told to end after the entry in hand; the supervisor's patience is longer than ours.
        grace = settings.stop_grace_seconds / 2
        ends = [asyncio.create_task(asyncio.to_thread(self._operating.close, grace * 0.8))]
        if self._clean_task is not None:
            ends.append(self._clean_task)
        await asyncio.wait(ends, timeout=grace)
        # In a thread, and not for ever: what still writes has the file's lock.
        await asyncio.wait([asyncio.create_task(asyncio.to_thread(self._operating.let_go))], timeout=grace * 0.2)
        return 0

    def _say_page(self, problem: str, *, again: bool = False) -> None:
        """Tell the log and the supervisor where the page is, or why there is none (once, not at every try)."""
        if not problem:
            log.info("Page: %s", self._settings.page)
        elif not again:
            self._warn_who_starts(problem)
        if self._settings.supervised and not (problem and again):
            supervised.say(Ready("" if problem else self._settings.page))

    def _warn_who_starts(self, problem: str) -> None:
        log.warning("%s", problem)
        if self._settings.supervised:
            supervised.say(StartWarning(problem))

    def _fill_timetable(self) -> None:
        settings, table = self._settings, self._timetable
        table.clear()
        table.every(settings.check_interval_seconds, "poll", self._checker.all_due)
        table.every(3600, "forget", self._forget)
        for seconds, name, chore in self._operating.chores():
            table.every(seconds, name, partial(self._in_thread, chore))
        if settings.clean_time is not None:
            table.daily(settings.clean_time, "daily clean", self._clean_if_due)
        # The stamp decides, not the timetable: a night that the daemon slept through or that lacks 02:30 is made up
        # for, and one that has it twice is cleaned once.
        table.every(60, "clean", self._clean_if_due)

    def _start_cycle(self) -> None:
        """Poll what is due, in the background: a slow server must hold up neither the loop nor the next tick."""
        if not self._checker.anything_due():
            return
        task = asyncio.create_task(self._cycle())
        self._cycles.add(task)
        task.add_done_callback(self._cycles.discard)

    async def _cycle(self) -> None:
        self._lanes.begin(POLL, time.monotonic())
        try:
            report = await self._checker.poll_cycle()
            states = " ".join(f"{state}={count}" for state, count in sorted(report.states.items()))
            log.debug("polled servers=%d seconds=%.2f %s", report.polled, report.seconds, states)
        except Exception:
            log.exception("poll cycle failed")
        finally:
            self._lanes.end(POLL, time.monotonic())

    def _clean_if_due(self) -> None:
        if self._lanes.is_working(CLEAN) or not self._cleaning.is_due():
            return
        self._clean_task = asyncio.create_task(self._clean())

    async def _clean(self) -> None:
        self._lanes.begin(CLEAN, time.monotonic())
        try:
            await asyncio.to_thread(self._cleaning.run)
        except Exception:
            log.exception("cleaning failed")
        finally:
            self._lanes.end(CLEAN, time.monotonic())

    def _new_cleaning(self) -> Cleaning:
        return Cleaning(
            self._settings,
            self._progress(CLEAN),
            self._began,
            stopping=self._stopping.is_set,
            dry_run=self._dry_run,
            records=self._auditor,
        )

    def _forget(self) -> None:
        self._journal.forget_before(time.time() - self._settings.event_retention_days * 86400)

    def _in_thread(self, work: Callable[[], None]) -> None:
        """Do what waits for a disk or another machine; whoever asked does not wait for it."""
        task = asyncio.create_task(asyncio.to_thread(work))
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    def _want_reload(self) -> None:
        self._reload_wanted = True

    def _reload(self) -> None:
        """Take the new settings, or keep the last good ones and say what is wrong with the new."""
        self._reload_wanted = False
        try:
            new = config.load(ROOT, serving=True)
        except ConfigError as error:
            log.error("Reload refused, the old settings stay:\n%s", error)
            return
        old, self._settings = self._settings, new
        fixed = [name for name in config.NEED_RESTART if getattr(old, name) != getattr(new, name)]
        if fixed:
            log.warning("%s: changed, but only taken up by a restart", ", ".join(name.upper() for name in fixed))
        logging.getLogger().setLevel(new.log_level)
        self._cleaning = self._new_cleaning()
        self._checker.replace_servers(new.servers, policy(new), limits(new))
        self._fleet.check_interval_seconds = new.check_interval_seconds
        self._operating.take(new)
        self._in_thread(self._operating.index_if_due)
        self._fill_timetable()
        log.info("Reloaded: %d servers", len(new.servers))

    def _progress(self, lane: str) -> Progress:
        return Progress(self._lanes, lane)

    def _beat(self, last: float) -> float:
        now = time.monotonic()
        stuck = self._lanes.stuck(now)
        if stuck != self._stuck:
            # Once, not at every tick until the supervisor acts.
            log.error("stuck lanes=%s: no heartbeat until there is none", ",".join(stuck) or "none")
            self._stuck = stuck
        if stuck:
            return last
        at = self._checker.polled_at
        counts = " ".join(f"{state}={count}" for state, count in self._fleet.counts().items())
        stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") if at is not None else None
        supervised.say(Beat(stamp, counts))
        return now


class Progress:
    """Called by a worker at each unit of work, from whatever thread."""

    def __init__(self, lanes: Lanes, lane: str) -> None:
        self._lanes, self._lane = lanes, lane

    def __call__(self) -> None:
        self._lanes.progress(self._lane, time.monotonic())


if __name__ == "__main__":
    sys.exit(entry.run(main))
