"""Energy: tells images that are unlike those that the model has learned.

The energy of an image is the logarithm of the sum of the exponentials of its logits; it is low where no
class has a high one. Source: Liu et al., "Energy-based Out-of-distribution Detection", 2020, with the other
sign.
"""

import math

import numpy as np

from pipeline.evaluation.metrics import Floats
from serving.artifact.confidence import Energy

# Share of familiar images that are taken for unfamiliar ones, and the fewest images that can show it.
SHARE, MIN_IMAGES = 0.05, 20
# Rounded down, so that rounding makes no further image unfamiliar.
DIGITS = 3


def fit_energy(energies: Floats) -> Energy | None:
    """The threshold below which `SHARE` of the energies [N] of familiar images lie; `None` if N is small."""
    if len(energies) < MIN_IMAGES:
        return None
    threshold = math.floor(float(np.quantile(energies, SHARE)) * 10**DIGITS) / 10**DIGITS
    share = round(float((energies < threshold).mean()), DIGITS)
    return Energy(threshold, share, len(energies))
