"""The one shape of every JSON answer about caches, tasks and the audit log: ``{success, data, message, timestamp}``.

Messages are the guide's, in Chinese, unless the caller's ``Accept-Language`` would rather have English. What an error
says beyond its kind is in English, as the log has it, unless the caller would rather have Chinese.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Generic, NamedTuple, TypeVar

from fastapi import Request
from pydantic import BaseModel, Field

from api.texts import language_of

T = TypeVar("T")


class Words(NamedTuple):
    """One message in both languages."""

    chinese: str
    english: str

    def to(self, request: Request) -> str:
        """Return it in the language that the request prefers."""
        # Chinese at the least weight: it is what the guide quotes, and what a client that names no language gets.
        accepted = f"{request.headers.get('accept-language', '')},zh;q=0.001"
        return self.chinese if language_of("", accepted) == "zh" else self.english


def prefers_chinese(request: Request) -> bool:
    """Whether an error's particulars are told in Chinese: to whoever names that language before English."""
    return language_of("", request.headers.get("accept-language", "")) == "zh"


class Envelope(BaseModel, Generic[T]):
    """What was asked for, under ``data``; ``success`` is false when part of it could not be done."""

    success: bool = True
    data: T
    message: str = Field(examples=["获取缓存统计成功"])
    timestamp: datetime = Field(description="UTC, ISO 8601")


class FieldProblem(BaseModel):
    """One parameter that cannot be taken, and why."""

    field: str = Field(examples=["days"])
    place: str = Field(examples=["query"], description="query, path, body or header")
    problem: str = Field(examples=["Input should be less than or equal to 365"])


class ErrorBody(BaseModel):
    """Every error. ``message`` names the kind, in the guide's words; ``detail`` is what to do about this one."""

    success: bool = False
    data: None = None
    message: str = Field(examples=["未授权"])
    detail: str = Field(examples=["a token is needed: Authorization: Bearer …"])
    fields: list[FieldProblem] = Field(default=[], description="with 422: each parameter that is wrong")
    request_id: str = Field(description="also in the audit log, and in daemon.log where something broke")
    timestamp: datetime = Field(description="UTC, ISO 8601")


def reply(request: Request, data: T, words: Words, *, success: bool = True) -> Envelope[T]:
    """Given what to answer and its message, return it in its envelope."""
    return Envelope(success=success, data=data, message=words.to(request), timestamp=datetime.now(UTC))


def moment(at: float | None) -> datetime | None:
    """Given UTC seconds, return the time; None for none, and for one that no calendar has (a file may claim any)."""
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def request_id_of(request: Request) -> str:
    """Return the id that ties together everything that is recorded of a request; the guard gives it."""
    return str(request.state.origin.request_id)
