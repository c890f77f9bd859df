"""A server's port: open, refusing, swallowing every connect, or given back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from aiohttp import web

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Door:
    """``port`` 0 becomes a free port when it first opens, and is kept until ``release()``."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._listener: asyncio.Server | None = None
        self._http: web.Server | None = None
        # Bound without listening: the kernel refuses connects, and nobody else gets the port meanwhile.
        self._reserved: socket.socket | None = None
        self._swallowing: list[socket.socket] = []

    async def open(self, answer: Answer) -> None:
        """Raises OSError when the port is taken. Nothing happens when it is open."""
        if self._listener is not None:
            return
        self._stop_swallowing()
        listening, self._reserved = self._reserved or self._bind(), None
        self._http = web.Server(answer, access_log=None)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._http, sock=listening, backlog=256)

    def refuse(self) -> None:
        """As a killed process: connections break, new ones are refused."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener, self._reserved = None, self._bind()
        for connection in self._http.connections if self._http is not None else ():
            if connection.transport is not None:
                connection.transport.abort()

    def swallow(self) -> None:
        """As a host behind a firewall that drops: connects hang until they time out. After ``refuse()``."""
        listening, self._reserved = self._reserved or self._bind(), None
        listening.listen(0)
        self._swallowing = [listening]
        for _ in range(4):  # fills the queue of connections to accept; Linux drops every further SYN
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
            self._swallowing.append(filler)

    def release(self) -> None:
        """Give the port back. After ``refuse()``."""
        self._stop_swallowing()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def _stop_swallowing(self) -> None:
        if self._swallowing:
            for each in self._swallowing:
                each.close()
            self._swallowing, self._reserved = [], self._bind()

    def _bind(self) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        try:
            bound.bind((self.host, self.port))
        except OSError:
            bound.close()
            raise
        self.port = bound.getsockname()[1]
        return bound
