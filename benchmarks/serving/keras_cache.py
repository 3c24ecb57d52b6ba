"""Keras's cache for the tutorial's app, made from a built model: `python -m benchmarks.serving.keras_cache`.

The app loads published weights and class names with `keras.applications`, which downloads them. The project
was built from the same files, which may be gone: `model.keras` and `labels.json` hold all that was in them.
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.commands import run_module
from benchmarks.serving.environments import CACHE
from benchmarks.serving.project import LAYOUT, Project
from serving.artifact.bundle import Label

# What `keras.applications.mobilenet_v2` loads from the folder `models` of its cache.
WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
CLASSES = "imagenet_class_index.json"


def tutorial_cache(project: Project) -> Path | None:
    """The folder for `KERAS_HOME`; it is made once for each built model, which takes some seconds.

    `None` if the project was built with other weights than those of the app, which then has to find its own.
    Raises `CommandFailed` if Keras cannot read the built model.
    """
    model, record = project.root / LAYOUT.keras_model, project.root / LAYOUT.weights
    if not model.exists() or not record.exists():
        return None
    if json.loads(record.read_text(encoding="utf-8"))["file"] != WEIGHTS:
        return None
    cache = CACHE / "keras" / hashlib.sha256(model.read_bytes()).hexdigest()[:12]
    # Its last file.
    if not (cache / "models" / CLASSES).exists():
        print("the weights of the tutorial's app ...", flush=True)
        folder = cache / "models"
        folder.mkdir(parents=True, exist_ok=True)
        run_module("benchmarks.serving.keras_cache", model, folder / WEIGHTS, folder=folder)
        labels = json.loads((project.root / LAYOUT.built / "labels.json").read_text(encoding="utf-8"))
        part = folder / f"{CLASSES}.part"
        part.write_bytes(class_index([Label(**label) for label in labels]))
        part.replace(folder / CLASSES)
    return cache


def class_index(labels: Sequence[Label]) -> bytes:
    """The published file of class names, byte for byte: Keras verifies its hash.

    The build appends their ids to names that several classes have; they are removed again.
    """
    names = [[label.id, label.name.removesuffix(f" ({label.id})")] for label in labels]
    return json.dumps({str(number): pair for number, pair in enumerate(names)}).encode()


def write_weights(model: Path, target: Path) -> None:
    """Writes the weights of a built MobileNetV2 as `keras.applications` loads them."""
    # Here, because TensorFlow takes seconds to load.
    from pipeline.network.backend import keras

    network = keras.applications.MobileNetV2(weights=None)
    # The built network scales pixels in a layer without weights; all others are the same.
    network.set_weights(keras.saving.load_model(model, compile=False).get_weights())
    # Keras selects the format by the ending.
    part = target.with_name(f"part-{os.getpid()}.h5")
    network.save(part)
    part.replace(target)


if __name__ == "__main__":
    write_weights(Path(sys.argv[1]), Path(sys.argv[2]))
