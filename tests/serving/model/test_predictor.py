"""The predictor: shapes are checked, results do not depend on threads, golden images are checked."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import ExifTags, Image

from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json
from serving.artifact.manifest import GOLDEN, GRAPH
from serving.errors import BundleError, GoldenMismatch, ImageUnrecognised, InputUnsupported
from serving.model.predictor import Predictor
from serving.pyfunc import ImageClassifier, _load_pyfunc
from tests.serving.bundles import (
    COLOURS,
    SIZE,
    TOLERANCE,
    expected_probabilities,
    one_colour_png,
    onnx_graph,
    write_files,
    write_manifest,
)
from tests.serving.images import encode_image

Images = npt.NDArray[np.uint8]


def noise(count: int) -> Images:
    """Random images of the model's size."""
    return np.random.default_rng(3).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("rgb", [*COLOURS.values(), (0, 0, 0), (200, 100, 50)])
def test_answer_is_the_models(predictor: Predictor, rgb: tuple[int, int, int]) -> None:
    answer = predictor.classify(one_colour_png(rgb))
    assert answer.dtype == np.float32
    assert answer == pytest.approx(expected_probabilities(rgb), abs=1e-6)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_rows_sum_to_one(predictor: Predictor, count: int) -> None:
    probabilities = predictor.predict(noise(count))
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (count, len(COLOURS))
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(count))


def test_row_does_not_depend_on_its_batch(predictor: Predictor) -> None:
    images = noise(7)
    alone = np.concatenate([predictor.predict(images[i : i + 1]) for i in range(len(images))])
    assert predictor.predict(images) == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize(
    "images",
    [
        noise(1)[0],
        noise(1)[:, :4],
        noise(1)[..., :1],
        noise(1).transpose(0, 3, 1, 2),
        noise(1).astype(np.float32),
        noise(1).astype(np.int64),
    ],
    ids=lambda images: f"{images.dtype} {images.shape}",
)
def test_other_arrays_are_refused(predictor: Predictor, images: Any) -> None:  # noqa: ANN401  (wrong on purpose)
    with pytest.raises(ValueError, match=r"predict expects uint8 \[N,8,8,3\], not"):
        predictor.predict(images)


@pytest.mark.parametrize(
    ("row", "k", "names"),
    [
        ([0.2, 0.5, 0.3], 5, ["green", "blue", "red"]),
        ([0.2, 0.5, 0.3], 1, ["green"]),
        ([0.4, 0.2, 0.4], 2, ["red", "blue"]),
        ([0.3, 0.3, 0.4], 3, ["blue", "red", "green"]),
        ([1.0, 0.0, 0.0], 3, ["red", "green", "blue"]),
    ],
)
def test_top(predictor: Predictor, row: list[float], k: int, names: list[str]) -> None:
    probabilities = np.array(row, dtype=np.float32)
    top = predictor.top(probabilities, k)
    assert [score.label for score in top] == names
    ids = list(COLOURS)
    assert all(score.score == probabilities[ids.index(score.label)] for score in top)
    assert all(score.id == f"c{ids.index(score.label)}" for score in top)


def test_threads_give_the_same_answers(predictor: Predictor) -> None:
    images = noise(200)
    alone = [predictor.predict(image[np.newaxis]) for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: predictor.predict(image[np.newaxis]), images))
    assert np.array_equal(alone, together)


def test_threads_of_one_call_do_not_change_it(bundle: Path) -> None:
    one, two = (Predictor.open(bundle, threads).predict(noise(5)) for threads in (1, 2))
    assert one == pytest.approx(two, abs=1e-6)


@pytest.mark.parametrize(
    ("off", "holds"), [(0.0, True), (0.9, True), (-0.9, True), (1.2, False), (-1.2, False)]
)
def test_golden_answers(bundle: Path, off: float, holds: bool) -> None:
    rewrite_golden(
        bundle, [float(value) + off * TOLERANCE for value in expected_probabilities(COLOURS["red"])]
    )
    predictor = Predictor.open(bundle)
    if holds:
        assert predictor.check_golden() == pytest.approx(abs(off) * TOLERANCE, abs=1e-6)
    else:
        with pytest.raises(GoldenMismatch, match=r"golden/0\.png does not give the recorded probabilities"):
            predictor.check_golden()


def test_largest_difference_is_told(predictor: Predictor) -> None:
    # They are recorded with three digits: 0.964663 as 0.965, 0.017668 as 0.018.
    rounded = [abs(value - round(value, 3)) for value in expected_probabilities(COLOURS["red"]).tolist()]
    assert predictor.check_golden() == pytest.approx(max(rounded), abs=1e-6)


# A graph, and the recorded probabilities of 0.png. Python's JSON parser accepts NaN.
MISMATCHES: dict[str, tuple[bytes, str]] = {
    "another model": (onnx_graph(steepness=5.0, energy=True), "[0.965, 0.018, 0.018]"),
    "a model that answers NaN": (onnx_graph(steepness=float("nan"), energy=True), "[0.965, 0.018, 0.018]"),
    "an answer that is no number": (onnx_graph(energy=True), "[NaN, NaN, NaN]"),
    "an answer of one number": (onnx_graph(steepness=0.0, energy=True), "[0.333]"),
    "an answer of two numbers": (onnx_graph(energy=True), "[0.5, 0.5]"),
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_golden_answers_do_not_hold(bundle: Path, name: str) -> None:
    model, answer = MISMATCHES[name]
    golden = f'{{"tolerance": 0.02, "images": [{{"file": "0.png", "probabilities": {answer}}}]}}'
    write_files(bundle, {GRAPH: model, GOLDEN: golden.encode()})
    predictor = Predictor.open(write_manifest(bundle))
    with pytest.raises(BundleError):
        predictor.check_golden()


@pytest.mark.parametrize("name", ["no golden images"])
def test_golden_answers_are_needed(bundle: Path, name: str) -> None:
    write_files(bundle, {GOLDEN: to_json({"tolerance": TOLERANCE, "images": []})})
    predictor = Predictor.open(write_manifest(bundle))
    with pytest.raises(BundleError):
        predictor.check_golden()


def rewrite_golden(bundle: Path, answer: list[float]) -> None:
    """Records other probabilities for the first image, red."""
    image = {"file": "0.png", "probabilities": answer}
    write_files(bundle, {GOLDEN: to_json({"tolerance": TOLERANCE, "images": [image]})})
    write_manifest(bundle)


def test_golden_images_are_in_the_bundle(bundle: Path) -> None:
    golden = Bundle.open(bundle).golden_images()
    assert [entry.data for entry in golden] == [one_colour_png(rgb) for rgb in COLOURS.values()]


PNGS = [one_colour_png(rgb) for rgb in COLOURS.values()]


TEXTS = [base64.b64encode(data).decode() for data in PNGS]
WRAPPED = ["\n".join(text[at : at + 76] for at in range(0, len(text), 76)) + "\n" for text in TEXTS]
PILLOW = [Image.new("RGB", (12, 10), rgb) for rgb in COLOURS.values()]


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(PNGS, id="list"),
        pytest.param(pd.DataFrame({"image": PNGS}), id="DataFrame"),
        pytest.param(pd.Series(PNGS), id="Series"),
        pytest.param(np.array(PNGS, dtype=object), id="array of bytes"),
        pytest.param([bytearray(PNGS[0]), *(memoryview(data) for data in PNGS[1:])], id="other bytes"),
        pytest.param(TEXTS, id="base64"),
        pytest.param(WRAPPED, id="base64 in lines"),
        pytest.param([f"data:image/png;base64,{text}" for text in TEXTS], id="data URL"),
        pytest.param(pd.DataFrame({"image": TEXTS}), id="DataFrame of text"),
        pytest.param(pd.DataFrame({"image": TEXTS}, dtype="string"), id="DataFrame of pandas's text"),
        pytest.param(PILLOW, id="Pillow"),
        pytest.param(pd.DataFrame({"image": PILLOW}), id="DataFrame of Pillow"),
        pytest.param([image.quantize() for image in PILLOW], id="Pillow with a palette"),
        pytest.param([image.convert("RGBA") for image in PILLOW], id="Pillow with alpha"),
        pytest.param([image.convert("HSV") for image in PILLOW], id="Pillow in HSV"),
    ],
)
def test_pyfunc(bundle: Path, images: Any) -> None:  # noqa: ANN401
    classifier = _load_pyfunc(str(bundle))
    assert isinstance(classifier, ImageClassifier)
    answers = classifier.predict(images)
    assert [answer[0]["label"] for answer in answers] == list(COLOURS)
    assert answers[0][0] == {
        "label": "red",
        "id": "c0",
        "score": pytest.approx(expected_probabilities(COLOURS["red"])[0]),
    }
    assert [len(answer) for answer in answers] == [len(COLOURS)] * len(COLOURS)


@pytest.mark.parametrize("image", [PNGS[2], TEXTS[2], PILLOW[2]], ids=["bytes", "base64", "Pillow"])
def test_pyfunc_takes_one_image_without_a_list(bundle: Path, image: object) -> None:
    assert [answer[0]["label"] for answer in _load_pyfunc(str(bundle)).predict(image)] == ["blue"]


def test_pyfunc_turns_an_image_of_pillow_upright_as_its_file_is(bundle: Path) -> None:
    image = Image.new("RGB", (40, 40), COLOURS["red"])
    image.paste(COLOURS["blue"], (0, 0, 40, 30))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    file = encode_image(image, "PNG", exif=exif)
    classifier = _load_pyfunc(str(bundle))
    assert classifier.predict([Image.open(io.BytesIO(file))]) == classifier.predict([file])


CLOSED = Image.open(io.BytesIO(PNGS[0]))
CLOSED.close()


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (["photo.png"], "text"),
        (["photos/abcd"], "text"),
        (["https://example.org/photo.png"], "text"),
        (["data:image/png,abc"], "text"),
        ([""], "text"),
        (pd.DataFrame({"image": ["photo.png"]}), "text"),
        ([Path("photo.png")], "PosixPath"),
        (Path("photo.png"), "PosixPath"),
        ([np.zeros((8, 8, 3), np.uint8)], "ndarray"),
        (np.zeros((8, 8, 3), np.uint8), "ndarray"),
        (np.zeros((2, 8, 8, 3), np.uint8), "ndarray"),
        ([None], "NoneType"),
        ([float("nan")], "float"),
        ([1], "int"),
        (7, "int"),
        ({"image": PNGS}, "dict"),
        ([PNGS], "list"),
        ([CLOSED], "Pillow that cannot be read"),
    ],
)
def test_pyfunc_says_what_it_takes(bundle: Path, images: Any, found: str) -> None:  # noqa: ANN401
    with pytest.raises(InputUnsupported, match="base64 or a data URL, or as an image of Pillow") as error:
        _load_pyfunc(str(bundle)).predict(images)
    assert found in str(error.value)


def test_pyfunc_leaves_the_sentence_to_bytes_that_are_no_image(bundle: Path) -> None:
    with pytest.raises(ImageUnrecognised):
        _load_pyfunc(str(bundle)).predict([b"no image"])
