"""Builds the Keras model: trained from random weights, fine-tuned, or with published weights.

Reads `data/prepared/<model>` and, unless it trains from random weights, Keras's ImageNet weights.
Writes `models/<model>/build/`: `model.keras` (uint8 in, probabilities out, canonical bytes), `labels.json`,
`preprocessing.json`, `training/` (learning curves) and `weights.json` (the published weights, if any).
"""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline import params
from pipeline.command_line import run_stage
from pipeline.environment import Environment
from pipeline.errors import InputMissing, TrainingDiverged
from pipeline.files import read_json, replace_folder, write
from pipeline.layout import Layout
from pipeline.network import architectures, imagenet, keras_archive, training
from pipeline.network.backend import keras
from pipeline.network.reproducible import fits_float32, float64, rounded_weights
from serving.artifact.bundle import Label
from serving.artifact.files import to_json
from serving.model.decoder import Preprocessing


def main(model: str) -> None:
    """Runs the stage."""
    layout, settings = Layout(model), params.load().for_model(model).build
    if not layout.data_report.exists():
        raise InputMissing(layout.data_report, model)
    preprocessing = Preprocessing(settings.size, settings.crop)
    with replace_folder(layout.built) as built:
        # DVC expects this folder of plots; it stays empty if nothing is trained.
        (built / "training").mkdir()
        environment = Environment.read()
        if not isinstance(settings, params.Scratch):
            weights = imagenet.fetch_weights(settings.alpha, environment)
            write(built / layout.weights.name, to_json(asdict(weights)))
        if isinstance(settings, params.Pretrained):
            labels = imagenet.fetch_labels(environment)
            network = architectures.build_pretrained(settings)
        else:
            labels = [Label(name, name) for name in _class_names(layout.data_report)]
            network = train(settings, layout.prepared, labels, preprocessing, built / "training")
        write(built / "model.keras", keras_archive.to_bytes(network))
        write(built / "labels.json", to_json([asdict(label) for label in labels]))
        write(built / "preprocessing.json", to_json(asdict(preprocessing)))
    print(f"build {model}: {network.count_params():,} parameters, {len(labels)} classes")


def train(
    settings: params.Scratch | params.Finetune,
    prepared: Path,
    labels: list[Label],
    preprocessing: Preprocessing,
    curves: Path,
) -> Any:  # noqa: ANN401
    """Builds a network and trains it on the images of `prepared`; writes the learning curves to `curves`."""
    keras.utils.set_random_seed(settings.seed)
    with float64():
        trained = _architecture(settings, len(labels))
    trained.set_weights(rounded_weights(trained))
    names = [label.id for label in labels]
    with TemporaryDirectory(prefix="goldfish-") as folder:
        datasets = {
            split: training.load_dataset(
                prepared / split, names, preprocessing, Path(folder) / f"{split}.npy"
            )
            for split in ("train", "valid")
        }
        if note := training.describe_imbalance(datasets["train"], names, settings):
            print(f"build {prepared.name}: {note}")
        log = Path(folder) / "live"
        training.fit(trained, settings, datasets["train"], datasets["valid"], log)
        if not fits_float32(trained):
            raise TrainingDiverged(prepared.name)
        for curve in sorted((log / "plots/metrics").rglob("*.tsv")):
            write(curves / curve.relative_to(log / "plots/metrics"), curve.read_bytes())
    # The network that is saved, exported and served computes in float32.
    keras.utils.clear_session()
    network = _architecture(settings, len(labels))
    network.set_weights(rounded_weights(trained))
    return network


def _architecture(settings: params.Scratch | params.Finetune, classes: int) -> Any:  # noqa: ANN401
    if isinstance(settings, params.Scratch):
        return architectures.build_scratch(settings, classes)
    return architectures.build_finetune(settings, classes)


def _class_names(data_report: Path) -> list[str]:
    return sorted(read_json(data_report)["classes"])


if __name__ == "__main__":
    run_stage(main)
