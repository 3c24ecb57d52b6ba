"""Classification metrics: pure functions of predicted and actual class numbers and confidences, each [N]."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ClassNumbers = npt.NDArray[np.int64]

# 97.5 % quantile of the normal distribution, for intervals of 95 %.
Z_95 = 1.959964
# Decimal places of shares in metrics.json.
DIGITS = 5
# As in Guo et al. 2017.
CALIBRATION_BINS = 15
# Permutations of the predictions: enough for significance levels down to 0.001. A fixed seed makes the
# result reproducible.
PERMUTATIONS, SEED = 999, 1


def rank_of_class(probabilities: npt.NDArray[np.float32], actual: int) -> int:
    """The rank of the actual class among the probabilities [K]; 0 is the best. Ties: lower class first."""
    own = probabilities[actual]
    # Counts the classes behind: comparisons with NaN are false, so a NaN must not count as rank 0.
    behind = (probabilities < own).sum() + (probabilities[actual:] == own).sum()
    return int(len(probabilities) - behind)


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, 0 to 1; also valid for few images and near 1. Source: Wilson 1927."""
    if total == 0:
        return 0.0, 1.0
    share, spread = hits / total, Z_95**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def round_interval(interval: tuple[float, float]) -> list[float]:
    """An interval as metrics.json has it."""
    return [round(bound, DIGITS) for bound in interval]


@dataclass(frozen=True)
class ClassMetrics:
    """Precision, recall, F1 (0 if the denominator is 0) and number of images per class, each [K]."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: ClassNumbers

    @property
    def macro(self) -> tuple[float, float, float]:
        """Means of precision, recall and F1 over the classes that have images."""
        present = self.support > 0
        return tuple(float(values[present].mean()) for values in (self.precision, self.recall, self.f1))  # type: ignore[return-value]


def class_metrics(predicted: ClassNumbers, actual: ClassNumbers, classes: int) -> ClassMetrics:
    """Computes the metrics of each class from true positives, predictions and images."""
    hits = np.bincount(actual[predicted == actual], minlength=classes)
    predictions, support = np.bincount(predicted, minlength=classes), np.bincount(actual, minlength=classes)
    return ClassMetrics(
        _divide(hits, predictions),
        _divide(hits, support),
        _divide(2 * hits, predictions + support),
        support.astype(np.int64),
    )


def _divide(numerator: npt.NDArray[np.int64], denominator: npt.NDArray[np.int64]) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def majority_class(actual: ClassNumbers) -> tuple[int, float]:
    """The commonest class (the first one among equals) and its share: the top-1 of always predicting it."""
    counts = np.bincount(actual)
    return int(counts.argmax()), float(counts.max() / len(actual))


def permutation_p_value(predicted: ClassNumbers, actual: ClassNumbers) -> float:
    """The probability of at least as many hits if predictions were independent of the images.

    A permutation test: the same predictions in random order. 1 for a model that always predicts one class.
    Source: Ojala and Garriga, "Permutation Tests for Studying Classifier Performance", 2010.
    """
    random, hits = np.random.default_rng(SEED), int((predicted == actual).sum())
    as_good = sum(int((random.permutation(predicted) == actual).sum()) >= hits for _ in range(PERMUTATIONS))
    return as_good / PERMUTATIONS


@dataclass(frozen=True)
class CalibrationBin:
    """Predictions of similar confidence: their number, mean confidence and accuracy (0 to 1)."""

    images: int
    confidence: float
    accuracy: float


def calibration_bins(
    confidence: npt.NDArray[np.float32], correct: npt.NDArray[np.bool_]
) -> list[CalibrationBin]:
    """Sorts predictions into 15 equal ranges of confidence; empty ones are left out."""
    numbers = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    members = [chosen for number in range(CALIBRATION_BINS) if (chosen := numbers == number).any()]
    return [
        CalibrationBin(
            int(chosen.sum()),
            float(confidence[chosen].mean(dtype=np.float64)),
            float(correct[chosen].mean()),
        )
        for chosen in members
    ]


def expected_calibration_error(bins: list[CalibrationBin]) -> float:
    """Expected calibration error, 0 to 1: the mean gap between confidence and accuracy.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """
    total = sum(entry.images for entry in bins)
    return sum(entry.images / total * abs(entry.confidence - entry.accuracy) for entry in bins)


def confusion_counts(predicted: ClassNumbers, actual: ClassNumbers) -> list[tuple[int, int, int]]:
    """Wrong predictions as (actual, predicted, count), most frequent first."""
    wrong = predicted != actual
    pairs, counts = np.unique(np.stack([actual[wrong], predicted[wrong]]), axis=1, return_counts=True)
    found = [(int(a), int(p), int(n)) for (a, p), n in zip(pairs.T, counts, strict=True)]
    return sorted(found, key=lambda entry: (-entry[2], entry[0], entry[1]))


def paired_difference_interval(lost: int, gained: int, total: int) -> tuple[float, float]:
    """The 95 % interval of (lost - gained) / total, the top-1 that a second model loses on the same images.

    `lost` images only the first model predicted correctly, `gained` only the second one. It is the adjusted
    Wald interval, which adds one image to each of the two: it is valid for few images too, and has a width
    even if nothing was lost. Source: Bonett and Price 2012.
    """
    down, up = (lost + 1) / (total + 2), (gained + 1) / (total + 2)
    centre = down - up
    half = Z_95 * math.sqrt((down + up - centre**2) / (total + 2))
    return max(-1.0, centre - half), min(1.0, centre + half)


def one_sided_mcnemar_p_value(lost: int, gained: int) -> float:
    """The probability of at least as many losses if neither model is better: McNemar's exact one-sided test.

    `lost` images only the old model predicted correctly, `gained` only the new one.
    """
    total = lost + gained
    ways: int = sum(math.comb(total, count) for count in range(lost, total + 1))
    return float(ways / 2**total)
