"""How good answers are: pure functions of winners and confidences [N], and actual class numbers [N]."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

# 97.5 % quantile of the normal distribution, for intervals of 95 %.
Z = 1.959964
# As in Guo et al. 2017.
BINS = 15
# Permutations of the answers; enough for levels of 0.001 and more, and the same seed gives the same ones.
PERMUTATIONS, SEED = 999, 1


def rank(probabilities: npt.NDArray[np.float32], actual: int) -> int:
    """The place of the actual class in an answer [K], 0 for the winner; equals in order of the classes."""
    own = probabilities[actual]
    # Counted from below: an answer that is no number is less than nothing, and must not come first.
    behind = (probabilities < own).sum() + (probabilities[actual:] == own).sum()
    return int(len(probabilities) - behind)


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, 0 to 1. Source: Wilson 1927; it holds for few images and near 1 too."""
    if total == 0:
        return 0.0, 1.0
    share, spread = hits / total, Z**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class PerClass:
    """Precision, recall, F1 (0 where they have no denominator) and number of images, each [K]."""

    precision: Array
    recall: Array
    f1: Array
    support: Classes

    @property
    def macro(self) -> tuple[float, float, float]:
        """Means of precision, recall and F1 over the classes that have images."""
        there = self.support > 0
        return tuple(float(values[there].mean()) for values in (self.precision, self.recall, self.f1))  # type: ignore[return-value]


def per_class(predicted: Classes, actual: Classes, classes: int) -> PerClass:
    """Counts each class's hits, false alarms and misses."""
    hits = np.bincount(actual[predicted == actual], minlength=classes)
    named, support = np.bincount(predicted, minlength=classes), np.bincount(actual, minlength=classes)
    return PerClass(
        _share(hits, named),
        _share(hits, support),
        _share(2 * hits, named + support),
        support.astype(np.int64),
    )


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> Array:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def majority(actual: Classes) -> tuple[int, float]:
    """The commonest class, among equals the first, and its share: what always answering it gets right."""
    counts = np.bincount(actual)
    return int(counts.argmax()), float(counts.max() / len(actual))


def chance_probability(predicted: Classes, actual: Classes) -> float:
    """How probable so many hits or more are if the answers had nothing to do with the images.

    A permutation test: the same answers in random orders. 1 for a model that always answers the same. Source:
    Ojala and Garriga, "Permutation Tests for Studying Classifier Performance", 2010.
    """
    random, hits = np.random.default_rng(SEED), int((predicted == actual).sum())
    found = sum(int((random.permutation(predicted) == actual).sum()) >= hits for _ in range(PERMUTATIONS))
    return found / PERMUTATIONS


@dataclass(frozen=True)
class Bin:
    """Answers of similar confidence: how many, how sure on average, how many of them right (0 to 1)."""

    images: int
    confidence: float
    accuracy: float


def reliability(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> list[Bin]:
    """Sorts answers into 15 equal ranges of confidence; empty ones are left out."""
    numbers = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        Bin(int(chosen.sum()), float(confidence[chosen].mean(dtype=np.float64)), float(right[chosen].mean()))
        for chosen in (numbers == number for number in range(BINS))
        if chosen.any()
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Expected calibration error, 0 to 1: the mean gap between confidence and accuracy.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """
    total = sum(entry.images for entry in bins)
    return sum(entry.images / total * abs(entry.confidence - entry.accuracy) for entry in bins)


def confusions(predicted: Classes, actual: Classes) -> list[tuple[int, int, int]]:
    """Wrong answers as (actual, predicted, how often), most frequent first."""
    wrong = predicted != actual
    pairs, counts = np.unique(np.stack([actual[wrong], predicted[wrong]]), axis=1, return_counts=True)
    found = [(int(a), int(p), int(n)) for (a, p), n in zip(pairs.T, counts, strict=True)]
    return sorted(found, key=lambda entry: (-entry[2], entry[0], entry[1]))


def paired_interval(lost: int, gained: int, total: int) -> tuple[float, float]:
    """The 95 % interval of (lost - gained) / total, the share that a second model loses on the same images.

    `lost` images only the first model had right, `gained` only the second one. It is the adjusted Wald
    interval, which adds one image to each of the two: it holds for few images too, and is not empty when
    nothing was lost. Source: Bonett and Price 2012.
    """
    down, up = (lost + 1) / (total + 2), (gained + 1) / (total + 2)
    centre = down - up
    half = Z * math.sqrt((down + up - centre**2) / (total + 2))
    return max(-1.0, centre - half), min(1.0, centre + half)


def loss_probability(lost: int, gained: int) -> float:
    """How probable so many losses or more are if neither model is better: McNemar's exact test, one-sided.

    `lost` images only the old model had right, `gained` only the new one.
    """
    total = lost + gained
    ways: int = sum(math.comb(total, count) for count in range(lost, total + 1))
    return float(ways / 2**total)
