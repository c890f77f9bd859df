"""The shapes of the JSON answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class ServerStatus(BaseModel):
    """One server; ``status`` is one of 缓存已加载, 后台执行中, 缓存未加载, ``state`` says it without a language."""

    server: str
    name: str
    cache_loaded: bool
    auto_executing: bool
    status: str
    state: str


class Status(BaseModel):
    servers: list[ServerStatus]
    counts: dict[str, int]
    last_poll: str | None
    age_seconds: float | None


class DetailedStatus(BaseModel):
    servers: list[dict[str, Any]]
    counts: dict[str, int]
    last_poll: str | None
    age_seconds: float | None
    check_interval_seconds: float


class Health(BaseModel):
    status: str
    last_poll: str | None
    age_seconds: float | None


class Accepted(BaseModel):
    """What a check or a warm-up was asked of; ``finished`` tells whether it ended within ``wait``."""

    success: bool
    message: str
    servers: list[ServerStatus]
    finished: bool


class Paused(BaseModel):
    """A server or a group that is left alone, ``until`` a time (ISO 8601) or, with null, until resumed."""

    success: bool
    message: str
    name: str
    paused: bool
    until: str | None


class ServerSubmission(BaseModel):
    is_submitting: bool
    last_submission_time: str | None
    can_submit: bool
    next_submission_allowed_in: float


class SubmissionStatus(ServerSubmission):
    """Of the fleet, and of each server by its address; seconds."""

    servers: dict[str, ServerSubmission]
