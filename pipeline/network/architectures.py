"""Networks of keras.applications with uint8 images [N,S,S,3] as input and probabilities [N,K] as output.

Resizing is not part of the graph: Keras's does not antialias, and in front of BatchNorm it makes eager calls
and the ONNX export run in training mode (Keras 3.15). Scaling is, so that no caller can omit it.
"""

from pathlib import Path
from typing import Any

from pipeline.errors import WeightsUnsuitable
from pipeline.network import families
from pipeline.network.backend import keras
from pipeline.network.families import Family
from pipeline.params import Finetune, Pretrained, Scratch


def build_pretrained(settings: Pretrained, weights: Path) -> Any:  # noqa: ANN401
    """The published ImageNet model with 1000 classes; `weights` is Keras's file of them.

    Raises `WeightsUnsuitable` for a file of another network.
    """
    image = keras.Input((settings.size, settings.size, 3), dtype="uint8", name="image")
    scaled = scale(image, families.FAMILIES[settings.architecture])
    return keras.Model(image, _load_published(settings, weights, scaled).output)


def build_scratch(settings: Scratch, classes: int) -> Any:  # noqa: ANN401
    """A network with random weights and a head for `classes`."""
    image, base = _backbone(settings)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = settings.momentum
    return add_head(image, base.output, settings.dropout, classes)


def build_finetune(settings: Finetune, classes: int, weights: Path) -> Any:  # noqa: ANN401
    """A backbone with ImageNet weights and a new head for `classes`.

    The weights are those of the 1000-class model, so that one cached file serves both methods.
    Raises `WeightsUnsuitable` for a file of another network.
    """
    size = families.FAMILIES[settings.architecture].size
    full = _load_published(settings, weights, keras.Input((size, size, 3)))
    image, base = _backbone(settings)
    # The layers before the head come first, and their weights do not depend on the size of the input.
    base.set_weights(full.get_weights()[: len(base.weights)])
    for layer in base.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return add_head(image, base.output, settings.dropout, classes)


def add_head(image: Any, features: Any, dropout: float, classes: int) -> Any:  # noqa: ANN401
    """A network that ends with dropout and a softmax over `classes`; features are [N,F]."""
    # Layers draw their seeds when they are made, so their order is part of the digest.
    dropped = keras.layers.Dropout(dropout)(features)
    head = keras.layers.Dense(classes, activation="softmax", name="predictions")
    return keras.Model(image, head(dropped))


def scale(image: Any, family: Family) -> Any:  # noqa: ANN401
    """Pixels, uint8 [N,H,W,3] in RGB, as the family's published weights expect them."""
    if family.scaling == "inside":
        return image
    factor, offset = families.SCALINGS[family.scaling]
    scaled = keras.layers.Rescaling(factor, offset)(image)
    return keras.ops.take(scaled, [2, 1, 0], axis=-1) if family.scaling == "caffe" else scaled


def _backbone(settings: Scratch | Finetune) -> tuple[Any, Any]:
    image = keras.Input((settings.size, settings.size, 3), dtype="uint8", name="image")
    scaled = scale(image, families.FAMILIES[settings.architecture])
    return image, _create(settings, scaled, include_top=False, pooling="avg")


def _load_published(settings: Pretrained | Finetune, weights: Path, scaled: Any) -> Any:  # noqa: ANN401
    full = _create(settings, scaled)
    try:
        full.load_weights(weights)
    # h5py and Keras raise these for files that are damaged, or have other layers or shapes.
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise WeightsUnsuitable(weights, settings.architecture, str(error)) from error
    if families.FAMILIES[settings.architecture].divides_by_std_twice:
        _divide_by_std_again(full)
    return full


def _create(settings: Pretrained | Scratch | Finetune, scaled: Any, **options: Any) -> Any:  # noqa: ANN401
    """The network of keras.applications with random weights."""
    if settings.alpha is not None:
        options["alpha"] = settings.alpha
    create = getattr(keras.applications, settings.architecture)
    return create(weights=None, input_tensor=scaled, **options)


def _divide_by_std_again(network: Any) -> None:  # noqa: ANN401
    """Makes EfficientNet's Normalization divide by the square root of the standard deviations, too.

    Its weights were trained so. Keras adds a layer for it, but only with `weights="imagenet"`.
    """
    normalization = next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
    mean, variance, count = normalization.get_weights()
    normalization.set_weights([mean, variance * families.STD, count])
    normalization.finalize_state()
