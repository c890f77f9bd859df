"""Many machines, and what can die there: Redis, a worker, its child, what was on its way from one to the other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from core.errors import StoreError
from core.tasks import TaskEngine, TaskQuery, TaskState, host_queue
from store.rq_client import texts_of
from tests.operations.engine_contract import kit_task, lines, request
from tests.operations.engine_kit import EngineKit, kit_in
from tests.redis_server import RedisServer, running_redis
from tests.workspace import SOURCE, wait_for

PASSWORD = "not-to-be-seen"


class QuickKit(EngineKit):
    # A heartbeat each second instead of each five.
    worker_options = ("--retry-after", "0.05", "--lease", "3")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis(PASSWORD) as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url()) as client:
        client.flushdb()
        yield client


@pytest.fixture
def kit(tmp_path: Path, server: RedisServer, client: redis.Redis) -> Iterator[EngineKit]:
    assert client.dbsize() == 0
    with kit_in(tmp_path, QuickKit, QUEUE_URL=server.url()) as kit:
        yield kit


@pytest.fixture
def engine(kit: EngineKit) -> TaskEngine:
    return kit.open()


def keys(client: redis.Redis) -> list[str]:
    return sorted(texts_of(client.keys("cache-keeper:*")))


# -- Redis -----------------------------------------------------------------------------------------------------


def test_no_task_is_lost_when_redis_is_killed_in_the_middle(
    kit: EngineKit, engine: TaskEngine, server: RedisServer, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    wanted = [f"line {number}" for number in range(200)]
    engine.submit_batch([request("note", f"user-{n % 5}", path=str(notes), line=wanted[n]) for n in range(200)], "b")
    workers = [kit.start_worker() for _ in range(2)]
    wait_for(lambda: len(lines(notes)) >= 50, 30)
    server.kill()
    with pytest.raises(StoreError):
        engine.tasks()
    server.start()
    wait_for(lambda: engine.tasks(TaskQuery(batch="b")).counts["done"] == 200, 90)
    ran = Counter(lines(notes))
    assert set(ran) == set(wanted)
    # What ran when Redis died, and what was being told to it, may run again; not the rest.
    assert sum(ran.values()) <= 200 + 20
    assert all(worker.process.poll() is None for worker in workers), "the workers outlive Redis"


def test_a_long_task_goes_on_while_redis_is_away(
    kit: EngineKit, engine: TaskEngine, server: RedisServer, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    # With its own patience: on a busy machine three seconds without a heartbeat are nothing.
    kit.worker_options = ()
    kit.start_worker()
    task = engine.submit(request("work", path=str(notes), seconds=2.0))
    wait_for(lambda: (kit_task(engine, task.id).progress.percent or 0) > 5)
    server.kill()
    time.sleep(1.0)
    server.start()
    ended = kit.wait_for_end(engine, task.id)
    assert (ended.state, ended.attempts, ended.result) == (TaskState.DONE, 1, "worked")
    assert [line.split()[0] for line in lines(notes)] == ["begin", "end"]


def test_an_idle_worker_ends_when_it_is_told_to_though_redis_is_away(
    kit: EngineKit, engine: TaskEngine, server: RedisServer
) -> None:
    worker = kit.start_worker()
    kit.wait_for_end(engine, engine.submit(request()).id)
    server.kill()
    try:
        worker.wait_for_output("queue waits: Redis at")
        worker.signal(signal.SIGTERM)
        assert worker.wait(8) == 0, worker.output()
        assert PASSWORD not in worker.output()
    finally:
        server.start()


def test_without_redis_nothing_is_accepted_and_that_is_said_at_once(engine: TaskEngine, server: RedisServer) -> None:
    first = engine.submit(request())
    server.kill()
    began = time.monotonic()
    for ask in (
        lambda: engine.submit(request()),
        lambda: engine.submit_batch([request(), request()], "b"),
        lambda: engine.cancel(first.id),
        engine.workers,
    ):
        with pytest.raises(StoreError, match=r"does not answer .*QUEUE_URL") as raised:
            ask()
        assert PASSWORD not in str(raised.value)
    assert time.monotonic() - began < 5
    server.start()
    assert [task.id for task in engine.tasks().tasks] == [first.id]
    assert engine.queue_key("global:pending") == [first.id]
    assert engine.submit(request()).state is TaskState.QUEUED, "the same engine goes on"


def test_a_redis_that_says_nothing_costs_seconds_and_accepts_all_or_nothing(
    engine: TaskEngine, server: RedisServer
) -> None:
    engine.submit(request())
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        with pytest.raises(StoreError, match="does not answer"):
            engine.submit_batch([request("echo", value=1)] * 3, "b")
        assert time.monotonic() - began < 15
    finally:
        server.signal(signal.SIGCONT)
    assert len(engine.tasks(TaskQuery(batch="b")).tasks) in (0, 3)


def test_a_wrong_password_is_told_without_showing_it(server: RedisServer, kit: EngineKit) -> None:
    wrong = server.url().replace(PASSWORD, "also-not-to-be-seen")
    kit.settings["QUEUE_URL"] = wrong
    with pytest.raises(StoreError, match="refuses the user or password: check QUEUE_URL") as raised:
        kit.open().submit(request())
    assert "seen" not in str(raised.value)


# -- workers ---------------------------------------------------------------------------------------------------


def test_a_worker_that_died_on_another_machine_loses_its_task_after_three_heartbeats(
    kit: EngineKit, engine: TaskEngine, client: redis.Redis, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    workers = {str(worker.pid): worker for worker in (kit.start_worker(), kit.start_worker())}
    task = engine.submit(request("work", path=str(notes), seconds=2.0))
    wait_for(lambda: lines(notes))
    name = kit_task(engine, task.id).worker
    # From now on nobody here can tell by its PID whether it lives.
    client.hset(f"rq:worker:{name}", "ck_machine", "another")
    killed_at = time.time()
    kit.kill(workers[name.split("-")[-2]])
    wait_for(lambda: len(lines(notes)) >= 2, 40)
    assert time.time() - killed_at > 1.5, "not before its heartbeats are missed"
    ended = kit.wait_for_end(engine, task.id)
    assert (ended.state, ended.attempts) == (TaskState.DONE, 2)
    assert [line.split()[0] for line in lines(notes)] == ["begin", "begin", "end"], "its child died with it"


def test_killed_children_cost_one_attempt_and_their_worker_goes_on(
    kit: EngineKit, engine: TaskEngine, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    worker = kit.start_worker()
    task = engine.submit(request("work", path=str(notes), seconds=0.5))
    wait_for(lambda: lines(notes))
    # The one that runs the task, and the one that looks after the queue.
    children = psutil.Process(worker.pid).children()
    assert len(children) == 2
    for child in children:
        child.kill()
    ended = kit.wait_for_end(engine, task.id)
    assert (ended.state, ended.attempts, ended.error) == (TaskState.DONE, 2, "")
    assert worker.process.poll() is None


def test_a_worker_that_is_to_retire_finishes_the_task_in_hand(
    kit: EngineKit, engine: TaskEngine, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    worker = kit.start_worker()
    task, next_one = (engine.submit(request("wait", begun=str(begun), go=str(go))) for _ in range(2))
    wait_for(lambda: lines(begun))
    worker.signal(signal.SIGHUP)
    go.touch()
    assert worker.wait(15) == 0, worker.output()
    assert kit_task(engine, task.id).state is TaskState.DONE
    assert kit_task(engine, next_one.id).state is TaskState.QUEUED


def test_a_task_that_was_taken_off_its_list_by_nobody_is_put_back(
    kit: EngineKit, engine: TaskEngine, client: redis.Redis
) -> None:
    task = engine.submit(request())
    assert client.lpop("rq:queue:cache-keeper:default:normal") == task.id.encode()
    kit.start_worker()
    assert kit.wait_for_end(engine, task.id).state is TaskState.DONE


def test_each_machine_does_its_own_work_and_the_common_work_is_shared(
    kit: EngineKit, engine: TaskEngine, tmp_path: Path
) -> None:
    hosts = {name: kit.start_worker("--host-queue", name) for name in ("a", "b")}
    notes = str(tmp_path / "notes")
    own = {
        engine.submit(request("note", f"user-{n}", path=notes, line="x", queue=host_queue(name))).id: name
        for n in range(6)
        for name in hosts
    }
    alone = engine.submit(request("note", "bob", path=notes, line="x", queue=host_queue("c")))
    common = engine.submit(request("note", "bob", path=notes, line="x"))
    assert kit.wait_for_end(engine, common.id).state is TaskState.DONE, "a machine that is off holds up no other work"
    for task_id, name in own.items():
        pid = kit.wait_for_end(engine, task_id).worker.split("-")[-2]
        assert pid == str(hosts[name].pid)
    assert kit_task(engine, alone.id).state is TaskState.QUEUED


# -- the readable view -----------------------------------------------------------------------------------------


def test_the_readable_view_is_written_anew_whatever_becomes_of_it(
    kit: EngineKit, engine: TaskEngine, client: redis.Redis, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    kit.start_worker()
    running = engine.submit(request("wait", begun=str(begun), go=str(go)))
    wait_for(lambda: lines(begun))
    waiting = engine.submit_batch([request(user=user) for user in ("ann", "bob")], "b-1")
    ids = [task.id for task in waiting]

    def view() -> dict[str, object]:
        return {
            "global:pending": texts_of(client.lrange("cache-keeper:global:pending", 0, -1)),
            "user:bob:pending": texts_of(client.lrange("cache-keeper:user:bob:pending", 0, -1)),
            "user:ann:processing": texts_of(client.smembers("cache-keeper:user:ann:processing")),
            "batch:b-1:tasks": sorted(texts_of(client.smembers("cache-keeper:batch:b-1:tasks"))),
        }

    def is_whole() -> bool:
        documents = [client.get(f"cache-keeper:task:{task_id}:progress") for task_id in (running.id, *ids)]
        return view() == whole and all(documents)

    whole = {
        "global:pending": ids,
        "user:bob:pending": ids[1:],
        "user:ann:processing": [running.id],
        "batch:b-1:tasks": sorted(ids),
    }
    wait_for(is_whole)
    assert whole == {key: engine.queue_key(key) for key in whole}, "the engine answers the same"
    document = json.loads(client.get(f"cache-keeper:task:{running.id}:progress") or "")
    assert (document["task_id"], document["status"], document["current_step"]) == (running.id, "running", "waiting")
    assert 3000 < client.ttl(f"cache-keeper:task:{running.id}:progress") <= 3600

    shown = [key for key in keys(client) if not key.startswith("cache-keeper:engine:")]
    assert len(shown) == 8
    client.delete(*shown)
    wait_for(is_whole)

    # Rubbish in its place, of another type each: nobody but a person reads it.
    with client.pipeline(transaction=True) as pipe:
        for key in shown:
            pipe.delete(key)
            pipe.hset(key, "not", "yours")
        pipe.execute()
    assert whole == {key: engine.queue_key(key) for key in whole}
    third = engine.submit(request(user="cid"))
    go.touch()
    for task_id in (running.id, *ids, third.id):
        assert kit.wait_for_end(engine, task_id).state is TaskState.DONE
    wait_for(lambda: all(key.endswith((":progress", ":tasks")) for key in keys(client) if ":engine:" not in key))
    name = f"cache-keeper:task:{ids[0]}:progress"
    wait_for(lambda: client.type(name) == b"string" and json.loads(client.get(name) or "{}").get("status") == "done")
    assert json.loads(client.get(name) or "")["progress"] == 100


def test_the_view_costs_nothing_while_nothing_moves(kit: EngineKit, engine: TaskEngine, client: redis.Redis) -> None:
    kit.start_worker()
    engine.submit_batch([request(queue=host_queue("off")) for _ in range(50)], "b")
    wait_for(lambda: client.exists("cache-keeper:global:pending"))
    newest = engine.tasks(TaskQuery(batch="b"), limit=1).tasks[0].id
    wait_for(lambda: client.exists(f"cache-keeper:task:{newest}:progress"))

    def writes() -> int:
        commands = client.info("commandstats")
        return sum(commands.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("rpush", "sadd", "set", "del"))

    before = writes()
    time.sleep(2.5)
    # Two or three rounds: the lock is asked for by SET, and nothing else is written.
    assert writes() - before <= 6


def test_a_missing_library_is_told_with_what_to_do() -> None:
    script = (
        "import sys; sys.modules['rq'] = None\n"
        "import config, pathlib\n"
        "from operations.engines import open_engine\n"
        "settings = config.load(pathlib.Path('.'), {'QUEUE_URL': 'redis://127.0.0.1:1'})\n"
        "open_engine(settings)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=SOURCE, capture_output=True, text=True, check=False)
    assert "CacheKeeperError: QUEUE_URL needs the Python package rq: run make setup-servers" in ended.stderr
