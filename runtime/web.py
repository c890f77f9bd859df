"""Serves the pages and the API from a thread of its own: uvicorn, as it comes."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

from core.setting_phrases import NO_PAGE

RETRY_SECONDS = 3.0
"""How often a port that another program holds is tried again."""


class WebThread:
    """The web server's thread. Keeping servers warm does not depend on it: a taken port is a warning."""

    def __init__(self, app: Any, host: str, port: int) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._tried_at = 0.0

    def start(self) -> str:
        """Begin to listen; return an empty text, or why that is not possible."""
        import uvicorn

        self._tried_at = time.monotonic()
        host = self._host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # The protocol is named: asyncio sets TCP_NODELAY only where it is, and without it a small answer waits 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, self._port))
            # Here, not in uvicorn's thread: whoever is told the address may ask at once. And with SO_REUSEADDR it
            # is only listen() that fails when another program has bound the port at the same time.
            listener.listen(128)
        except (OSError, TypeError) as error:
            # TypeError: a host that cannot be a name at all, such as one with more than 63 letters between its dots.
            listener.close()
            reason = getattr(error, "strerror", None) or error
            return NO_PAGE(address=f"{self._host}:{self._port}", words=reason)
        config = uvicorn.Config(
            self._app, log_config=None, access_log=False, server_header=False, lifespan="off", timeout_keep_alive=30,
            # Believe no X-Forwarded-For: who asks decides what is allowed.
            proxy_headers=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="web", daemon=True
        )
        self._thread.start()
        return ""

    def is_due(self) -> bool:
        """Whether ``start`` is worth another try: the port was taken, or the thread has ended."""
        alive = self._thread is not None and self._thread.is_alive()
        return not alive and time.monotonic() - self._tried_at >= RETRY_SECONDS

    def stop(self) -> None:
        """Finish the requests in hand, for at most two seconds."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(2)
