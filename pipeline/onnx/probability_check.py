"""Checks that a model's output is a probability distribution, which logits and sigmoids are not."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import NotProbabilities

# Above the rounding error of a sum and far below the deviation of logits.
TOLERANCE = 1e-3


def check_probabilities(probabilities: npt.NDArray[np.floating], image: Path) -> None:
    """Raises `NotProbabilities` unless the values [K] lie between 0 and 1 and add up to 1."""
    low, high = float(probabilities.min()), float(probabilities.max())
    total = float(probabilities.sum(dtype="float64"))
    # Negated, because every comparison with NaN is false.
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE and abs(total - 1) <= TOLERANCE):
        raise NotProbabilities(image, low, high, total)
