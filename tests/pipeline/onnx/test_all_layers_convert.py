"""Layers whose conversion by tf2onnx alone fails or gives other values."""

from collections.abc import Callable

# First, because it configures TensorFlow before anything loads it.
from pipeline.network.backend import keras, tf

# isort: split
import numpy as np
import onnx
import onnxruntime
import pytest
from tf2onnx import optimizer
from tf2onnx.graph import Graph
from tf2onnx.optimizer.optimizer_base import GraphOptimizerBase

from pipeline.errors import NetworkNotConvertible
from pipeline.onnx import keras_to_onnx, tensorflow_graph

layers = keras.layers
RANDOM = np.random.default_rng(7)


def network(size: int, *sequence: keras.Layer) -> keras.Model:
    """A network of these layers, with random weights and three classes, for uint8 images of `size`."""
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    values = layers.Rescaling(1 / 127.5, offset=-1)(image)
    for layer in sequence:
        values = layer(values)
    outputs = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(values))
    model = keras.Model(image, outputs)
    for variable in model.variables:
        # Also positive, for the variances of BatchNorm.
        variable.assign(np.abs(RANDOM.normal(0, 0.5, variable.shape)))
    return model


def largest_difference(model: keras.Model, graph: bytes) -> float:
    """Between the probabilities of Keras and of ONNX Runtime, on random images."""
    images = RANDOM.integers(0, 256, (3, *model.input_shape[1:]), dtype=np.uint8)
    (found,) = onnxruntime.InferenceSession(graph).run(None, {"image": images})
    expected = model.predict(images, verbose=0)
    assert np.ptp(expected, axis=0).max() > 1e-4
    return float(np.abs(found - expected).max())


@pytest.mark.parametrize(
    "sequence",
    [
        # XLA compiles convolutions with groups.
        lambda: [layers.Conv2D(6, 3, padding="same", groups=3)],
        # TensorFlow's GELU uses erfc.
        lambda: [layers.Conv2D(4, 3, activation="gelu")],
        # Constants that are no variables.
        lambda: [layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 0.6, 0.7])],
        # tf2onnx's optimiser takes the wrong shape for maps of one pixel.
        lambda: [layers.Conv2D(8, 8, strides=8), layers.LayerNormalization(epsilon=1e-6)],
        # In front of BatchNorm, an export in training mode.
        lambda: [layers.Resizing(6, 6), layers.BatchNormalization()],
    ],
    ids=["groups", "gelu", "normalization", "one pixel", "resizing"],
)
def test_keras_and_onnx_agree(sequence: Callable[[], list[keras.Layer]]) -> None:
    model = network(8, *sequence())
    assert largest_difference(model, keras_to_onnx.to_bytes(model)) < 1e-5


def test_large_matrices_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(8, layers.Dense(16, activation="relu"), layers.Conv2D(4, 3))
    expected = keras_to_onnx.to_bytes(model)
    # All matrices are taken for large ones, which are not part of the conversion.
    monkeypatch.setattr(tensorflow_graph, "LARGE_BYTES", 1)
    monkeypatch.setattr(keras_to_onnx, "LARGE_BYTES", 1)
    found = keras_to_onnx.to_bytes(model)
    assert found == expected
    assert all(tensor.HasField("raw_data") for tensor in onnx.load_from_string(found).graph.initializer)


class Failing(GraphOptimizerBase):  # type: ignore[misc]
    """A step that fails after it has changed the graph."""

    def _optimize(self, graph: Graph) -> Graph:
        graph.remove_node(graph.get_nodes()[-1].name)
        raise RuntimeError("this step fails")


def test_a_step_of_the_optimiser_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(8, layers.Conv2D(4, 3))
    expected = keras_to_onnx.to_bytes(model)
    monkeypatch.setitem(optimizer._get_optimizers(), "failing", Failing)
    assert keras_to_onnx.to_bytes(model) == expected


def test_an_operator_that_onnx_does_not_have_is_named() -> None:
    class Bessel(keras.Layer):  # type: ignore[misc]
        def call(self, values: tf.Tensor) -> tf.Tensor:
            return tf.math.special.bessel_i0(values)

    with pytest.raises(NetworkNotConvertible, match="it uses BesselI0 of TensorFlow"):
        keras_to_onnx.to_bytes(network(8, Bessel()))
