"""Measures the confidence of a served graph on validation images, which neither train nor test."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.special import softmax
from tqdm import tqdm

from pipeline.confidence.familiarity import fit_clip, fit_energy
from pipeline.confidence.label_sets import fit_label_sets
from pipeline.confidence.reference import measure_reference
from pipeline.confidence.temperature import fit_temperature
from pipeline.evaluation.metrics import ClassNumbers, Floats
from pipeline.onnx.calibrated_graph import calibrate, has_energy, measured_outputs, with_logits
from pipeline.onnx.probability_check import check_probabilities
from serving.artifact.bundle import Label
from serving.artifact.confidence import Confidence
from serving.artifact.manifest import ENERGY, PROBABILITIES
from serving.cpu_count import available_cores
from serving.drift.brightness import brightness
from serving.model.cpu_features import int8_may_saturate
from serving.model.decoder import DecodedImage, Preprocessing, decode_image
from serving.model.predictor import create_session

Found = TypeVar("Found")


class MeasuredGraph(NamedTuple):
    """The graph with its temperature and its energy, and what was measured of it."""

    graph: bytes
    confidence: Confidence


@dataclass(frozen=True)
class ValidationImages:
    """The images in `folder/<class id>/`, which are decoded and predicted one by one, as a server does."""

    folder: Path
    labels: tuple[Label, ...]
    preprocessing: Preprocessing

    @property
    def paths(self) -> list[Path]:
        """The files, in their order."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    @property
    def actual(self) -> ClassNumbers:
        """The actual class of each image, [N]."""
        numbers = {label.id: number for number, label in enumerate(self.labels)}
        folders = [path.relative_to(self.folder).parts[0] for path in self.paths]
        return np.array([numbers[name] for name in folders], np.int64)

    def map(self, function: Callable[[DecodedImage], Found]) -> list[Found]:
        """The results of a function for all images."""

        def decode_and_call(path: Path) -> Found:
            return function(decode_image(path.read_bytes(), self.preprocessing))

        with ThreadPoolExecutor(max(1, round(available_cores()))) as pool:
            bar = tqdm(self.paths, desc="confidence", unit="image", disable=None)
            return list(pool.map(decode_and_call, bar))


def measure_confidence(graph: bytes, images: ValidationImages) -> MeasuredGraph | None:
    """Fits temperature, label sets, energy and reference of a graph; `None` without validation images.

    The energy is measured with the graph that is served, after temperature and clip were put into it.
    Raises `NotProbabilities`.
    """
    if not images.paths:
        return None
    predict = _predictor(with_logits(graph), [PROBABILITIES, *measured_outputs(graph)])

    def measure(image: DecodedImage) -> list[Floats]:
        return [*predict(image), np.array(brightness(image.pixels)), np.array(image.size)]

    found = images.map(measure)
    # Before anything is fitted: a temperature would make a softmax of whatever the graph gives.
    for path, (probabilities, *_) in zip(images.paths, found, strict=True):
        check_probabilities(probabilities, path)
    _, logits, *features, brightnesses, sizes = (np.stack(values) for values in zip(*found, strict=True))
    temperature = fit_temperature(logits, images.actual)
    scale = temperature.value if temperature else 1.0
    clip = fit_clip(features[0]) if features else None
    served = calibrate(graph, scale, clip)
    energies = None
    if has_energy(served):
        energy = _predictor(served, [ENERGY])
        energies = np.concatenate([values for (values,) in images.map(energy)])
    calibrated = softmax(logits / scale, axis=1)
    confidence = Confidence(
        temperature,
        fit_label_sets(calibrated, images.actual),
        None if energies is None else fit_energy(energies, clip),
        measure_reference(calibrated, energies, brightnesses, sizes),
    )
    return MeasuredGraph(served, confidence)


def _predictor(graph: bytes, outputs: Sequence[str]) -> Callable[[DecodedImage], list[Floats]]:
    """A function that gives these outputs of a graph for one image, each as float64."""
    session = create_session(graph, threads=1, avoid_saturation=int8_may_saturate())

    def predict(image: DecodedImage) -> list[Floats]:
        found = session.run(list(outputs), {"image": image.pixels[np.newaxis]})
        # An energy has one dimension, which is kept; of the others that of the batch is dropped.
        return [np.asarray(values[0] if values.ndim > 1 else values, np.float64) for values in found]

    return predict
