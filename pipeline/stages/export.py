"""Writes the bundle: one folder that is the DVC output, the MLflow model and the served artifact.

Reads `models/<model>/build/`, test images for the golden predictions, and other images for 8-bit calibration.
Writes `models/<model>/bundle/`, see `serving/artifact/bundle.py`; the same inputs give the same bytes.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from pipeline import params
from pipeline.command_line import run_stage
from pipeline.confidence.measurement import ValidationImages, measure_confidence
from pipeline.errors import InputMissing
from pipeline.files import read_json, replace_folder, sha256_of, write
from pipeline.layout import Layout
from pipeline.network.backend import keras
from pipeline.onnx import keras_to_onnx
from pipeline.onnx.calibrated_graph import calibrate, has_energy
from pipeline.onnx.calibration_images import load_calibration_images
from pipeline.onnx.class_activation import ClassActivation, check_maps, find_class_activation
from pipeline.onnx.probability_check import check_probabilities
from pipeline.onnx.quantisation import quantise
from pipeline.registry.mlflow_model import write_flavours
from serving.artifact.bundle import Bundle, Label
from serving.artifact.confidence import Confidence
from serving.artifact.files import to_json
from serving.artifact.manifest import (
    CONFIDENCE,
    EXPLANATION,
    FLOAT_GRAPH,
    FORMAT,
    GOLDEN,
    GRAPH,
    HEAD,
    KERAS_MODEL,
    LABELS,
    MANIFEST,
    PREPROCESSING,
    Manifest,
    ManifestFile,
)
from serving.explanation.explainer import Explainer
from serving.model.decoder import Preprocessing, decode
from serving.model.formats import detection
from serving.model.predictor import Predictor, Probabilities

# Golden probabilities are rounded to this number of digits. A value within the margin of a rounding boundary
# could be rounded differently on another CPU, whose float32 sums differ by about 1e-6.
GOLDEN_DIGITS, ROUNDING_MARGIN = 3, 2e-5
# Allowed deviation on a server: rounding (0.0005) and another CPU's float32 sums. An 8-bit graph deviates no
# more, except on CPUs whose 8-bit sums saturate: there it would by up to 0.7, which this detects.
TOLERANCE = 0.005
# Largest difference between a logit and what its class activation map adds up to, as a share of the range of
# the logits. Rounding to 8 bits gives 0.2 %; a wrong layer gives more than the range.
MAX_MAP_DIFFERENCE = 0.05
# Golden images are part of every copy of the model, so they are small; number of candidates among them.
MAX_GOLDEN_BYTES, MAX_CANDIDATES = 200_000, 64
# Bytes at the start of a file that identify its format.
SIGNATURE_BYTES = 1024


def main(model: str) -> None:
    """Runs the stage."""
    layout, settings = Layout(model), params.load().for_model(model).export
    if not layout.built.is_dir():
        raise InputMissing(layout.built, model)
    with replace_folder(layout.bundle) as bundle:
        if layout.keras_model.exists():
            _copy(layout.keras_model, bundle / KERAS_MODEL)
            write(bundle / "data/keras_module.txt", b"keras")
        _copy(layout.built / "labels.json", bundle / LABELS)
        _copy(layout.built / "preprocessing.json", bundle / PREPROCESSING)
        write_graphs(bundle, float_graph(layout), layout.prepared, settings)
        activation = find_class_activation((bundle / GRAPH).read_bytes())
        confidence = write_confidence(bundle, layout.valid)
        explained = golden_candidates(golden_images(layout))[: settings.golden]
        method = write_explanation(bundle, activation, explained)
        write_flavours(bundle)
        # The predictor opens only complete bundles, so the manifest is written before the golden predictions
        # and again after them.
        write_manifest(bundle, model)
        write_golden(bundle, golden_images(layout), settings.golden)
        write_manifest(bundle, model)
        check_explanation(Predictor.open(bundle))
    opened = Bundle.open(layout.bundle)
    total = sum(file.size for file in opened.manifest.files.values())
    served = opened.manifest.files[GRAPH].size
    print(
        f"export {model}: digest {opened.digest}, {total / 1e6:.1f} MB, of which the served "
        f"{opened.manifest.precision} graph {served / 1e6:.1f} MB"
    )
    print(f"export {model}: {describe_confidence(confidence)}")
    print(f"export {model}: predictions are explained by {method}")


def float_graph(layout: Layout) -> bytes:
    """The float32 graph: of an imported model as `build` wrote it, else converted from the Keras model."""
    if layout.imported_graph.exists():
        return layout.imported_graph.read_bytes()
    return keras_to_onnx.to_bytes(keras.saving.load_model(layout.keras_model, compile=False))


def golden_images(layout: Layout) -> list[Path]:
    """The images to choose golden ones from: test images, else photos without labels, else generated ones."""
    for folder in (layout.test, layout.unlabelled, layout.generated_images):
        if found := sorted(path for path in folder.rglob("*") if path.is_file()):
            return found
    return []


def write_graphs(bundle: Path, graph: bytes, prepared: Path, settings: params.Export) -> None:
    """Writes the served graph and, if that is an 8-bit one, also its float32 original."""
    if settings.precision == "float32":
        write(bundle / GRAPH, graph)
        return
    images = load_calibration_images(prepared, settings.calibration, read_preprocessing(bundle))
    write(bundle / FLOAT_GRAPH, graph)
    write(bundle / GRAPH, quantise(graph, images))


def write_confidence(bundle: Path, valid: Path) -> Confidence | None:
    """Measures the confidence of the served graph on the validation images, writes it, and adjusts the graph.

    Returns `None`, and leaves the graph as it is, if there are no validation images.
    """
    images = ValidationImages(valid, read_labels(bundle), read_preprocessing(bundle))
    measured = measure_confidence((bundle / GRAPH).read_bytes(), images)
    if measured is None:
        return None
    write(bundle / CONFIDENCE, to_json(measured.confidence.to_json()))
    write(bundle / GRAPH, measured.graph)
    if (bundle / FLOAT_GRAPH).exists():
        # It is compared with Keras, which has no temperature; its outputs are those of the manifest.
        write(bundle / FLOAT_GRAPH, calibrate((bundle / FLOAT_GRAPH).read_bytes(), 1.0))
    return measured.confidence


def write_explanation(bundle: Path, found: ClassActivation | None, images: list[Path]) -> str:
    """Writes what class activation maps need, if the served graph allows them; returns the method's name.

    They are written only if the maps of these images have several places and add up to their logits.
    """
    if found is None:
        return "occlusion, for the network does not end in global average pooling and a dense layer"
    pixels = np.stack([decode(path.read_bytes(), read_preprocessing(bundle)) for path in images])
    places, difference = check_maps((bundle / GRAPH).read_bytes(), found, pixels)
    if places == 1:
        return "occlusion, for the network's last features have a single place"
    # `not <=` rather than `>`, because NaN must fail.
    if not difference <= MAX_MAP_DIFFERENCE:
        return f"occlusion, for the maps differ from the logits by {difference:.1%} of their range"
    write(bundle / EXPLANATION, found.addition)
    write(bundle / HEAD, found.head.to_bytes())
    return "class activation maps"


def check_explanation(predictor: Predictor) -> None:
    """Explains a golden image as a server does: a bundle whose map cannot be used is never written."""
    explainer = Explainer(predictor)
    if not explainer.has_map:
        return
    (golden, *_) = predictor.bundle.golden_images()
    pixels = decode(golden.data, predictor.preprocessing)
    explainer.explain(pixels, 0, float(golden.probabilities[0]))


def describe_confidence(confidence: Confidence | None) -> str:
    """One line on the temperature and the label sets."""
    if confidence is None or confidence.reference is None:
        return "confidence not measured, for there are no validation images"
    temperature, images = confidence.temperature, confidence.reference.images
    scale = "not fitted" if temperature is None else f"{temperature.value:g}"
    levels = [f"{entry.level:.0%}" for entry in confidence.label_sets if entry.quantile is not None]
    sets = f"label sets of {' and '.join(levels)}" if levels else "no label sets"
    return f"temperature {scale}, {sets}, by {images} validation images"


def read_labels(bundle: Path) -> tuple[Label, ...]:
    """The labels of a bundle that has no manifest yet."""
    entries: list[dict[str, str]] = json.loads((bundle / LABELS).read_bytes())
    return tuple(Label(**entry) for entry in entries)


def read_preprocessing(bundle: Path) -> Preprocessing:
    """The preprocessing of a bundle that has no manifest yet."""
    return Preprocessing.from_json(read_json(bundle / PREPROCESSING), FORMAT)


def write_manifest(bundle: Path, name: str) -> None:
    """Lists every file of the bundle with its role, SHA-256 and size."""
    paths = {
        path.relative_to(bundle).as_posix(): path for path in sorted(bundle.rglob("*")) if path.is_file()
    }
    files = {
        name: ManifestFile(_role(name), sha256_of(path), path.stat().st_size)
        for name, path in paths.items()
        if name != MANIFEST
    }
    shape, classes = read_preprocessing(bundle).shape, len(read_labels(bundle))
    energy = has_energy((bundle / GRAPH).read_bytes())
    write(bundle / MANIFEST, Manifest(name, files, shape, classes, energy=energy).to_bytes())


def write_golden(bundle: Path, images: list[Path], wanted: int) -> None:
    """Records the predictions for up to `wanted` images, of different classes if possible."""
    predictor = Predictor.open(bundle)
    predictions = [(path, predictor.classify(path.read_bytes())) for path in golden_candidates(images)]
    for path, probabilities in predictions:
        check_probabilities(probabilities, path)
    # Those that are rounded the same on every CPU come first; all others are still within the tolerance.
    predictions.sort(key=lambda prediction: not rounds_safely(prediction[1]))
    entries = []
    for number, (path, probabilities) in enumerate(predictions[:wanted]):
        file = f"{number}{path.suffix.lower()}"
        _copy(path, (bundle / GOLDEN).with_name(file))
        rounded = [round(float(value), GOLDEN_DIGITS) for value in probabilities]
        entries.append({"file": file, "probabilities": rounded})
    write(bundle / GOLDEN, to_json({"tolerance": TOLERANCE, "images": entries}))


def golden_candidates(images: list[Path]) -> list[Path]:
    """Small images ordered by SHA-256, first one of each class, then the others."""
    # A server without the HEIC package could not decode a HEIC image for its self-check.
    images = [path for path in images if not is_heic(path)] or images
    small = [path for path in images if path.stat().st_size <= MAX_GOLDEN_BYTES]
    # If all images are larger than the limit, the smallest are taken.
    small = small or sorted(images, key=lambda path: path.stat().st_size)[:MAX_CANDIDATES]
    ordered = sorted(small, key=sha256_of)
    first_of_class = {path.parent: path for path in reversed(ordered)}.values()
    return sorted(ordered, key=lambda path: path not in first_of_class)[:MAX_CANDIDATES]


def is_heic(path: Path) -> bool:
    """Is the file a HEIC image by its content?"""
    with path.open("rb") as file:
        return detection.detect(file.read(SIGNATURE_BYTES)) == "HEIC"


def rounds_safely(probabilities: Probabilities) -> bool:
    """Are all probabilities far enough from a rounding boundary to be rounded the same on every CPU?"""
    scaled = probabilities.astype(np.float64) * 10**GOLDEN_DIGITS
    distance = np.abs(scaled - np.floor(scaled) - 0.5) / 10**GOLDEN_DIGITS
    return bool((distance > ROUNDING_MARGIN).all())


def _role(name: str) -> str:
    roles = {"data": "keras", "serving": "serving", "code": "code"}
    return roles.get(name.split("/")[0], "mlflow")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    run_stage(main)
