"""Class weights are off by default; with them a rare class is learned, and imbalance is reported."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.network import training
from pipeline.network.backend import keras
from pipeline.network.reproducible import float64
from pipeline.network.training import Dataset
from pipeline.params import Scratch
from tests.pipeline.onnx.test_export_is_reproducible import SETTINGS

BALANCED = SETTINGS.model_copy(update={"class_weights": "balanced"})
SIDE = 4


def images(*counts: int) -> Dataset:
    """A dataset with these numbers of images per class; brightness grows with the class, with overlap."""
    random = np.random.default_rng(3)
    classes = np.repeat(np.arange(len(counts)), counts)
    light = random.normal(100 + 50 * classes, 30).clip(0, 255).astype(np.uint8)
    return Dataset(np.tile(light[:, None, None, None], (1, SIDE, SIDE, 3)), classes)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((200, 10), {0: 0.525, 1: 10.5}), ((5, 5, 5), {0: 1.0, 1: 1.0, 2: 1.0}), ((3, 1), {0: 2 / 3, 1: 2.0})],
)
def test_all_classes_count_alike(counts: tuple[int, ...], expected: dict[int, float]) -> None:
    weights = training.class_weights(images(*counts), BALANCED)
    assert weights == pytest.approx(expected)
    assert training.class_weights(images(*counts), SETTINGS) is None


@pytest.mark.parametrize(
    ("counts", "settings", "words"),
    [
        ((200, 10), BALANCED, ["200 of 'cat' (weight 0.53) to 10 of 'dog' (weight 10.50)", "balanced"]),
        ((10, 200), SETTINGS, ["200 of 'dog' to 10 of 'cat'", "count alike", "class_weights: none"]),
        ((20, 10), SETTINGS, ["20 of 'cat' to 10 of 'dog'"]),
        ((19, 10), BALANCED, []),
        ((0,), BALANCED, []),
    ],
)
def test_unbalanced_classes_are_said(counts: tuple[int, ...], settings: Scratch, words: list[str]) -> None:
    line = training.describe_imbalance(images(*counts), ["cat", "dog"], settings)
    assert bool(line) is bool(words)
    for word in words:
        assert word in line


@pytest.mark.parametrize(("settings", "found"), [(SETTINGS, False), (BALANCED, True)])
def test_a_rare_class_is_learned_with_weights(settings: Scratch, found: bool, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    with float64():
        image = keras.Input((SIDE, SIDE, 3), dtype="uint8")
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
        outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(scaled))
        network = keras.Model(image, outputs)
    fast = settings.training.model_copy(update={"epochs": 8, "learning_rate": 0.03})
    dataset = images(200, 10)
    settings = settings.model_copy(update={"training": fast, "batch": 32})
    training.fit(network, settings, dataset, Dataset(dataset.pixels[:0], dataset.classes[:0]), tmp_path)
    winners = network.predict_on_batch(dataset.pixels).argmax(axis=1)
    recall = (winners[dataset.classes == 1] == 1).mean()
    assert bool(recall > 0.6) is found
