"""What the checker costs: ``python -m benchmarks.checker`` (under a minute), ``--full`` (ten minutes), ``--save``.

The servers are the faithful fakes, in a process of their own; only the checker's side is counted. Patterns that
are compared take turns within one run, so that a slow moment of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import itertools
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import requests

import config
from benchmarks.fleet import fleet
from benchmarks.measure import ROOT, WORKFLOW, Running, percentile, publish, running_main, table
from checker.poll import Checker
from client.server_client import FleetSession
from core.workflow import Key
from runtime.limits import calm_collector, raise_open_files
from runtime.numbers import limits, policy
from store.journal import Journal

SERVERS = 1000
LARGE = 5000
DEAD_SHARE = 0.2
Pattern = Callable[[Sequence[str]], Awaitable[None]]


def main() -> None:
    """Measure, print, and save if so wished."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checker", description=__doc__)
    parser.add_argument("--full", action="store_true", help="5,000 servers, real intervals of 30 s, more rounds")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/checker.md")
    options = parser.parse_args()
    raise_open_files(LARGE + 1000)
    calm_collector()
    sections = {}
    with fleet(SERVERS) as (urls, _):
        costs = asyncio.run(measure_costs(urls, rounds=15 if options.full else 5))
    sections[f"One poll, {SERVERS:,} servers"] = show_costs(costs)
    if options.full:
        sections[f"{LARGE:,} servers every 30 s"] = at_scale(costs, intervals=3)
    sections["One server in five is a black hole"] = black_holes(
        *((30.0, 300.0) if options.full else (5.0, 32.0)),
    )
    publish("checker", "The checker's cost", sections, save=options.save)


# -- the cost of one poll ------------------------------------------------------------------------------------


async def measure_costs(urls: Sequence[str], rounds: int) -> dict[str, tuple[float, float]]:
    """Return each pattern's medians of CPU seconds and wall seconds a poll. The first round opens connections."""
    with tempfile.TemporaryDirectory() as directory:
        settings = config.load(
            ROOT, {"CACHE_DIR": directory, "SERVERS": ",".join(urls), "WORKFLOW_PATH": str(WORKFLOW)}
        )
        keys = settings.servers[0].sets[0].keys
        journal = Journal(settings.database)
        async with (
            FleetSession(connect_timeout_seconds=3, answer_timeout_seconds=10) as session,
            aiohttp.ClientSession(connector=_unlimited()) as bare,
        ):
            checker = Checker(settings.servers, session, journal, policy(settings), limits(settings))
            names = {server.url: server.name for server in settings.servers}
            shared = requests.Session()
            shared.mount("http://", requests.adapters.HTTPAdapter(pool_connections=len(urls)))

            async def ours(chosen: Sequence[str]) -> None:
                report = await checker.poll_cycle([names[url] for url in chosen])
                assert report.states["loaded"] == len(chosen), report.states  # type: ignore[index]

            async def floor(chosen: Sequence[str]) -> None:
                await asyncio.gather(*(_bare_get(bare, url, keys) for url in chosen))

            patterns: dict[str, tuple[Pattern, int]] = {
                "**this checker** (probe, decide, record)": (ours, len(urls)),
                "aiohttp, bare GET, nothing decided (the floor)": (floor, len(urls)),
                "`requests`, one shared session": (_each(lambda url: shared.get(url).text, keys), 300),
                "`requests.get` at each check": (_each(lambda url: requests.get(url).text, keys), 100),
            }
            if importlib.util.find_spec("httpx") is not None:
                patterns["a new `httpx.Client` at each check (the origin)"] = (_each(_fresh_httpx, keys), 15)
            taken: dict[str, list[tuple[float, float]]] = {name: [] for name in patterns}
            for number in range(rounds + 1):
                for name, (pattern, count) in patterns.items():
                    cpu, wall = time.process_time(), time.perf_counter()
                    await pattern(urls[:count])
                    spent = ((time.process_time() - cpu) / count, (time.perf_counter() - wall) / count)
                    if number:
                        taken[name].append(spent)
        journal.close()
    return {
        name: (statistics.median(cpu for cpu, _ in spent), statistics.median(wall for _, wall in spent))
        for name, spent in taken.items()
    }


def _unlimited() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(limit=0, keepalive_timeout=75)


async def _bare_get(session: aiohttp.ClientSession, url: str, keys: Sequence[Key]) -> None:
    async with session.get(f"{url}/inspire/cache/list") as response:
        _check(await response.text(), keys)


def _each(get: Callable[[str], str], keys: Sequence[Key]) -> Pattern:
    async def one_after_another(urls: Sequence[str]) -> None:
        for url in urls:
            _check(get(f"{url}/inspire/cache/list"), keys)

    return one_after_another


def _fresh_httpx(url: str) -> str:
    # Not among our dependencies: this row is only there where somebody has installed it.
    httpx = importlib.import_module("httpx")
    with httpx.Client() as client:
        return str(client.get(url).text)


def _check(text: str, keys: Sequence[Key]) -> None:
    if not all(str(key) in text for key in keys):
        raise AssertionError(f"not loaded: {text[:200]}")


def show_costs(costs: dict[str, tuple[float, float]]) -> str:
    """The table; ratios are to the checker, which comes first."""
    own = next(iter(costs.values()))[0]
    rows = [
        [name, f"{cpu * 1e3:.2f} ms", f"{1 / cpu:,.0f}", f"{1 / wall:,.0f}", f"{cpu / own:.1f} ×"]
        for name, (cpu, wall) in costs.items()
    ]
    heads = ("pattern", "CPU per poll", "polls/s on one core", "polls/s seen", "CPU against ours")
    return table(heads, rows) + "\n\nTargets: at most 0.45 ms, at least 2,000 polls/s on one core."


# -- thousands of servers ------------------------------------------------------------------------------------


def at_scale(costs: dict[str, tuple[float, float]], intervals: int) -> str:
    """Run main.py as it is over many servers, at the default interval; all are loaded and stay so."""
    with fleet(LARGE) as (urls, _), running_main(urls) as program:
        first = program.wait_until_polled()
        time.sleep(30)
        began, spent = time.monotonic(), program.cpu_seconds()
        time.sleep(30 * intervals)
        share = (program.cpu_seconds() - spent) / (time.monotonic() - began)
        resident, highest = program.memory_mib()
    rows = [
        ["CPU, of one core", f"{share:.3f}", "< 0.2"],
        ["memory, resident", f"{resident:.0f} MiB (at its highest {highest:.0f})", "< 150 MiB"],
        ["start of main.py to the whole fleet known", f"{first:.1f} s", ""],
    ]
    for name, (cpu, _) in list(costs.items())[2:]:
        rows.append([f"{name}: the polls alone, computed from the cost above", f"{cpu * LARGE / 30:.2f} of a core", ""])
    return table(("what", "measured", "target"), rows) + f"\n\nmain.py with its web server, over {intervals} intervals."


# -- servers that swallow connections ------------------------------------------------------------------------


def black_holes(interval: float, seconds: float) -> str:
    """Run main.py over live and dead servers; what happened when is read from its own API, twice a second."""
    dead = int(SERVERS * DEAD_SHARE)
    with fleet(SERVERS - dead, dead) as (live_urls, dead_urls):
        with running_main([*live_urls, *dead_urls], CHECK_INTERVAL_SECONDS=str(interval)) as program:
            seen = watch(program, seconds)
        waited = time.perf_counter()
        for url in dead_urls[:2]:
            try:
                requests.get(url, timeout=3)
            except requests.RequestException:
                pass
        each = (time.perf_counter() - waited) / 2
    begin = min(polls[0][0] for polls in seen.values())
    lags = []
    for url in live_urls:
        due = begin
        for started, latency in seen[url]:
            lags.append(started + latency - due)
            due = started + interval
    gaps = [[later - earlier for (earlier, _), (later, _) in itertools.pairwise(seen[url])] for url in dead_urls]
    shown = []
    for number in range(min(len(gap) for gap in gaps)):
        shown.append(f"{statistics.median(gap[number] for gap in gaps):.0f} s")
    rows = [
        ["lag of the live ones, median", f"{statistics.median(lags):.2f} s", ""],
        ["lag of the live ones, 99th percentile", f"{percentile(lags, 99):.2f} s", f"< {interval:.0f} s"],
        ["lag of the live ones, worst", f"{max(lags):.2f} s", ""],
        ["polls of a live server", f"{min(len(seen[url]) for url in live_urls)} at least", ""],
        ["polls of a dead server", f"{statistics.mean(len(seen[url]) for url in dead_urls):.1f} on average", ""],
        ["time between a dead server's polls", ", ".join(shown), "rising, up to 300 s"],
        ["one after another with a timeout of 3 s: the lag of the last",
         f"{each * dead:.0f} s (computed from {each:.1f} s each)", ""],
    ]  # fmt: skip
    note = (
        f"{SERVERS:,} servers, {dead} of them accept nothing; every {interval:.0f} s, for {seconds:.0f} s. Lag: from "
        "the moment when a poll was due until its answer was there."
    )
    return table(("what", "measured", "target"), rows) + "\n\n" + note


def watch(program: Running, seconds: float) -> dict[str, list[tuple[float, float]]]:
    """Return each server's polls as (when it began, seconds until it ended), as the API tells them."""
    polls: dict[str, list[tuple[float, float]]] = {}
    program.wait_until_polled()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for server in program.ask("/api/detailed_status")["servers"]:
            known = polls.setdefault(server["server"], [])
            if not known or known[-1][0] != server["polled_at"]:
                known.append((server["polled_at"], server["latency_seconds"]))
        time.sleep(0.5)
    return polls


if __name__ == "__main__":
    main()
