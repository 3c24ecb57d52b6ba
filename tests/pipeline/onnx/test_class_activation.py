"""Class activation maps are found in graphs that end in global average pooling and a dense layer, exactly."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.network.backend import keras
from pipeline.onnx import keras_to_onnx
from pipeline.onnx.calibrated_graph import calibrate
from pipeline.onnx.class_activation import check_maps, find_class_activation
from pipeline.onnx.quantisation import quantise
from serving.artifact.manifest import FEATURES
from serving.model.predictor import create_session

SIZE, CLASSES, CHANNELS = 12, 5, 6
IMAGES = np.random.default_rng(3).integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)

Tail = Callable[["keras.KerasTensor"], "keras.KerasTensor"]


def network(tail: Tail) -> bytes:
    """A small network with features [6,6,CHANNELS], as a graph."""
    keras.utils.set_random_seed(5)
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    features = keras.layers.Conv2D(CHANNELS, 3, strides=2, padding="same", activation="relu")(scaled)
    return keras_to_onnx.to_bytes(keras.Model(image, tail(features)))


def usual(features: "keras.KerasTensor") -> "keras.KerasTensor":
    """The tail of most networks of keras.applications."""
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    dense = keras.layers.Dense(CLASSES, "softmax", bias_initializer="normal")
    return dense(keras.layers.Dropout(0.2)(pooled))


def with_logits_layer(features: "keras.KerasTensor") -> "keras.KerasTensor":
    """A softmax in a layer of its own, and no bias."""
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(features)
    logits = keras.layers.Dense(CLASSES, use_bias=False)(keras.layers.Flatten()(pooled))
    return keras.layers.Softmax()(logits)


@pytest.fixture(scope="module")
def graph() -> bytes:
    """The usual network in float32."""
    return network(usual)


def assert_exact(graph: bytes, tolerance: float = 1e-5) -> None:
    """Asserts that the maps of all images add up to the logits, and that no prediction has changed."""
    found = find_class_activation(graph)
    assert found is not None
    places, difference = check_maps(graph, found, IMAGES)
    assert places == 36
    assert difference <= tolerance
    plain, explained = (create_session(data, 1, False) for data in (graph, graph + found.addition))
    assert [output.name for output in explained.get_outputs()][-1] == FEATURES
    assert explained.get_outputs()[-1].shape[1:] == [6, 6, CHANNELS]
    for image in IMAGES:
        batch = {"image": image[np.newaxis]}
        assert np.array_equal(plain.run(None, batch)[0], explained.run(["probabilities"], batch)[0])


def test_pooling_and_a_dense_layer(graph: bytes) -> None:
    assert_exact(graph)


def test_a_softmax_of_its_own_and_no_bias() -> None:
    assert_exact(network(with_logits_layer))


@pytest.mark.parametrize("temperature", [1.0, 0.66])
def test_a_temperature_changes_no_map(graph: bytes, temperature: float) -> None:
    assert_exact(calibrate(graph, temperature))


def test_eight_bits_within_the_rounding_of_the_averages(graph: bytes) -> None:
    assert_exact(calibrate(quantise(graph, IMAGES), 1.5), tolerance=0.02)


def exported_by_pytorch(transposed: bool, bias: tuple[int, ...] = (CLASSES,)) -> bytes:
    """Channels first, GlobalAveragePool, Flatten and Gemm, as PyTorch's exporter writes them."""
    random = np.random.default_rng(1)
    kernel = random.normal(size=(CLASSES, 3)).astype(np.float32)
    constants = {
        "kernel": kernel if transposed else kernel.T.copy(),
        "bias": random.normal(size=bias).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["values"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["values"], ["halved"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["halved"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "kernel", "bias"], ["logits"], transB=int(transposed), alpha=0.01),
        helper.make_node("Softmax", ["logits"], ["softmax"], axis=1),
        helper.make_node("Identity", ["softmax"], ["probabilities"]),
    ]
    made = helper.make_graph(
        nodes,
        "exported",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("shape", [(CLASSES,), (1, CLASSES)])
def test_a_graph_of_pytorch(transposed: bool, shape: tuple[int, ...]) -> None:
    graph = exported_by_pytorch(transposed, shape)
    found = find_class_activation(graph)
    assert found is not None
    assert check_maps(graph, found, IMAGES).difference <= 1e-5


def flattened(features: "keras.KerasTensor") -> "keras.KerasTensor":
    return keras.layers.Dense(CLASSES, "softmax")(keras.layers.Flatten()(features))


def hidden(features: "keras.KerasTensor") -> "keras.KerasTensor":
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    return keras.layers.Dense(CLASSES, "softmax")(keras.layers.Dense(8, "relu")(pooled))


def largest(features: "keras.KerasTensor") -> "keras.KerasTensor":
    return keras.layers.Dense(CLASSES, "softmax")(keras.layers.GlobalMaxPooling2D()(features))


def sigmoid(features: "keras.KerasTensor") -> "keras.KerasTensor":
    return keras.layers.Dense(CLASSES, "sigmoid")(keras.layers.GlobalAveragePooling2D()(features))


@pytest.mark.parametrize("tail", [flattened, hidden, largest, sigmoid])
def test_other_tails_have_no_map(tail: Tail) -> None:
    assert find_class_activation(network(tail)) is None


def test_a_wrong_layer_is_noticed(graph: bytes) -> None:
    found = find_class_activation(graph)
    assert found is not None
    wrong = found._replace(head=type(found.head)(found.head.kernel[::-1].copy(), found.head.bias))
    assert check_maps(graph, wrong, IMAGES).difference > 0.05


def test_maps_that_are_not_finite_are_noticed(graph: bytes) -> None:
    found = find_class_activation(graph)
    assert found is not None
    odd = found._replace(head=type(found.head)(found.head.kernel * np.float32("nan"), found.head.bias))
    assert not check_maps(graph, odd, IMAGES).difference <= 1


def test_the_addition_is_small_and_valid(graph: bytes) -> None:
    found = find_class_activation(graph)
    assert found is not None
    assert len(found.addition) < 1000
    onnx.checker.check_model(onnx.load_from_string(graph + found.addition))
