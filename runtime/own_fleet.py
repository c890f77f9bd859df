"""The fleet for a command: the running daemon's over its API, or, when none runs, one of the command's own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from checker import view
from checker.cli import Fleet
from checker.poll import Checker
from checker.probe import lacking_for, lacking_names
from client.server_client import FleetSession
from config import Settings
from core.access import Role
from core.errors import CacheKeeperError, NoSuchRoute
from core.workflow import Graph
from runtime.numbers import limits, policy
from store.journal import Journal

if TYPE_CHECKING:
    # Imported where it is used: a command without a daemon need not pay for it.
    import requests

NO_DAEMON = "The daemon is not running; this command asks the servers itself. 守护进程未运行，由本命令直接检测。"
NO_DAEMON_STATUS = "The daemon is not running; this is what was last recorded. 守护进程未运行，以下为最后记录。"


@contextmanager
def connect(settings: Settings, names: Sequence[str], *, acting: bool, dry_run: bool) -> Iterator[tuple[Fleet, str]]:
    """Yield the fleet of the named servers and a remark for the user, which is empty when the daemon answers.

    ``acting`` is False for a command that only shows; a dry run never goes to the daemon, which would act.
    """
    daemon = None if dry_run else DaemonFleet.reach(settings)
    if daemon is not None:
        daemon.refuse_unknown(names)
        yield daemon, ""
        return
    with OwnFleet(settings, names, dry_run=dry_run) as own:
        yield own, ("" if dry_run else NO_DAEMON if acting else NO_DAEMON_STATUS)


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


class DaemonFleet:
    """The daemon's fleet, over the API that it serves on this machine."""

    def __init__(self, base: str, settings: Settings) -> None:
        self._base = base
        self._settings = settings

    @classmethod
    def reach(cls, settings: Settings) -> DaemonFleet | None:
        """Return the daemon's fleet, None when nothing of ours answers there."""
        import requests

        base = settings.page.removesuffix("/status")
        try:
            with _past_any_proxy() as session:
                answer = session.get(f"{base}/healthz", timeout=5)
            return cls(base, settings) if "last_poll" in answer.json() else None
        except (requests.RequestException, ValueError, TypeError):
            return None

    def refuse_unknown(self, names: Sequence[str]) -> None:
        """Raise CacheKeeperError when the daemon, which has the fleet of its last reload, lacks one of these."""
        known = {row["name"] for row in self._ask("GET", "/api/status")["servers"]}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise CacheKeeperError(
                f"the daemon at {self._base} does not know {', '.join(unknown[:10])}: it has another configuration; "
                "let it reload (SIGHUP) or restart it 请重新加载或重启守护进程: python daemon.py restart"
            )

    def details(self) -> list[dict[str, Any]]:
        servers = self._ask("GET", "/api/detailed_status")["servers"]
        return servers if isinstance(servers, list) else []

    def check(self, names: Sequence[str]) -> None:
        if len(names) == len(self.details()):
            self._ask("POST", "/check/all?wait=60")
            return
        for name in names:
            self._ask("POST", f"/check/{quote(name, safe='')}?wait=60")

    def warm(self, name: str, set_name: str | None, *, force: bool) -> None:
        query = f"?force={'true' if force else 'false'}&wait=10" + (f"&set={quote(set_name)}" if set_name else "")
        self._ask("POST", f"/execute/{quote(name, safe='')}{query}")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        import requests

        # Here: a command without a daemon needs no token, and need not pay for the library either.
        from runtime.access import local_token

        token = local_token(self._settings, Role.OPERATOR, time.time())
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with _past_any_proxy() as session:
                answer = session.request(method, self._base + path, headers=headers, timeout=90)
            document = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise CacheKeeperError(f"the daemon does not answer: {error}") from None
        if answer.status_code in (401, 403):
            raise CacheKeeperError(
                f"the daemon refused: {document.get('detail')}; run this as the daemon's user, with the same CACHE_DIR "
                "and API_SECRET 请以守护进程的用户运行，并使用相同的 CACHE_DIR 和 API_SECRET"
            )
        if answer.status_code != 200 or not isinstance(document, dict):
            raise CacheKeeperError(f"the daemon refused: {document}")
        return document


def _past_any_proxy() -> requests.Session:
    """A proxy for the outside world (HTTP_PROXY) does not know this machine's loopback."""
    import requests

    session = requests.Session()
    session.trust_env = False
    return session


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
