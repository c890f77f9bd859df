"""A small MongoDB: the wire protocol over a real socket, mongomock's collections behind it.

PyMongo talks to it as to a server of MongoDB 7 without sessions, transactions and TTL: OP_MSG with both kinds of
sections (https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/), and OP_QUERY for the first hello of
older drivers. What it holds survives ``stop`` and ``start``, as on a disk.
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import bson
import mongomock
from bson.codec_options import CodecOptions
from mongomock.collection import Collection
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

from tests.workspace import free_port

Document = dict[str, Any]

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
MORE_TO_COME = 2
HEADER = struct.Struct("<iiii")
_DUPLICATE_KEY, _CURSOR_NOT_FOUND, _NO_SUCH_COMMAND, _NO_SUCH_COLLECTION = 11000, 43, 59, 26
_OPTIONS: CodecOptions[Document] = CodecOptions()


class MongoDouble:
    """One server. ``url`` names no database; ``client_url(database)`` does."""

    def __init__(self) -> None:
        self.port = free_port()
        self.commands: list[str] = []
        """The names of the commands that were asked, so that a test can say what must never be."""
        self._data: Any = mongomock.MongoClient()
        self._lock = threading.Lock()
        self._cursors: dict[int, tuple[str, Iterator[Document]]] = {}
        self._numbers = itertools.count(1)
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._connections: set[socket.socket] = set()

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    def client_url(self, database: str) -> str:
        """The address with a database, and little patience: tests stop the server and wait for the error."""
        return f"{self.url}/{database}?serverSelectionTimeoutMS=1000&connectTimeoutMS=1000"

    def collection(self, database: str, name: str) -> Collection:
        """The collection itself, past the wire."""
        found: Collection = self._data[database][name]
        return found

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()

    def stop(self) -> None:
        """Be gone: no port, every connection cut, every cursor forgotten."""
        listener, self._listener = self._listener, None
        if listener is None or self._accepting is None:
            return
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        self._accepting.join(10)
        with self._lock:
            self._cursors.clear()
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._connections.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._listener is not listener:
                    connection.close()
                    return
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, EOFError):
            while True:
                _, request, _, operation = HEADER.unpack(head := _read(connection, HEADER.size))
                body = _read(connection, HEADER.unpack(head)[0] - HEADER.size)
                if operation == OP_QUERY:
                    asked = bson.decode(body[body.index(b"\0", 4) + 9 :])
                    answer = bson.encode(self._run(asked))
                    _send(connection, request, OP_REPLY, struct.pack("<iqii", 8, 0, 0, 1) + answer)
                    continue
                flags, command = _message(body)
                answer = bson.encode(self._run(command))
                if not flags & MORE_TO_COME:
                    _send(connection, request, OP_MSG, struct.pack("<IB", 0, 0) + answer)
        with self._lock:
            self._connections.discard(connection)

    def _run(self, command: Document) -> Document:
        name = next(iter(command))
        run: Callable[[Document], Document] | None = getattr(self, f"_do_{name.lower()}", None)
        with self._lock:
            self.commands.append(name)
            if run is None:
                return _failure(_NO_SUCH_COMMAND, f"no such command: '{name}'")
            try:
                return {**run(command), "ok": 1.0}
            except OperationFailure as error:
                return _failure(error.code or 1, str(error))
            # A server answers whatever goes wrong in it; a thread that dies silently would hang the test.
            except Exception as error:  # noqa: BLE001
                return _failure(1, f"{type(error).__name__}: {error}")

    # Commands, by their names in lower case

    def _do_hello(self, _: Document) -> Document:
        return {
            "helloOk": True, "isWritablePrimary": True, "ismaster": True, "readOnly": False, "maxWireVersion": 21,
            "minWireVersion": 0, "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000, "localTime": datetime.now(UTC), "connectionId": 1,
        }  # fmt: skip

    _do_ismaster = _do_hello

    def _do_ping(self, _: Document) -> Document:
        return {}

    def _do_buildinfo(self, _: Document) -> Document:
        return {"version": "7.0.0", "versionArray": [7, 0, 0, 0], "maxBsonObjectSize": 16 << 20}

    def _do_endsessions(self, _: Document) -> Document:
        return {}

    def _do_insert(self, command: Document) -> Document:
        collection = self._collection(command, "insert")
        documents = command["documents"]
        try:
            collection.insert_many(documents, ordered=command.get("ordered", True))
        except BulkWriteError as error:
            errors = [_write_error(each, command["insert"]) for each in error.details["writeErrors"]]
            return {"n": error.details["nInserted"], "writeErrors": errors}
        return {"n": len(documents)}

    def _do_update(self, command: Document) -> Document:
        collection = self._collection(command, "update")
        matched = modified = 0
        upserted, errors = [], []
        for index, each in enumerate(command["updates"]):
            update, upsert = each["u"], each.get("upsert", False)
            whole = isinstance(update, dict) and not any(key.startswith("$") for key in update)
            method = collection.replace_one if whole else collection.update_many if each.get("multi") else None
            try:
                result = (method or collection.update_one)(each["q"], update, upsert=upsert)
            except DuplicateKeyError as error:
                errors.append(_write_error({"index": index, "code": _DUPLICATE_KEY, "errmsg": str(error)}, ""))
                if command.get("ordered", True):
                    break
                continue
            matched += result.matched_count
            modified += result.modified_count or 0
            if result.upserted_id is not None:
                upserted.append({"index": index, "_id": result.upserted_id})
        answer: Document = {"n": matched + len(upserted), "nModified": modified}
        return answer | ({"upserted": upserted} if upserted else {}) | ({"writeErrors": errors} if errors else {})

    def _do_delete(self, command: Document) -> Document:
        collection = self._collection(command, "delete")
        deleted = 0
        for each in command["deletes"]:
            delete = collection.delete_one if each.get("limit") == 1 else collection.delete_many
            deleted += delete(each["q"]).deleted_count
        return {"n": deleted}

    def _do_findandmodify(self, command: Document) -> Document:
        collection = self._collection(command, "findAndModify")
        common: Document = {"projection": command.get("fields"), "sort": list(command.get("sort", {}).items()) or None}
        if command.get("remove"):
            return {"value": collection.find_one_and_delete(command.get("query", {}), **common)}
        found = collection.find_one_and_update(
            command.get("query", {}), command["update"], upsert=command.get("upsert", False),
            return_document=bool(command.get("new")), **common,
        )  # fmt: skip
        return {"value": found}

    def _do_find(self, command: Document) -> Document:
        found = self._collection(command, "find").find(
            command.get("filter", {}), command.get("projection") or None, skip=command.get("skip", 0),
            limit=abs(command.get("limit", 0)), sort=list(command.get("sort", {}).items()) or None,
        )  # fmt: skip
        # A copy: what is deleted while a cursor is open must not disturb it.
        return self._first_batch(command, "find", list(found), command)

    def _do_aggregate(self, command: Document) -> Document:
        collection = self._collection(command, "aggregate")
        pipeline = list(command["pipeline"])
        sizes = pipeline.pop() if pipeline and _measures(pipeline[-1]) else None
        found = list(collection.aggregate(pipeline)) if pipeline else list(collection.find())
        if sizes is not None:
            found = [_measured(document, sizes["$project"]) for document in found]
        return self._first_batch(command, "aggregate", found, command.get("cursor", {}))

    def _first_batch(self, command: Document, name: str, found: list[Document], options: Document) -> Document:
        namespace = f"{command['$db']}.{command[name]}"
        documents = iter(found)
        first = list(itertools.islice(documents, options.get("batchSize", 101)))
        number = 0
        if len(found) > len(first) and not command.get("singleBatch"):
            number = next(self._numbers)
            self._cursors[number] = (namespace, documents)
        return {"cursor": {"id": bson.Int64(number), "ns": namespace, "firstBatch": first}}

    def _do_getmore(self, command: Document) -> Document:
        number = int(command["getMore"])
        if number not in self._cursors:
            raise OperationFailure(f"cursor id {number} not found", _CURSOR_NOT_FOUND)
        namespace, documents = self._cursors[number]
        batch = list(itertools.islice(documents, command.get("batchSize") or 10_000))
        following = list(itertools.islice(documents, 1))
        if following:
            self._cursors[number] = (namespace, itertools.chain(following, documents))
        else:
            del self._cursors[number]
        return {"cursor": {"id": bson.Int64(number if following else 0), "ns": namespace, "nextBatch": batch}}

    def _do_killcursors(self, command: Document) -> Document:
        killed = [number for number in command["cursors"] if self._cursors.pop(int(number), None)]
        return {"cursorsKilled": killed, "cursorsNotFound": [], "cursorsAlive": [], "cursorsUnknown": []}

    def _do_count(self, command: Document) -> Document:
        collection = self._collection(command, "count")
        limits = {name: command[name] for name in ("skip", "limit") if command.get(name)}
        return {"n": collection.count_documents(command.get("query", {}), **limits)}

    def _do_distinct(self, command: Document) -> Document:
        return {"values": self._collection(command, "distinct").distinct(command["key"], command.get("query"))}

    def _do_createindexes(self, command: Document) -> Document:
        collection = self._collection(command, "createIndexes")
        before = len(collection.index_information())
        for index in command["indexes"]:
            collection.create_index(
                list(index["key"].items()), name=index["name"], unique=index.get("unique", False),
                sparse=index.get("sparse", False),
            )  # fmt: skip
        return {"numIndexesBefore": before, "numIndexesAfter": len(collection.index_information())}

    def _do_listindexes(self, command: Document) -> Document:
        found = [
            {**index, "name": name, "key": dict(index["key"])}
            for name, index in self._collection(command, "listIndexes").index_information().items()
        ]
        return self._first_batch(command, "listIndexes", found, {})

    def _do_listcollections(self, command: Document) -> Document:
        found = [
            {"name": name, "type": "collection", "options": {}, "info": {"readOnly": False}}
            for name in self._data[command["$db"]].list_collection_names(filter=command.get("filter") or None)
        ]
        return self._first_batch({**command, "listCollections": "$cmd.listCollections"}, "listCollections", found, {})

    def _do_drop(self, command: Document) -> Document:
        if command["drop"] not in self._data[command["$db"]].list_collection_names():
            raise OperationFailure("ns not found", _NO_SUCH_COLLECTION)
        self._collection(command, "drop").drop()
        return {}

    def _do_dropdatabase(self, command: Document) -> Document:
        self._data.drop_database(command["$db"])
        return {}

    def _collection(self, command: Document, name: str) -> Any:
        # The driver writes findAndModify, and older ones findandmodify; the collection's name is the first value.
        return self._data[command["$db"]][command.get(name) or next(iter(command.values()))]


def _read(connection: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(min(length - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _send(connection: socket.socket, request: int, operation: int, body: bytes) -> None:
    connection.sendall(HEADER.pack(HEADER.size + len(body), 0, request, operation) + body)


def _message(body: bytes) -> tuple[int, Document]:
    """Given an OP_MSG's body, return its flags and the command with its document sequences built in."""
    flags = struct.unpack_from("<I", body)[0]
    command: Document = {}
    sequences: Document = {}
    position, end = 4, len(body) - (4 if flags & 1 else 0)  # bit 0: a checksum follows
    while position < end:
        kind = body[position]
        size = struct.unpack_from("<i", body, position + 1)[0]
        section = body[position + 1 : position + 1 + size]
        if kind == 0:
            command = bson.decode(section, _OPTIONS)
        else:
            name, _, documents = section[4:].partition(b"\0")
            sequences[name.decode()] = bson.decode_all(documents, _OPTIONS)
        position += 1 + size
    return flags, command | sequences


def _failure(code: int, text: str) -> Document:
    return {"ok": 0.0, "errmsg": text, "code": code, "codeName": "Failed"}


def _write_error(error: Document, collection: str) -> Document:
    text = f"E11000 duplicate key error collection: {collection}" if error["code"] == _DUPLICATE_KEY else ""
    return {"index": error["index"], "code": error["code"], "errmsg": text or error["errmsg"]}


def _measures(stage: Document) -> bool:
    """Whether a stage has ``{"$bsonSize": "$$ROOT"}``, which mongomock does not know."""
    return any(value == {"$bsonSize": "$$ROOT"} for value in stage.get("$project", {}).values())


def _measured(document: Document, project: Document) -> Document:
    size = len(bson.encode(document))
    picked: Document = {"_id": document["_id"]}
    for name, value in project.items():
        if value == {"$bsonSize": "$$ROOT"}:
            picked[name] = size
        elif isinstance(value, str) and value.startswith("$"):
            found: Any = document
            for part in value[1:].split("."):
                found = found.get(part, _ABSENT) if isinstance(found, dict) else _ABSENT
            if found is not _ABSENT:
                picked[name] = found
        elif value and name in document:
            picked[name] = document[name]
    return picked


_ABSENT = object()


@contextmanager
def mongo_double() -> Iterator[MongoDouble]:
    """Yield a running server that is gone afterwards."""
    double = MongoDouble()
    double.start()
    try:
        yield double
    finally:
        double.stop()
