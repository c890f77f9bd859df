"""A command's own fleet, for when no daemon runs: it polls and warms in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from checker import view
from checker.poll import Checker
from checker.probe import lacking_for, lacking_names
from client.server_client import FleetSession
from config import Settings
from core.errors import NoSuchRoute
from core.workflow import Graph
from runtime.numbers import limits, policy
from store.journal import Journal


def ask_about(settings: Settings, name: str) -> Callable[[Graph], tuple[tuple[str, ...], dict[str, int]]]:
    """Return a function that asks the named server what it lacks for a workflow, and its LRU sizes by tag."""
    server = next(server for server in settings.servers if server.name == name)

    async def ask(graph: Graph) -> tuple[tuple[str, ...], dict[str, int]]:
        async with FleetSession(
            connect_timeout_seconds=settings.connect_timeout_seconds,
            answer_timeout_seconds=settings.probe_timeout_seconds,
        ) as session:
            client = session.client(server)
            lacking = lacking_names(await lacking_for(graph, client))
            try:
                return lacking, dict((await client.cache_list()).sizes)
            except NoSuchRoute:
                return lacking, {}

    return lambda graph: asyncio.run(ask(graph))


class OwnFleet:
    """A checker of this process, on a loop in a thread of its own, with the daemon's journal. A context manager."""

    def __init__(self, settings: Settings, names: Sequence[str], *, dry_run: bool) -> None:
        self._settings = settings
        self._servers = [server for server in settings.servers if server.name in set(names)]
        self._dry_run = dry_run
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="checker", daemon=True)
        self._polling: Future[None] | None = None

    def __enter__(self) -> OwnFleet:
        self._settings.cache_dir.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(self._settings.database)
        self._thread.start()
        self._run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        if self._polling is not None:
            self._polling.cancel()
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._journal.close()

    async def _open(self) -> None:
        settings = self._settings
        self._session = await FleetSession(
            connect_timeout_seconds=settings.connect_timeout_seconds,
            answer_timeout_seconds=settings.probe_timeout_seconds,
        ).__aenter__()
        self._checker = Checker(
            self._servers, self._session, self._journal, policy(settings), limits(settings), dry_run=self._dry_run
        )

    async def _close(self) -> None:
        await self._session.__aexit__(None, None, None)

    async def _keep_polling(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            await self._checker.poll_cycle()

    def details(self) -> list[dict[str, Any]]:
        now = self._loop.time()
        return [view.detail(track, now) for track in list(self._checker.tracks.values())]

    def check(self, names: Sequence[str]) -> None:
        self._run(self._checker.poll_cycle(list(names)))

    def warm(self, name: str, set_name: str | None, *, force: bool) -> None:
        self._run(self._checker.warm([name], set_name, force=force))
        if self._polling is None:
            self._polling = asyncio.run_coroutine_threadsafe(self._keep_polling(), self._loop)

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
