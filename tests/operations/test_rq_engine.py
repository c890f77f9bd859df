"""The engine of many machines passes the contract of all engines, on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.operations.engine_contract import EngineContract
from tests.operations.engine_kit import EngineKit, kit_in
from tests.redis_server import RedisServer, running_redis


class RqKit(EngineKit):
    # RQ forks for each task: about 50 a second.
    many = 60


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis("not-to-be-seen") as server:
        yield server


class TestRqEngine(EngineContract):
    @pytest.fixture
    def kit(self, tmp_path: Path, server: RedisServer) -> Iterator[EngineKit]:
        with redis.Redis.from_url(server.url()) as client:
            client.flushdb()
        with kit_in(tmp_path, RqKit, QUEUE_URL=server.url()) as kit:
            yield kit
