"""`preprocessing.json` of both formats: what is accepted, and that anything else is refused by name."""

from typing import Any

import pytest

from serving.model.preprocessing import MAX_SIDE, Preprocessing

WHOLE: dict[str, Any] = {
    "height": 40,
    "width": 64,
    "channels": 1,
    "resize": "pad",
    "crop": 1.0,
    "filter": "bilinear",
    "antialias": False,
}
OLD = {"size": 224, "crop": 0.875, "interpolation": "bicubic"}


def test_document_is_read_as_it_was_written() -> None:
    preprocessing = Preprocessing.from_json(WHOLE, 2)
    assert preprocessing.to_json() == WHOLE
    assert preprocessing.shape == (40, 64, 1)


@pytest.mark.parametrize("document", [OLD, {"size": 224, "crop": 0.875}])
def test_format_1_is_a_central_square_with_antialiased_bicubic(document: dict[str, Any]) -> None:
    preprocessing = Preprocessing.from_json(document, 1)
    assert preprocessing == Preprocessing(224, 224, 3, "crop", 0.875, "bicubic", antialias=True)
    assert preprocessing == Preprocessing.square(224, 0.875)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"height": 0}, "height"),
        ({"height": 40.0}, "height"),
        ({"height": True}, "height"),
        ({"width": -3}, "width"),
        ({"width": MAX_SIDE + 1}, str(MAX_SIDE)),
        ({"width": 1e999}, "width"),
        ({"width": "64"}, "width"),
        ({"channels": 4}, "channels"),
        ({"channels": True}, "channels"),
        ({"channels": 3.0}, "channels"),
        ({"resize": "fit"}, "resize"),
        ({"resize": None}, "resize"),
        ({"resize": ["pad"]}, "resize"),
        ({"crop": 0.5}, "must be 1 where resize is 'pad'"),
        ({"resize": "crop", "crop": 0}, "crop"),
        ({"resize": "crop", "crop": 1.01}, "crop"),
        ({"resize": "crop", "crop": float("nan")}, "crop"),
        ({"resize": "crop", "crop": True}, "crop"),
        ({"resize": "crop", "crop": "1"}, "crop"),
        ({"filter": "lanczos3"}, "filter"),
        ({"filter": {}}, "filter"),
        ({"antialias": 1}, "antialias"),
        ({"antialias": "no"}, "antialias"),
        ({"mean": 0.5}, "mean"),
        ({"size": 224}, "size"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Preprocessing.from_json(WHOLE | changes, 2)


@pytest.mark.parametrize("name", WHOLE)
def test_format_2_leaves_nothing_to_a_default(name: str) -> None:
    with pytest.raises(ValueError, match=f"no {name}"):
        Preprocessing.from_json({key: value for key, value in WHOLE.items() if key != name}, 2)


@pytest.mark.parametrize(
    ("document", "bundle_format"),
    [
        (WHOLE, 1),
        (OLD, 2),
        ({"crop": 1.0}, 1),
        (OLD | {"size": 8.0}, 1),
        (OLD | {"size": MAX_SIDE + 1}, 1),
        (OLD | {"crop": 0.0}, 1),
        (OLD | {"interpolation": "nearest"}, 1),
        (OLD | {"mean": 0.5}, 1),
        *((document, number) for document in ([], None, "crop", 7, [WHOLE]) for number in (1, 2)),
    ],
    ids=str,
)
def test_other_documents_are_refused(document: Any, bundle_format: int) -> None:  # noqa: ANN401  (wrong on purpose)
    with pytest.raises((ValueError, TypeError)):
        Preprocessing.from_json(document, bundle_format)


@pytest.mark.parametrize(
    ("kind", "antialias", "averages"),
    [
        ("bilinear", True, True),
        ("bilinear", False, False),
        ("nearest", True, False),
        ("nearest", False, False),
    ],
)
def test_only_antialiasing_averages_pixels(kind: Any, antialias: bool, averages: bool) -> None:  # noqa: ANN401
    assert Preprocessing(8, 8, filter=kind, antialias=antialias).averages is averages
