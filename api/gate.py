"""Who may use a route: ``Gate.needs`` makes the dependency that finds the caller, or answers 401, 403 or 429.

    gate = Gate(tokens, limiter)
    router = APIRouter(route_class=GatedRoute)

    operator = Depends(gate.needs(Role.OPERATOR))

    @router.delete("/api/cache/cleanup")
    def cleanup(days: …, caller: Caller = operator) -> …

A dependency is solved before parameters are judged, but after a JSON body was read; ``GatedRoute`` asks the gate before
that too, so that a stranger learns nothing about what a route takes.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import HTTPException, Request, Response, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.rate import Kind, RateLimiter
from core import request_phrases as say
from core.access import Caller, Channel, IssuedToken, Role
from core.errors import AccessDenied, CacheKeeperError

FAILED_SIGN_INS_PER_MINUTE = 20
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL_VIEWER = "local:anyone"
"""Who reads on this machine without a token: any of its users, or a browser of theirs."""

_MOST_NAMED = 10
_TOO_MANY = {
    Kind.READ: say.TOO_MANY_READS,
    Kind.WRITE: say.TOO_MANY_WRITES,
    Kind.FAILED_SIGN_IN: say.TOO_MANY_SIGN_INS,
}

log = logging.getLogger("api")


@dataclass(frozen=True)
class Origin:
    """Where a request comes from; the guard finds it out once, for everything behind it (``request.state.origin``).

    ``address`` is the client's, past trusted proxies. ``is_local`` says that the request was made on this machine, to
    a name of this machine, and that nobody passed it on.
    """

    request_id: str
    address: str
    is_local: bool


class Judge(Protocol):
    """Judges tokens; see api/tokens.py."""

    def judge(self, token: str) -> IssuedToken: ...


class Refusals(Protocol):
    """Where a refusal is put on record; see operations/auditing.py. Must not raise."""

    def refused(self, caller: Caller, action: str, target: str, reason: str) -> None: ...


class Gate:
    """Finds out who asks and whether they may."""

    def __init__(self, tokens: Judge, limiter: RateLimiter, refusals: Refusals | None = None) -> None:
        self._tokens = tokens
        self._limiter = limiter
        self._refusals = refusals

    def needs(self, role: Role, *, open_here: bool = False) -> Needs:
        """Return a dependency that gives the Caller, whose role includes ``role``.

        With ``open_here`` a program or browser of this machine needs no token to read.
        """
        return Needs(self, role, open_here)

    async def admit(self, request: Request, role: Role, *, open_here: bool) -> Caller:
        """Return who asks; raises HTTPException 401, 403, 429, or 503 when tokens cannot be judged."""
        origin: Origin = request.state.origin
        token = _bearer(request)
        if token is None and open_here and origin.is_local and Role.VIEWER.includes(role):
            caller = Caller(LOCAL_VIEWER, Role.VIEWER, Channel.API, origin.request_id, address=origin.address)
            self._count(Kind.READ, caller.user)
            return caller
        if token is None:
            self._count(Kind.READ, f"address {origin.address}")
            raise HTTPException(401, say.TOKEN_NEEDED(), {"WWW-Authenticate": "Bearer"})
        try:
            issued = self._tokens.judge(token)
        except AccessDenied as denied:
            # Only bad tokens are counted: a stranger behind the same proxy locks out nobody who has a good one.
            self._count(Kind.FAILED_SIGN_IN, f"address {origin.address}")
            nobody = Caller("", Role.VIEWER, Channel.API, origin.request_id, address=origin.address)
            await self._put_on_record(request, nobody, str(denied))
            raise HTTPException(
                401, str(denied), {"WWW-Authenticate": f'Bearer error="invalid_token", error_description="{denied}"'}
            ) from None
        except CacheKeeperError as error:
            log.error("tokens cannot be judged: %s", error)
            raise HTTPException(503, say.TOKENS_NOT_JUDGED()) from None
        caller = Caller(issued.user, issued.role, Channel.API, origin.request_id, issued.id, origin.address)
        self._count(Kind.READ if request.method in SAFE_METHODS else Kind.WRITE, caller.user)
        if not issued.role.includes(role):
            await self._put_on_record(request, caller, say.NEEDS_ROLE(role=role))
            raise HTTPException(403, say.ROLE_TOO_LOW(role=role, other_role=issued.role))
        return caller

    def _count(self, kind: Kind, who: str) -> None:
        wait = self._limiter.take(kind, who, time.monotonic())
        if wait:
            seconds = math.ceil(wait)
            raise HTTPException(429, _TOO_MANY[kind](seconds=seconds), {"Retry-After": str(seconds)})

    async def _put_on_record(self, request: Request, caller: Caller, reason: str) -> None:
        if self._refusals is not None:
            route = getattr(request.scope.get("route"), "path", request.url.path)
            # A thread: it waits for the disk, and the event loop must not.
            await run_in_threadpool(self._refusals.refused, caller, "access", f"{request.method} {route}"[:200], reason)


_scheme = HTTPBearer(auto_error=False, description="python -m api token create --user U --role R --ttl 8h")


class Needs:
    """The dependency of one route."""

    def __init__(self, gate: Gate, role: Role, open_here: bool) -> None:
        self.gate, self.role, self.open_here = gate, role, open_here

    # The scheme is only here to be in the OpenAPI document.
    async def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)]
    ) -> Caller:
        return await self.admit(request)

    async def admit(self, request: Request) -> Caller:
        """Return the caller; one request is asked and counted once, however many of its dependencies want to know."""
        admitted: dict[tuple[Role, bool], Caller] = request.scope.setdefault("cache_keeper.admitted", {})
        key = (self.role, self.open_here)
        if key not in admitted:
            admitted[key] = await self.gate.admit(request, self.role, open_here=self.open_here)
        return admitted[key]


class GatedRoute(APIRoute):
    """A route whose gate is asked before the body is read, and that refuses query parameters it does not know.

    ``dryrun=true`` must not delete what ``dry_run=true`` would have planned.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        needed = list(_needed(self.dependant))
        # A monitor or a link may add what it likes to /healthz, /metrics and /docs.
        strict = self.path.startswith("/api/") or not SAFE_METHODS.issuperset(self.methods or ())
        known = sorted(set(_query_names(self.dependant)))

        async def handle_admitted(request: Request) -> Response:
            for each in needed:
                await each.admit(request)
            if strict:
                _refuse_unknown(request, known)
            return await handle(request)

        return handle_admitted


def _refuse_unknown(request: Request, known: Sequence[str]) -> None:
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        words = say.UNKNOWN_PARAMETER(known=", ".join(known)) if known else say.NO_PARAMETERS()
        raise RequestValidationError(
            [{"type": "unknown", "loc": ("query", name), "msg": words}
             for name in unknown[:_MOST_NAMED]]
        )  # fmt: skip


def _needed(dependant: Dependant) -> Iterator[Needs]:
    for each in dependant.dependencies:
        if isinstance(each.call, Needs):
            yield each.call
        yield from _needed(each)


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (each.alias for each in dependant.query_params)
    for each in dependant.dependencies:
        yield from _query_names(each)


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
