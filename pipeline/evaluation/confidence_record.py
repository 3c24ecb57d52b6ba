"""What the confidence of a bundle says of each test image, and how true it is."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.evaluation import metrics
from serving.artifact.confidence import Confidence
from serving.model.predictor import Probabilities
from serving.model.reliability import members

# Samples of the images from which the interval of a calibration error is taken (bootstrap), and their seed.
RESAMPLINGS, SEED = 500, 1
DIGITS = 5


@dataclass(frozen=True)
class ConfidenceRecord:
    """One entry for each of N images.

    `uncalibrated` is the probability of the best class at a temperature of 1. `sizes` [N,L] is the number of
    classes in each of L label sets, and `covered` [N,L] whether the actual class is one of them. `energies`
    is NaN where there is none.
    """

    confidence: Confidence
    uncalibrated: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.int64]
    covered: npt.NDArray[np.bool_]
    energies: npt.NDArray[np.float64]

    @classmethod
    def empty(cls, confidence: Confidence | None, images: int) -> Self | None:
        """A record to be filled for so many images."""
        if confidence is None:
            return None
        shape = (images, len(confidence.label_sets))
        return cls(
            confidence,
            np.full(images, np.nan),
            np.zeros(shape, np.int64),
            np.zeros(shape, np.bool_),
            np.full(images, np.nan),
        )

    def add(self, row: int, probabilities: Probabilities, energy: float | None, actual: int | None) -> None:
        """Stores the outputs [K] for one image; `actual` is None if the model does not have its class."""
        temperature = self.confidence.temperature
        powers = probabilities.astype(np.float64) ** (temperature.value if temperature else 1.0)
        self.uncalibrated[row] = powers.max() / powers.sum()
        for column, label_set in enumerate(self.confidence.label_sets):
            if label_set.quantile is not None:
                (inside,) = members(probabilities[np.newaxis].astype(np.float64), label_set)
                self.sizes[row, column] = inside.sum()
                self.covered[row, column] = actual is not None and inside[actual]
        if energy is not None:
            self.energies[row] = energy

    def to_metrics(self, confidence: Probabilities, correct: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """The part `confidence` of metrics.json, from the predictions' confidence [N] and truth [N]."""
        temperature, energy = self.confidence.temperature, self.confidence.energy
        found: dict[str, Any] = {
            "temperature": None if temperature is None else temperature.value,
            "images": self.confidence.reference.images if self.confidence.reference else 0,
            "calibration_error": _calibration_error(confidence, correct),
            "uncalibrated_error": _calibration_error(self.uncalibrated.astype(np.float32), correct),
            "label_sets": [
                {
                    "level": label_set.level,
                    "coverage": round(float(self.covered[:, column].mean()), DIGITS),
                    "coverage_interval": _rounded(
                        metrics.wilson_interval(int(self.covered[:, column].sum()), len(correct))
                    ),
                    "mean_size": round(float(self.sizes[:, column].mean()), DIGITS),
                }
                for column, label_set in enumerate(self.confidence.label_sets)
                if label_set.quantile is not None
            ],
        }
        if energy is not None:
            share = float((self.energies < energy.threshold).mean())
            found["unfamiliar_share"] = round(share, DIGITS)
        return found


def _calibration_error(confidence: Probabilities, correct: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """The expected calibration error with its 95 % interval, from resampled images."""
    random, total = np.random.default_rng(SEED), len(correct)
    resampled = []
    for _ in range(RESAMPLINGS):
        chosen = random.integers(0, total, total)
        resampled.append(_expected_error(confidence[chosen], correct[chosen]))
    interval = np.quantile(resampled, (0.025, 0.975))
    value = round(_expected_error(confidence, correct), DIGITS)
    return {"value": value, "interval": _rounded((float(interval[0]), float(interval[1])))}


def _expected_error(confidence: Probabilities, correct: npt.NDArray[np.bool_]) -> float:
    return metrics.expected_calibration_error(metrics.calibration_bins(confidence, correct))


def _rounded(interval: tuple[float, float]) -> list[float]:
    return [round(bound, DIGITS) for bound in interval]
