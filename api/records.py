"""Puts what a route does on record, from the event loop, which must not wait for the disk."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi.concurrency import run_in_threadpool

from core.access import Caller
from core.audit import Operation, Records


@asynccontextmanager
async def on_record(
    records: Records,
    caller: Caller,
    action: str,
    target: str,
    parameters: Mapping[str, Any],
    *,
    destructive: bool = False,
) -> AsyncIterator[Operation]:
    """As ``Records.operation``, for coroutines."""
    operation = records.operation(caller, action, target, parameters, destructive=destructive)
    underway = await run_in_threadpool(operation.__enter__)
    try:
        yield underway
    except BaseException:
        await run_in_threadpool(operation.__exit__, *sys.exc_info())
        raise
    await run_in_threadpool(operation.__exit__, None, None, None)
