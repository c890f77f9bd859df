"""Real stores for the contract of the backends: trees, model directories, a redis-server, MongoDB's double."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cleaner.roots import Boundaries
from core.listing import Backend, EntryType, Family
from core.retention import RetentionPolicy
from core.secret import Secret
from core.targets import Target, TargetKind, Unit, images_target
from modelcache.roots import cache_roots
from operations.backends.files import FileBackend
from operations.backends.models import ModelBackend
from operations.backends.mongodb import MongoBackend
from operations.backends.redis import RedisBackend
from store.mongo_cache import MongoCache
from store.redis_cache import RedisCache
from tests.modelcache.models import safetensors, write
from tests.mongo_double import MongoDouble
from tests.redis_server import RedisServer


def set_age(path: Path, age_seconds: float) -> None:
    moment = time.time() - age_seconds
    os.utime(path, (moment, moment), follow_symlinks=False)


@dataclass
class TreePlace:
    """A target on a file system. ``path`` says where an entry of a name and an age lies below the root."""

    base: Path
    target: Target
    type: EntryType
    path: Callable[[str, float], str]
    is_directory: bool
    bad: str
    family: Family = Family.FILE
    _named: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True)
        (self.base / "state").mkdir()
        (self.base / "project").mkdir()
        boundaries = Boundaries(self.base / "project", self.base / "state")
        self.backend: Backend = FileBackend(self.target, boundaries)

    @property
    def root(self) -> Path:
        return Path(self.target.roots[0])

    def put(self, name: str, age_seconds: float) -> None:
        path = self.root / self.path(name, age_seconds)
        self._named[str(path)] = name
        path.parent.mkdir(parents=True, exist_ok=True)
        files = [path]
        if self.is_directory:
            path.mkdir()
            files = [path / f"{number}{'.pyc' if self.type is EntryType.PYTHON else '.png'}" for number in range(2)]
        for each in files:
            each.write_bytes(b"x" * 5000)
        for each in (*files, path):
            set_age(each, age_seconds)

    def names(self) -> set[str]:
        return {name for path, name in self._named.items() if Path(path).exists()}

    def listed_name(self, name: str, _: float) -> str:
        # As it was put: the name of a proxy's file has its time in it, and the hour may have passed since.
        (path,) = (path for path, named in self._named.items() if named == name)
        return str(Path(path).relative_to(self.root))

    def put_bad(self) -> None:
        # The time lies in the future: not an age.
        self.put("bad", -40 * 86400)
        outside = self.base / "outside"
        outside.mkdir(exist_ok=True)
        (self.root / self.bad).parent.mkdir(parents=True, exist_ok=True)
        (self.root / self.bad).symlink_to(outside)

    def beside(self) -> object:
        sibling = self.root.with_name(self.root.name + "-2")
        linked = self.root / self.bad
        if not sibling.exists():
            for each in (sibling, self.base / "outside"):
                path = each / self.path("old9", 3e6)
                path.parent.mkdir(parents=True)
                path.mkdir() if self.is_directory else path.write_bytes(b"x")
                set_age(path, 3e6)
            linked.parent.mkdir(parents=True, exist_ok=True)
            linked.symlink_to(self.base / "outside")
        return sorted(str(each) for top in (sibling, self.base / "outside") for each in top.rglob("*"))

    def go_away(self) -> None:
        # Somebody puts a link in its place: refused, as for all that is not the directory that was configured.
        self.root.rename(self.base / "moved")
        self.root.symlink_to(self.base / "moved")


def tree_place(kind: str, base: Path) -> TreePlace:
    root = str(base / "caches" / "target")
    if kind == "images":
        return TreePlace(
            base,
            images_target(root, RetentionPolicy()),
            EntryType.IMAGES,
            lambda name, _: f"03/{name}",
            True,
            "03/link",
        )
    if kind == "comfyui-output":
        target = Target("output", TargetKind.COMFYUI_OUTPUT, (root,), unit=Unit.FILE)
        return TreePlace(
            base, target, EntryType.COMFYUI_OUTPUT, lambda name, _: f"sub/{name}_00001_.png", False, "link"
        )
    if kind == "api-proxy":
        target = Target("proxy", TargetKind.API_PROXY, (root,), unit=Unit.FILE)
        return TreePlace(base, target, EntryType.API_PROXY, _proxy_name, False, "link.json")
    if kind == "python":
        target = Target("python", TargetKind.PYTHON, (root,), largest_share=1.0)
        return TreePlace(
            base, target, EntryType.PYTHON, lambda name, _: f"{name}/__pycache__", True, "x/__pycache__", Family.PYTHON
        )
    if kind == "files":
        target = Target("previews", TargetKind.DIRECTORY, (root,), unit=Unit.FILE)
        return TreePlace(base, target, EntryType.DIRECTORY, lambda name, _: f"a/b/{name}.png", False, "link")
    target = Target("runs", TargetKind.DIRECTORY, (root,), unit=Unit.DIRECTORY, depth=1)
    return TreePlace(base, target, EntryType.DIRECTORY, lambda name, _: name, True, "link")


def _proxy_name(name: str, age_seconds: float) -> str:
    # By the hour, so that a name that is asked for again is the same.
    moment = time.gmtime((time.time() - age_seconds) // 3600 * 3600)
    return time.strftime(f"%Y%m%d_%H%M%S_000_REQUEST_{name}.json", moment)


@dataclass
class ModelPlace:
    base: Path
    type: EntryType = EntryType.MODEL
    family: Family = Family.MODEL

    def __post_init__(self) -> None:
        self.root.mkdir()
        self.viewed.mkdir()
        self.backend: Backend = ModelBackend(
            "models", cache_roots([self.root], [self.viewed]), (self.base / "state",), self.base / "models.json"
        )

    @property
    def root(self) -> Path:
        return self.base / "models"

    @property
    def viewed(self) -> Path:
        return self.base / "viewed"

    def put(self, name: str, age_seconds: float) -> None:
        files = {"config.json": b"{}", "w.safetensors": safetensors(20_000, seed=len(name))}
        write(self.root / name, files, age_seconds)

    def names(self) -> set[str]:
        return {each.name for each in self.root.iterdir() if not each.name.startswith(".")}

    def listed_name(self, name: str, _: float) -> str:
        return name

    def put_bad(self) -> None:
        self.put("bad", -40 * 86400)
        (self.root / "broken").mkdir()
        (self.root / "link").symlink_to(self.viewed)

    def beside(self) -> object:
        sibling = self.base / "models-2"
        if not sibling.exists():
            write(sibling / "old9", {"w.safetensors": safetensors(100)}, 3e6)
            (self.root / "linked").symlink_to(sibling)
        found = sorted(str(each) for each in sibling.rglob("*"))
        (self.root / "linked").unlink(missing_ok=True)
        return found

    def go_away(self) -> None:
        self.root.rename(self.base / "moved")
        self.root.write_text("not a directory any more")


PREFIX = "app[1]*:"


@dataclass
class RedisPlace:
    server: RedisServer
    type: EntryType = EntryType.REDIS
    family: Family = Family.DATABASE

    def __post_init__(self) -> None:
        import redis

        self.client: Any = redis.Redis.from_url(self.server.url())
        self.client.flushall()
        self.backend: Backend = RedisBackend("redis", RedisCache(Secret(self.server.url()), PREFIX))

    def put(self, name: str, age_seconds: float, prefix: str = PREFIX, *, ttl_seconds: int = 0) -> None:
        self.client.set("scratch", "x" * 200)
        content = self.client.dump("scratch")
        self.client.delete("scratch")
        self.client.execute_command(
            "RESTORE", prefix + name, ttl_seconds * 1000, content, "REPLACE", "IDLETIME", int(age_seconds)
        )

    def all_names(self) -> set[str]:
        return {name.decode(errors="replace") for name in self.client.scan_iter(count=1000)}

    def names(self) -> set[str]:
        return {name.removeprefix(PREFIX) for name in self.all_names() if name.startswith(PREFIX)}

    def listed_name(self, name: str, _: float) -> str:
        return PREFIX + name

    def put_bad(self) -> None:
        # Undecodable names are entries as all others; this one is young.
        self.client.set(PREFIX.encode() + b"\xff\n", "x")

    def beside(self) -> object:
        if not self.client.exists("other"):
            for prefix in ("app:", "app1:", "app1x:", "app[1]", "APP[1]*:", "xapp[1]*:", "other"):
                self.put("" if prefix == "other" else "old0", 3e6, prefix)
        return {name for name in self.all_names() if not name.startswith(PREFIX)}

    def go_away(self) -> None:
        self.server.kill()


@dataclass
class MongoPlace:
    server: MongoDouble
    field: str = "meta.created_at"
    type: EntryType = EntryType.MONGODB
    family: Family = Family.DATABASE

    def __post_init__(self) -> None:
        for name in ("items", "items2", "other"):
            self._collection(name).delete_many({})
        url = Secret(self.server.client_url("shop"))
        self.backend: Backend = MongoBackend("mongodb", MongoCache(url, "items", self.field))

    @property
    def items(self) -> Any:
        return self._collection("items")

    def _collection(self, name: str) -> Any:
        return self.server.collection("shop", name)

    def put(self, name: str, age_seconds: float) -> None:
        moment: Any = time.time() - age_seconds
        # Half of them as dates and half as seconds: both are times.
        if name[-1] in "02468":
            moment = datetime.fromtimestamp(moment, UTC)
        self.items.insert_one({"_id": name, "text": "x" * 500, "meta": {"created_at": moment}})

    def names(self) -> set[str]:
        return {each["_id"] for each in self.items.find()}

    def listed_name(self, name: str, _: float) -> str:
        return name

    def put_bad(self) -> None:
        for number, value in enumerate((None, "yesterday", 0, -5.0, [datetime(2020, 1, 1, tzinfo=UTC)], True)):
            self.items.insert_one({"_id": f"bad{number}", "meta": {"created_at": value}})
        self.items.insert_one({"_id": "bad"})

    def beside(self) -> object:
        for name in ("items2", "other"):
            if not self._collection(name).find_one():
                self._collection(name).insert_one({"_id": 1, "meta": {"created_at": 1e9}})
        return [list(self._collection(name).find()) for name in ("items2", "other")]

    def go_away(self) -> None:
        self.server.stop()
