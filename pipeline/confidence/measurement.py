"""Measures the confidence of a served graph on validation images, which neither train nor test."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.special import logsumexp, softmax
from tqdm import tqdm

from pipeline.confidence.familiarity import fit_energy
from pipeline.confidence.label_sets import fit_label_sets
from pipeline.confidence.reference import measure_reference
from pipeline.confidence.temperature import fit_temperature
from pipeline.evaluation.metrics import ClassNumbers, Floats
from pipeline.onnx.calibrated_graph import LOGITS, has_softmax, with_logits
from serving.artifact.bundle import Label
from serving.artifact.confidence import Confidence
from serving.cpu_count import available_cores
from serving.drift.brightness import brightness
from serving.model.cpu_features import int8_may_saturate
from serving.model.decoder import Preprocessing, decode_image
from serving.model.predictor import create_session


@dataclass(frozen=True)
class Outputs:
    """What a graph says of N images: logits [N,K], and actual classes [N].

    `brightness` [N] is from 0 to 1, and `sizes` [N] the square root of a file's number of pixels.
    """

    logits: Floats
    brightness: Floats
    sizes: Floats
    actual: ClassNumbers

    @classmethod
    def of_folder(
        cls, graph: bytes, folder: Path, labels: tuple[Label, ...], preprocessing: Preprocessing
    ) -> Self | None:
        """Predicts the images of `folder/<class id>/` one by one, as a server does; `None` without any."""
        session = create_session(with_logits(graph), threads=1, avoid_saturation=int8_may_saturate())
        numbers = {label.id: number for number, label in enumerate(labels)}
        paths = sorted(path for path in folder.rglob("*") if path.is_file())

        def predict(path: Path) -> tuple[Floats, float, float]:
            image = decode_image(path.read_bytes(), preprocessing)
            (logits,) = session.run([LOGITS], {"image": image.pixels[np.newaxis]})[0]
            return logits.astype(np.float64), brightness(image.pixels), image.size

        if not paths:
            return None
        with ThreadPoolExecutor(max(1, round(available_cores()))) as pool:
            bar = tqdm(paths, desc="confidence", unit="image", disable=None)
            logits, brightnesses, sizes = zip(*pool.map(predict, bar), strict=True)
        actual = [numbers[path.relative_to(folder).parts[0]] for path in paths]
        return cls(np.stack(logits), np.array(brightnesses), np.array(sizes), np.array(actual, np.int64))


def measure_confidence(graph: bytes, outputs: Outputs) -> Confidence:
    """Temperature, label sets, energy and reference of a graph, from its outputs for validation images."""
    temperature = fit_temperature(outputs.logits, outputs.actual)
    probabilities = softmax(outputs.logits / (temperature.value if temperature else 1.0), axis=1)
    energies = np.asarray(logsumexp(outputs.logits, axis=1)) if has_softmax(graph) else None
    return Confidence(
        temperature,
        fit_label_sets(probabilities, outputs.actual),
        None if energies is None else fit_energy(energies),
        measure_reference(probabilities, energies, outputs.brightness, outputs.sizes),
    )
