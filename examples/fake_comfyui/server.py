"""One fake ComfyUI: its address, its life (start, stop, restart), and what tests make it do.

Methods without ``async`` may be called from any thread and return when the thing has happened; ``start``,
``stop``, ``restart``, ``black_hole`` and ``close`` from any thread but the loop's own.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from aiohttp import web

from examples.fake_comfyui.backend_cache import Key
from examples.fake_comfyui.dispatch import answer
from examples.fake_comfyui.door import Door
from examples.fake_comfyui.engine import Engine
from examples.fake_comfyui.faults import Faults, Misbehaviour, RecordedRequest
from examples.fake_comfyui.loop_thread import LoopThread
from examples.fake_comfyui.settings import Loader, Settings

T = TypeVar("T")


@dataclass(frozen=True)
class AcceptedPrompt:
    """One prompt that the server queued, and the monotonic second when it did."""

    prompt_id: str
    number: float
    graph: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    at: float


class FakeServer:
    """A server of its own (``with FakeServer(flavour="fork") as server``), or one of a ``FakeFleet``.

    Keywords are fields of ``Settings``. ``port`` 0 picks a free one, which it keeps through restarts.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        control: bool = False,
        thread: LoopThread | None = None,
        **changes: Any,
    ) -> None:
        self.settings = settings or Settings()
        for name, value in changes.items():
            if not hasattr(self.settings, name):
                raise TypeError(f"a fake server has no setting {name!r}")
            setattr(self.settings, name, value)
        self.control = control
        self.faults = Faults()
        self.websockets: dict[str, web.WebSocketResponse] = {}
        self._owns_thread, self._thread = thread is None, thread
        self._requests: deque[RecordedRequest] = deque(maxlen=self.settings.keep_requests)
        self._prompts: list[AcceptedPrompt] = []
        self._temporary: Path | None = None
        self._busy_until = 0.0
        self._door = Door(host, port)
        self._reopening: asyncio.TimerHandle | None = None
        self.engine = self._new_engine()

    @property
    def port(self) -> int:
        """0 until the first start, when a free one was asked for."""
        return self._door.port

    @property
    def url(self) -> str:
        return f"http://{self._door.host}:{self._door.port}"

    def __enter__(self) -> Self:
        if self._thread is None:
            self._thread = LoopThread()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen, with empty caches and an empty queue. Nothing happens when it listens already."""
        self._run(self.open())

    def stop(self) -> None:
        """As ``kill -9``: every connection breaks, new ones are refused, all memory is gone."""
        self._run(self.halt())

    def restart(self, down_seconds: float = 0.0) -> None:
        """Returns at once; the server refuses connections for ``down_seconds``, then is back and empty."""
        self._run(self.halt())
        self._call(lambda: self._open_later(down_seconds))

    def restart_from_loop(self, down_seconds: float) -> None:
        """The same for callers on the loop."""

        async def down() -> None:
            await self.halt()
            self._open_later(down_seconds)

        self._live_thread().spawn(down())

    def close(self) -> None:
        """Stop for good, give the port back and remove the temporary outputs."""
        self._run(self.dispose())
        if self._owns_thread and self._thread is not None:
            self._thread.stop()
            self._thread = None

    async def open(self) -> None:
        await self._door.open(lambda request: answer(self, request))

    async def halt(self) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
        self._door.refuse()
        self.engine.shut_down()
        self.engine = self._new_engine()
        self._busy_until = 0.0
        self.websockets = {}

    def _open_later(self, down_seconds: float) -> None:
        thread = self._live_thread()
        self._reopening = thread.loop.call_later(down_seconds, lambda: thread.spawn(self.open()))

    async def dispose(self) -> None:
        await self.halt()
        self._door.release()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def black_hole(self) -> None:
        """From now on connects are neither accepted nor refused: they time out. ``start()`` ends it."""

        async def swallow() -> None:
            await self.halt()
            self._door.swallow()

        self._run(swallow())

    def _new_engine(self) -> Engine:
        return Engine(self.settings, self.output_root, self._emit, self._hold)

    @property
    def requests(self) -> list[RecordedRequest]:
        """The newest ``keep_requests``, oldest first; control requests are not among them."""
        return list(self._requests)

    @property
    def prompts(self) -> list[AcceptedPrompt]:
        """Every prompt that was queued, over all restarts, those of the fork's own route included."""
        return list(self._prompts)

    def keys(self) -> list[Key]:
        """The backend cache's keys; unlike a client's look at the list, this leaves the LRU alone."""
        return self._call(lambda: self.engine.backend_cache.keys())

    def history(self) -> dict[str, dict[str, Any]]:
        return self._call(lambda: dict(self.engine.history))

    def queue(self) -> tuple[list[str], list[str]]:
        """Ids: running, and pending in the order in which they will run."""

        def ids() -> tuple[list[str], list[str]]:
            pending = sorted(self.engine.pending, key=lambda item: item[:2])  # graphs have no order
            return [item[1] for item in self.engine.running.values()], [item[1] for item in pending]

        return self._call(ids)

    def wait_until(self, predicate: Callable[[FakeServer], object], deadline_seconds: float = 5.0) -> None:
        """Raises TimeoutError when the predicate is not true by then."""
        end = time.monotonic() + deadline_seconds
        while not predicate(self):
            if time.monotonic() > end:
                raise TimeoutError(f"{self.url}: not so within {deadline_seconds} s")
            time.sleep(0.005)

    def wait_idle(self, deadline_seconds: float = 5.0) -> None:
        self.wait_until(lambda server: server.queue() == ([], []), deadline_seconds)

    def store(self, *keys: Key, tag: str = "") -> None:
        """Put keys in the backend cache without any prompt."""

        def store_all() -> None:
            for key in keys:
                self.engine.backend_cache.store(key, tag, "stored by the test")

        self._call(store_all)

    def evict(self, key: Key) -> None:
        """Raises KeyError when the key is absent."""
        self._call(lambda: self.engine.backend_cache.remove(key))

    def clear_cache(self) -> None:
        self._call(lambda: self.engine.backend_cache.clear())

    def busy(self, seconds: float) -> None:
        """Connections are accepted and nothing is answered for so long, as under one lock-holding call."""
        self._call(lambda: self._hold(seconds))

    def occupy(self, seconds: float, *, hold_lock: bool = False) -> str:
        """Queue a user's job of this length; its prompt id."""
        inputs = {"seconds": seconds, "hold_lock": hold_lock, "nonce": self.new_id()}
        graph = {"1": {"class_type": "FakeSleep", "inputs": inputs}}
        return self._call(lambda: self.submit(graph, client_id="somebody"))

    def kill_worker(self) -> None:
        """A zombie: HTTP stays healthy, prompts are accepted, nothing runs. Only a restart helps."""
        self._call(lambda: self.engine.kill_worker())

    def set_loader(
        self,
        class_type: str | None = None,
        *,
        seconds: float = 0.0,
        fail: bool | int = False,
        message: str = "Error while loading the model",
        holds_lock: bool = False,
    ) -> None:
        """How one loader class behaves from now on, or all others. ``fail``: for ever, or so many times."""
        failures = -1 if fail is True else int(fail)
        loader = Loader(seconds, failures, message, holds_lock)
        if class_type is None:
            self.settings.default_loader = loader
        else:
            self.settings.loaders[class_type] = loader

    def misbehave(self, route: str, **fault: Any) -> None:
        """``route``: ``"/queue"``, ``"POST /prompt"``, ``"*"``; keywords are fields of ``Misbehaviour``."""
        self._call(lambda: self.faults.set(route, Misbehaviour(**fault)))

    def behave(self, route: str | None = None) -> None:
        """End the misbehaviour of one route, or of all."""
        self._call(lambda: self.faults.clear(route))

    def record(self, request: RecordedRequest) -> None:
        self._requests.append(request)

    def prompt_accepted(self, prompt_id: str, number: float, graph: Any, extra_data: Any) -> None:
        self._prompts.append(AcceptedPrompt(prompt_id, number, graph, extra_data, time.monotonic()))

    def submit(self, graph: dict[str, Any], client_id: str | None = None) -> str:
        number, prompt_id = self.engine.number, self.engine.submit(graph, client_id)
        self.prompt_accepted(prompt_id, number, graph, {})
        return prompt_id

    def busy_seconds(self) -> float:
        return self._busy_until - time.monotonic()

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def output_root(self, kind: str) -> Path:
        """The directory of ``output``, ``temp`` or ``input``; made when first asked for."""
        root = self.settings.output_directory
        if root is not None and kind == "output":
            return root
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="fake-comfyui-"))
        folder = self._temporary / kind
        folder.mkdir(exist_ok=True)
        return folder

    def _hold(self, seconds: float) -> None:
        self._busy_until = max(self._busy_until, time.monotonic() + seconds)

    def _emit(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        """To the client's WebSocket; without a client id to every one, as the original does."""
        if not self.websockets:
            return
        targets = self.websockets.values() if client_id is None else [self.websockets.get(client_id)]
        for target in targets:
            if target is not None and not target.closed:
                self._live_thread().spawn(_send(target, {"type": event, "data": data}))

    def _call(self, function: Callable[[], T]) -> T:
        return self._live_thread().call(function)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._live_thread().run(coroutine)

    def _live_thread(self) -> LoopThread:
        if self._thread is None:
            raise RuntimeError("the fake server is not running: use it in a with statement")
        return self._thread


async def _send(target: web.WebSocketResponse, message: dict[str, Any]) -> None:
    try:
        await target.send_json(message)
    except ConnectionError:
        pass  # the browser went away
