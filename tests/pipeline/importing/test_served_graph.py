"""The graph around an imported network does what the same formulas in NumPy do."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.model_files.model_file import Head, Scaling
from pipeline.onnx.served_graph import assemble, head_probabilities, scale_pixels
from serving.model.predictor import create_session

PIXELS = np.random.default_rng(1).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
CHANNELS = Scaling((1 / 58.4, 1 / 57.1, 1 / 57.4), (-2.1, -2.0, -1.8))


def network(columns: int) -> bytes:
    """Means of each channel, multiplied by a matrix: `values` [N,4,5,3] to `outputs` [N,columns]."""
    weights = np.random.default_rng(2).normal(size=(3, columns)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["values", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["outputs"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", 4, 5, 3])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["batch", columns])],
        [
            numpy_helper.from_array(np.array([1, 2]), "axes"),
            numpy_helper.from_array(weights, "weights"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def outputs(values: np.ndarray, columns: int) -> np.ndarray:
    weights = np.random.default_rng(2).normal(size=(3, columns)).astype(np.float32)
    return np.asarray(values.mean(axis=(1, 2)) @ weights)


@pytest.mark.parametrize("reverse", [False, True], ids=["RGB", "BGR"])
@pytest.mark.parametrize(
    "scaling", [Scaling((1.0,) * 3, (0.0,) * 3), Scaling((1 / 127.5,) * 3, (-1.0,) * 3), CHANNELS]
)
@pytest.mark.parametrize(("head", "columns"), [("logits", 4), ("logit", 1)])
def test_scaling_order_and_head(scaling: Scaling, reverse: bool, head: Head, columns: int) -> None:
    session = create_session(assemble(network(columns), scaling, reverse, head), 1, avoid_saturation=False)
    (found,) = session.run(["probabilities"], {"image": PIXELS})
    expected = head_probabilities(outputs(scale_pixels(PIXELS, scaling, reverse), columns), head)
    assert found.shape == (3, max(2, columns))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    # A batch of one and the channels as they are: order matters where the channels differ.
    assert session.run(None, {"image": PIXELS[:1]})[0].shape == (1, max(2, columns))


def test_one_column_is_the_probability_of_the_second_class() -> None:
    assert head_probabilities(np.array([[0.8]], np.float32), "sigmoid").tolist() == [
        pytest.approx([0.2, 0.8])
    ]
    assert head_probabilities(np.array([[-1000.0], [0.0]], np.float32), "logit").tolist() == [
        [1, 0],
        [0.5, 0.5],
    ]


def test_probabilities_pass_unchanged_and_steps_that_change_nothing_are_left_out() -> None:
    graph = onnx.load_from_string(
        assemble(network(3), Scaling((1.0,) * 3, (0.0,) * 3), False, "softmax")
    ).graph
    assert [node.op_type for node in graph.node] == ["Cast", "ReduceMean", "MatMul", "Identity"]


def test_the_same_arguments_give_the_same_bytes() -> None:
    graphs = {assemble(network(3), CHANNELS, True, "logits") for _ in range(3)}
    assert len(graphs) == 1
