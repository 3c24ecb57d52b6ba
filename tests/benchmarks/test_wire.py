"""Photos travel as each contender wants them, and the winner is found in whatever comes back."""

import base64
import json

import pytest

from benchmarks.serving import wire
from serving.api.request_images import parse_images
from serving.artifact.bundle import Label

PHOTO = bytes(range(256))
CLASSES = [{"label": "goldfish", "id": "n1", "score": 0.9}, {"label": "tench", "id": "n2", "score": 0.1}]


def test_bodies_hold_the_photo() -> None:
    form = wire.form("image", wire.by_confidence)
    assert parse_images(form.kind, form.body(PHOTO), 1) == [PHOTO]
    assert wire.raw(wire.first).body(PHOTO) == PHOTO
    table = json.loads(wire.dataframe(wire.first_prediction).body(PHOTO))["dataframe_split"]
    assert base64.b64decode(table["data"][0][0]) == PHOTO
    (tensor,) = json.loads(wire.inference_protocol(wire.first_output).body(PHOTO))["inputs"]
    assert base64.b64decode(tensor["data"][0]) == PHOTO


@pytest.mark.parametrize(
    ("winner", "answer", "expected"),
    [
        (wire.by_confidence, {"tench": 0.1, "goldfish": 0.9}, "goldfish"),
        (wire.first, CLASSES, "n1"),
        (wire.first_prediction, {"predictions": [CLASSES]}, "n1"),
        (wire.first_output, {"outputs": [{"data": [json.dumps(CLASSES)]}]}, "n1"),
    ],
)
def test_the_winner_is_found(winner: wire.Winner, answer: object, expected: str) -> None:
    assert winner(json.dumps(answer).encode()) == expected


@pytest.mark.parametrize(
    ("winner", "is_same"),
    [("n1", True), ("crane (n1)", True), ("crane", True), ("n2", False), ("cran", False), ("", False)],
)
def test_a_class_is_known_by_id_and_name(winner: str, is_same: bool) -> None:
    assert wire.same(winner, Label("n1", "crane (n1)")) is is_same
