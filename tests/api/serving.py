"""The real application over a real socket: checker, fleet, guard and uvicorn, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import config
from api.app import create_app
from api.tokens import Tokens
from checker.poll import Checker
from client.server_client import FleetSession
from core.access import Role
from operations.auditing import Auditor
from operations.backends import configured
from operations.indexing import refresh
from operations.opening import Opened
from runtime.access import open_tokens
from runtime.fleet import RunningFleet
from runtime.gate import open_gate
from runtime.numbers import limits, policy
from runtime.web import WebThread
from store.index import EntryIndex
from store.journal import Journal
from tests.workspace import SOURCE, Answer, ask, free_port


class Service:
    """A running service; ``checker`` belongs to the loop's thread, use ``on_loop``."""

    def __init__(
        self,
        settings: config.Settings,
        checker: Checker,
        loop: asyncio.AbstractEventLoop,
        port: int,
        tokens: Tokens,
        auditor: Auditor,
    ) -> None:
        self.settings = settings
        self.checker = checker
        self.loop = loop
        self.port = port
        self.tokens = tokens
        self.auditor = auditor
        self._made: dict[Role, str] = {}

    def token(self, role: Role) -> str:
        if role not in self._made:
            self._made[role] = self.tokens.issue(f"the-{role}", role, 3600, time.time())[0]
        return self._made[role]

    def on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def ask(
        self, path: str, method: str = "GET", *, role: Role | None = None, body: object = None, **headers: str
    ) -> Answer:
        """Send a request; with ``role`` it brings a token of that role, with ``body`` that as JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if role is not None:
            named["Authorization"] = f"Bearer {self.token(role)}"
        sent = None
        if body is not None:
            sent, named["Content-Type"] = json.dumps(body).encode(), "application/json"
        return ask(f"http://127.0.0.1:{self.port}{path}", method, named, body=sent)

    def raw(
        self, request: bytes, *, to: str = "127.0.0.1", source: str | None = None, half_close: bool = False
    ) -> tuple[int, str]:
        """Send bytes as they are; return the status (0 for a connection closed without one) and the whole answer."""
        address = (source, 0) if source else None
        with socket.create_connection((to, self.port), 10, source_address=address) as connection:
            connection.sendall(request)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        text = answer.decode("utf-8", "replace")
        return (int(text.split(" ", 2)[1]) if text.startswith("HTTP/") else 0), text

    def index(self) -> None:
        """Bring the index of cache entries up to date, as a worker does it."""
        with contextlib.closing(EntryIndex(self.settings.index_database)) as index:
            for backend in configured(self.settings):
                refresh(index, backend, lambda _done, _total=None: None, time.time())

    def poll(self) -> None:
        self.on_loop(self.checker.poll_cycle(list(self.checker.tracks)))


@contextlib.contextmanager
def serving(
    directory: Path,
    servers: Sequence[str],
    *,
    host: str = "127.0.0.1",
    fleet: str = "",
    **options: str,
) -> Iterator[Service]:
    """Serve the fleet of these addresses, or of this fleet.toml, with these settings.

    Nothing polls but ``poll`` and the API itself.
    """
    if fleet:
        (directory / "fleet.toml").write_text(fleet, encoding="utf-8")
    # No setting of the product: tests bring more bad tokens in a minute than people do.
    failed_sign_ins = int(options.pop("FAILED_SIGN_INS", "1000000"))
    settings = config.load(
        directory,
        {
            "WORKFLOW_PATH": str(SOURCE / "examples" / "warmup.json"),
            "WARMUP_START_GAP_SECONDS": "0",
            "CONNECT_TIMEOUT_SECONDS": "1",
            "PROBE_TIMEOUT_SECONDS": "1",
            # Tests ask faster than people do.
            "RATE_LIMIT_READS_PER_MINUTE": "100000",
            "RATE_LIMIT_WRITES_PER_MINUTE": "100000",
            **options,
            **({"SERVERS": ",".join(servers)} if servers else {}),
        },
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    journal = Journal(settings.database)

    async def open_all() -> tuple[FleetSession, Checker]:
        session = await FleetSession(
            connect_timeout_seconds=settings.connect_timeout_seconds,
            answer_timeout_seconds=settings.probe_timeout_seconds,
        ).__aenter__()
        return session, Checker(settings.servers, session, journal, policy(settings), limits(settings))

    session, checker = asyncio.run_coroutine_threadsafe(open_all(), loop).result(10)
    port = free_port()
    tokens, register = open_tokens(settings)
    opened = Opened(settings)
    gate, gates_register = open_gate(settings, opened.auditor, failed_sign_ins_per_minute=failed_sign_ins)
    fleet_running = RunningFleet(checker, journal, loop, settings.check_interval_seconds)
    app = create_app(
        fleet_running, opened.operations, opened.auditor.log, gate, host,
        allowed_hosts=settings.allowed_hosts, trusted_proxies=settings.trusted_proxies,
    )  # fmt: skip
    web = WebThread(app, host, port)
    try:
        assert web.start() == ""
        yield Service(settings, checker, loop, port, tokens, opened.auditor)
    finally:
        web.stop()
        asyncio.run_coroutine_threadsafe(session.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
        journal.close()
        register.close()
        gates_register.close()
        opened.close()
