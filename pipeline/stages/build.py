"""Builds the model: trained from random weights, fine-tuned, with published weights, or imported from a file.

Reads `data/prepared/<model>` and, unless it trains from random weights, Keras's ImageNet weights.
Writes `models/<model>/build/`: `model.keras` (uint8 in, probabilities out, canonical bytes), `labels.json`,
`preprocessing.json`, `training/` (learning curves) and `weights.json` (the published weights, if any).
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline import params
from pipeline.command_line import run_stage
from pipeline.environment import Environment
from pipeline.errors import InputMissing, TrainingDiverged
from pipeline.files import read_json, replace_folder, write
from pipeline.importing.declaration import Declaration
from pipeline.importing.imported_model import build_imported
from pipeline.layout import Layout
from pipeline.network import architectures, imagenet, keras_archive, training
from pipeline.network.backend import keras
from pipeline.network.reproducible import fits_float32, float64, rounded_weights
from pipeline.network.user_network import build_user_network
from serving.artifact.bundle import Label
from serving.artifact.files import to_json
from serving.model.decoder import Preprocessing


def main(model: str) -> None:
    """Runs the stage."""
    layout, settings = Layout(model), params.load().for_model(model).build
    if not layout.data_report.exists():
        raise InputMissing(layout.data_report, model)
    with replace_folder(layout.built) as built:
        # DVC expects this folder of plots; it stays empty if nothing is trained.
        (built / "training").mkdir()
        environment = Environment.read()
        if isinstance(settings, params.Import):
            preprocessing = Declaration.from_params(settings).preprocessing
            labels = build_imported(settings, layout, environment, built)
        else:
            preprocessing = Preprocessing.square(settings.size, settings.crop)
            labels = build_network(settings, layout, environment, preprocessing, built)
        write(built / "labels.json", to_json([asdict(label) for label in labels]))
        write(built / "preprocessing.json", to_json(preprocessing.to_json()))


def build_network(
    settings: params.Pretrained | params.Scratch | params.Finetune,
    layout: Layout,
    environment: Environment,
    preprocessing: Preprocessing,
    built: Path,
) -> list[Label]:
    """Writes `model.keras`, with published weights or trained, `weights.json` and `training/` to `built`."""
    if isinstance(settings, params.Pretrained):
        labels = imagenet.fetch_labels(environment)
        network = create_network(settings, layout, environment, len(labels), built)
    else:
        labels = [Label(name, name) for name in _class_names(layout.data_report)]
        create = partial(create_network, settings, layout, environment, len(labels), built)
        network = train(create, settings, layout.prepared, labels, preprocessing, built / "training")
    write(built / layout.keras_model.name, keras_archive.to_bytes(network))
    print(f"build {layout.model}: {network.count_params():,} parameters, {len(labels)} classes")
    return labels


def create_network(
    settings: params.Pretrained | params.Scratch | params.Finetune,
    layout: Layout,
    environment: Environment,
    classes: int,
    built: Path,
) -> Any:  # noqa: ANN401
    """The network before training. Writes `weights.json` to `built` if it starts from published weights."""
    if isinstance(settings, params.Scratch) and settings.network is not None:
        file, _, function = settings.network.partition(":")
        path = layout.user_files / file
        return build_user_network(path, function, settings.size, settings.dropout, classes)
    if isinstance(settings, params.Scratch):
        return architectures.build_scratch(settings, classes)
    weights = imagenet.fetch_weights(settings.architecture, settings.alpha, environment)
    write(built / layout.weights.name, to_json(weights.to_json()))
    if isinstance(settings, params.Pretrained):
        return architectures.build_pretrained(settings, weights.path)
    return architectures.build_finetune(settings, classes, weights.path)


def train(
    create: Callable[[], Any],
    settings: params.Scratch | params.Finetune,
    prepared: Path,
    labels: list[Label],
    preprocessing: Preprocessing,
    curves: Path,
) -> Any:  # noqa: ANN401
    """Trains the network that `create` makes on the images of `prepared`; writes its curves to `curves`.

    It is made twice: to be trained in float64, and to be saved, exported and served in float32.
    """
    keras.utils.set_random_seed(settings.seed)
    with float64():
        trained = create()
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
    keras.utils.clear_session()
    network = create()
    network.set_weights(rounded_weights(trained))
    return network


def _class_names(data_report: Path) -> list[str]:
    return sorted(read_json(data_report)["classes"])


if __name__ == "__main__":
    run_stage(main)
