"""The networks: MobileNetV2 with uint8 images [N,S,S,3] in and probabilities [N,K] out.

Resizing is not in the graph: Keras's does not antialias, and in front of BatchNorm it makes an eager call
and the ONNX export run in training mode (Keras 3.15). The scale to [-1, 1] is, so it cannot be forgotten.
"""

from typing import Any

from pipeline.network.backend import keras
from pipeline.params import Finetune, Pretrained, Scratch


def pretrained(settings: Pretrained) -> Any:  # noqa: ANN401
    """The ImageNet model as Keras publishes it, 1000 classes; the weights are in Keras's cache."""
    image, scaled = _input(settings.size)
    base = keras.applications.MobileNetV2(weights="imagenet", alpha=settings.alpha, input_tensor=scaled)
    return keras.Model(image, base.output)


def scratch(settings: Scratch, classes: int) -> Any:  # noqa: ANN401
    """Random weights, a head for `classes`."""
    image, scaled = _input(settings.size)
    base = _backbone(scaled, settings.alpha)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = settings.momentum
    return _with_head(image, base, settings.dropout, classes)


def finetune(settings: Finetune, classes: int) -> Any:  # noqa: ANN401
    """A backbone with ImageNet weights, which are in Keras's cache, and a new head for `classes`.

    The weights come from the 1000-class model, so that one cached file serves this and `pretrained`.
    """
    full = keras.applications.MobileNetV2(weights="imagenet", alpha=settings.alpha)
    image, scaled = _input(settings.size)
    base = _backbone(scaled, settings.alpha)
    # All but the last layer's kernel and bias; convolutions do not depend on the input's size.
    base.set_weights(full.get_weights()[:-2])
    return _with_head(image, base, settings.dropout, classes)


def _input(size: int) -> tuple[Any, Any]:
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    return image, keras.layers.Rescaling(1 / 127.5, offset=-1)(image)


def _backbone(scaled: Any, alpha: float) -> Any:  # noqa: ANN401
    return keras.applications.MobileNetV2(
        weights=None, include_top=False, pooling="avg", alpha=alpha, input_tensor=scaled
    )


def _with_head(image: Any, base: Any, dropout: float, classes: int) -> Any:  # noqa: ANN401
    features = keras.layers.Dropout(dropout)(base.output)
    head = keras.layers.Dense(classes, activation="softmax", name="predictions")
    return keras.Model(image, head(features))
