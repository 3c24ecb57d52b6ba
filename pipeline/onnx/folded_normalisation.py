"""Replaces the batch normalisations of a Keras model by their factors and offsets, before it is exported.

The exporter would compute 1 / sqrt(variance + epsilon) in float32 with an instruction whose last digit
depends on the CPU (`rsqrtps`), and multiply it into the kernels: an emulated Haswell exported other weights
than the CPU that it ran on. Square root and division in float64 are the same on all CPUs, and so are products
in float32.
"""

from typing import Any

import numpy as np

from pipeline.network.backend import keras


def fold_normalisation(model: Any) -> Any:  # noqa: ANN401
    """A copy of a functional model in which `Rescaling` takes the place of each batch normalisation.

    Other kinds of models, and those with nested models or layers of other origin, are returned as they are.
    """
    if not isinstance(model, keras.src.models.Functional) or not all(map(_can_be_cloned, model.operations)):
        return model
    replaced = keras.models.clone_model(model, clone_function=_replacement, call_function=_call)
    for layer in model.layers:
        if layer.weights and not _is_folded(layer):
            clone = replaced.get_layer(layer.name)
            clone.set_weights(layer.get_weights())
            if isinstance(clone, keras.layers.Normalization):
                clone.finalize_state()
    return replaced


def _can_be_cloned(operation: Any) -> bool:  # noqa: ANN401
    """Whether it is a layer of Keras's own, and no model."""
    is_layer = isinstance(operation, keras.layers.Layer) and not isinstance(operation, keras.Model)
    return is_layer and type(operation).__module__.startswith("keras.")


def _replacement(layer: Any) -> Any:  # noqa: ANN401
    if not _is_folded(layer):
        return layer.__class__.from_config(layer.get_config())
    mean, variance = (np.asarray(value, np.float64) for value in (layer.moving_mean, layer.moving_variance))
    scale = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * np.asarray(layer.gamma, np.float64)
    offset = -mean * scale
    if layer.center:
        offset = offset + np.asarray(layer.beta, np.float64)
    return keras.layers.Rescaling(
        scale.astype(np.float32), offset.astype(np.float32), dtype=layer.dtype_policy, name=layer.name
    )


def _call(layer: Any, *inputs: Any, **options: Any) -> Any:  # noqa: ANN401
    """`mask` and `training`, which a batch normalisation takes, are not arguments of `Rescaling`."""
    return layer(*inputs) if isinstance(layer, keras.layers.Rescaling) else layer(*inputs, **options)


def _is_folded(layer: Any) -> bool:  # noqa: ANN401
    """Whether it is a batch normalisation of the last axis, for which `Rescaling` can stand."""
    if not isinstance(layer, keras.layers.BatchNormalization):
        return False
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    return axes in ([-1], [len(layer.input.shape) - 1])
