"""Graphs in float64, for calibration: the values of the float32 graph, with more digits."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.onnx.double_precision import GraphUnsuited, to_double, with_double_softmax


def convolution(
    channels: int, outputs: int, kernel: int, bias: bool = True, size: int | str = 9, **attributes: object
) -> onnx.ModelProto:
    """A graph of one convolution of images [1,channels,size,size]."""
    random = np.random.default_rng(1)
    group = attributes.get("group", 1)
    assert isinstance(group, int)
    weights = {"w": random.normal(size=(outputs, channels // group, kernel, kernel)).astype(np.float32)}
    if bias:
        weights["b"] = random.normal(size=outputs).astype(np.float32)
    shape = ["n", channels, size, size]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", *weights], ["y"], **attributes)],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


def run(model: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: values})[0]
    return found


@pytest.mark.parametrize(
    "model",
    [
        convolution(3, 5, 1),
        convolution(3, 5, 3, strides=[2, 2], pads=[0, 0, 1, 1]),
        convolution(3, 5, 3, bias=False, pads=[1, 1, 1, 1], dilations=[2, 2]),
        convolution(4, 4, 3, group=4, pads=[1, 1, 1, 1]),
        convolution(4, 4, 5, group=4, strides=[2, 1], bias=False),
        convolution(1, 6, 3),
    ],
)
def test_a_convolution_has_the_same_values(model: onnx.ModelProto) -> None:
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    values = np.random.default_rng(2).normal(size=(2, channels, 9, 9)).astype(np.float32)
    found = run(to_double(model), values.astype(np.float64))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, run(model, values), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        convolution(4, 4, 3, group=2),
        convolution(4, 8, 3, group=4),
        convolution(3, 5, 3, size="any"),
        convolution(3, 5, 3, auto_pad="SAME_UPPER"),
    ],
)
def test_other_convolutions_are_refused(model: onnx.ModelProto) -> None:
    with pytest.raises(GraphUnsuited):
        to_double(model)


def test_a_softmax_is_computed_in_double() -> None:
    shape = ["n", 3]
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["y"], axis=-1)],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    values = np.array([[1, 2, 4], [-80, 0, 80]], np.float32)
    found = run(with_double_softmax(model), values)
    exact = np.exp(values.astype(np.float64))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (exact / exact.sum(axis=1, keepdims=True)).astype(np.float32))
    model.graph.node[0].op_type = "LogSoftmax"
    assert with_double_softmax(model) == model
