"""One ComfyUI's routes over real connections: what each bad answer becomes, and what may never be asked twice."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import pytest

from client.protocol import MAX_TEXT_BYTES
from client.server_client import FleetSession, ServerClient
from core.errors import BadAnswer, Busy, NoSuchRoute, PromptRejected, ServerError, Unreachable
from core.fleet import Server
from examples.fake_comfyui import FakeServer
from tests.checker.harness import server_of, warmup_of

T = TypeVar("T")
LOGIN = "<!DOCTYPE html><html><title>Login</title><body>缓存已加载。</body></html>".encode()
GRAPH = warmup_of("vae")


def ask(
    server: Server,
    call: Callable[[ServerClient], Awaitable[T]],
    *,
    connect_seconds: float = 5.0,
    answer_seconds: float = 5.0,
) -> T:
    async def there() -> T:
        session = FleetSession(connect_timeout_seconds=connect_seconds, answer_timeout_seconds=answer_seconds)
        async with session:
            return await call(session.client(server))

    return asyncio.run(there())


def post(client: ServerClient) -> Awaitable[None]:
    return client.submit(GRAPH, prompt_id="ours", client_id="cache-keeper-x", front=False)


READS: dict[str, Callable[[ServerClient], Awaitable[object]]] = {
    "/inspire/cache/list": lambda client: client.cache_list(),
    "/inspire/cache/determine": lambda client: client.determine(),
    "/queue": lambda client: client.queue(),
    "/history/ours": lambda client: client.history("ours"),
    "/history": lambda client: client.history_is_empty(),
    "/object_info/KSampler": lambda client: client.object_info("KSampler"),
}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an HTML login page": ({"body": LOGIN, "headers": {"Content-Type": "text/html"}}, "an HTML page, perhaps a login"),
    "a page after blank lines": ({"body": b"\n  " + LOGIN}, "an HTML page, perhaps a login"),
    "a redirect": ({"status": 302, "headers": {"Location": "/login"}}, "redirect to /login, perhaps a login"),
    "a redirect without a place": ({"status": 307}, "redirect"),
    "not authorised": ({"status": 401, "body": b'{"error":"Log in."}'}, "401: {\"error\":\"Log in"),
    "forbidden": ({"status": 403}, "403: (empty)"),
    "no such route": ({"status": 404}, "does not exist on this server (404)"),
    "a server error": ({"status": 500, "body": b"500 Internal Server Error"}, "500: 500 Internal Server Error"),
    "a gateway that timed out": ({"status": 504, "body": LOGIN}, "504: <!DOCTYPE"),
    "no content": ({"status": 204}, "204"),
    "an empty body": ({"body": b""}, "(empty)"),
    "a body that was cut off": ({"body": b"---- [String", "declared_length": 5000}, "cut off"),
    "another charset": ({"body": "缓存已加载。".encode("gbk")}, "not UTF-8"),
    "utf-16": ({"body": "缓存已加载。".encode("utf-16")}, "not UTF-8"),
    "binary": ({"body": bytes(range(256))}, "not UTF-8"),
    "compressed rubbish": ({"body": b"rubbish", "headers": {"Content-Encoding": "gzip"}}, ""),
    "another text": ({"body": b"It works!"}, "It works!"),
    "JSON of another kind": ({"body": b'"text"'}, "text"),
    "null": ({"body": b"null"}, ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with new_server() as server:
        yield server


def new_server() -> FakeServer:
    return FakeServer(flavour="fork", wanted_keys=["vae"], determine_mode="claims")


@pytest.fixture(autouse=True)
def well_behaved(fake: FakeServer) -> Iterator[None]:
    yield
    fake.behave()


# What /object_info describes is judged by whoever asked, so any JSON is an answer there.
CASES = [
    (route, bad)
    for route in READS
    for bad in BAD
    if not (route.startswith("/object_info") and bad in ("null", "JSON of another kind"))
]


@pytest.mark.parametrize(("route", "bad"), CASES)
def test_a_bad_answer_is_a_reason_on_one_line_and_nothing_else(fake: FakeServer, route: str, bad: str) -> None:
    fault, says = BAD[bad]
    fake.misbehave(route, **fault)
    with pytest.raises(BadAnswer) as caught:
        ask(server_of(fake.url), READS[route])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_good_answers_are_read() -> None:
    async def all_of_them(client: ServerClient) -> list[object]:
        return [await read(client) for read in READS.values()]

    with new_server() as fake:
        listing, said, queue, run, empty, info = ask(server_of(fake.url), all_of_them)
    assert not listing.holds("vae", "")  # type: ignore[attr-defined]
    assert said.missing == ("vae",)  # type: ignore[attr-defined]
    assert queue.prompts == ()  # type: ignore[attr-defined]
    assert (run, empty) == (None, True)
    assert "KSampler" in info  # type: ignore[operator]


def test_ten_megabytes_are_not_read_to_their_end(fake: FakeServer) -> None:
    fake.misbehave("/inspire/cache/list", body=b"x" * 10_000_000)
    with pytest.raises(BadAnswer, match=f"more than {MAX_TEXT_BYTES} bytes"):
        ask(server_of(fake.url), READS["/inspire/cache/list"])


@contextmanager
def raw_server(serve: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """A listener that treats each connection as told; its address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with closing(connection):
                    try:
                        serve(connection, connection.recv(65536))
                    except OSError:
                        continue

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_endless_answer_ends_at_the_limit() -> None:
    sent = 0

    def endless(connection: socket.socket, _: bytes) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while sent < 200_000_000:
            sent += connection.send(b"x" * 65536)

    with raw_server(endless) as url, pytest.raises(BadAnswer, match="more than"):
        ask(server_of(url), READS["/inspire/cache/list"])
    assert sent < 50_000_000


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", Unreachable),
        (b"SSH-2.0-OpenSSH_9.2\r\n", BadAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", BadAnswer),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", BadAnswer),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", BadAnswer),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", BadAnswer),
        (b"\x15\x03\x01\x00\x02\x02\x16", BadAnswer),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", BadAnswer),
    ],
)
def test_what_is_not_http_is_an_error_of_ours(answer: bytes, kind: type[ServerError]) -> None:
    with raw_server(lambda connection, _: connection.sendall(answer)) as url, pytest.raises(kind) as caught:
        ask(server_of(url), READS["/queue"])
    assert "\n" not in str(caught.value)


def test_a_refused_connection_is_unreachable_at_once() -> None:
    with closing(socket.socket()) as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(Unreachable, match="no connection"):
            ask(server_of(url), READS["/queue"])
        assert time.monotonic() - began < 1


def test_a_black_hole_is_unreachable_after_the_connect_timeout() -> None:
    with FakeServer() as server:
        server.black_hole()
        began = time.monotonic()
        with pytest.raises(Unreachable, match="in time"):
            ask(server_of(server.url), READS["/queue"], connect_seconds=0.3)
        assert 0.25 < time.monotonic() - began < 1.5


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        ask(server_of("http://no-such-host.invalid:8188"), READS["/queue"], answer_seconds=5)


def test_a_server_without_tls_is_unreachable_over_https(fake: FakeServer) -> None:
    with pytest.raises(ServerError):
        ask(server_of(fake.url.replace("http://", "https://")), READS["/queue"])


def test_connected_and_late_is_busy_and_not_unreachable(fake: FakeServer) -> None:
    fake.busy(1.0)
    with pytest.raises(Busy, match="not answered in time"):
        ask(server_of(fake.url), READS["/queue"], connect_seconds=0.2, answer_seconds=0.2)
    fake.wait_until(lambda server: server.busy_seconds() <= 0)


def test_a_body_that_comes_too_slowly_is_busy() -> None:
    def slowly(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _number in range(100):
            connection.send(b"x")
            time.sleep(0.05)

    with raw_server(slowly) as url, pytest.raises(Busy):
        ask(server_of(url), READS["/queue"], connect_seconds=0.3, answer_seconds=0.3)


def test_a_class_with_slashes_in_its_name_is_found(fake: FakeServer) -> None:
    info = ask(server_of(fake.url), lambda client: client.object_info("CacheBackendData //Inspire"))
    assert "CacheBackendData //Inspire" in info  # type: ignore[operator]


@pytest.mark.parametrize("prompt_id", ["a/b", "a b", "缓存", "a%2Fb", "..", "?", "#"])
def test_a_prompt_id_of_any_spelling_stays_one_segment(fake: FakeServer, prompt_id: str) -> None:
    assert ask(server_of(fake.url), lambda client: client.history(prompt_id)) is None
    assert fake.requests[-1].path.startswith("/history/")


def test_a_server_below_a_path_is_asked_below_it() -> None:
    asked: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        asked.append(request)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    with raw_server(answer) as url:
        assert ask(server_of(url + "/comfy"), lambda client: client.history("x")) is None
    assert asked[0].startswith(b"GET /comfy/history/x HTTP/1.1\r\n")


# -- headers


def test_headers_are_sent_to_their_server_and_nowhere_else() -> None:
    with FakeServer(token="hunter2") as server, FakeServer(token="hunter2") as other:
        allowed = server_of(server.url, headers={"Authorization": "Bearer hunter2"})
        assert ask(allowed, READS["/queue"])
        with pytest.raises(BadAnswer, match="401") as caught:
            ask(server_of(server.url), READS["/queue"])
        assert "hunter2" not in str(caught.value)
        with pytest.raises(BadAnswer, match="401"):
            ask(allowed, lambda client: client.text(f"{other.url}/queue"))
        with pytest.raises(BadAnswer, match="401"):
            # A name that only begins like ours is another server.
            ask(
                server_of(server.url[:-1], headers={"Authorization": "Bearer hunter2"}),
                lambda client: client.text(server.url + "/queue"),
            )


def test_a_key_that_contains_a_headers_value_is_seen_and_a_quoted_answer_shows_no_secret() -> None:
    with FakeServer() as server:
        server.store("sd_hunter2_model")
        target = server_of(server.url, headers={"X-Token": "hunter2"})
        assert ask(target, READS["/inspire/cache/list"]).holds("sd_hunter2_model", "")  # type: ignore[attr-defined]
        for length in (90, 112, 118, 500):
            server.misbehave("*", status=500, body=b"x" * length + b" hunter2 was not accepted")
            for read in (*READS.values(), post):
                with pytest.raises(BadAnswer) as caught:
                    ask(target, read)
                assert "hunt" not in str(caught.value)


def test_a_browsers_login_is_never_asked_for() -> None:
    with FakeServer(token="hunter2") as server, pytest.raises(BadAnswer, match="401"):
        ask(server_of(server.url), READS["/inspire/cache/list"])


# -- POST /prompt


def test_a_prompt_is_sent_with_our_id_and_client_and_in_front_only_when_told(fake: FakeServer) -> None:
    async def twice(client: ServerClient) -> None:
        await client.submit(GRAPH, prompt_id="first", client_id="cache-keeper-x", front=False)
        await client.submit(GRAPH, prompt_id="second", client_id="cache-keeper-x", front=True)

    ask(server_of(fake.url), twice)
    first, second = fake.prompts[-2:]
    assert (first.prompt_id, second.prompt_id) == ("first", "second")
    assert first.extra_data == {"client_id": "cache-keeper-x"}
    assert second.number <= 0 <= first.number
    assert fake.requests[-1].path == "/prompt", "never /queue, which answers 200 and queues nothing"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "200 and nothing": ({"body": b""}, "empty body"),
    "a login page": ({"body": LOGIN}, "without a prompt_id"),
    "a redirect": ({"status": 302, "headers": {"Location": "/login"}}, "status 302: a redirect to /login"),
    "not authorised": ({"status": 401, "body": b'{"error":"Authentication required."}'}, "status 401: Authentication"),
    "no such route": ({"status": 404}, "status 404"),
    "method not allowed": ({"status": 405, "body": b"405: Method Not Allowed"}, "status 405"),
    "a server error": ({"status": 500, "body": b"500"}, "status 500"),
}


@pytest.mark.parametrize("refused", REFUSED, ids=str)
def test_a_prompt_is_refused(fake: FakeServer, refused: str) -> None:
    fault, says = REFUSED[refused]
    fake.misbehave("POST /prompt", **fault)
    with pytest.raises(PromptRejected) as caught:
        ask(server_of(fake.url), post)
    assert says in str(caught.value)


UNCERTAIN: dict[str, dict[str, Any]] = {
    "no answer in time": {"delay_seconds": 5.0, "status": None},
    "the connection breaks": {"drop": True},
    "a cut body": {"body": b'{"prompt_id"', "declared_length": 500},
    "a body that is no text": {"body": b"\xff\xfe"},
    "too long a body": {"body": b"x" * (MAX_TEXT_BYTES + 10)},
}


@pytest.mark.parametrize("uncertain", UNCERTAIN, ids=str)
def test_where_nobody_knows_whether_a_prompt_was_taken_it_is_not_called_refused_or_unsent(uncertain: str) -> None:
    with FakeServer() as server:
        server.misbehave("POST /prompt", executes=True, **UNCERTAIN[uncertain])
        with pytest.raises(ServerError) as caught:
            ask(server_of(server.url), post, connect_seconds=0.3, answer_seconds=0.3)
        assert not isinstance(caught.value, PromptRejected | Unreachable)
        server.wait_until(lambda fake: len(fake.prompts) == 1)
        assert [each.method for each in server.requests] == ["POST"], "sent once"


def test_nothing_was_sent_where_there_is_no_connection() -> None:
    with FakeServer() as server:
        server.stop()
        with pytest.raises(Unreachable):
            ask(server_of(server.url), post)


def test_a_prompt_is_withdrawn_from_the_queue(fake: FakeServer) -> None:
    fake.occupy(0.3)
    ask(server_of(fake.url), lambda client: client.submit(GRAPH, prompt_id="gone", client_id="x", front=False))
    assert fake.queue()[1] == ["gone"]
    ask(server_of(fake.url), lambda client: client.withdraw("gone"))
    assert fake.queue()[1] == []
    fake.misbehave("POST /queue", status=500)
    with pytest.raises(BadAnswer, match="refused to delete"):
        ask(server_of(fake.url), lambda client: client.withdraw("gone"))
    fake.wait_idle()


def test_a_404_is_told_apart_from_other_bad_answers() -> None:
    with FakeServer(flavour="plain") as server, pytest.raises(NoSuchRoute):
        ask(server_of(server.url), READS["/inspire/cache/list"])


def test_progress_is_told_after_each_request_whatever_came_of_it(fake: FakeServer) -> None:
    calls = []

    async def there() -> None:
        session = FleetSession(connect_timeout_seconds=0.3, answer_timeout_seconds=1, progress=lambda: calls.append(1))
        async with session:
            await session.client(server_of(fake.url)).queue()
            with pytest.raises(Unreachable):
                await session.client(server_of("http://127.0.0.1:1")).queue()

    asyncio.run(there())
    assert len(calls) == 2
