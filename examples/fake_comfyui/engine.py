"""The memory of one ComfyUI process: queue, worker, history and both caches. A restart makes a new one.

The worker executes prompts one after the other on the fleet's event loop. Where a real worker thread would
die of an exception, this one ends too, and HTTP goes on answering.
"""

from __future__ import annotations

import asyncio
import copy
import heapq
import random
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from examples.fake_comfyui import node_library
from examples.fake_comfyui.backend_cache import BackendCache
from examples.fake_comfyui.execution import Execution, InterruptedPrompt, OutOfMemoryError, WorkerDeath
from examples.fake_comfyui.graphs import Graph, Validation, validate_prompt
from examples.fake_comfyui.images import save_images
from examples.fake_comfyui.node_classes import Image, NodeClass, NodeOutput
from examples.fake_comfyui.settings import Settings

QueueItem = tuple[float, str, Graph, dict[str, Any], list[str]]
Emit = Callable[[str, dict[str, Any], str | None], None]


class Engine:
    """``emit(event, data, client_id)`` sends to WebSockets; ``hold(seconds)`` keeps HTTP from answering.

    ``succeeded``: how the newest prompt went, as far as it is known.
    """

    def __init__(
        self,
        settings: Settings,
        output_root: Callable[[str], Path],
        emit: Emit,
        hold: Callable[[float], None],
    ) -> None:
        self.settings = settings
        self.emit = emit
        self.backend_cache = BackendCache(settings.tag_sizes)
        self.node_cache: dict[tuple[object, ...], NodeOutput] = {}
        self.number = 0
        self.pending: list[QueueItem] = []
        self.running: dict[int, QueueItem] = {}
        self.history: dict[str, dict[str, Any]] = {}
        self.worker_alive = self.succeeded = True
        self.dead = False
        self._output_root, self._hold = output_root, hold
        self._random = random.Random(settings.seed)
        self._interrupt = self._forget_outputs = False
        self._started_total = 0
        self._worker: asyncio.Task[None] | None = None

    @property
    def classes(self) -> Mapping[str, NodeClass]:
        plain = self.settings.flavour == "plain"
        return node_library.WITHOUT_PACK if plain else node_library.WITH_INSPIRE_PACK

    def validate(self, graph: Graph, targets: Iterable[str] | None) -> Validation:
        """Raises TypeError for what is no API-format graph."""
        return validate_prompt(
            graph,
            self.classes,
            self.settings.files,
            modern=self.settings.dialect == "new",
            targets=targets,
            shuffle=self._random.shuffle,
        )

    def enqueue(self, item: QueueItem) -> None:
        """Raises TypeError when number and id equal a pending one's: the heap then compares the graphs.

        As in the original the item is in the heap by then, and the worker dies of the same comparison.
        """
        heapq.heappush(self.pending, item)
        self._queue_changed()
        if self.worker_alive and (self._worker is None or self._worker.done()):
            self._worker = asyncio.get_running_loop().create_task(self._work())

    def submit(self, graph: Graph, client_id: str | None = None) -> str:
        """Queue a graph as if a client had posted it; its prompt id. Raises ValueError when it is invalid."""
        validation = self.validate(graph, None)
        if validation.error is not None:
            raise ValueError(f"not a valid graph: {validation.error} {validation.node_errors}")
        prompt_id, number = str(uuid.uuid4()), self.number
        self.number += 1
        extra = {} if client_id is None else {"client_id": client_id}
        self.enqueue((number, prompt_id, graph, extra, validation.outputs))
        return prompt_id

    def delete_pending(self, prompt_id: object) -> None:
        for position, item in enumerate(self.pending):
            if item[1] == prompt_id:
                del self.pending[position]
                heapq.heapify(self.pending)
                self._queue_changed()
                return

    def clear_pending(self) -> None:
        self.pending.clear()
        self._queue_changed()

    def interrupt(self, prompt_id: str | None) -> None:
        """Without an id, whatever runs. Noticed before the next node or sampler step, not inside a loader."""
        if prompt_id is None or any(item[1] == prompt_id for item in self.running.values()):
            self._interrupt = True

    def raise_if_interrupted(self) -> None:
        if self._interrupt:
            raise InterruptedPrompt

    def free(self, *, free_memory: bool) -> None:
        """Drops the node outputs, at once or after the running prompt. The backend cache stays."""
        self._forget_outputs = self._forget_outputs or free_memory
        if not self.running:
            self._apply_flags()

    def kill_worker(self) -> None:
        """From now on nothing runs any more. A running prompt stays in ``queue_running`` for ever."""
        self.worker_alive = False
        if self._worker is not None:
            self._worker.cancel()

    def shut_down(self) -> None:
        self.dead = True
        self.kill_worker()

    async def _work(self) -> None:
        while self.pending:
            try:
                item = heapq.heappop(self.pending)
            except TypeError:  # two equal numbers and ids: the original's thread ends here
                self.worker_alive = False
                return
            number = self._started_total
            self._started_total += 1
            self.running[number] = copy.deepcopy(item)
            self._queue_changed()
            self._interrupt = False
            _, prompt_id, graph, extra, outputs = item
            try:
                execution = Execution(self, prompt_id, graph, extra)
                await execution.run(outputs)
            except WorkerDeath:  # the prompt "runs" for ever, since nobody takes it off the list
                self.worker_alive = False
                return
            self.history[prompt_id] = {
                "prompt": list(self.running.pop(number)),
                "outputs": execution.outputs,
                "status": execution.status,
                "meta": execution.meta,
            }
            self._queue_changed()
            self._apply_flags()

    def _apply_flags(self) -> None:
        if self._forget_outputs:
            self.node_cache.clear()
            self._forget_outputs = False

    def _queue_changed(self) -> None:
        remaining = len(self.pending) + len(self.running)
        self.emit("status", {"status": {"exec_info": {"queue_remaining": remaining}}}, None)

    # What nodes call: see node_classes.Host.

    async def load(self, class_type: str) -> None:
        loader = self.settings.loader(class_type)
        await self.pause(loader.seconds, holds_lock=loader.holds_lock)
        if loader.failures == 0:
            return
        loader.failures -= 1
        if "out of memory" in loader.message.lower():
            raise OutOfMemoryError(loader.message)
        raise RuntimeError(loader.message)

    async def pause(self, seconds: float, *, holds_lock: bool = False) -> None:
        if holds_lock:
            self._hold(seconds)
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def sample_step(self) -> None:
        await self.pause(self.settings.sample_step_seconds)
        self.raise_if_interrupted()

    def save_image(self, image: Image, prefix: str, kind: str) -> list[dict[str, str]]:
        return save_images(image, self._output_root(kind), prefix, kind)
