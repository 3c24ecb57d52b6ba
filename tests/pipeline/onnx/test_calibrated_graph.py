"""Temperature and energy in the served graph: by hand, for graphs with a softmax at the end and without."""

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper
from scipy.special import logsumexp, softmax

from pipeline.onnx.calibrated_graph import (
    HEAD_FEATURES,
    LOGITS,
    calibrate,
    has_energy,
    measured_outputs,
    with_logits,
)
from pipeline.onnx.double_precision import with_double_softmax
from pipeline.onnx.graph_tail import GraphTail
from serving.model.predictor import create_session
from tests.serving.bundles import head_kernel, onnx_graph

PIXELS = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 3), np.uint8)


def plain() -> bytes:
    return onnx_graph()


def in_double() -> bytes:
    """As an 8-bit graph, whose softmax is computed in float64."""
    return bytes(with_double_softmax(onnx.load_from_string(onnx_graph())).SerializeToString())


def of_old_operators(opset: int = 13) -> bytes:
    """With the operators of an older version, as imported graphs have them."""
    model = onnx.load_from_string(onnx_graph())
    model.opset_import[0].version = opset
    mean = next(node for node in model.graph.node if node.op_type == "ReduceMean")
    del mean.input[1]
    mean.attribute.append(helper.make_attribute("axes", [1, 2]))
    return bytes(model.SerializeToString())


def imported() -> bytes:
    """With a cast to float32 in front of the softmax, as every imported graph that gives logits."""
    model = onnx.load_from_string(onnx_graph())
    softmax = model.graph.node[-1]
    cast = helper.make_node("Cast", [softmax.input[0]], ["cast_logits"], to=TensorProto.FLOAT)
    model.graph.node.insert(len(model.graph.node) - 1, cast)
    softmax.input[0] = "cast_logits"
    return bytes(model.SerializeToString())


def without_softmax() -> bytes:
    """Another layer follows, as of a network with two columns made of one."""
    model = onnx.load_from_string(onnx_graph())
    model.graph.node[-1].output[0] = "inner"
    model.graph.node.append(helper.make_node("Abs", ["inner"], ["probabilities"]))
    return bytes(model.SerializeToString())


GRAPHS = pytest.mark.parametrize(
    "graph",
    [plain(), in_double(), imported(), of_old_operators(), of_old_operators(17), without_softmax()],
    ids=["plain", "double", "imported", "opset 13", "opset 17", "none"],
)


def run(graph: bytes, *outputs: str) -> list[npt.NDArray[np.float32]]:
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)
    found: list[npt.NDArray[np.float32]] = create_session(graph, 1, False).run(
        list(outputs) or None, {"image": PIXELS}
    )
    return found


@GRAPHS
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_probabilities_and_energy(graph: bytes, temperature: float) -> None:
    probabilities, logits, *_ = run(with_logits(graph))
    np.testing.assert_allclose(softmax(logits, axis=1), probabilities, atol=1e-6)
    calibrated, *energy = run(calibrate(graph, temperature))
    np.testing.assert_allclose(calibrated, softmax(logits / temperature, axis=1), atol=1e-6)
    ends_in_softmax = GraphTail(onnx.load_from_string(graph).graph).softmax is not None
    assert bool(energy) == has_energy(calibrate(graph, temperature)) == ends_in_softmax
    if energy:
        # Of the logits as they are: a temperature would only change its scale.
        np.testing.assert_allclose(energy[0], logsumexp(logits, axis=1), atol=1e-5)


@pytest.mark.parametrize(
    "graph",
    [plain(), in_double(), imported(), of_old_operators()],
    ids=["plain", "double", "imported", "opset 13"],
)
@pytest.mark.parametrize("clip", [20.0, 100.0, 1e6])
def test_the_energy_is_of_clipped_features(graph: bytes, clip: float) -> None:
    assert measured_outputs(graph) == [LOGITS, HEAD_FEATURES]
    features, probabilities = run(with_logits(graph), HEAD_FEATURES, "probabilities")
    np.testing.assert_allclose(features, PIXELS.mean(axis=(1, 2)), rtol=1e-6)
    calibrated, energy = run(calibrate(graph, 1.0, clip))
    np.testing.assert_allclose(calibrated, probabilities, atol=1e-6)
    expected = logsumexp(np.minimum(features, clip) @ head_kernel(), axis=1)
    np.testing.assert_allclose(energy, expected, atol=1e-5)


def test_a_graph_without_a_dense_layer_is_not_clipped() -> None:
    assert measured_outputs(without_softmax()) == [LOGITS]
    assert calibrate(without_softmax(), 1.5, 20.0) == calibrate(without_softmax(), 1.5)


@GRAPHS
def test_a_temperature_of_1_leaves_the_bits(graph: bytes) -> None:
    np.testing.assert_array_equal(run(calibrate(graph, 1.0))[0], run(graph)[0])


@GRAPHS
def test_the_bytes_depend_on_graph_and_temperature_alone(graph: bytes) -> None:
    assert calibrate(graph, 1.7) == calibrate(graph, 1.7)
    assert calibrate(graph, 1.7) != calibrate(graph, 1.8)


def test_the_energy_is_the_second_output() -> None:
    outputs = [
        (value.name, value.type.tensor_type.elem_type)
        for value in onnx.load_from_string(calibrate(plain(), 1.3)).graph.output
    ]
    assert outputs == [("probabilities", TensorProto.FLOAT), ("energy", TensorProto.FLOAT)]
