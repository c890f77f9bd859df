"""One prompt from ``execution_start`` to its entry in the history: order, node cache, failures, messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from examples.fake_comfyui.graphs import Graph, is_link, signatures
from examples.fake_comfyui.node_classes import NodeJob, NodeOutput

if TYPE_CHECKING:
    from examples.fake_comfyui.engine import Engine


class OutOfMemoryError(RuntimeError):
    """Named and worded as torch does."""


class InterruptedPrompt(Exception):
    """``POST /interrupt`` reached the running prompt."""


class DependencyCycle(Exception):
    """Nodes wait for each other; the text is one node's id."""


class WorkerDeath(Exception):
    """Ends the worker thread of the original: it happens outside the part that reports node errors."""


class Execution:
    """``status``, ``outputs`` and ``meta`` are for the history, once ``run`` has returned."""

    def __init__(self, engine: Engine, prompt_id: str, graph: Graph, extra: dict[str, Any]) -> None:
        self.engine, self.prompt_id, self.graph = engine, prompt_id, graph
        self.client_id = extra.get("client_id")
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.executed: list[str] = []
        self.outputs: dict[str, Any] = {}
        self.meta: dict[str, Any] = {}
        self._signature_of = self._signatures()
        self._node_id = ""

    @property
    def status(self) -> dict[str, Any]:
        succeeded = self.engine.succeeded
        return {
            "status_str": "success" if succeeded else "error",
            "completed": succeeded,
            "messages": self.messages,
        }

    async def run(self, outputs: list[str]) -> None:
        """Raises WorkerDeath; whatever else goes wrong becomes a message."""
        engine, cache = self.engine, self.engine.node_cache
        self._say("execution_start")
        # Only what the newest prompt contains stays cached: a warm-up evicts users' outputs, and they ours.
        used = set(self._signature_of.values())
        for signature in [each for each in cache if each not in used]:
            del cache[signature]
        done = {node_id for node_id in self.graph if self._signature_of[node_id] in cache}
        self._say("execution_cached", nodes=[node_id for node_id in self.graph if node_id in done])
        try:
            for node_id in self._in_order(outputs, done):
                self._node_id = node_id
                if node_id not in done:
                    await self._run_node(node_id)
                # Only a node sets the flag. A prompt that ends in a cycle keeps that of the prompt before it,
                # and may well be a "success" with an execution_error among its messages.
                engine.succeeded = True
            if engine.settings.error_inside_success:
                self._say_error(self._node_id, RuntimeError("Execution Blocked: a node reported an error"))
            self._say("execution_success")
        except WorkerDeath:
            raise
        except InterruptedPrompt:
            engine.succeeded = False
            self._say("execution_interrupted", **self._whereabouts(self._node_id))
        except DependencyCycle as cycle:
            self._say_error(str(cycle), cycle)
        except Exception as problem:  # noqa: BLE001 (whatever a node raises ends its prompt, never the worker)
            engine.succeeded = False
            self._say_error(self._node_id, problem)
        if self.client_id is not None:
            engine.emit("executing", {"node": None, "prompt_id": self.prompt_id}, self.client_id)
        for node_id in self.graph:
            output = cache.get(self._signature_of[node_id])
            if output is not None and output.ui is not None:
                self.outputs[node_id] = output.ui
                ids = {"node_id": node_id, "display_node": node_id, "real_node_id": node_id}
                self.meta[node_id] = {**ids, "parent_node": None}
        if not engine.settings.node_cache:
            cache.clear()

    def _signatures(self) -> dict[str, tuple[object, ...]]:
        try:
            return signatures(self.graph, self._change_of)
        except KeyError as missing:
            raise WorkerDeath(f"a node without {missing}") from missing

    def _change_of(self, node_id: str) -> object:
        node = self.graph[node_id]
        reads_key = self.engine.classes[node["class_type"]].reads_key
        return None if reads_key is None else self.engine.backend_cache.version_of(reads_key(node["inputs"]))

    def _in_order(self, outputs: list[str], done: set[str]) -> Iterator[str]:
        """Inputs first; among the ready nodes an output first, then one that feeds an output.

        Raises WorkerDeath for a link to a missing node (validation looked at declared inputs only), and
        DependencyCycle when nothing is ready.
        """
        waiting_for: dict[str, set[str]] = {}
        to_add = list(outputs)
        while to_add:
            node_id = to_add.pop()
            if node_id in waiting_for:
                continue
            if node_id not in self.graph:
                raise WorkerDeath(f"Node {node_id} not found")
            links = [value for value in self.graph[node_id]["inputs"].values() if is_link(value)]
            waiting_for[node_id] = {link[0] for link in links} - done
            to_add += waiting_for[node_id]

        while waiting_for:
            ready = [node_id for node_id, sources in waiting_for.items() if not sources]
            if not ready:
                raise DependencyCycle(next(iter(waiting_for)))
            feeding = {each for node_id, sources in waiting_for.items() if self._is_output(node_id) for each in sources}
            output = next((each for each in ready if self._is_output(each)), None)
            chosen = output or next((each for each in ready if each in feeding), ready[0])
            yield chosen
            del waiting_for[chosen]
            for sources in waiting_for.values():
                sources.discard(chosen)

    def _is_output(self, node_id: str) -> bool:
        return self.engine.classes[self.graph[node_id]["class_type"]].output_node

    async def _run_node(self, node_id: str) -> None:
        engine, cache = self.engine, self.engine.node_cache
        engine.emit("executing", {"node": node_id, "prompt_id": self.prompt_id}, self.client_id)
        await asyncio.sleep(0)  # the loop serves requests between nodes
        engine.raise_if_interrupted()
        node_class = engine.classes[self.graph[node_id]["class_type"]]
        # Undeclared inputs count for the signature, and never reach the node: hence the nonce of a warm-up.
        declared = {name for name, _, _ in node_class.declared()}
        inputs: dict[str, Any] = {}
        for name, value in self.graph[node_id]["inputs"].items():
            if name in declared:
                inputs[name] = self._linked(value) if is_link(value) else value
        output: NodeOutput = await node_class.run(NodeJob(engine, node_class.name, inputs))
        cache[self._signature_of[node_id]] = output
        self.executed.append(node_id)

    def _linked(self, link: list[Any]) -> Any:
        return self.engine.node_cache[self._signature_of[link[0]]].values[int(link[1])]

    def _say(self, event: str, **data: Any) -> None:
        data = {"prompt_id": self.prompt_id, **data, "timestamp": int(time.time() * 1000)}
        self.messages.append((event, data))
        self.engine.emit(event, data, self.client_id)

    def _say_error(self, node_id: str, problem: Exception) -> None:
        message, kind = str(problem), type(problem).__name__
        inputs: Any = []
        if isinstance(problem, DependencyCycle):
            message, kind = "Dependency cycle detected", "graph.DependencyCycleError"
        else:
            given = self.graph[node_id]["inputs"].items()
            inputs = {name: [value] for name, value in given if not is_link(value)}
            message += "\n"
        if isinstance(problem, OutOfMemoryError):
            message += "This error means you ran out of memory on your GPU.\n\nTIPS: reduce the batch_size."
            kind = "torch.OutOfMemoryError"
        self._say(
            "execution_error",
            **self._whereabouts(node_id),
            exception_message=message,
            exception_type=kind,
            traceback=[],
            current_inputs=inputs,
            current_outputs=list(self.graph),
        )

    def _whereabouts(self, node_id: str) -> dict[str, Any]:
        node_type = self.graph[node_id]["class_type"]
        return {"node_id": node_id, "node_type": node_type, "executed": list(self.executed)}
