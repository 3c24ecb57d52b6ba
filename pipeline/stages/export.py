"""Makes the bundle: one folder that is the DVC output, the MLflow model and what is served.

Reads `models/<model>/build/`, test images for the golden answers, and others to calibrate 8 bits with.
Writes `models/<model>/bundle/`, see `serving/artifact/manifest.py`; the same inputs give the same bytes.
"""

import shutil
from pathlib import Path

import numpy as np

from pipeline import params
from pipeline.command_line import run_stage
from pipeline.errors import InputMissing
from pipeline.files import read_json, replace_folder, sha256_of, write
from pipeline.layout import Layout
from pipeline.network.backend import keras
from pipeline.onnx import calibration_images, keras_to_onnx, probability_check
from pipeline.onnx.quantisation import quantised
from pipeline.registry.mlflow_model import write_flavours
from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json
from serving.artifact.manifest import (
    FLOAT_GRAPH,
    GOLDEN,
    GRAPH,
    LABELS,
    MANIFEST,
    PREPROCESSING,
    Manifest,
    ManifestFile,
)
from serving.model.decoder import Preprocessing
from serving.model.formats import detection
from serving.model.predictor import Predictor, Probabilities

# Golden answers are rounded to three digits; one that lies nearer than this to where rounding changes
# could be rounded otherwise on another CPU, whose float32 sums differ by some 1e-6.
DIGITS, MARGIN = 3, 2e-5
# What a server may differ by: rounding (0.0005), and another CPU's float32 sums. An 8-bit graph differs by
# no more; on a CPU that cuts off sums it would by up to 0.7, which is noticed.
TOLERANCE = 0.005
# Golden images travel with every copy of the model; among so many of them the best are looked for.
GOLDEN_BYTES, CANDIDATES = 200_000, 64
# Bytes that tell a file's format.
HEAD = 1024


def main(model: str) -> None:
    """Runs the stage."""
    layout, settings = Layout(model), params.load().for_model(model).export
    if not layout.built.is_dir():
        raise InputMissing(layout.built, model)
    with replace_folder(layout.bundle) as bundle:
        network = keras.saving.load_model(layout.built / "model.keras", compile=False)
        _copy(layout.built / "model.keras", bundle / "data/model.keras")
        write(bundle / "data/keras_module.txt", b"keras")
        _copy(layout.built / "labels.json", bundle / LABELS)
        _copy(layout.built / "preprocessing.json", bundle / PREPROCESSING)
        write_graphs(bundle, keras_to_onnx.to_bytes(network), layout.prepared, settings)
        write_flavours(bundle)
        size, classes = network.input_shape[1], network.output_shape[1]
        # The predictor opens whole bundles only, so there is a manifest before the golden answers and after.
        write_manifest(bundle, model, size, classes)
        write_golden(
            bundle, sorted(path for path in layout.test.rglob("*") if path.is_file()), settings.golden
        )
        write_manifest(bundle, model, size, classes)
    opened = Bundle.open(layout.bundle)
    total = sum(file.size for file in opened.manifest.files.values())
    served = opened.manifest.files[GRAPH].size
    print(
        f"export {model}: digest {opened.digest}, {total / 1e6:.1f} MB, of which the served "
        f"{opened.manifest.precision} graph {served / 1e6:.1f} MB"
    )


def write_graphs(bundle: Path, graph: bytes, prepared: Path, settings: params.Export) -> None:
    """Writes the graph that is served; if that is an 8-bit one, also the float32 one that it is made from."""
    if settings.precision == "float32":
        write(bundle / GRAPH, graph)
        return
    preprocessing = Preprocessing(**read_json(bundle / PREPROCESSING))
    images = calibration_images.load(prepared, settings.calibration, preprocessing)
    write(bundle / FLOAT_GRAPH, graph)
    write(bundle / GRAPH, quantised(graph, images))


def write_manifest(bundle: Path, name: str, size: int, classes: int) -> None:
    """Names every file of the bundle with its role, SHA-256 and size."""
    paths = {
        path.relative_to(bundle).as_posix(): path for path in sorted(bundle.rglob("*")) if path.is_file()
    }
    files = {
        name: ManifestFile(_role(name), sha256_of(path), path.stat().st_size)
        for name, path in paths.items()
        if name != MANIFEST
    }
    write(bundle / MANIFEST, Manifest(name, files, (size, size, 3), classes).to_bytes())


def write_golden(bundle: Path, images: list[Path], wanted: int) -> None:
    """Records the answers to `wanted` images, or as many as there are, of different classes if possible."""
    predictor = Predictor.open(bundle)
    answers = [(path, predictor.classify(path.read_bytes())) for path in golden_candidates(images)]
    for path, answer in answers:
        probability_check.check(answer, path)
    # Those whose rounded answer is the same on every CPU come first; all others are still within tolerance.
    answers.sort(key=lambda pair: not rounds_safely(pair[1]))
    entries = []
    for number, (path, answer) in enumerate(answers[:wanted]):
        file = f"{number}{path.suffix.lower()}"
        _copy(path, (bundle / GOLDEN).with_name(file))
        entries.append({"file": file, "probabilities": [round(float(value), DIGITS) for value in answer]})
    write(bundle / GOLDEN, to_json({"tolerance": TOLERANCE, "images": entries}))


def golden_candidates(images: list[Path]) -> list[Path]:
    """Small images in an order that their content decides: first one of each class, then others."""
    # A server without the package for HEIC could not check itself with one.
    images = [path for path in images if not is_heic(path)] or images
    small = [path for path in images if path.stat().st_size <= GOLDEN_BYTES]
    # Where all come from a camera, the smallest must do.
    small = small or sorted(images, key=lambda path: path.stat().st_size)[:CANDIDATES]
    ordered = sorted(small, key=sha256_of)
    first_of_class = {path.parent: path for path in reversed(ordered)}.values()
    return sorted(ordered, key=lambda path: path not in first_of_class)[:CANDIDATES]


def is_heic(path: Path) -> bool:
    """Is it one by its contents, whatever it is called?"""
    with path.open("rb") as file:
        return detection.detect(file.read(HEAD)) == "HEIC"


def rounds_safely(answer: Probabilities) -> bool:
    """Does no probability lie where another CPU's sums could round it otherwise?"""
    scaled = answer.astype(np.float64) * 10**DIGITS
    to_edge = np.abs(scaled - np.floor(scaled) - 0.5) / 10**DIGITS
    return bool((to_edge > MARGIN).all())


def _role(name: str) -> str:
    roles = {"data": "keras", "serving": "serving", "code": "code"}
    return roles.get(name.split("/")[0], "mlflow")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    run_stage(main)
