"""Photos are encoded for each contender, and the top class is read from each response format."""

import base64
import json

import pytest

from benchmarks.serving import wire_formats
from serving.api.request_images import parse_images
from serving.artifact.bundle import Label

PHOTO = bytes(range(256))
CLASSES = [{"label": "goldfish", "id": "n1", "score": 0.9}, {"label": "tench", "id": "n2", "score": 0.1}]


def test_bodies_hold_the_photo() -> None:
    form = wire_formats.form("image", wire_formats.highest_confidence)
    assert parse_images(form.content_type, form.encode(PHOTO), 1) == [PHOTO]
    assert wire_formats.raw(wire_formats.first_class).encode(PHOTO) == PHOTO
    table = json.loads(wire_formats.mlflow_dataframe().encode(PHOTO))["dataframe_split"]
    assert base64.b64decode(table["data"][0][0]) == PHOTO
    (tensor,) = json.loads(wire_formats.open_inference().encode(PHOTO))["inputs"]
    assert base64.b64decode(tensor["data"][0]) == PHOTO
    assert wire_formats.triton_binary().encode(PHOTO) == PHOTO


def test_triton_is_told_that_no_json_precedes_the_photo() -> None:
    assert wire_formats.triton_binary().headers == {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": "0",
    }


def test_triton_returns_json_and_then_a_string_of_classes() -> None:
    classes = json.dumps(CLASSES).encode()
    description = {"outputs": [{"name": "classes", "parameters": {"binary_data_size": 4 + len(classes)}}]}
    body = json.dumps(description).encode() + len(classes).to_bytes(4, "little") + classes
    assert wire_formats.triton_binary().top_class(body) == "n1"


@pytest.mark.parametrize(
    ("top_class", "response", "expected"),
    [
        (wire_formats.highest_confidence, {"tench": 0.1, "goldfish": 0.9}, "goldfish"),
        (wire_formats.first_class, CLASSES, "n1"),
        (wire_formats.mlflow_dataframe().top_class, {"predictions": [CLASSES]}, "n1"),
        (wire_formats.open_inference().top_class, {"outputs": [{"data": [json.dumps(CLASSES)]}]}, "n1"),
    ],
)
def test_the_top_class_is_read(top_class: wire_formats.TopClass, response: object, expected: str) -> None:
    assert top_class(json.dumps(response).encode()) == expected


@pytest.mark.parametrize(
    ("top_class", "is_same"),
    [("n1", True), ("crane (n1)", True), ("crane", True), ("n2", False), ("cran", False), ("", False)],
)
def test_a_class_is_identified_by_id_or_name(top_class: str, is_same: bool) -> None:
    assert wire_formats.is_class(top_class, Label("n1", "crane (n1)")) is is_same
