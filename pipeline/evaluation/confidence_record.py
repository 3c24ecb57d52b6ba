"""What the confidence of a bundle says of each test image, and how true it is."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.confidence.label_sets import conforming_images
from pipeline.evaluation import metrics
from pipeline.evaluation.abstention import abstention_rows
from pipeline.evaluation.foreign_energies import ForeignEnergies, familiar_metrics
from pipeline.evaluation.metrics import DIGITS
from serving.artifact.confidence import Confidence, LabelSet
from serving.model.predictor import Probabilities
from serving.reliability import members

# Samples of the images from which the interval of a calibration error is taken (bootstrap), and their seed.
RESAMPLINGS, SEED = 500, 1


@dataclass(frozen=True)
class ConfidenceRecord:
    """One entry for each of N images.

    `uncalibrated` is the probability of the best class at a temperature of 1. `sizes` [N,L] is the number of
    classes in each of L label sets, `covered` [N,L] whether the actual class is one of them, and `conforming`
    [N,L] whether it is above the threshold by itself. `energies` is NaN where there is none.
    """

    confidence: Confidence
    uncalibrated: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.int64]
    covered: npt.NDArray[np.bool_]
    conforming: npt.NDArray[np.bool_]
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
                least = 1 - label_set.quantile
                self.conforming[row, column] = actual is not None and float(probabilities[actual]) >= least
        if energy is not None:
            self.energies[row] = energy

    def to_metrics(
        self, confidence: Probabilities, correct: npt.NDArray[np.bool_], foreign: ForeignEnergies | None
    ) -> dict[str, Any]:
        """The part `confidence` of metrics.json, from the predictions' confidence [N] and truth [N].

        `familiar` is missing if the bundle has no energy.
        """
        temperature, energy = self.confidence.temperature, self.confidence.energy
        found: dict[str, Any] = {
            "temperature": None if temperature is None else temperature.value,
            "images": self.confidence.reference.images if self.confidence.reference else 0,
            "calibration_error": calibration_error(confidence, correct),
            "uncalibrated_error": calibration_error(self.uncalibrated.astype(np.float32), correct),
            "label_sets": self._label_set_rows(),
            "abstention": abstention_rows(confidence, correct),
        }
        if not np.isnan(self.energies).any():
            threshold = None if energy is None else energy.threshold
            found["familiar"] = familiar_metrics(self.energies, threshold, foreign)
        return found

    def _label_set_rows(self) -> list[dict[str, Any]]:
        """Coverage, its interval, and mean size of each label set that exists.

        `above_threshold` is the share of images whose right class is in the set by its own probability and
        not only because it is the best; it is in `band` for 95 of 100 samples of the validation images' kind.
        """
        images = len(self.covered)
        return [
            {
                "level": label_set.level,
                "coverage": round(float(self.covered[:, column].mean()), DIGITS),
                "coverage_interval": metrics.round_interval(
                    metrics.wilson_interval(int(self.covered[:, column].sum()), images)
                ),
                "above_threshold": round(float(self.conforming[:, column].mean()), DIGITS),
                "band": metrics.round_interval(_band(label_set, images)),
                "mean_size": round(float(self.sizes[:, column].mean()), DIGITS),
            }
            for column, label_set in enumerate(self.confidence.label_sets)
            if label_set.quantile is not None
        ]


def _band(label_set: LabelSet, images: int) -> tuple[float, float]:
    distribution = conforming_images(label_set.level, label_set.images, images)
    low, high = distribution.ppf((0.025, 0.975)) / images
    return float(low), float(high)


def calibration_error(confidence: Probabilities, correct: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """The expected calibration error, its 95 % interval, and the error of a perfectly calibrated model.

    Few images in a bin differ from its confidence by chance, which adds to the error, and again to that of
    resampled images. So the interval is the spread of the resampled errors around their own mean, moved to
    the measured value (bootstrap). `if_calibrated` is the mean error for labels that are drawn with the
    model's confidences as probabilities: what is left by chance. Source: Bröcker and Smith, "Increasing the
    Reliability of Reliability Diagrams", 2007.
    """
    random, total = np.random.default_rng(SEED), len(correct)
    resampled, calibrated = [], []
    for _ in range(RESAMPLINGS):
        chosen = random.integers(0, total, total)
        resampled.append(_expected_error(confidence[chosen], correct[chosen]))
        calibrated.append(_expected_error(confidence, random.random(total) < confidence))
    value = _expected_error(confidence, correct)
    bounds = value + np.quantile(resampled, (0.025, 0.975)) - np.mean(resampled)
    low, high = np.clip(bounds, 0.0, 1.0)
    return {
        "value": round(value, DIGITS),
        "interval": metrics.round_interval((float(low), float(high))),
        "if_calibrated": round(float(np.mean(calibrated)), DIGITS),
    }


def _expected_error(confidence: Probabilities, correct: npt.NDArray[np.bool_]) -> float:
    return metrics.expected_calibration_error(metrics.calibration_bins(confidence, correct))
