"""MobileNetV2 networks with uint8 images [N,S,S,3] as input and probabilities [N,K] as output.

Resizing is not part of the graph: Keras's does not antialias, and in front of BatchNorm it makes eager calls
and the ONNX export run in training mode (Keras 3.15). Scaling to [-1, 1] is, so that no caller can omit it.
"""

from typing import Any

from pipeline.network.backend import keras
from pipeline.params import Finetune, Pretrained, Scratch


def build_pretrained(settings: Pretrained) -> Any:  # noqa: ANN401
    """Keras's published ImageNet model with 1000 classes; its weights must be in Keras's cache."""
    image, scaled = _scaled_input(settings.size)
    base = keras.applications.MobileNetV2(weights="imagenet", alpha=settings.alpha, input_tensor=scaled)
    return keras.Model(image, base.output)


def build_scratch(settings: Scratch, classes: int) -> Any:  # noqa: ANN401
    """A network with random weights and a head for `classes`."""
    image, scaled = _scaled_input(settings.size)
    base = _backbone(scaled, settings.alpha)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = settings.momentum
    return _add_head(image, base, settings.dropout, classes)


def build_finetune(settings: Finetune, classes: int) -> Any:  # noqa: ANN401
    """A backbone with ImageNet weights, which must be in Keras's cache, and a new head for `classes`.

    The weights are those of the 1000-class model, so that one cached file serves both methods.
    """
    full = keras.applications.MobileNetV2(weights="imagenet", alpha=settings.alpha)
    image, scaled = _scaled_input(settings.size)
    base = _backbone(scaled, settings.alpha)
    # All but the kernel and bias of the last layer; convolutions do not depend on the input size.
    base.set_weights(full.get_weights()[:-2])
    return _add_head(image, base, settings.dropout, classes)


def _scaled_input(size: int) -> tuple[Any, Any]:
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    return image, keras.layers.Rescaling(1 / 127.5, offset=-1)(image)


def _backbone(scaled: Any, alpha: float) -> Any:  # noqa: ANN401
    return keras.applications.MobileNetV2(
        weights=None, include_top=False, pooling="avg", alpha=alpha, input_tensor=scaled
    )


def _add_head(image: Any, base: Any, dropout: float, classes: int) -> Any:  # noqa: ANN401
    features = keras.layers.Dropout(dropout)(base.output)
    head = keras.layers.Dense(classes, activation="softmax", name="predictions")
    return keras.Model(image, head(features))
