"""Runs a real Checker in a thread of its own, as main.py does, only with short intervals."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from checker.places import Limits
from checker.poll import Checker
from checker.tracks import ServerTrack, SetTrack
from client.server_client import FleetSession
from core.fleet import Detector, Group, Secret, Server, WarmupSet
from core.model import Decision, Event, Policy, State
from core.workflow import Graph, wanted_keys
from store.journal import Journal

T = TypeVar("T")

TICK_SECONDS = 0.005
POLICY = Policy(
    recheck_seconds=0.15,
    follow_seconds=0.03,
    post_grace_seconds=0.6,
    backoff_seconds=0.1,
    backoff_max_seconds=0.3,
    breaker_failures=3,
    breaker_seconds=60.0,
)
LIMITS = Limits(check_interval_seconds=0.05, max_concurrent_warmups=4, warmup_start_gap_seconds=0.0)


def warmup_of(*keys: str, tag: str = "", loader: str = "PulidFluxEvaClipLoader", **inputs: str) -> Graph:
    """A graph with a loader (``inputs`` are its own) and a storing node for each key."""
    graph: dict[str, Any] = {}
    for place, key in enumerate(keys):
        source, storing = str(2 * place + 1), str(2 * place + 2)
        graph[source] = {"class_type": loader, "inputs": inputs}
        graph[storing] = {
            "class_type": "CacheBackendData //Inspire",
            "inputs": {"key": key, "tag": tag, "data": [source, 0]},
        }
    return graph


def set_of(graph: Graph | None, name: str = "models", **more: Any) -> WarmupSet:
    keys = tuple(wanted_keys(graph)) if graph is not None else ()
    return WarmupSet(**{"name": name, "graph": graph, "keys": keys, "patience_seconds": 0.5, **more})


def server_of(
    url: str, *sets: WarmupSet, name: str = "", headers: dict[str, str] | None = None, **group: Any
) -> Server:
    secrets = tuple((header, Secret(value)) for header, value in (headers or {}).items())
    group = {
        "name": "g",
        "check_interval_seconds": LIMITS.check_interval_seconds,
        "headers": secrets,
        "secrets": tuple(secret for _, secret in secrets),
        **group,
    }
    return Server(name or url.removeprefix("http://"), url, Group(**group), sets)


def detector_of(kind: str, **more: Any) -> Detector:
    return Detector(**{"kind": kind, **more})


class RunningChecker:
    """``with RunningChecker([server], tmp_path) as running``: polls until the block ends.

    ``journal`` is the file; a second RunningChecker on the same file is a daemon that was started again.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        journal: Path,
        *,
        policy: Policy = POLICY,
        limits: Limits = LIMITS,
        connect_timeout_seconds: float = 5.0,
        answer_timeout_seconds: float = 5.0,
        journal_class: type[Journal] = Journal,
        **checker: Any,
    ) -> None:
        self._servers, self._policy, self._limits, self._options = servers, policy, limits, checker
        self._timeouts = (connect_timeout_seconds, answer_timeout_seconds)
        self._path, self._journal_class = journal, journal_class
        self._ready, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.checker: Checker
        self.journal: Journal
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        if self.failure is not None:
            raise self.failure
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure

    async def _run(self) -> None:
        try:
            self.journal = self._journal_class(self._path)
            connect, answer = self._timeouts
            session = FleetSession(connect_timeout_seconds=connect, answer_timeout_seconds=answer)
            async with session:
                self.checker = Checker(
                    self._servers, session, self.journal, self._policy, self._limits, **self._options
                )
                self._loop = asyncio.get_running_loop()
                self._ready.set()
                await self._poll()
            self.journal.close()
        except BaseException as failure:  # noqa: BLE001 (raised again in the test's thread)
            self.failure = failure
        finally:
            self._ready.set()

    async def _poll(self) -> None:
        """As main.py: a cycle whenever something is due, and all servers due at each interval."""
        cycles: set[asyncio.Task[Any]] = set()
        next_round = time.monotonic() + self._limits.check_interval_seconds
        while not self._stopping.is_set():
            if self.checker.anything_due():
                task = asyncio.create_task(self.checker.poll_cycle())
                cycles.add(task)
                task.add_done_callback(cycles.discard)
            if time.monotonic() >= next_round:
                next_round += self._limits.check_interval_seconds
                self.checker.all_due()
            await asyncio.sleep(TICK_SECONDS)
        for task in cycles:
            task.cancel()
        for result in await asyncio.gather(*cycles, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def call(self, function: Callable[[], Any]) -> Any:
        """Run on the checker's loop; a coroutine is awaited there."""

        async def there() -> Any:
            result = function()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(20)

    def replace_servers(self, servers: Sequence[Server]) -> None:
        self.call(lambda: self.checker.replace_servers(servers, self._policy, self._limits))

    def track(self, server: int = 0) -> ServerTrack:
        return list(self.checker.tracks.values())[server]

    def set(self, server: int = 0, number: int = 0) -> SetTrack:
        return self.track(server).sets[number]

    def state(self, server: int = 0, number: int = 0) -> State:
        return self.set(server, number).memory.state

    def decision(self, server: int = 0, number: int = 0) -> Decision:
        return self.set(server, number).decision

    def wait(self, condition: Callable[[], object], deadline_seconds: float = 10.0, what: str = "") -> None:
        """Wait until the condition holds; fails with the states and reasons when the deadline passes."""
        end = time.monotonic() + deadline_seconds
        while not condition():
            if time.monotonic() > end or not self._thread.is_alive():
                seen = [
                    f"{name} {each.warmup.name}: {each.memory.state} {each.decision.rule}: {each.decision.reason}"
                    for name, track in self.checker.tracks.items()
                    for each in track.sets
                ]
                raise AssertionError(f"{what or 'not so'} within {deadline_seconds} s: {seen} {self.failure or ''}")
            time.sleep(0.005)

    def wait_state(self, state: State, server: int = 0, number: int = 0, deadline_seconds: float = 10.0) -> None:
        """Wait until a poll has ended in the state; what it found is in the journal then."""

        def ended_so() -> bool:
            return self.state(server, number) is state and not self.track(server).in_flight

        self.wait(ended_so, deadline_seconds, f"not {state}")

    def wait_polls(self, more: int, server: int = 0) -> None:
        """Wait for so many further whole polls of the server."""
        wanted = self.track(server).polls_total + more + 1
        self.wait(lambda: self.track(server).polls_total >= wanted, what=f"not {more} more polls")

    def events(self, *kinds: str) -> list[Event]:
        """What the journal holds on disk by now, oldest first."""
        return events_in(self._path, *kinds)


def events_in(path: Path, *kinds: str) -> list[Event]:
    reader = Journal(path)
    try:
        found = reader.events(newest=100_000)
    finally:
        reader.close()
    return [event for event in found if not kinds or event.kind in kinds]


def quick(policy: Policy = POLICY, **changes: Any) -> Policy:
    return replace(policy, **changes)
