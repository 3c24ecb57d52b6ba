"""The Keras form of an imported network, with the same scaling and head as the served ONNX graph.

MLflow's `keras` flavour loads it. The stage `evaluate` compares it with the served graph.
"""

from typing import Any

from pipeline.model_files.model_file import Head, Scaling
from pipeline.network.backend import keras


def assemble(network: Any, scaling: Scaling, reverse_channels: bool, head: Head) -> Any:  # noqa: ANN401
    """A Keras model: uint8 [N,H,W,C] to probabilities float32 [N,K].

    `network` is a Keras model that maps scaled pixels, float32 [N,H,W,C], to its outputs.
    """
    image = keras.Input(network.input_shape[1:], dtype="uint8", name="image")
    values = keras.ops.cast(image, "float32")
    if reverse_channels:
        values = keras.ops.flip(values, axis=-1)
    if any(factor != 1 for factor in scaling.factor) or any(offset != 0 for offset in scaling.offset):
        values = keras.layers.Rescaling(list(scaling.factor), list(scaling.offset))(values)
    outputs = network(values, training=False)
    if head == "logits":
        outputs = keras.layers.Softmax()(outputs)
    elif head in ("sigmoid", "logit"):
        second = outputs if head == "sigmoid" else keras.ops.sigmoid(outputs)
        outputs = keras.ops.concatenate([1 - second, second], axis=-1)
    return keras.Model(image, outputs)
