"""Explanations are true: a map adds up to the logit, and what speaks for a class is found where it is."""

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from serving.artifact.bundle import Bundle
from serving.artifact.manifest import EXPLANATION
from serving.errors import ContractBroken
from serving.explanation.class_activation_map import ClassActivationMap
from serving.explanation.explainer import GRID, Explainer, Explanation, Method
from serving.explanation.heatmap import draw_heatmap, normalise
from serving.model.decoder import Pixels
from serving.model.predictor import Predictor
from tests.serving.bundles import COLOURS, SIZE, write_bundle, write_files, write_manifest

NUMBERS = {name: number for number, name in enumerate(COLOURS)}


def planted(row: int, column: int, colour: str = "red", side: int = 2) -> Pixels:
    """A blue image with a square of another colour."""
    pixels = np.empty((SIZE, SIZE, 3), np.uint8)
    pixels[:] = COLOURS["blue"]
    pixels[row : row + side, column : column + side] = COLOURS[colour]
    return pixels


def explain(predictor: Predictor, pixels: Pixels, number: int, method: Method | None = None) -> Explanation:
    """The explanation of a predictor that was just opened."""
    probability = float(predictor.predict_one(pixels).probabilities[number])
    return Explainer(predictor).explain(pixels, number, probability, method)


@pytest.mark.parametrize("seed", range(3))
def test_mean_of_the_map_and_bias_are_the_logit(predictor: Predictor, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    found = [explain(predictor, pixels, number) for number in range(len(COLOURS))]
    assert all(each.method == "cam" and each.bias is not None for each in found)
    logits = np.array([each.values.mean(dtype=np.float64) + (each.bias or 0) for each in found])
    probabilities, energy = predictor.predict_one(pixels)
    assert np.log(np.exp(logits).sum()) == pytest.approx(energy, abs=1e-5)
    assert np.exp(logits) / np.exp(logits).sum() == pytest.approx(probabilities, abs=1e-6)


@pytest.mark.parametrize("method", ["cam", "occlusion"])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 6), (6, 0), (6, 6), (3, 3)])
def test_a_planted_object_moves_the_maximum(
    predictor: Predictor, method: Method, row: int, column: int
) -> None:
    values = explain(predictor, planted(row, column), NUMBERS["red"], method).values
    found = np.array(np.unravel_index(values.argmax(), values.shape)) / values.shape * SIZE
    assert np.abs(found - [row, column]).max() <= 2
    blue = explain(predictor, planted(row, column), NUMBERS["blue"], method).values
    assert blue.min() == pytest.approx(blue[tuple(np.unravel_index(values.argmax(), values.shape))], abs=1e-6)


def test_occlusion_is_what_the_probability_loses(predictor: Predictor) -> None:
    pixels = planted(0, 0, side=3)
    explanation = explain(predictor, pixels, NUMBERS["red"], "occlusion")
    assert (explanation.method, explanation.bias, explanation.values.shape) == (
        "occlusion",
        None,
        (GRID, GRID),
    )
    covered = pixels.copy()
    covered[:2, :2] = pixels.mean(axis=(0, 1)).round()
    before, after = (
        predictor.predict_one(image).probabilities[NUMBERS["red"]] for image in (pixels, covered)
    )
    assert explanation.values[0, 0] == pytest.approx(np.log(before / after), abs=1e-5)


def test_a_bundle_without_a_map_is_explained_by_occlusion(tmp_path: Path) -> None:
    predictor = Predictor.open(write_bundle(tmp_path / "plain", trusted=False))
    assert Explainer(predictor).methods == ("occlusion",)
    values = explain(predictor, planted(6, 6), NUMBERS["red"]).values
    assert np.unravel_index(values.argmax(), values.shape)[0] >= GRID - 2


def test_before_each_prediction_it_may_be_stopped(predictor: Predictor) -> None:
    calls = []

    def count() -> None:
        calls.append(1)
        if len(calls) > 5:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        Explainer(predictor).explain(planted(0, 0), 0, 0.5, "occlusion", count)
    assert len(calls) == 6


def test_predictions_are_the_same_bits_with_and_without_explanations(
    predictor: Predictor, tmp_path: Path
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (20, SIZE, SIZE, 3), dtype=np.uint8)
    plain = Predictor.open(write_bundle(tmp_path / "plain", trusted=False))
    explain(predictor, images[0], 0)
    assert np.array_equal(predictor.predict(images), plain.predict(images))


def added(name: str = "features", source: str = "pixels", rank: int = 4) -> bytes:
    """An addition to the graph with another output."""
    message = onnx.ModelProto()
    message.graph.node.append(helper.make_node("Identity", [source], [name]))
    shape = ["batch", SIZE, SIZE, 3][:rank]
    message.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return bytes(message.SerializeToString())


@pytest.mark.parametrize(
    "addition",
    [b"", b"\xff\xff", added("logits2"), added(source="nothing"), added(source="means", rank=2)],
    ids=["nothing", "no message", "another name", "no such value", "no places"],
)
def test_an_addition_that_gives_no_features_is_refused(bundle: Path, addition: bytes) -> None:
    write_files(bundle, {EXPLANATION: addition})
    opened = Bundle.open(write_manifest(bundle))
    with pytest.raises(ContractBroken, match=r"explanation\.onnx"):
        explain(Predictor.from_bundle(opened), planted(0, 0), 0)


def test_what_failed_to_open_is_not_tried_again(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(bundle, {EXPLANATION: added("logits2")})
    explainer = Explainer(Predictor.open(write_manifest(bundle)))
    messages = []
    for _ in range(2):
        with pytest.raises(ContractBroken) as error:
            explainer.explain(planted(0, 0), 0, 0.5)
        messages.append(str(error.value))
        monkeypatch.setattr(ClassActivationMap, "open", None)
    assert messages[0] == messages[1]
    # The other method works.
    assert explainer.explain(planted(0, 0), 0, 0.5, "occlusion").values.shape == (GRID, GRID)


def test_an_addition_of_many_bytes_is_refused(bundle: Path) -> None:
    write_files(bundle, {EXPLANATION: b"x" * 70_000})
    with pytest.raises(ContractBroken, match="70,000 bytes"):
        Explainer(Predictor.open(write_manifest(bundle)))


def test_who_waits_for_the_graph_looks_at_the_deadline(predictor: Predictor) -> None:
    explainer = Explainer(predictor)

    def stop() -> None:
        raise TimeoutError

    # As if another thread were opening it.
    with explainer._lock, pytest.raises(TimeoutError):
        explainer.explain(planted(0, 0), 0, 0.5, "cam", stop)


def test_features_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    addition = onnx.load_from_string(added())
    addition.graph.node[0].CopyFrom(helper.make_node("Div", ["pixels", "pixels"], ["features"]))
    bundle = write_bundle(tmp_path / "bundle", extra={EXPLANATION: addition.SerializeToString()})
    with pytest.raises(ContractBroken, match="not finite"):
        explain(Predictor.open(bundle), np.zeros((SIZE, SIZE, 3), np.uint8), 0)


def test_heatmap_is_the_image_and_the_places(predictor: Predictor) -> None:
    pixels = planted(0, 6)
    values = explain(predictor, pixels, NUMBERS["red"]).values
    picture = Image.open(io.BytesIO(draw_heatmap(pixels, values)))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (448, 448))
    drawn = np.asarray(picture).astype(int)
    # Nothing speaks for red at the bottom left, which stays blue; the red square is darker.
    assert drawn[-10, 10] == pytest.approx(COLOURS["blue"], abs=3)
    assert drawn[30, -30] == pytest.approx([0.3 * 255 + 0.7 * 214, 0, 0.7 * 140], abs=12)


def test_heatmap_of_a_grey_and_of_a_wide_image() -> None:
    grey = np.full((10, 40, 1), 90, np.uint8)
    picture = Image.open(io.BytesIO(draw_heatmap(grey, np.zeros((2, 2), np.float32))))
    assert picture.size == (480, 120)
    assert set(np.asarray(picture).ravel()) == {90}


def test_strength_is_relative_to_the_most() -> None:
    assert normalise(np.array([[-1, 0], [2, 4]], np.float32)).tolist() == [[0, 0], [0.5, 1]]
    assert normalise(np.array([[9, 10, 11]], np.float32)).tolist() == [[0, 0.5, 1]]
    assert normalise(np.array([[-1, -2]], np.float32)).tolist() == [[0, 0]]
    assert normalise(np.array([[3, 3]], np.float32)).tolist() == [[0, 0]]
