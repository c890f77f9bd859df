from __future__ import annotations

from typing import Any

import pytest

from core.errors import BadAnswer
from core.outputs import NOTE, OutputImage, parse_images, parse_note, wanted_images

SAVED = {"filename": "a_00001_.png", "subfolder": "子", "type": "output"}
PREVIEW = {"filename": "b.png", "subfolder": "", "type": "temp"}


def entry(outputs: object, extra: object = None) -> dict[str, Any]:
    return {"p": {"prompt": [0, "p", {}, extra, ["9"]], "outputs": outputs, "status": {}}}


def test_images_are_read_from_every_node_and_other_outputs_are_passed_over() -> None:
    document = entry(
        {"9": {"images": [SAVED], "animated": [False]}, "10": {"text": ["x"]}, "11": {"images": [PREVIEW]}}
    )
    assert parse_images(document, "p") == (
        OutputImage("9", "a_00001_.png", "子", "output"),
        OutputImage("11", "b.png", "", "temp"),
    )


@pytest.mark.parametrize(
    "image", [None, "a.png", {}, {**SAVED, "filename": ""}, {**SAVED, "filename": 1}, {**SAVED, "subfolder": None}]
)
def test_an_image_without_a_name_is_an_error_and_not_one_image_less(image: object) -> None:
    with pytest.raises(BadAnswer, match="image without a name"):
        parse_images(entry({"9": {"images": [SAVED, image]}}), "p")


@pytest.mark.parametrize("document", [None, [], {}, {"p": None}, {"q": {}}, entry([])])
def test_a_history_of_another_shape_is_a_bad_answer(document: object) -> None:
    with pytest.raises(BadAnswer, match="/history"):
        parse_images(document, "p")


def test_saved_images_come_before_previews_and_named_nodes_before_both() -> None:
    saved, preview = OutputImage("9", "a", "", "output"), OutputImage("11", "b", "", "temp")
    assert wanted_images([preview, saved], ()) == (saved,)
    assert wanted_images([preview], ()) == (preview,)
    assert wanted_images([preview, saved], ["11"]) == (preview,)
    assert wanted_images([preview, saved], ["7"]) == ()


def test_our_note_is_found_and_nobody_elses() -> None:
    assert parse_note(entry({}, {NOTE: {"seed": 1}, "client_id": "c"}), "p") == {"seed": 1}
    others: list[object] = [None, [], {}, {NOTE: "x"}, {"client_id": "c"}]
    for extra in others:
        assert parse_note(entry({}, extra), "p") == {}
    assert parse_note({"p": {"prompt": [1, "p"]}}, "p") == {}
