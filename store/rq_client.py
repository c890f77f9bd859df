"""Opens Redis for the queue of many machines, and says in a person's words what is wrong with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import AbstractBackoff, NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError, RedisError, TimeoutError
from redis.retry import Retry

from core import store_phrases as say
from core.errors import StoreError
from core.secret import Secret

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 2.0

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 300
"""How long a worker waits for a Redis that is being restarted before it gives up and ends."""


class Address:
    """QUEUE_URL, and what may be shown of it."""

    def __init__(self, url: Secret) -> None:
        self.url = url
        parts = urlsplit(url.reveal())
        self.place = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}{parts.path}"
        self._password = Secret(unquote(parts.password or ""))

    def masked(self, text: str) -> str:
        return self._password.masked_in(self.url.masked_in(text))

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Turn what the client raises into StoreError."""
        try:
            yield
        except AuthenticationError:
            raise StoreError(say.REDIS_DENIES(place=self.place)) from None
        except (ConnectionError, TimeoutError) as error:
            reason = self.masked(" ".join(str(error).split()))[:200]
            raise StoreError(say.REDIS_SILENT(place=self.place, words=reason)) from None
        except RedisError as error:
            # Such as MISCONF: a disk that is full. What Redis refuses it has not done.
            raise StoreError(say.REDIS_REFUSES(place=self.place, words=self.masked(str(error))[:300])) from None


def quick_client(url: Secret) -> redis.Redis:
    """Return a client for people who wait: it fails within seconds. It connects when it is first used."""
    # One retry and no pause: after a restart of Redis the connection at hand is dead and the next one works.
    return _client(url, ANSWER_SECONDS, Retry(NoBackoff(), 1))


def patient_client(url: Secret, is_over: Callable[[], bool]) -> redis.Redis:
    """Return a worker's client: it goes on through a restart of Redis, in the middle of whatever it does.

    Once ``is_over`` says so it waits no more.
    """
    return _client(url, ANSWER_SECONDS, Retry(_Patience(is_over), PATIENCE_SECONDS))


class _Patience(AbstractBackoff):
    """The pause before each further try of a command."""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over

    def compute(self, failures: int) -> float:  # noqa: ARG002
        if self._is_over():
            raise ConnectionError("told to end while Redis does not answer")
        return 1.0


def wait_until_it_answers(url: Secret, is_over: Callable[[], bool]) -> bool:
    """Wait for a Redis that is started after us; False when ``is_over`` says meanwhile that it is of no use any more.

    Raises StoreError when Redis refuses us.
    """
    address, told = Address(url), False
    with quick_client(url) as client:
        while not is_over():
            try:
                # Not PING: that one is answered before the data is there.
                client.dbsize()
                return True
            except (ConnectionError, TimeoutError) as error:
                if isinstance(error, AuthenticationError):
                    with address.telling():
                        raise
                if not told:
                    log.warning("Redis at %s does not answer yet: waiting", address.place)
                told = True
            except RedisError:
                with address.telling():
                    raise
            time.sleep(0.5)
    return False


def text_of(raw: object) -> str:
    """Return what Redis answered as text."""
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)


def texts_of(raw: Iterable[object]) -> list[str]:
    return [text_of(each) for each in raw]


def _client(url: Secret, answer_seconds: float, retry: Retry) -> redis.Redis:
    try:
        return redis.Redis.from_url(
            url.reveal(),
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=answer_seconds,
            socket_keepalive=True,
            retry=retry,
        )
    except ValueError as error:
        raise StoreError(say.BAD_QUEUE_URL(words=Address(url).masked(str(error)))) from None
