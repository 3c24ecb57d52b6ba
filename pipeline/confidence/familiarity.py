"""Energy: tells images that are unlike those that the model has learned.

The energy of an image is the logarithm of the sum of the exponentials of its logits; it is low where no
class has a high one. The features in front of the last layer are clipped for it: single high ones are
typical of foreign images. Sources: Liu et al., "Energy-based Out-of-distribution Detection", 2020, with the
other sign; Sun, Guo and Li, "ReAct: Out-of-distribution Detection With Rectified Activations", 2021.
"""

import math

import numpy as np

from pipeline.evaluation.metrics import Floats
from serving.artifact.confidence import Energy

# Share of familiar images that are taken for unfamiliar ones, and the fewest images that can show it.
SHARE, MIN_IMAGES = 0.05, 20
# Rounded down, so that rounding makes no further image unfamiliar.
DIGITS = 3
# Share of the features that are not clipped, as in the paper. AUROC of ImageNet's MobileNetV2 against
# textures, noise and digits: 0.83 without clipping, 0.90 at 80 %, 0.99 at 90 and 95 %; of the digits 0.956 to
# 0.959.
UNCLIPPED = 0.9
# The last digits of a float32 graph's features depend on the CPU, and the limit is part of the digest.
SIGNIFICANT_DIGITS = 3


def fit_clip(features: Floats) -> float | None:
    """The limit that `UNCLIPPED` of the features [N,F] do not exceed; `None` if N is small or it is below 0.

    A limit of 0 or less would leave nothing of features that are never negative.
    """
    if len(features) < MIN_IMAGES:
        return None
    limit = float(f"{np.quantile(features, UNCLIPPED):.{SIGNIFICANT_DIGITS}g}")
    return limit if limit > 0 else None


def fit_energy(energies: Floats, clip: float | None) -> Energy | None:
    """The threshold below which `SHARE` of the energies [N] of familiar images lie; `None` if N is small."""
    if len(energies) < MIN_IMAGES:
        return None
    threshold = math.floor(float(np.quantile(energies, SHARE)) * 10**DIGITS) / 10**DIGITS
    share = round(float((energies < threshold).mean()), DIGITS)
    return Energy(threshold, share, clip, len(energies))
