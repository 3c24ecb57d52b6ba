"""Temperature scaling: a number that logits are divided by, so that 90 % of answers with 90 % are right.

The best class stays the best one. Source: Guo et al., "On Calibration of Modern Neural Networks", 2017.
"""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import chi2

from pipeline.evaluation.metrics import ClassNumbers, Floats
from serving.artifact.confidence import Temperature

# Below this number of images one of them moves the temperature by more than it corrects.
MIN_IMAGES = 50
# Level of the likelihood-ratio test against a temperature of 1.
SIGNIFICANCE = 0.05
LOWEST, HIGHEST = 0.05, 20.0
# The last digits of a float32 graph's logits depend on the CPU, and the temperature is part of the digest.
SIGNIFICANT_DIGITS = 3


def fit_temperature(logits: Floats, actual: ClassNumbers) -> Temperature | None:
    """The temperature with the highest likelihood of the actual classes [N], for logits [N,K].

    1 if another one is not significantly better. `None` if there are too few images to tell.
    """
    images = len(actual)
    if images < MIN_IMAGES:
        return None
    if (logits.argmax(axis=1) == actual).all():
        # Without an error among them the likelihood grows with every confidence, up to 100 %.
        return Temperature(1.0, images)
    found = minimize_scalar(
        lambda exponent: negative_log_likelihood(logits, actual, math.exp(exponent)),
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    gain = 2 * (negative_log_likelihood(logits, actual, 1.0) - float(found.fun))
    significant = chi2.sf(gain, df=1) < SIGNIFICANCE
    return Temperature(_rounded(math.exp(found.x)) if significant else 1.0, images)


def negative_log_likelihood(logits: Floats, actual: ClassNumbers, temperature: float) -> float:
    """The sum over all images of the negative logarithm of the actual class's probability."""
    log_probabilities = log_softmax(logits / temperature, axis=1)
    return -float(log_probabilities[np.arange(len(actual)), actual].sum())


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
