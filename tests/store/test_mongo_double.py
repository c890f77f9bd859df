"""The double of MongoDB behaves as the driver expects of a server, or every test that leans on it is worth nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pymongo
import pytest
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, PyMongoError

from tests.mongo_double import MongoDouble, mongo_double

Client = pymongo.MongoClient[dict[str, Any]]


@pytest.fixture
def mongo() -> Iterator[MongoDouble]:
    with mongo_double() as double:
        yield double


@pytest.fixture
def client(mongo: MongoDouble) -> Iterator[Client]:
    with pymongo.MongoClient[dict[str, Any]](mongo.client_url("shop")) as client:
        yield client


def test_documents_come_back_over_the_wire_in_batches(client: Client) -> None:
    collection = client["shop"]["items"]
    collection.insert_many([{"_id": n, "at": datetime(2026, 1, 1, tzinfo=UTC), "n": n} for n in range(1000)])
    found = list(collection.find({"n": {"$gte": 10}}, {"n": 1}).sort("n", -1).batch_size(100))
    assert [each["n"] for each in found] == list(range(999, 9, -1))
    assert collection.count_documents({"n": {"$lt": 5}}) == 5
    assert collection.estimated_document_count() == 1000
    assert collection.find_one({"_id": 3}) == {"_id": 3, "at": datetime(2026, 1, 1), "n": 3}
    assert collection.delete_many({"_id": {"$in": list(range(500))}}).deleted_count == 500
    assert collection.update_one({"_id": 700}, {"$set": {"n": 0}}).modified_count == 1
    assert collection.replace_one({"_id": 5000}, {"n": 1}, upsert=True).upserted_id == 5000


def test_sizes_are_those_of_the_documents_as_bson(client: Client) -> None:
    collection = client["shop"]["items"]
    collection.insert_one({"_id": 1, "text": "x" * 1000})
    found = list(collection.aggregate([{"$project": {"size": {"$bsonSize": "$$ROOT"}}}]))
    assert found == [{"_id": 1, "size": 4 + 1 + 4 + 4 + 1 + 5 + 4 + 1001 + 1}]


def test_a_unique_index_is_enforced_in_single_and_in_many(client: Client) -> None:
    collection = client["shop"]["items"]
    collection.create_index([("seq", 1)], unique=True)
    collection.insert_one({"seq": 1})
    with pytest.raises(DuplicateKeyError):
        collection.insert_one({"seq": 1})
    with pytest.raises(BulkWriteError) as caught:
        collection.insert_many([{"seq": 2}, {"seq": 1}, {"seq": 3}], ordered=False)
    assert caught.value.details["nInserted"] == 2
    assert collection.index_information()["seq_1"]["unique"]


def test_collections_are_listed_and_dropped(client: Client) -> None:
    client["shop"]["items"].insert_one({})
    assert client["shop"].list_collection_names() == ["items"]
    client["shop"].drop_collection("items")
    assert client["shop"].list_collection_names() == []
    with pytest.raises(OperationFailure, match="no such command"):
        client["shop"].command("shutdown")


def test_it_can_go_and_come_back_with_what_it_held(client: Client, mongo: MongoDouble) -> None:
    client["shop"]["items"].insert_one({"_id": 1})
    mongo.stop()
    with pytest.raises(PyMongoError):
        client["shop"]["items"].find_one()
    mongo.start()
    assert client["shop"]["items"].find_one() == {"_id": 1}
