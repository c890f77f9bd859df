"""The contract over every backend, and what is particular to each."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import config
from core.listing import EntryType
from core.retention import DAY_SECONDS
from core.secret import Secret
from modelcache.own import set_pin
from modelcache.roots import OPEN_DIRECTORY
from operations.backends import configured
from operations.backends.mongodb import MongoBackend
from operations.backends.redis import RedisBackend
from operations.backends.tree import BATCH
from store.mongo_cache import MongoCache
from store.redis_cache import BATCH as REDIS_BATCH
from store.redis_cache import RedisCache
from tests.mongo_double import MongoDouble, mongo_double
from tests.operations.backend_contract import (
    OLD,
    WEEK,
    YOUNG,
    BackendContract,
    Place,
    clear,
    expire,
    index,  # noqa: F401
    no_pulse,
)
from tests.operations.places import PREFIX, ModelPlace, MongoPlace, RedisPlace, TreePlace, tree_place
from tests.redis_server import RedisServer, running_redis

TREES = ("images", "comfyui-output", "api-proxy", "python", "files", "directories")


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def mongo_server() -> Iterator[MongoDouble]:
    with mongo_double() as double:
        yield double


@pytest.fixture
def redis_place(redis_server: RedisServer) -> Iterator[RedisPlace]:
    yield RedisPlace(redis_server)
    redis_server.stop()
    redis_server.start()


@pytest.fixture
def mongo_place(mongo_server: MongoDouble) -> Iterator[MongoPlace]:
    yield MongoPlace(mongo_server)
    mongo_server.stop()
    mongo_server.start()


@pytest.fixture(params=[*TREES, "models", "redis", "mongodb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param in TREES:
        return tree_place(request.param, tmp_path / "place")
    if request.param == "models":
        (tmp_path / "place").mkdir()
        return ModelPlace(tmp_path / "place")
    found: Place = request.getfixturevalue("redis_place" if request.param == "redis" else "mongo_place")
    return found


class TestEveryBackend(BackendContract):
    pass


# File systems


@pytest.fixture
def tree(tmp_path: Path) -> TreePlace:
    return tree_place("images", tmp_path / "place")


def test_a_keep_file_and_an_open_file_survive_a_clear(tree: TreePlace) -> None:
    for name in ("kept", "open", "going"):
        tree.put(name, YOUNG)
    (tree.root / "03" / "kept" / ".keep").touch()
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; f = open(sys.argv[1]); print(flush=True); sys.stdin.read()",
         str(tree.root / "03" / "open" / "0.png")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        effect = clear(tree)
        process.communicate()
    assert tree.names() == {"kept", "open"}
    assert effect.skipped.counts == {"in_use": 1}
    assert effect.reasons["keep_file"]["entries"] == 1


def test_what_was_made_this_moment_or_in_the_future_is_cleared_too(tree: TreePlace) -> None:
    tree.put("now", 0)
    tree.put("future", -40 * DAY_SECONDS)
    assert clear(tree).deleted_entries == 2
    assert tree.names() == set()


def test_taking_most_of_a_target_by_age_is_refused_as_the_cleaner_refuses_it(tree: TreePlace) -> None:
    for number in range(20):
        tree.put(f"old{number}", OLD)
    effect = expire(tree)
    assert "would go" in effect.refused
    assert len(tree.names()) == 20


def test_entries_come_in_batches_with_names_that_can_be_shown(tmp_path: Path) -> None:
    place = tree_place("files", tmp_path / "place")
    for number in range(2 * BATCH + 10):
        (place.root / f"{number}.png").touch()
    strange = os.fsencode(place.root) + b"/bad\xff\n\xe5\x9b\xbe.png"
    with open(strange, "w"):
        pass
    batches = list(place.backend.entries(no_pulse))
    assert len(batches) > 1
    names = {entry.name for batch in batches for entry in batch}
    assert len(names) == 2 * BATCH + 11
    assert r"bad\xff\n图.png" in names


def test_several_roots_keep_their_entries_apart(tmp_path: Path) -> None:
    place = tree_place("directories", tmp_path / "place")
    second = place.root.with_name("second")
    (second / "run").mkdir(parents=True)
    place.put("run", OLD)
    target = replace(place.target, roots=(str(place.root), str(second)))
    backend = type(place.backend)(target, place.backend._boundaries)  # type: ignore[call-arg, attr-defined]
    names = {entry.name for batch in backend.entries(no_pulse) for entry in batch}
    assert names == {f"{place.root}/run", f"{second}/run"}


# Models


def test_a_model_in_use_or_pinned_or_only_viewed_stays_with_its_reason(tmp_path: Path) -> None:
    place = ModelPlace(tmp_path)
    for name in ("used", "pinned", "going"):
        place.put(name, OLD)
    top = os.open(place.root / "pinned", OPEN_DIRECTORY)
    set_pin(top, True)
    os.close(top)
    with (place.root / "used" / "w.safetensors").open("rb"):
        effect = clear(place)
    assert place.names() == {"used", "pinned"}
    assert effect.skipped.counts == {"in_use": 1}
    assert "open" in effect.skipped.first[0]["reason"]
    assert effect.reasons["pinned"]["entries"] == 1


# Redis


def test_a_key_that_is_used_between_plan_and_removal_stays(redis_place: RedisPlace) -> None:
    redis_place.put("old0", OLD)
    cache = RedisCache(Secret(redis_place.server.url()), PREFIX)
    (keys,) = cache.scan()
    redis_place.client.set(PREFIX + "old0", "written anew")
    assert cache.unlink([key.name for key in keys], idle_over_seconds=WEEK) == [False]
    assert redis_place.names() == {"old0"}


def test_a_key_about_to_expire_is_left_to_redis_and_one_with_much_time_is_not(redis_place: RedisPlace) -> None:
    redis_place.put("soon", OLD, ttl_seconds=30)
    redis_place.put("later", OLD, ttl_seconds=86400)
    effect = expire(redis_place)
    assert effect.reasons["expires_by_itself"]["entries"] == 1
    assert redis_place.names() == {"soon"}


def test_many_keys_are_scanned_and_unlinked_and_never_listed_or_flushed(redis_place: RedisPlace) -> None:
    redis_place.client.config_resetstat()
    with redis_place.client.pipeline() as pipe:
        for number in range(3 * REDIS_BATCH):
            pipe.set(f"{PREFIX}{number}", "x")
            pipe.set(f"other:{number}", "x")
        pipe.execute()
    assert clear(redis_place).deleted_entries == 3 * REDIS_BATCH
    assert redis_place.client.dbsize() == 3 * REDIS_BATCH
    used = set(redis_place.client.info("commandstats"))
    assert {"cmdstat_scan", "cmdstat_unlink"} <= used
    assert not used & {"cmdstat_keys", "cmdstat_flushdb", "cmdstat_flushall", "cmdstat_del"}


def test_looking_at_keys_does_not_make_them_young(redis_place: RedisPlace) -> None:
    redis_place.put("old0", OLD)
    for _ in range(2):
        assert expire(redis_place, dry_run=True).deleted_entries == 1


def test_where_redis_keeps_no_idle_times_nothing_is_judged_by_age(redis_place: RedisPlace) -> None:
    redis_place.put("old0", OLD)
    redis_place.client.config_set("maxmemory-policy", "allkeys-lfu")
    effect = expire(redis_place)
    assert effect.deleted_entries == 0
    assert effect.skipped.counts == {"no_time": 1}


# MongoDB


def test_documents_without_a_readable_time_are_counted_and_kept(mongo_place: MongoPlace) -> None:
    mongo_place.put("old0", OLD)
    mongo_place.put_bad()
    effect = expire(mongo_place)
    assert effect.reasons["no_time"]["entries"] == 7
    assert effect.warnings
    assert len(mongo_place.names()) == 7


def test_a_document_that_is_renewed_between_plan_and_removal_stays(mongo_place: MongoPlace) -> None:
    mongo_place.put("old0", OLD)
    cache = MongoCache(Secret(mongo_place.server.client_url("shop")), "items", mongo_place.field)
    before = time.time() - WEEK
    ((document,),) = cache.documents(before=before)
    mongo_place.items.update_one({"_id": "old0"}, {"$set": {"meta.created_at": time.time()}})
    assert cache.delete([document.id], before=before) == 0
    assert mongo_place.names() == {"old0"}


def test_many_documents_are_removed_in_batches_and_the_collection_stays(mongo_place: MongoPlace) -> None:
    mongo_place.items.insert_many([{"_id": number, "meta": {"created_at": 1e9}} for number in range(2500)])
    mongo_place.items.insert_one({"_id": "young", "meta": {"created_at": time.time()}})
    mongo_place.server.commands.clear()
    effect = expire(mongo_place)
    assert (effect.deleted_entries, mongo_place.names()) == (2500, {"young"})
    assert mongo_place.server.commands.count("delete") == 3
    assert not {"drop", "dropDatabase"} & set(mongo_place.server.commands)


def test_mongodb_that_comes_back_is_used_again(mongo_place: MongoPlace) -> None:
    mongo_place.put("old0", OLD)
    mongo_place.server.stop()
    assert not mongo_place.backend.health().available
    mongo_place.server.start()
    assert mongo_place.backend.health().available
    assert clear(mongo_place).deleted_entries == 1


# All together


@pytest.mark.parametrize("scheme", ["redis", "mongodb"])
def test_a_server_that_never_answers_is_reported_within_five_seconds_without_its_password(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = Secret(f"{scheme}://someone:sesame99@127.0.0.1:{silent.getsockname()[1]}/0")
        backend = (
            RedisBackend("redis", RedisCache(url, "p:"))
            if scheme == "redis"
            else MongoBackend("mongodb", MongoCache(url, "items", "at"))
        )
        began = time.monotonic()
        health = backend.health()
        assert time.monotonic() - began < 5
    assert not health.available
    assert "127.0.0.1" in health.error
    assert "sesame99" not in f"{health}"


def settings_in(root: Path, **environment: str) -> config.Settings:
    root.mkdir(exist_ok=True)
    return config.load(root, {"CACHE_DIR": "state", **environment})


def test_only_what_is_configured_is_there_and_every_name_is_its_own(tmp_path: Path) -> None:
    plain = configured(settings_in(tmp_path / "a"))
    assert [(each.name, each.type) for each in plain] == [
        ("images", EntryType.IMAGES), ("python", EntryType.PYTHON), ("models", EntryType.MODEL),
    ]  # fmt: skip
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "fleet.toml").write_text(
        '[[target]]\nname = "redis"\nroots = ["/srv/previews"]\n[[target]]\nname = "python"\nroots = ["/srv/x"]\n'
    )
    full = configured(
        settings_in(
            tmp_path / "b", REDIS_URL="redis://127.0.0.1:1/0", REDIS_CACHE_PREFIX="p:",
            MONGODB_URL="mongodb://127.0.0.1:1/d?serverSelectionTimeoutMS=500", MONGODB_CACHE_COLLECTION="items",
        )
    )  # fmt: skip
    names = [each.name for each in full]
    assert names == ["images", "redis", "python", "python-2", "models", "redis-2", "mongodb"]
    healths = {each.name: each.health() for each in full}
    assert not healths["redis-2"].available
    assert not healths["mongodb"].available
    assert healths["images"].available, "one that is gone takes no part in another's"


def test_a_missing_client_library_says_how_to_install_it(tmp_path: Path) -> None:
    # A process in which neither can be imported, as on a machine without the extra.
    script = (
        "import sys; sys.modules['redis'] = sys.modules['pymongo'] = None\n"
        "import config; from pathlib import Path; from operations.backends import configured\n"
        "settings = config.load(Path(sys.argv[1]), {'REDIS_URL': 'redis://127.0.0.1:1', 'REDIS_CACHE_PREFIX': 'p',"
        " 'MONGODB_URL': 'mongodb://127.0.0.1:1', 'MONGODB_CACHE_COLLECTION': 'c'})\n"
        "print([each.health().error for each in configured(settings) if each.family == 'database'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert ran.stdout.count("make setup-servers") == 2
