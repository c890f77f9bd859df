"""The poll cycle: every server that is due, side by side; each one probed, decided, acted on, recorded, reported."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from checker.books import Books
from checker.places import Limits, Places
from checker.probe import probe
from checker.submit import submit
from checker.tracks import Journal, ServerTrack, SetTrack, carry_over, new_track, restore
from client.server_client import FleetSession
from core import reason_phrases as say
from core.errors import ServerError
from core.fleet import Server
from core.memory import advance, failed, next_poll_seconds
from core.model import (
    Action,
    Decision,
    Observation,
    Outcome,
    Pause,
    Policy,
    Reach,
    State,
    Submission,
)
from core.warmup import CLIENT_PREFIX, decide
from core.workflow import overfull_tags

log = logging.getLogger("checker")


@dataclass(frozen=True)
class CycleReport:
    """What one poll cycle did: servers polled, their sets by state, submissions sent, seconds it took."""

    polled: int
    states: Counter[State]
    submitted: int
    seconds: float


class Checker:
    """The fleet's tracks and the cycle over them. All methods belong to the event loop's thread.

    ``dry_run`` decides everything and sends nothing.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        session: FleetSession,
        journal: Journal,
        policy: Policy,
        limits: Limits,
        *,
        dry_run: bool = False,
    ) -> None:
        self._session = session
        self._books = Books(journal, dry_run=dry_run)
        self._policy = policy
        self._places = Places(limits)
        self._dry_run = dry_run
        self._client_id = f"{CLIENT_PREFIX}{uuid.uuid4().hex[:12]}"
        self._submitted_total = 0
        self._pauses: dict[str, Pause] = {}
        self.tracks: dict[str, ServerTrack] = {}
        self.polled_at: float | None = None
        self.replace_servers(servers, policy, limits)

    def replace_servers(self, servers: Sequence[Server], policy: Policy, limits: Limits) -> None:
        """Take a new configuration, keeping what is remembered of servers and sets that are still in it."""
        self._policy = policy
        old, new = self.tracks, {}
        for server in servers:
            track = new_track(server, self._session.client(server), policy)
            new[server.name] = track
            before = old.get(server.name)
            if before is not None and before.server.url == server.url:
                carry_over(before, track)
                track.in_flight = before.in_flight
        restore(
            [track for name, track in new.items() if name not in old],
            self._books.journal, time.monotonic(), time.time(),
        )  # fmt: skip
        # All at once: the web thread reads while this one writes, and half a fleet is no answer.
        self.tracks = new
        self._places.reset(limits, self.tracks)
        # The new tracks do not know of any pause: the next cycle tells them.
        self._pauses = {}

    async def poll_cycle(self, names: Iterable[str] | None = None) -> CycleReport:
        """Poll every server that is due, or those named whether due or not, side by side.

        Return what came of it. A server that is being polled already is left to that poll; where servers are
        named, somebody waits for the answer, and so for the end of that poll too.
        """
        names = None if names is None else list(names)
        started, submitted = time.monotonic(), self._submitted_total
        self._books.catch_up()
        self._read_pauses()
        due = self._due(started) if names is None else [self.tracks[name] for name in names if name in self.tracks]
        due = [track for track in due if not track.in_flight]
        for track in due:
            # Before the first await: two cycles that begin together must not poll one server twice.
            track.in_flight = True
        # So many at a time within a cycle, not over all of them: what an operator asks for now must not queue up
        # behind a fleet of servers that hang.
        turns = iter(due)
        at_a_time = min(len(due), self._places.limits.concurrent_probes)
        await asyncio.gather(*(self._poll_in_turn(turns) for _ in range(at_a_time)))
        if due:
            self.polled_at = time.time()
        await self._end_of_polls(names or ())
        states = Counter(each.memory.state for track in due for each in track.sets)
        return CycleReport(len(due), states, self._submitted_total - submitted, time.monotonic() - started)

    async def warm(self, names: Iterable[str], set_name: str | None = None, *, force: bool = False) -> CycleReport:
        """Poll the named servers as somebody's wish: without back-off and politeness, once.

        With ``force`` a set that is loaded is warmed again too. Preflight, LRU sizes and the caps still hold.
        """
        chosen = [name for name in names if name in self.tracks]
        for name in chosen:
            # A poll under way would overwrite the wish with what it remembers.
            await self._end_of_polls([name])
            track = self.tracks.get(name)
            for each in track.sets if track is not None else ():
                if set_name is None or each.warmup.name == set_name:
                    each.memory = replace(each.memory, hurried=True, forced=force)
        return await self.poll_cycle(chosen)

    async def _end_of_polls(self, names: Iterable[str]) -> None:
        for name in names:
            while (track := self.tracks.get(name)) is not None and track.in_flight:
                await asyncio.sleep(0.02)

    def next_submission_in(self, now: float) -> float:
        """Return seconds until the fleet may start another warm-up, as far as that is known; ``now`` monotonic."""
        return self._places.next_start_in(now)

    async def _poll_in_turn(self, turns: Iterator[ServerTrack]) -> None:
        """Poll one server after the other; several of these share ``turns``."""
        for track in turns:
            await self._poll(track)

    async def _poll(self, track: ServerTrack) -> None:
        try:
            await self._poll_server(track)
        except Exception:
            # One bad server must never end the cycle; what it did to us belongs in the log.
            log.exception("poll failed server=%s", track.server.name)
            self._poll_again(track, None, time.monotonic())
        finally:
            track.in_flight = False
            current = self.tracks.get(track.server.name)
            if current is None:
                # Configured away while it was polled: it holds no place any more and waits for none.
                self._places.leave(track.server.name)
            elif current is not track and current.server.url == track.server.url:
                # A reload came in between: what this poll has found, and above all what it has sent, counts.
                carry_over(track, current)
                current.in_flight = False

    async def _poll_server(self, track: ServerTrack) -> None:
        """Probe, decide, submit, record, report: one server, once."""
        now, wall = time.monotonic(), time.time()
        if track.paused is not None:
            self._show_paused(track, now)
            return
        observations = await probe(track, now, wall)
        track.polled_at, track.polls_total = wall, track.polls_total + 1
        for each in track.sets:
            observed, before = observations[each.warmup.name], each.memory
            decision = self._decide(track, each, observed, now)
            after = advance(before, observed, decision, each.policy, now, random.random())
            self._close(track, each, decision)
            each.observation, each.decision, each.memory = observed, decision, after
            # Written down before it is acted upon, so that the log tells what led to what.
            self._books.record(track, each, before, now)
            if decision.action in (Action.SUBMIT, Action.WITHDRAW):
                await self._act(track, each, decision)
                self._books.record(track, each, after, now)
        self._report(track, observations.values())

    # -- decide ------------------------------------------------------------------------------------------

    def _decide(self, track: ServerTrack, each: SetTrack, observed: Observation, now: float) -> Decision:
        sizes = dict(observed.cache.lru_sizes) if observed.cache else {}
        if sizes:
            # With the other sets' keys, but only in the tags of this one: a set must not fail for another's tag.
            tags = {one.tag for one in each.warmup.stored}
            stored = [
                one
                for other in track.sets
                for one in other.warmup.stored
                if one.tag in tags and one.key in other.warmup.keys
            ]
            overfull = tuple(overfull_tags(stored, sizes))
            if overfull != each.policy.overfull:
                each.policy = replace(each.policy, overfull=overfull)
        return decide(observed, each.memory, each.policy, self._places.room(track, each), now)

    # -- submit ------------------------------------------------------------------------------------------

    async def _act(self, track: ServerTrack, each: SetTrack, decision: Decision) -> None:
        """Do what was decided, and leave the set's decision and memory as the server's answer makes them."""
        if self._dry_run and decision.action is Action.SUBMIT:
            reason = say.also(decision.reason, say.WOULD_SUBMIT(part=say.part(decision.key)))
            self._say(each, decision, "dry_run", reason, None)
        elif decision.action is Action.SUBMIT:
            await self._submit(track, each, decision)
        elif not self._dry_run:
            try:
                await track.client.withdraw(decision.prompt_id)
            except ServerError as error:
                log.warning("withdraw failed server=%s: %s", track.server.name, error)

    async def _submit(self, track: ServerTrack, each: SetTrack, decision: Decision) -> None:
        now, wall = time.monotonic(), time.time()
        self._places.take(track, now)
        prompt_id = str(uuid.uuid4())
        submission, outcome, reason = await submit(
            track, each, decision, self._books.journal,
            prompt_id=prompt_id, client_id=self._client_id, forced=each.memory.forced, now=now, wall=wall,
        )  # fmt: skip
        if outcome is not None:
            self._books.close(track, each, Submission(prompt_id, decision.key, now), outcome, reason)
            if outcome is Outcome.WITHDRAWN:
                self._say(each, decision, outcome.value, reason, each.policy.follow_seconds, State.QUEUED)
                return
            blamed = decision.key if outcome is Outcome.REJECTED else None
            each.memory = failed(each.memory, reason, each.policy, time.monotonic(), random.random(), blamed)
            self._say(each, decision, outcome.value, reason, None, State.FAILED)
            return
        if submission is None:
            self._say(each, decision, "not_sent", say.also(decision.reason, reason), each.policy.follow_seconds)
            return
        if submission.prompt_id == prompt_id:
            self._submitted_total += 1
            each.last_submitted_at = wall
            if submission.confirmed:
                self._books.confirm(prompt_id)
        each.memory = replace(each.memory, submission=submission, forced=False)
        what = say.submission(submission.prompt_id, submission.key, whole=True)
        reason = say.SUBMITTED(submission=what, reason=reason)
        self._say(each, decision, "submitted", reason, 0.0, State.QUEUED)

    def _say(
        self, each: SetTrack, decision: Decision, rule: str, reason: str, look_again: float | None,
        state: State | None = None,
    ) -> None:  # fmt: skip
        """Replace what was decided by what came of it."""
        state = state or decision.state
        each.decision = replace(
            decision, action=Action.WAIT, state=state, rule=rule, reason=reason, closes=None, loss="",
            look_again_seconds=look_again,
        )  # fmt: skip
        since = each.memory.since if each.memory.state is state else time.monotonic()
        each.memory = replace(each.memory, state=state, rule=rule, since=since)

    def _close(self, track: ServerTrack, each: SetTrack, decision: Decision) -> None:
        """End the open submission on record where the decision says that it has ended."""
        submission = each.memory.submission
        if decision.closes is None or submission is None:
            return
        self._books.close(track, each, submission, decision.closes, decision.reason)
        if decision.closes is Outcome.VERIFIED:
            each.good_run = (submission.prompt_id, time.time())

    # -- report ------------------------------------------------------------------------------------------

    def _report(self, track: ServerTrack, observations: Collection[Observation]) -> None:
        """Leave the track ready for its readers and its next poll."""
        self._places.settle(track)
        answered = all(observed.reach in (Reach.OK, Reach.BAD_ANSWER) for observed in observations)
        track.latencies.add(track.latency_seconds if answered else None)
        track.strip.mark(track.state, time.time())
        away = any(observed.reach is Reach.UNREACHABLE for observed in observations)
        track.away = track.away + 1 if away else 0
        # While a submission is open, silence is what its loaders cause.
        hung = track.open_set is None and any(observed.reach is Reach.BUSY for observed in observations)
        track.hung = track.hung + 1 if hung else 0
        group = track.server.group
        look_again = [each.decision.look_again_seconds for each in track.sets]
        wished = next_poll_seconds(group.check_interval_seconds, track.away, track.hung, look_again, random.random())
        self._poll_again(track, wished, time.monotonic())

    def _poll_again(self, track: ServerTrack, seconds: float | None, now: float) -> None:
        """Set the next poll in ``seconds``; None leaves it to the next cycle, or to the group's own interval."""
        interval = track.server.group.check_interval_seconds
        if seconds is None and interval != self._places.limits.check_interval_seconds:
            seconds = interval
        track.next_poll_at = now + seconds if seconds is not None else math.inf

    def _show_paused(self, track: ServerTrack, now: float) -> None:
        pause = track.paused
        assert pause is not None, "only paused servers are shown as paused"
        reason = say.PAUSED(name=pause.name)
        if pause.until:
            clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(pause.until))
            reason = say.PAUSED_UNTIL(name=pause.name, clock=clock)
        for each in track.sets:
            before = each.memory
            each.decision = Decision(Action.NONE, State.PAUSED, "paused", reason)
            since = before.since if before.state is State.PAUSED else now
            each.memory = replace(before, state=State.PAUSED, rule="paused", since=since)
            self._books.record(track, each, before, now)
        track.strip.mark(track.state, time.time())
        self._places.leave(track.server.name)
        self._poll_again(track, None, now)

    # -- which servers -----------------------------------------------------------------------------------

    def all_due(self) -> None:
        """Begin a new cycle: every server without a time of its own is due. Called at each check interval."""
        for track in self.tracks.values():
            if track.next_poll_at == math.inf:
                track.next_poll_at = 0.0

    def anything_due(self) -> bool:
        """Whether a poll_cycle now would find a server to poll."""
        now = time.monotonic()
        return self._places.anybody_waits() or any(
            track.next_poll_at <= now and not track.in_flight for track in self.tracks.values()
        )

    def _due(self, now: float) -> list[ServerTrack]:
        due = [track for track in self.tracks.values() if track.next_poll_at <= now]
        return due + self._places.called(self.tracks, (track.server.name for track in due), now)

    def _read_pauses(self) -> None:
        pauses = self._books.pauses()
        if pauses is None or pauses == self._pauses:
            return
        self._pauses = pauses
        for track in self.tracks.values():
            found = pauses.get(track.server.name) or pauses.get(track.server.group.name)
            if found is None and track.paused is not None:
                track.next_poll_at = 0.0
            track.paused = found
