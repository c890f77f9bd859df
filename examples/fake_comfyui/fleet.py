"""Many fake servers on one event loop."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from examples.fake_comfyui.loop_thread import LoopThread
from examples.fake_comfyui.server import FakeServer
from examples.fake_comfyui.settings import Settings


class FakeFleet:
    """``with FakeFleet(3, flavour="fork") as fleet``; keywords are fields of ``Settings``, the same for all.

    ``settings``: one per server instead, or a function from its index. ``base_port`` 0 picks free ports,
    otherwise the servers get consecutive ones.
    """

    def __init__(
        self,
        count: int,
        *,
        base_port: int = 0,
        control: bool = False,
        settings: Sequence[Settings] | Callable[[int], Settings] | None = None,
        **changes: Any,
    ) -> None:
        self._thread = LoopThread()
        _allow_open_files(count * 4 + 256)
        self.servers: list[FakeServer] = []
        for index in range(count):
            own = None
            if settings is not None:
                own = settings(index) if callable(settings) else settings[index]
            port = base_port + index if base_port else 0
            self.servers.append(FakeServer(own, port=port, control=control, thread=self._thread, **changes))

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    def start(self) -> None:
        """Raises OSError when a port is taken; no server listens then."""

        async def open_all() -> None:
            for server in self.servers:
                await server.open()

        try:
            self._thread.run(open_all())
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        async def dispose_all() -> None:
            for server in self.servers:
                await server.dispose()

        self._thread.run(dispose_all())
        self._thread.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, index: int) -> FakeServer:
        return self.servers[index]

    def __iter__(self) -> Iterator[FakeServer]:
        return iter(self.servers)

    def __len__(self) -> int:
        return len(self.servers)


def _allow_open_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
