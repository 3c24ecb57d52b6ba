"""The networks: MobileNetV2 with uint8 images [N,S,S,3] in and probabilities [N,K] out.

Resizing is not in the graph: Keras's does not antialias, and in front of BatchNorm it makes an eager call
and the ONNX export run in training mode (Keras 3.15). The scale to [-1, 1] is, so it cannot be forgotten.
"""

import json
from typing import Any

from pipeline.backend import keras
from pipeline.downloads import cached
from pipeline.errors import SourceChanged
from pipeline.files import sha256_of
from pipeline.params import Environment, Finetune, Pretrained, Scratch
from serving.bundle import Label

# Where keras.applications looks first, for the error that names it when it cannot be had.
WEIGHTS = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224.h5"
)
CLASSES = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
CLASSES_SHA256 = "a1e7a966a1f601d39e4b43e119b3e7dd4a2ad3ea08cf69847cbaf021013767bc"


def pretrained(settings: Pretrained, environment: Environment) -> Any:  # noqa: ANN401
    """The ImageNet model as Keras publishes it, 1000 classes."""
    _have_weights(settings.alpha, environment)
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


def finetune(settings: Finetune, classes: int, environment: Environment) -> Any:  # noqa: ANN401
    """A backbone with ImageNet weights and a new head for `classes`.

    The weights come from the 1000-class model, so that one cached file serves this and `pretrained`.
    """
    _have_weights(settings.alpha, environment)
    full = keras.applications.MobileNetV2(weights="imagenet", alpha=settings.alpha)
    image, scaled = _input(settings.size)
    base = _backbone(scaled, settings.alpha)
    # All but the last layer's kernel and bias; convolutions do not depend on the input's size.
    base.set_weights(full.get_weights()[:-2])
    return _with_head(image, base, settings.dropout, classes)


def imagenet_labels(environment: Environment) -> list[Label]:
    """The 1000 classes in the order of the outputs.

    Two birds and machines are both "crane", two garments both "maillot": these get their id behind the name.
    """
    path = cached(CLASSES, environment.keras_home, "models", "the names of ImageNet's classes")
    if (found := sha256_of(path)) != CLASSES_SHA256:
        raise SourceChanged(path, CLASSES_SHA256, found)
    index = json.loads(path.read_text(encoding="utf-8"))
    pairs = [index[str(number)] for number in range(len(index))]
    names = [name for _, name in pairs]
    return [Label(id, name if names.count(name) == 1 else f"{name} ({id})") for id, name in pairs]


def _have_weights(alpha: float, environment: Environment) -> None:
    """Puts the weights into Keras's cache, or says how: Keras's own error names neither cache nor way out."""
    cached(
        WEIGHTS.format(alpha=float(alpha)), environment.keras_home, "models", "MobileNetV2's ImageNet weights"
    )


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
