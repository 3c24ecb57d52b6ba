"""Training a network on folders of images, in a bounded amount of memory."""

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
from pipeline.network.reproducible import RoundedAdam
from pipeline.params import Augment, Finetune, Scratch, Training
from serving.model.decoder import Pixels, Preprocessing, decode

# Of the commonest class, in images of the rarest one, from which on the classes are called unbalanced.
UNBALANCED = 2
# Of losses and accuracies in the training curves.
DIGITS = 6


@dataclass(frozen=True)
class Images:
    """Decoded images, uint8 [N,S,S,3] in a file that is mapped into memory, and their class numbers [N]."""

    pixels: Pixels
    classes: npt.NDArray[np.int64]


def load(split: Path, labels: list[str], preprocessing: Preprocessing, file: Path) -> Images:
    """Decodes `split/<label>/<image>` with the server's decoder into `file`."""
    number = {label: index for index, label in enumerate(labels)}
    paths = sorted(path for path in split.rglob("*") if path.is_file())
    shape = (len(paths), preprocessing.size, preprocessing.size, 3)
    # An empty file cannot be mapped.
    pixels = (
        np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
        if paths
        else np.empty(shape, np.uint8)
    )
    if paths and hasattr(os, "posix_fallocate"):
        # A full disk is said now; found out while writing to mapped memory, it would kill the process.
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    for index, path in enumerate(tqdm(paths, desc=f"decode {split.name}", unit="image", disable=None)):
        pixels[index] = decode(path.read_bytes(), preprocessing)
    classes = [number[path.relative_to(split).parts[0]] for path in paths]
    return Images(pixels, np.array(classes, dtype=np.int64))


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Shuffled and augmented batches; the same seed gives the same ones."""

    def __init__(self, images: Images, batch: int, augment: Augment, seed: int) -> None:
        super().__init__()
        self.images, self.batch, self.augment = images, batch, augment
        self.random = np.random.default_rng(seed)
        self.order = self.random.permutation(len(images.classes))

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch)

    def __getitem__(self, index: int) -> tuple[Pixels, npt.NDArray[np.int64]]:
        chosen = np.sort(self.order[index * self.batch : (index + 1) * self.batch])
        return self._augmented(self.images.pixels[chosen]), self.images.classes[chosen]

    def on_epoch_end(self) -> None:
        self.order = self.random.permutation(len(self.order))

    def _augmented(self, pixels: Pixels) -> Pixels:
        size = pixels.shape[1]
        reach = round(self.augment.shift * size)
        # Black outside. Continuing the edges (measured on digits: 97.0 % instead of 99.1 %) draws strokes on.
        padded = np.pad(pixels, ((0, 0), (reach, reach), (reach, reach), (0, 0)), constant_values=0)
        changed = np.empty_like(pixels)
        for index, picture in enumerate(padded):
            top, left = self.random.integers(0, 2 * reach + 1, size=2)
            window = picture[top : top + size, left : left + size]
            mirrored = self.augment.flip and self.random.random() < 0.5
            changed[index] = window[:, ::-1] if mirrored else window
        return changed


def class_weights(images: Images, settings: Scratch | Finetune) -> dict[int, float] | None:
    """What an image of each class counts, 1 on average over the images; `None`: all count alike.

    Source: King and Zeng, "Logistic Regression in Rare Events Data", 2001.
    """
    if settings.class_weights == "none":
        return None
    numbers, counts = np.unique(images.classes, return_counts=True)
    weights = len(images.classes) / (len(numbers) * counts)
    return {int(number): float(weight) for number, weight in zip(numbers, weights, strict=True)}


def balance(images: Images, labels: list[str], settings: Scratch | Finetune) -> str:
    """Says how unbalanced the classes are, and what is done about it; "" if they are not."""
    numbers, counts = np.unique(images.classes, return_counts=True)
    if len(counts) == 0 or counts.max() < UNBALANCED * counts.min():
        return ""
    weights = class_weights(images, settings) or {}
    ends = [
        f"{counts[place]} of {labels[numbers[place]]!r}"
        + (f" (weight {weights[int(numbers[place])]:.2f})" if weights else "")
        for place in (counts.argmax(), counts.argmin())
    ]
    done = "are weighted" if weights else "count alike, rare classes hardly; `balanced` weights them"
    return f"unbalanced: {' to '.join(ends)}; images {done} (build.class_weights: {settings.class_weights})"


def fit(network: Any, settings: Scratch | Finetune, train: Images, valid: Images, curves: Path) -> None:  # noqa: ANN401
    """Trains `network` in place and writes its curves, one TSV file each, to `curves/{train,eval}/`."""
    with Live(str(curves), save_dvc_exp=False, dvcyaml=None) as live:
        if isinstance(settings, Scratch):
            _rounds(network, settings, settings.training, train, valid, live)
            return
        # A frozen layer's BatchNorm keeps the statistics of ImageNet, which a small folder could only spoil.
        head, backbone = network.layers[-1], network.layers[:-1]
        for layer in backbone:
            layer.trainable = False
        _rounds(network, settings, settings.head, train, valid, live)
        for layer in backbone[-settings.layers :]:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        head.trainable = True
        _rounds(network, settings, settings.top, train, valid, live)


def _rounds(
    network: Any,  # noqa: ANN401
    settings: Scratch | Finetune,
    training: Training,
    train: Images,
    valid: Images,
    live: Live,
) -> None:
    batches = Batches(train, settings.batch, settings.augment, settings.seed)
    rate = keras.optimizers.schedules.CosineDecay(training.learning_rate, len(batches) * training.epochs)
    # A second model around the same layers: the first one stays without an optimizer, and is what is saved.
    trained = keras.Model(network.input, network.output)
    trained.compile(
        RoundedAdam(rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    trained.fit(
        batches,
        epochs=training.epochs,
        validation_data=(valid.pixels, valid.classes) if len(valid.classes) else None,
        shuffle=False,
        verbose=2,
        callbacks=[_Curves(live=live)],
        class_weight=class_weights(train, settings),
    )


class _Curves(DVCLiveCallback):  # type: ignore[misc]
    """DVCLive's own, but a second round of training goes on where the first one ended, and values are rounded.

    Losses are sums of all images, which differ in their last digits between CPUs.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes the curves."""
        super().on_epoch_end(epoch, {name: round(float(value), DIGITS) for name, value in (logs or {}).items()})

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Leaves the end to the `with` of `fit`."""
