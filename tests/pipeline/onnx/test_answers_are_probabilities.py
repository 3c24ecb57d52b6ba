"""A model whose outputs are not probabilities is neither exported nor evaluated."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from pipeline.confidence.measurement import ValidationImages, measure_confidence
from pipeline.errors import NotProbabilities
from pipeline.evaluation.batch_prediction import predict_folder
from pipeline.onnx.probability_check import check_probabilities
from pipeline.stages.export import write_golden
from serving.artifact.bundle import Label
from serving.artifact.manifest import GRAPH
from serving.model.predictor import Predictor
from serving.model.preprocessing import Preprocessing
from tests.serving.bundles import COLOURS, one_colour_png, onnx_graph, write_bundle


def ending(with_operator: str, folder: Path) -> Path:
    """The tiny bundle with another final operator than Softmax."""
    model = onnx.load_from_string(onnx_graph())
    last = model.graph.node[-1]
    last.op_type = with_operator
    del last.attribute[:]
    return write_bundle(folder, extra={GRAPH: model.SerializeToString()}, trusted=False)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """An image of each class."""
    for number, rgb in enumerate(COLOURS.values()):
        path = tmp_path / f"test/c{number}/0.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(one_colour_png(rgb))
    return tmp_path / "test"


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ([0.2, 0.3, 0.5], True),
        ([1.0, 0.0], True),
        ([0.3334, 0.3333, 0.3334], True),
        ([0.001] * 1000, True),
        ([1.2915, -0.2915], False),
        ([0.9, 0.9], False),
        ([0.1, 0.1], False),
        ([4.0, -1.0, -2.0], False),
        ([np.nan, 0.5], False),
        ([np.inf, 0.5], False),
        ([0.0, 0.0], False),
    ],
)
def test_values_from_0_to_1_that_add_up_to_1(answer: list[float], right: bool) -> None:
    row = np.array(answer, dtype=np.float32)
    if right:
        check_probabilities(row, Path("cat/1.png"))
        return
    with pytest.raises(NotProbabilities, match=r"cat/1\.png.*softmax"):
        check_probabilities(row, Path("cat/1.png"))


@pytest.mark.parametrize("operator", ["Identity", "Sigmoid", "Relu", "LogSoftmax"])
def test_such_a_model_is_neither_exported_nor_measured(operator: str, images: Path, tmp_path: Path) -> None:
    bundle = ending(operator, tmp_path / "bundle")
    with pytest.raises(NotProbabilities, match="add up to"):
        write_golden(bundle, sorted(images.rglob("*.png")), 2)
    with pytest.raises(NotProbabilities, match="add up to"):
        predict_folder(Predictor.open(bundle), images)
    labels = tuple(Label(f"c{number}", name) for number, name in enumerate(COLOURS))
    graph = (bundle / GRAPH).read_bytes()
    with pytest.raises(NotProbabilities, match="add up to"):
        measure_confidence(graph, ValidationImages(images, labels, Preprocessing.square(8, crop=1.0)))
    # A version that was pinned earlier can still be compared with.
    assert len(predict_folder(Predictor.open(bundle), images, strict=False).files) == len(COLOURS)
