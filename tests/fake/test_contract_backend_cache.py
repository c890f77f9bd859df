"""Inspire Pack's backend cache over HTTP, on a real server (pack 1.21) and the fake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fake.contract import Comfy, Graph, fresh, image, store

SETTINGS = "---- [TagCache Settings] ----\nckpt: 5\nlatent: 100\nimage: 100\n"
EMPTY = f"---- [String Key Caches] ----\n\n---- [Number Key Caches] ----\n\n{SETTINGS}"


def _filled(comfy: Comfy, *keys: object, tag: str = "") -> None:
    """In this order: one prompt each, since the outputs of one prompt run in any order."""
    last = ""
    for key in keys:
        last = comfy.submit({"1": image(), "2": store(key, tag=tag)})
    comfy.finished(last)


def test_the_list_of_an_empty_cache(comfy: Comfy) -> None:
    reply = comfy.get("/inspire/cache/list")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.text == EMPTY
    assert comfy.get("/api/inspire/cache/list").text == EMPTY


def test_the_list_shows_keys_raw_numbers_apart_and_the_size_of_each_tag(comfy: Comfy) -> None:
    _filled(comfy, "a:b:c", "模型", "two\nlines", "---- [Number Key Caches] ----\n1", "", 7)
    _filled(comfy, "tagged", tag="my ckpt")
    assert comfy.listing() == (
        "---- [String Key Caches] ----\n"
        "a:b:c: N/A(tag)\n"
        "模型: N/A(tag)\n"
        "two\nlines: N/A(tag)\n"
        "---- [Number Key Caches] ----\n1: N/A(tag)\n"
        ": N/A(tag)\n"
        "tagged: my ckpt\n"
        "\n---- [Number Key Caches] ----\n"
        "7: N/A(tag)\n"
        f"\n{SETTINGS}: 20\nmy ckpt: 5\n"
    )


def test_the_reserved_key_is_not_stored_and_the_job_is_a_success(comfy: Comfy) -> None:
    entry = comfy.run({"1": image(), "2": store("*")})
    assert entry["status"]["status_str"] == "success"
    assert comfy.listing() == EMPTY


def test_the_list_variants_store_like_the_others_even_the_reserved_key(comfy: Comfy) -> None:
    text, number = store("*"), store(3)
    text["class_type"] = "CacheBackendDataList //Inspire"
    number["class_type"] = "CacheBackendDataNumberKeyList //Inspire"
    comfy.run({"1": image(), "2": text, "3": number})
    assert comfy.string_keys() == ["*"]
    assert "\n3: N/A(tag)\n" in comfy.listing()


def test_a_stored_text_or_nothing_counts_as_stored(comfy: Comfy) -> None:
    nothing = {"class_type": "RetrieveBackendData //Inspire", "inputs": {"key": fresh()}}
    text = {"class_type": "PrimitiveString", "inputs": {"value": "no model"}}
    comfy.run({"1": nothing, "2": store("nothing"), "3": text, "4": store("text", "3")})
    assert sorted(comfy.string_keys()) == ["nothing", "text"]


def test_each_tag_keeps_its_newest_keys_and_every_run_reports_success(comfy: Comfy) -> None:
    ids = [comfy.submit({"1": image(), "2": store(f"k{number}")}) for number in range(25)]
    entry = comfy.finished(ids[-1])
    assert comfy.string_keys() == [f"k{number}" for number in range(5, 25)]
    assert entry["status"]["status_str"] == "success"
    assert {comfy.finished(each)["status"]["status_str"] for each in ids} == {"success"}


def _use(comfy: Comfy, key: str) -> None:
    """As a user's workflow does; the key becomes the newest of its tag."""
    retrieve = {"class_type": "RetrieveBackendData //Inspire", "inputs": {"key": key, "_nonce": fresh()}}
    comfy.run({"1": retrieve, "2": store(fresh(), tag="elsewhere")})


@pytest.mark.parametrize(("look_at_the_list", "lost"), [(False, "k1"), (True, "k0")])
def test_looking_at_the_list_makes_a_used_key_the_oldest_again(comfy: Comfy, look_at_the_list: bool, lost: str) -> None:
    _filled(comfy, *[f"k{number}" for number in range(20)])
    _use(comfy, "k0")
    if look_at_the_list:
        comfy.listing()
    _filled(comfy, "one more")
    keys = comfy.string_keys()
    assert "one more" in keys
    assert {f"k{number}" for number in range(20)} - set(keys) == {lost}


def test_a_key_moves_to_the_tag_it_is_stored_under_last(comfy: Comfy) -> None:
    _filled(comfy, "k", tag="one")
    _filled(comfy, "k", tag="two")
    assert "k: two\n" in comfy.listing()
    assert "k: one\n" not in comfy.listing()


def test_remove_is_a_get_that_fails_for_an_unknown_key(comfy: Comfy) -> None:
    _filled(comfy, "a", "b", 7)
    assert comfy.get("/inspire/cache/remove").status_code == 200
    assert comfy.get("/inspire/cache/remove", params={"key": "a"}).status_code == 200
    assert comfy.get("/inspire/cache/remove", params={"key": "a"}).status_code == 500
    assert comfy.get("/inspire/cache/remove", params={"key": "7"}).status_code == 500  # a number is no text
    assert comfy.string_keys() == ["b"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_even_a_head_of_the_clear_route_clears(comfy: Comfy, method: str) -> None:
    _filled(comfy, "a")
    reply = comfy.session.request(method, comfy.url + "/inspire/cache/clear", timeout=20)
    assert (reply.status_code, reply.content) == (200, b"")
    assert comfy.listing() == EMPTY


def test_settings_change_the_sizes_and_keep_what_still_fits(comfy: Comfy) -> None:
    _filled(comfy, *[f"k{number}" for number in range(20)])
    reply = comfy.post("/inspire/cache/settings", b"---- [TagCache Settings] ----\nckpt: 5\n: 30")
    assert (reply.status_code, reply.text) == (200, "OK")
    _filled(comfy, *[f"more{number}" for number in range(5)])
    assert len(comfy.string_keys()) == 25
    assert comfy.listing().endswith("---- [TagCache Settings] ----\nckpt: 5\n: 30\n")
    comfy.post("/inspire/cache/settings", b"ckpt: 5\n: 2")
    assert comfy.string_keys() == ["more3", "more4"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"x: y", "invalid literal for int() with base 10: 'y'"),
        (b"", "not enough values to unpack (expected 2, got 1)"),
        (b"a:b: 5", "too many values to unpack (expected 2)"),
    ],
)
def test_bad_settings_are_a_500_with_the_reason(comfy: Comfy, body: bytes, text: str) -> None:
    reply = comfy.post("/inspire/cache/settings", body)
    assert (reply.status_code, reply.text) == (500, text)


def test_the_weightless_sample_stores_the_keys_of_the_full_one(comfy: Comfy) -> None:
    examples = Path(__file__).parents[2] / "examples"
    weightless: Graph = json.loads((examples / "warmup_weightless.json").read_text(encoding="utf-8"))
    full: Graph = json.loads((examples / "warmup.json").read_text(encoding="utf-8"))
    assert comfy.run(weightless)["status"]["status_str"] == "success"
    wanted = [node["inputs"]["key"] for node in full.values() if "key" in node["inputs"]]
    assert sorted(comfy.string_keys()) == sorted(wanted)
