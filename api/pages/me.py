"""GET /api/me: whose token it is, so that a page knows what to offer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from api.fleet import OPEN_HERE
from api.gate import Gate, GatedRoute
from core.access import Caller, Role


class Me(BaseModel):
    """Who asks. ``token_id`` is empty where no token was needed."""

    user: str
    role: Role
    token_id: str


def me_route(gate: Gate) -> APIRouter:
    """Given who may use the service, return the route."""
    router = APIRouter(route_class=GatedRoute)

    # A default, not an annotation: those are read as text, which does not know `gate`.
    here: Any = Depends(gate.needs(Role.VIEWER, open_here=True))

    @router.get("/api/me", openapi_extra=OPEN_HERE, summary="我是谁 · Whose token it is")
    def me(caller: Caller = here) -> Me:
        """我是谁 · The caller's name and role."""
        return Me(user=caller.user, role=caller.role, token_id=caller.token_id)

    return router
