"""Compares two models' answers for the same image. There is no true label, so only agreement is seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from serving.model.predictor import Prediction, Probabilities

# How far probabilities may be outside 0 to 1, and their sum from 1: above rounding, far below logits.
TOLERANCE = 1e-3


class Answer(NamedTuple):
    """One model's prediction for an image, `None` if it failed, with its labels and how long it took."""

    prediction: Prediction | None
    labels: Sequence[str]
    seconds: float


@dataclass(frozen=True)
class AnswerPair:
    """The answers of the active and the candidate model for one image.

    `active_class` is the position of the active model's label; `candidate_label` is `None` if the candidate
    failed. `difference` is how much the two probabilities of the active model's label differ, 0 to 1.
    `slower` says whether the candidate took longer than allowed. Of a failed candidate there is neither a
    difference nor a time: both are 0.
    """

    active_class: int
    active_label: str
    candidate_label: str | None
    difference: float
    slower: bool
    active_seconds: float
    candidate_seconds: float

    @property
    def failed(self) -> bool:
        return self.candidate_label is None

    @property
    def agreed(self) -> bool:
        """Whether both have the same best class, by its name. A failed candidate does not agree."""
        return self.candidate_label == self.active_label


def compare_answers(active: Answer, candidate: Answer, max_slowdown: float) -> AnswerPair | None:
    """Compares two answers, whose labels may differ in order and content.

    The best class is the first one among equals, as in the response. The candidate fails if it has no
    prediction or one that is no probability distribution over its labels. `None` if that is so for the active
    model: then there is nothing to compare with. The candidate is slower if it took more than `max_slowdown`
    times as long.
    """
    expected, found = active.prediction, candidate.prediction
    if expected is None or not is_distribution(expected.probabilities, len(active.labels)):
        return None
    number = int(expected.probabilities.argmax())
    label = active.labels[number]
    if found is None or not is_distribution(found.probabilities, len(candidate.labels)):
        return AnswerPair(number, label, None, 0.0, False, 0.0, 0.0)
    best = candidate.labels[int(found.probabilities.argmax())]
    probability = _probability_of(label, number, candidate.labels, found.probabilities)
    difference = abs(float(expected.probabilities[number]) - probability)
    slower = candidate.seconds > max_slowdown * active.seconds
    return AnswerPair(number, label, best, difference, slower, active.seconds, candidate.seconds)


def is_distribution(probabilities: Probabilities, classes: int) -> bool:
    """Whether these are `classes` numbers from 0 to 1 that add up to 1, within the tolerance."""
    if probabilities.shape != (classes,) or not classes:
        return False
    low, high = float(probabilities.min()), float(probabilities.max())
    # Every comparison with NaN is false.
    in_range = low >= -TOLERANCE and high <= 1 + TOLERANCE
    return in_range and abs(float(probabilities.sum(dtype=np.float64)) - 1) <= TOLERANCE


def _probability_of(label: str, number: int, labels: Sequence[str], probabilities: Probabilities) -> float:
    """The probability of a label, which is looked up at `number` first; 0 if the model does not have it."""
    if not (number < len(labels) and labels[number] == label):
        if label not in labels:
            return 0.0
        number = labels.index(label)
    return float(probabilities[number])
