"""Makes the Keras model: trained here, fine-tuned, or with published weights.

Reads `data/prepared/<model>` and, unless it trains from nothing, Keras's ImageNet weights.
Writes `models/<model>/build/`: `model.keras` (uint8 in, probabilities out, canonical bytes), `labels.json`,
`preprocessing.json`, `training/`, the curves, and `weights.json`, which published weights it began with.
"""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline import params
from pipeline.command_line import stage
from pipeline.errors import InputMissing, TrainingDiverged
from pipeline.files import read_json, replacing, write
from pipeline.layout import Layout
from pipeline.network import architectures, imagenet, keras_archive, training
from pipeline.network.backend import keras
from pipeline.network.reproducible import float64, rounded_weights
from serving.artifact.bundle import Label, to_json
from serving.model.decoder import Preprocessing


def main(model: str) -> None:
    """Runs the stage."""
    layout, settings = Layout(model), params.load().of(model).build
    if not layout.data_report.exists():
        raise InputMissing(layout.data_report, model)
    preprocessing = Preprocessing(settings.size, settings.crop)
    with replacing(layout.built) as built:
        # The plots of a stage that trains nothing are an empty folder.
        (built / "training").mkdir()
        environment = params.Environment.read()
        if not isinstance(settings, params.Scratch):
            weights = imagenet.weights(settings.alpha, environment)
            write(built / layout.weights.name, to_json(asdict(weights)))
        if isinstance(settings, params.Pretrained):
            labels = imagenet.labels(environment)
            made = architectures.pretrained(settings)
        else:
            labels = [Label(name, name) for name in _classes(layout.data_report)]
            made = train(settings, layout.prepared, labels, preprocessing, built / "training")
        write(built / "model.keras", keras_archive.to_bytes(made))
        write(built / "labels.json", to_json([asdict(label) for label in labels]))
        write(built / "preprocessing.json", to_json(asdict(preprocessing)))
    print(f"build {model}: {made.count_params():,} parameters, {len(labels)} classes")


def train(
    settings: params.Scratch | params.Finetune,
    prepared: Path,
    labels: list[Label],
    preprocessing: Preprocessing,
    curves: Path,
) -> Any:  # noqa: ANN401
    """Makes and trains a network on the images of `prepared`; its curves go to `curves`."""
    keras.utils.set_random_seed(settings.seed)
    make = architectures.scratch if isinstance(settings, params.Scratch) else architectures.finetune
    with float64():
        trained = make(settings, len(labels))
    trained.set_weights(rounded_weights(trained))
    names = [label.id for label in labels]
    with TemporaryDirectory(prefix="goldfish-") as folder:
        images = {
            split: training.load(prepared / split, names, preprocessing, Path(folder) / f"{split}.npy")
            for split in ("train", "valid")
        }
        if note := training.balance(images["train"], names, settings):
            print(f"build {prepared.name}: {note}")
        log = Path(folder) / "live"
        training.fit(trained, settings, images["train"], images["valid"], log)
        if not all(np.isfinite(weights).all() for weights in trained.get_weights()):
            raise TrainingDiverged(prepared.name)
        for curve in sorted((log / "plots/metrics").rglob("*.tsv")):
            write(curves / curve.relative_to(log / "plots/metrics"), curve.read_bytes())
    # The same network in float32, which is what is saved, exported and served.
    made = make(settings, len(labels))
    made.set_weights(rounded_weights(trained))
    return made


def _classes(data_report: Path) -> list[str]:
    return sorted(read_json(data_report)["classes"])


if __name__ == "__main__":
    stage(main)
