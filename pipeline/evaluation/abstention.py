"""What a server would answer, and how truly, if it abstained from answers below a probability."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.metrics import DIGITS, round_interval, wilson_interval
from serving.model.predictor import Probabilities

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def abstention_rows(confidence: Probabilities, correct: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The part `confidence.abstention` of metrics.json, from the probability of the best class [N].

    For each threshold the share of the images that are still answered, and the accuracy of these answers,
    None if there are none.
    """
    # The server compares in float64: a float32 of 0.7 is below 0.7.
    exact = confidence.astype(np.float64)
    return [_row(threshold, correct[exact >= threshold], len(correct)) for threshold in THRESHOLDS]


def _row(threshold: float, answered: npt.NDArray[np.bool_], images: int) -> dict[str, Any]:
    hits, total = int(answered.sum()), len(answered)
    return {
        "threshold": threshold,
        "answered": round(total / images, DIGITS),
        "answered_interval": round_interval(wilson_interval(total, images)),
        "accuracy": round(hits / total, DIGITS) if total else None,
        "accuracy_interval": round_interval(wilson_interval(hits, total)) if total else None,
    }
