"""Batch normalisations are replaced before the export, so that its weights do not depend on the CPU."""

from typing import Any

import numpy as np
import pytest

from pipeline.network.backend import keras
from pipeline.onnx.folded_normalisation import fold_normalisation


def network(**options: Any) -> Any:  # noqa: ANN401
    keras.utils.set_random_seed(1)
    image = keras.Input((4, 4, 3))
    normalised = keras.layers.BatchNormalization(name="normalised", **options)(image)
    pooled = keras.layers.GlobalAveragePooling2D()(normalised)
    model = keras.Model(image, keras.layers.Dense(2, name="head")(pooled))
    random = np.random.default_rng(1)
    layer = model.get_layer("normalised")
    layer.set_weights([random.uniform(0.5, 2, weight.shape) for weight in layer.get_weights()])
    return model


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}, {"axis": 3}])
def test_the_replacement_gives_the_same(options: dict[str, Any]) -> None:
    model = network(**options)
    folded = fold_normalisation(model)
    assert not [layer for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    values = np.random.default_rng(2).normal(size=(5, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(folded(values), model(values, training=False), rtol=1e-5, atol=1e-6)


def test_factors_are_computed_in_float64() -> None:
    model = network()
    gamma, _, _, variance = (w.astype(np.float64) for w in model.get_layer("normalised").get_weights())
    exact = (1 / np.sqrt(variance + 1e-3) * gamma).astype(np.float32)
    np.testing.assert_array_equal(fold_normalisation(model).get_layer("normalised").scale, exact)


def test_other_axes_and_other_models_stay() -> None:
    folded = fold_normalisation(network(axis=1))
    assert isinstance(folded.get_layer("normalised"), keras.layers.BatchNormalization)
    sequential = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization()])
    assert fold_normalisation(sequential) is sequential
