"""The redis-server that other tests rely on."""

from __future__ import annotations

import pytest
import redis

from tests.redis_server import RedisServer, needs_redis_server, running_redis


def test_what_redis_has_answered_outlives_a_kill() -> None:
    with running_redis() as server, redis.Redis.from_url(server.url(3)) as client:
        client.set("written", "before")
        port = server.port
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()
        assert server.port == port
        assert client.get("written") == b"before"


def test_a_missing_program_skips_a_test_and_fails_it_where_every_test_must_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CACHE_KEEPER_CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install redis-server"):
        needs_redis_server()
    monkeypatch.setenv("CACHE_KEEPER_CI", "1")
    with pytest.raises(pytest.fail.Exception, match="redis-server is not installed"):
        needs_redis_server()


def test_a_password_is_needed_where_one_is_set() -> None:
    with running_redis("a very long password") as server:
        assert isinstance(server, RedisServer)
        with (
            redis.Redis(port=server.port) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
