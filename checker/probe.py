"""Looks at one server: one read when all is well, a few more when something is missing. Never raises for a server.

Order matters. It is queue, then history, then cache, wherever something was missing the last time: the other
way round, finished jobs look lost, and a job that ended in between would be sent a second time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from checker.tracks import ServerTrack, SetTrack
from client.server_client import ServerClient
from core import reason_phrases as say
from core.answers import Listing, lacking_in, meets
from core.errors import BadAnswer, Busy, NoSuchRoute, ServerError, Unreachable
from core.model import Cache, DetectorUsed, Observation, Queue, Reach, Run, State
from core.workflow import Graph, Key, is_link, subgraph_for

_RECHECK_ROUTES_EVERY_POLLS = 50
_PREFLIGHT_VALID_SECONDS = 600.0


async def probe(track: ServerTrack, now: float, wall: float) -> dict[str, Observation]:
    """Given a server's track, return an observation for each of its sets, by set name.

    ``now`` is monotonic, ``wall`` UTC seconds.
    """
    started = time.perf_counter()
    try:
        observations = await _look(track, now, wall)
    except Unreachable as error:
        observations = _all(track, Reach.UNREACHABLE, error)
    except Busy as error:
        observations = _all(track, Reach.BUSY, error)
    except ServerError as error:
        observations = _all(track, Reach.BAD_ANSWER, error)
    track.latency_seconds = time.perf_counter() - started
    return observations


def _all(track: ServerTrack, reach: Reach, error: ServerError) -> dict[str, Observation]:
    return {each.warmup.name: Observation(reach, str(error)) for each in track.sets}


async def _look(track: ServerTrack, now: float, wall: float) -> dict[str, Observation]:
    client = track.client
    if track.polls_total % _RECHECK_ROUTES_EVERY_POLLS == 0:
        track.offers.clear()
    queue: Queue | None = None
    run: Run | None = None
    opened = track.open_set
    if not all(each.memory.state is State.LOADED for each in track.sets):
        queue = await client.queue()
    if opened is not None and opened.memory.submission is not None:
        queue = queue or await client.queue()
        if queue.find(opened.memory.submission.prompt_id) is None:
            run = await client.history(opened.memory.submission.prompt_id)
    look = _Look(track, run, wall)
    caches = {each.warmup.name: await look.at(each) for each in track.sets}
    if queue is None and not all(isinstance(cache, Cache) and cache.loaded for cache in caches.values()):
        queue = await client.queue()
        look = _Look(track, run, wall)
        for each in track.sets:
            cache = caches[each.warmup.name]
            # Older builds start the workflow whenever determine is read, so it is never read twice.
            if not (isinstance(cache, Cache) and cache.detector is DetectorUsed.DETERMINE):
                caches[each.warmup.name] = await look.at(each)
    track.queue_length = len(queue.prompts) if queue is not None else track.queue_length
    observations = {}
    for each in track.sets:
        cache = caches[each.warmup.name]
        if isinstance(cache, BadAnswer):
            observations[each.warmup.name] = Observation(Reach.BAD_ANSWER, str(cache), queue=queue)
            continue
        gone = None if cache.loaded else await _earlier_run_gone(each, track)
        lacking, unmet = ((), frozenset()) if cache.loaded else await _preflight(each, cache.missing, track, now)
        observations[each.warmup.name] = Observation(
            Reach.OK, cache=cache, queue=queue, run=run if each is opened else None,
            earlier_run_gone=gone, lacking=lacking, unmet=unmet,
        )  # fmt: skip
    return observations


class _Look:
    """One look at the cache for all sets of a server: the list is read once, whatever the number of sets."""

    def __init__(self, track: ServerTrack, run: Run | None, wall: float) -> None:
        self._track = track
        self._run = run
        self._wall = wall
        self._listing: Listing | None = None

    async def at(self, each: SetTrack) -> Cache | BadAnswer:
        """Return what the set's detector sees; a BadAnswer when it sees nothing that it can trust."""
        try:
            return await self._detect(each)
        except BadAnswer as error:
            return error

    async def _detect(self, each: SetTrack) -> Cache:
        kind = each.warmup.detector.kind
        if kind == "custom":
            return await self._custom(each)
        if kind == "list" or (kind == "auto" and each.warmup.keys and self._may(DetectorUsed.LIST)):
            try:
                return await self._list(each)
            except NoSuchRoute:
                if kind == "list":
                    raise
        if kind == "determine" or (kind == "auto" and self._may(DetectorUsed.DETERMINE)):
            try:
                return await self._determine(each)
            except NoSuchRoute:
                if kind == "determine":
                    raise
        if each.warmup.graph is None:
            raise BadAnswer(say.NO_DETECTOR())
        return await self._history(each)

    def _may(self, detector: DetectorUsed) -> bool:
        return self._track.offers.get(detector, True)

    async def _list(self, each: SetTrack) -> Cache:
        if self._listing is None:
            try:
                self._listing = await self._track.client.cache_list()
            except NoSuchRoute:
                self._track.offers[DetectorUsed.LIST] = False
                raise
            self._track.offers[DetectorUsed.LIST] = True
        listing = self._listing
        missing = tuple(key for key in each.warmup.keys if not listing.holds(key, each.tag_of(key)))
        return Cache(DetectorUsed.LIST, missing, lru_sizes=listing.sizes)

    async def _determine(self, each: SetTrack) -> Cache:
        try:
            said = await self._track.client.determine()
        except NoSuchRoute:
            self._track.offers[DetectorUsed.DETERMINE] = False
            raise
        self._track.offers[DetectorUsed.DETERMINE] = True
        if said.loaded:
            return Cache(DetectorUsed.DETERMINE, ())
        # The sentence knows its own list of keys; those that our workflow stores are the ones we can act on.
        named = tuple(key for key in each.warmup.keys if key in said.missing) or said.missing
        return Cache(DetectorUsed.DETERMINE, named, said.claims_executing, detail="" if named else say.KEYS())

    async def _history(self, each: SetTrack) -> Cache:
        lifetime = each.warmup.detector.time_to_live_seconds
        if self._run is not None and each.memory.submission is not None and self._run.succeeded:
            return Cache(DetectorUsed.HISTORY, ())
        if each.good_run is None:
            return Cache(DetectorUsed.HISTORY, (), detail=say.NO_RUN())
        prompt_id, ended_at = each.good_run
        if self._wall - ended_at > lifetime:
            return Cache(DetectorUsed.HISTORY, (), detail=say.OLD_RUN(seconds=lifetime))
        run = await self._track.client.history(prompt_id)
        if run is None or not run.succeeded:
            return Cache(DetectorUsed.HISTORY, (), detail=say.GONE_RUN(prompt=prompt_id))
        return Cache(DetectorUsed.HISTORY, ())

    async def _custom(self, each: SetTrack) -> Cache:
        url = each.warmup.detector.url
        text = await self._track.client.text(url if "://" in url else "/" + url.lstrip("/"))
        return Cache(DetectorUsed.CUSTOM, (), detail=meets(each.warmup.detector.expect, text))


async def _earlier_run_gone(each: SetTrack, track: ServerTrack) -> bool | None:
    """Tell a restart from an eviction, when keys that were there are gone.

    A run of ours that is no longer in the history went with a restart. Without such a run: keys can only be
    stored by a prompt, so a server that held keys and has an empty history has been restarted.
    """
    if not each.memory.loaded_once and each.memory.submission is None:
        return None
    try:
        if each.good_run is not None:
            return await track.client.history(each.good_run[0]) is None
        return True if await track.client.history_is_empty() else None
    except BadAnswer:
        return None


async def _preflight(
    each: SetTrack, missing: tuple[Key, ...], track: ServerTrack, now: float
) -> tuple[tuple[str, ...], frozenset[Key]]:
    """Return what the set's workflow needs and the server lacks, by name, and the missing keys that it keeps cold."""
    graph = each.warmup.graph
    if graph is None:
        return (), frozenset()
    if _preflight_is_due(each, now):
        each.preflight = (now, await lacking_for(graph, track.client))
    by_node = each.preflight[1] if each.preflight is not None else {}
    if not by_node:
        return (), frozenset()
    storable = [key for key in missing if key in each.policy.storable]
    unmet = frozenset(key for key in storable if not by_node.keys().isdisjoint(subgraph_for(graph, key)))
    return lacking_names(by_node), unmet


def _preflight_is_due(each: SetTrack, now: float) -> bool:
    """Not while a submission is open: then the server is at work. What was lacking is asked for at each new try."""
    if each.memory.submission is not None:
        return False
    if each.preflight is None or now - each.preflight[0] >= _PREFLIGHT_VALID_SECONDS:
        return True
    return bool(each.preflight[1]) and (now >= each.memory.retry_at or each.memory.hurried)


async def lacking_for(graph: Graph, client: ServerClient) -> dict[str, list[str]]:
    """Given a workflow, return what a server lacks for it, by node id: the node's class, files that it names.

    Raises Unreachable or Busy. A class that the server will not describe is passed over: a proxy that does not
    let this route through must not keep a server cold, and POST /prompt will tell.
    """
    described: dict[str, object] = {}
    lacking: dict[str, list[str]] = {}
    for node_id, node in graph.items():
        class_type = node["class_type"]
        try:
            if class_type not in described:
                described[class_type] = await client.object_info(class_type)
            constants = [(name, value) for name, value in node["inputs"].items() if not is_link(value)]
            found = lacking_in(class_type, described[class_type], constants)
        except BadAnswer:
            continue
        if found:
            lacking[node_id] = found
    return lacking


def lacking_names(by_node: Mapping[str, list[str]]) -> tuple[str, ...]:
    """Return each class and file once, in the workflow's order."""
    return tuple(dict.fromkeys(name for names in by_node.values() for name in names))
