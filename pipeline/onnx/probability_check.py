"""Is an answer a distribution over the classes? Logits and sigmoids are none, and look like answers."""

from pathlib import Path

from pipeline.errors import NotProbabilities
from serving.model.predictor import Probabilities

# What the rounding of a sum may differ by; logits differ by far more.
TOLERANCE = 1e-3


def check(answer: Probabilities, image: Path) -> None:
    """Raises `NotProbabilities` unless the values [K] are from 0 to 1 and add up to 1."""
    low, high, total = float(answer.min()), float(answer.max()), float(answer.sum(dtype="float64"))
    # Not `<` and `>`, which do not hold for an answer that is no number.
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE and abs(total - 1) <= TOLERANCE):
        raise NotProbabilities(image, low, high, total)
