"""Trains a network on folders of images with bounded memory."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dvclive import Live
from dvclive.keras import DVCLiveCallback
from tqdm import tqdm

from pipeline.network.backend import keras
from pipeline.network.reproducible import RoundedAdam, cosine_decay, float64
from pipeline.params import Augment, Finetune, Scratch, Training
from serving.model.decoder import Pixels, Preprocessing, decode

# Ratio of the largest to the smallest class from which the classes are reported as unbalanced.
IMBALANCE_RATIO = 2
# Decimals of losses and accuracies in the training curves; further ones differ between CPUs.
CURVE_DECIMALS = 6


@dataclass(frozen=True)
class Dataset:
    """Decoded images, uint8 [N,H,W,C] in a memory-mapped file, and their class numbers [N]."""

    pixels: Pixels
    classes: npt.NDArray[np.int64]


def load_dataset(split: Path, labels: list[str], preprocessing: Preprocessing, file: Path) -> Dataset:
    """Decodes `split/<label>/<image>` with the server's decoder into `file`."""
    number = {label: index for index, label in enumerate(labels)}
    paths = sorted(path for path in split.rglob("*") if path.is_file())
    shape = (len(paths), *preprocessing.shape)
    # An empty file cannot be mapped.
    pixels = (
        np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
        if paths
        else np.empty(shape, np.uint8)
    )
    if paths and hasattr(os, "posix_fallocate"):
        # Detects a full disk now; while writing to mapped memory it would kill the process (SIGBUS).
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    for index, path in enumerate(tqdm(paths, desc=f"decode {split.name}", unit="image", disable=None)):
        pixels[index] = decode(path.read_bytes(), preprocessing)
    classes = [number[path.relative_to(split).parts[0]] for path in paths]
    return Dataset(pixels, np.array(classes, dtype=np.int64))


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Shuffled and augmented batches, determined by the seed."""

    def __init__(self, dataset: Dataset, batch: int, augment: Augment, seed: int) -> None:
        super().__init__()
        self.dataset, self.batch, self.augment = dataset, batch, augment
        self.random = np.random.default_rng(seed)
        self.order = self.random.permutation(len(dataset.classes))

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch)

    def __getitem__(self, index: int) -> tuple[Pixels, npt.NDArray[np.int64]]:
        chosen = np.sort(self.order[index * self.batch : (index + 1) * self.batch])
        return self._apply_augmentation(self.dataset.pixels[chosen]), self.dataset.classes[chosen]

    def on_epoch_end(self) -> None:
        self.order = self.random.permutation(len(self.order))

    def _apply_augmentation(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[1:3]
        max_shift = round(self.augment.shift * min(height, width))
        # Padded with black: extending the edge pixels lengthens strokes (digits: 97.0 % instead of 99.1 %).
        padded = np.pad(
            pixels, ((0, 0), (max_shift, max_shift), (max_shift, max_shift), (0, 0)), constant_values=0
        )
        changed = np.empty_like(pixels)
        for index, image in enumerate(padded):
            top, left = self.random.integers(0, 2 * max_shift + 1, size=2)
            window = image[top : top + height, left : left + width]
            mirrored = self.augment.flip and self.random.random() < 0.5
            changed[index] = window[:, ::-1] if mirrored else window
        return changed


def class_weights(dataset: Dataset, settings: Scratch | Finetune) -> dict[int, float] | None:
    """The weight of each class's images, 1 on average over all images; `None` without weighting.

    Source: King and Zeng, "Logistic Regression in Rare Events Data", 2001.
    """
    if settings.class_weights == "none":
        return None
    numbers, counts = np.unique(dataset.classes, return_counts=True)
    weights = len(dataset.classes) / (len(numbers) * counts)
    return {int(number): float(weight) for number, weight in zip(numbers, weights, strict=True)}


def describe_imbalance(dataset: Dataset, labels: list[str], settings: Scratch | Finetune) -> str:
    """One line on the imbalance of the classes and whether they are weighted; empty if balanced."""
    numbers, counts = np.unique(dataset.classes, return_counts=True)
    if len(counts) == 0 or counts.max() < IMBALANCE_RATIO * counts.min():
        return ""
    weights = class_weights(dataset, settings) or {}
    extremes = [
        f"{counts[index]} of {labels[numbers[index]]!r}"
        + (f" (weight {weights[int(numbers[index])]:.2f})" if weights else "")
        for index in (counts.argmax(), counts.argmin())
    ]
    treatment = "are weighted" if weights else "count alike, rare classes hardly; `balanced` weights them"
    ratio, setting = " to ".join(extremes), settings.class_weights
    return f"unbalanced: {ratio}; images {treatment} (build.class_weights: {setting})"


def fit(
    network: Any,  # noqa: ANN401
    settings: Scratch | Finetune,
    train: Dataset,
    valid: Dataset,
    curves: Path,
) -> None:
    """Trains a float64 `network` in place and writes the learning curves to `curves/{train,eval}/*.tsv`."""
    # Losses and learning rates in float32 would differ between CPUs in digits that the optimizer sees.
    with Live(str(curves), save_dvc_exp=False, dvcyaml=None) as live, float64():
        if isinstance(settings, Scratch):
            _train_phase(network, settings, settings.training, train, valid, live)
            return
        # Frozen BatchNorm layers keep the statistics of ImageNet; a small data set gives worse ones.
        head, backbone = network.layers[-1], network.layers[:-1]
        for layer in backbone:
            layer.trainable = False
        _train_phase(network, settings, settings.head, train, valid, live)
        for layer in backbone[-settings.layers :]:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        head.trainable = True
        _train_phase(network, settings, settings.top, train, valid, live)


def _train_phase(
    network: Any,  # noqa: ANN401
    settings: Scratch | Finetune,
    training: Training,
    train: Dataset,
    valid: Dataset,
    live: Live,
) -> None:
    batches = Batches(train, settings.batch, settings.augment, settings.seed)
    rate = cosine_decay(training.learning_rate, len(batches) * training.epochs)
    # Compiles a second model around the same layers; the first, which is saved, stays without an optimizer.
    trained = keras.Model(network.input, network.output)
    trained.compile(
        RoundedAdam(rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    # Before `fit`, which would trace the training step a second time for variables of optimizer and metrics.
    trained.optimizer.build(trained.trainable_variables)
    predictions = np.zeros((1, trained.output_shape[-1]))
    trained.compute_metrics(None, np.zeros(1, np.int64), predictions)
    trained.fit(
        batches,
        epochs=training.epochs,
        validation_data=(valid.pixels, valid.classes) if len(valid.classes) else None,
        shuffle=False,
        verbose=2,
        callbacks=[_PhaseCallback(live=live)],
        class_weight=class_weights(train, settings),
    )


class _PhaseCallback(DVCLiveCallback):  # type: ignore[misc]
    """DVCLive's callback, except that a second phase continues the curves, and values are rounded."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes one point of each curve."""
        rounded = {name: round(float(value), CURVE_DECIMALS) for name, value in (logs or {}).items()}
        super().on_epoch_end(epoch, rounded)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Does nothing: the `with` block in `fit` ends the recording."""
