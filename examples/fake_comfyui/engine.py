"""The memory of one ComfyUI process: queue, worker, history and both caches. A restart makes a new one.

The worker executes prompts one after the other on the fleet's event loop. Where a real worker thread would die
of an exception, this one ends too, and HTTP goes on answering.
"""

from __future__ import annotations

import asyncio
import copy
import heapq
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from examples.fake_comfyui import node_classes
from examples.fake_comfyui.backend_cache import BackendCache
from examples.fake_comfyui.graphs import Graph, Validation, is_link, signatures, validate_prompt
from examples.fake_comfyui.images import save_images
from examples.fake_comfyui.node_classes import Image, NodeClass, NodeJob, NodeOutput
from examples.fake_comfyui.settings import Settings

QueueItem = tuple[float, str, Graph, dict[str, Any], list[str]]
Emit = Callable[[str, dict[str, Any], str | None], None]


class OutOfMemoryError(RuntimeError):
    """Named and worded as torch does."""


class InterruptedPrompt(Exception):
    """``POST /interrupt`` reached the running prompt."""


class WorkerDeath(Exception):
    """What ends the worker thread of the original: it happens outside the part that reports node errors."""


class DependencyCycle(Exception):
    """Nodes wait for each other."""


class Engine:
    """``emit(event, data, client_id)`` sends to WebSockets; ``hold(seconds)`` keeps HTTP from answering."""

    def __init__(
        self,
        settings: Settings,
        output_root: Callable[[str], Path],
        emit: Emit,
        hold: Callable[[float], None],
    ) -> None:
        self.settings = settings
        self.backend_cache = BackendCache(settings.tag_sizes)
        self.number = 0
        self.pending: list[QueueItem] = []
        self.running: dict[int, QueueItem] = {}
        self.history: dict[str, dict[str, Any]] = {}
        self.worker_alive = True
        self.dead = False
        self._output_root, self._emit, self._hold = output_root, emit, hold
        self._random = random.Random(settings.seed)
        self._node_cache: dict[tuple[object, ...], NodeOutput] = {}
        self._interrupt = self._forget_outputs = False
        self._succeeded = True
        self._started_total = 0
        self._worker: asyncio.Task[None] | None = None

    @property
    def classes(self) -> Mapping[str, NodeClass]:
        if self.settings.flavour == "plain":
            return node_classes.WITHOUT_PACK
        return node_classes.WITH_INSPIRE_PACK

    # --- queue --------------------------------------------------------------------------------------------------

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
        self._wake()

    def submit(self, graph: Graph, client_id: str | None = None, *, front: bool = False) -> str:
        """Queue a graph that is known to be valid, as if a client had posted it; its prompt id."""
        validation = self.validate(graph, None)
        if validation.error is not None:
            raise ValueError(f"not a valid graph: {validation.error} {validation.node_errors}")
        prompt_id = str(uuid.uuid4())
        number = -self.number if front else self.number
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
        self.pending = []
        self._queue_changed()

    def interrupt(self, prompt_id: str | None) -> None:
        """Without an id, whatever runs. Noticed before the next node or sampler step, not inside a loader."""
        if prompt_id is None or any(item[1] == prompt_id for item in self.running.values()):
            self._interrupt = True

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

    def _queue_changed(self) -> None:
        remaining = len(self.pending) + len(self.running)
        self._emit("status", {"status": {"exec_info": {"queue_remaining": remaining}}}, None)

    # --- worker -------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self.worker_alive and (self._worker is None or self._worker.done()):
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self.pending:
            try:
                item = heapq.heappop(self.pending)
            except TypeError:  # two equal numbers and ids: the original's thread ends here
                self.worker_alive = False
                return
            item_id = self._started_total
            self._started_total += 1
            self.running[item_id] = copy.deepcopy(item)
            self._queue_changed()
            try:
                status, outputs = await self._execute(item)
            except WorkerDeath:  # the prompt "runs" for ever, since nobody takes it off the list
                self.worker_alive = False
                return
            shown = self.running.pop(item_id)
            self.history[item[1]] = {"prompt": list(shown), "outputs": outputs, "status": status, "meta": {}}
            self._queue_changed()
            self._apply_flags()

    def _apply_flags(self) -> None:
        if self._forget_outputs:
            self._node_cache = {}
            self._forget_outputs = False

    async def _execute(self, item: QueueItem) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns ``status`` and ``outputs`` for the history. Raises WorkerDeath."""
        _, prompt_id, graph, extra, outputs = item
        client_id = extra.get("client_id")
        self._interrupt = False
        messages: list[tuple[str, dict[str, Any]]] = []

        def say(event: str, **data: Any) -> None:
            data = {"prompt_id": prompt_id, **data, "timestamp": int(time.time() * 1000)}
            messages.append((event, data))
            self._emit(event, data, client_id)

        say("execution_start")
        try:
            signature_of = signatures(graph, lambda node_id: self._change_of(graph[node_id]))
        except KeyError as missing:
            raise WorkerDeath(f"a node without {missing}") from missing
        # Only what the newest prompt contains stays cached: every warm-up evicts the users' outputs, and theirs ours.
        used = set(signature_of.values())
        self._node_cache = {key: value for key, value in self._node_cache.items() if key in used}
        done = {node_id for node_id in graph if signature_of[node_id] in self._node_cache}
        say("execution_cached", nodes=[node_id for node_id in graph if node_id in done])

        node_id, executed = "", []
        try:
            for node_id in self._in_order(graph, outputs, done):
                if node_id not in done:
                    self._emit("executing", {"node": node_id, "prompt_id": prompt_id}, client_id)
                    self._node_cache[signature_of[node_id]] = await self._run_node(
                        graph, node_id, signature_of
                    )
                    executed.append(node_id)
                # As in the original, only an executed node sets the flag: a cycle leaves the last prompt's.
                self._succeeded = True
            if self.settings.error_inside_success:
                blocked = RuntimeError("Execution Blocked: a node reported an error and went on")
                say("execution_error", **self._error_of(graph, node_id, executed, blocked))
            say("execution_success")
        except WorkerDeath:
            raise
        except InterruptedPrompt:
            self._succeeded = False
            say(
                "execution_interrupted",
                node_id=node_id,
                node_type=graph[node_id]["class_type"],
                executed=executed,
            )
        except DependencyCycle as cycle:
            say("execution_error", **self._error_of(graph, str(cycle), executed, cycle))
        except Exception as problem:  # noqa: BLE001 (whatever a node raises ends its prompt, never the worker)
            self._succeeded = False
            say("execution_error", **self._error_of(graph, node_id, executed, problem))
        if client_id is not None:
            self._emit("executing", {"node": None, "prompt_id": prompt_id}, client_id)

        shown = {
            node_id: output.ui
            for node_id in graph
            if (output := self._node_cache.get(signature_of[node_id])) is not None and output.ui is not None
        }
        if not self.settings.node_cache:
            self._node_cache = {}
        status_text = "success" if self._succeeded else "error"
        return {"status_str": status_text, "completed": self._succeeded, "messages": messages}, shown

    def _in_order(self, graph: Graph, outputs: list[str], done: set[str]) -> Iterator[str]:
        """Yields node ids, inputs first; among the ready ones an output first, then what feeds an output.

        Raises WorkerDeath for a link to a missing node (validation looked at declared inputs only), and
        DependencyCycle when nothing is ready.
        """
        waiting_for: dict[str, set[str]] = {}
        to_add = list(outputs)
        while to_add:
            node_id = to_add.pop()
            if node_id in waiting_for:
                continue
            if node_id not in graph:
                raise WorkerDeath(f"Node {node_id} not found")
            sources = [value[0] for value in graph[node_id]["inputs"].values() if is_link(value)]
            waiting_for[node_id] = {source for source in sources if source not in done}
            to_add += waiting_for[node_id]

        def is_output(node_id: str) -> bool:
            node_class = self.classes[graph[node_id]["class_type"]]
            return node_class.output_node

        while waiting_for:
            ready = [node_id for node_id, sources in waiting_for.items() if not sources]
            if not ready:
                raise DependencyCycle(next(iter(waiting_for)))
            feeding = {
                source for each, sources in waiting_for.items() if is_output(each) for source in sources
            }
            first = next((each for each in ready if is_output(each)), None)
            chosen = first or next((each for each in ready if each in feeding), ready[0])
            yield chosen
            del waiting_for[chosen]
            for sources in waiting_for.values():
                sources.discard(chosen)

    async def _run_node(self, graph: Graph, node_id: str, signature_of: dict[str, Any]) -> NodeOutput:
        await asyncio.sleep(0)  # the loop serves requests between nodes
        if self._interrupt:
            raise InterruptedPrompt
        node_class = self.classes[graph[node_id]["class_type"]]
        declared = {name: spec for name, spec, _ in node_class.declared()}
        inputs = {}
        for name, value in graph[node_id]["inputs"].items():
            if name not in declared:
                continue  # undeclared inputs count for the signature, and never reach the node
            if is_link(value):
                value = self._node_cache[signature_of[value[0]]].values[int(value[1])]
            inputs[name] = value
        return await node_class.run(NodeJob(self, node_class.name, inputs))

    def _change_of(self, node: dict[str, Any]) -> object:
        reads_key = self.classes[node["class_type"]].reads_key
        return None if reads_key is None else self.backend_cache.version_of(reads_key(node["inputs"]))

    def _error_of(
        self, graph: Graph, node_id: str, executed: list[str], problem: Exception
    ) -> dict[str, Any]:
        message, kind = str(problem), type(problem).__name__
        if isinstance(problem, OutOfMemoryError):
            message += "\nThis error means you ran out of memory on your GPU.\n"
            kind = "torch.OutOfMemoryError"
        elif isinstance(problem, DependencyCycle):
            message, kind = "Dependency cycle detected", "graph.DependencyCycleError"
        inputs = {name: [value] for name, value in graph[node_id]["inputs"].items() if not is_link(value)}
        return {
            "node_id": node_id,
            "node_type": graph[node_id]["class_type"],
            "executed": list(executed),
            "exception_message": f"{message}\n",
            "exception_type": kind,
            "traceback": [f'  File "nodes.py", line 1, in {graph[node_id]["class_type"]}\n'],
            "current_inputs": inputs,
            "current_outputs": list(graph),
        }

    # --- what nodes call (node_classes.Host) ----------------------------------------------------------------------

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
        if self._interrupt:
            raise InterruptedPrompt

    def save_image(self, image: Image, prefix: str, kind: str) -> list[dict[str, str]]:
        return save_images(image, self._output_root(kind), prefix, kind)
