"""How well one number tells two kinds of images apart: the area under the ROC curve, and its interval."""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import rankdata

from pipeline.evaluation.metrics import Z_95, Floats

TINY = 1e-9


def auroc(familiar: Floats, foreign: Floats) -> float:
    """The probability that a value of `familiar` [M] exceeds one of `foreign` [N]; a tie counts half.

    This is the area under the ROC curve: 1 tells all apart, 0.5 none. Source: Mann and Whitney 1947; Hanley
    and McNeil 1982.
    """
    ranks = rankdata(np.concatenate([familiar, foreign]))[: len(familiar)]
    above = ranks.sum() - len(familiar) * (len(familiar) + 1) / 2
    return float(above / (len(familiar) * len(foreign)))


def auroc_interval(area: float, familiar: int, foreign: int) -> tuple[float, float]:
    """The 95 % interval of an area, from so many images of each kind.

    All areas that differ from it by at most 1.96 standard errors, each with its own standard error: it has a
    width at an area of 1 too, as Wilson's interval of a share. Source: Newcombe, "Confidence intervals for an
    effect size measure based on the Mann-Whitney statistic", 2006, method 5.
    """

    def excess(candidate: float) -> float:
        """Below zero for the areas of the interval."""
        others = (familiar + foreign) / 2 - 1
        spread = 1 + others * ((1 - candidate) / (2 - candidate) + candidate / (1 + candidate))
        variance = candidate * (1 - candidate) * spread / (familiar * foreign)
        return float((area - candidate) ** 2 - Z_95**2 * variance)

    # At an area of 0 or 1 itself the standard error is 0.
    low = 0.0 if area == 0 else float(brentq(excess, 0, min(area, 1 - TINY)))
    high = 1.0 if area == 1 else float(brentq(excess, max(area, TINY), 1))
    return low, high
