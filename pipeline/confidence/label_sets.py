"""Conformal label sets: sets of classes that have the right one with a given probability, for any model.

The threshold method (LAC): an image's score is 1 minus the probability of its actual class, and a set has
all classes with a score up to a quantile of the scores of other images. The guarantee holds for images of the
same kind as those. Source: Sadinle, Lei and Wasserman, "Least Ambiguous Set-Valued Classifiers with Bounded
Error Levels", 2019.
"""

import math

import numpy as np
from scipy.stats import betabinom
from scipy.stats.distributions import rv_frozen

from pipeline.evaluation.metrics import ClassNumbers, Floats
from serving.artifact.confidence import LEVELS, LabelSet

# Quantiles are rounded up, which makes sets larger and never breaks the guarantee: the last digits of
# probabilities depend on the CPU, and the quantile is part of the digest.
DIGITS = 4
# Smallest probability that is told from 0; smaller ones come from rounding.
LEAST = 1e-12


def fit_label_sets(probabilities: Floats, actual: ClassNumbers) -> tuple[LabelSet, ...]:
    """A quantile for each of `LEVELS`, from probabilities [N,K] and actual classes [N]."""
    scores = np.sort(1 - probabilities[np.arange(len(actual)), actual])
    return tuple(LabelSet(level, _quantile(scores, level), len(scores)) for level in LEVELS if len(scores))


def conforming_images(level: float, fitted: int, tested: int) -> rv_frozen:
    """The distribution of the number of `tested` images whose right class is above the threshold of a set.

    It is beta-binomial if they are of the same kind as the `fitted` images. Source: Vovk, "Conditional
    Validity of Inductive Conformal Predictors", 2012.
    """
    rank = _rank(level, fitted)
    return betabinom(tested, rank, fitted + 1 - rank)


def _rank(level: float, images: int) -> int:
    return math.ceil((images + 1) * level)


def _quantile(scores: Floats, level: float) -> float | None:
    """The ceil((n + 1) level)-th smallest of n scores; `None` if n is too small for any guarantee."""
    rank = _rank(level, len(scores))
    if rank > len(scores):
        return None
    score = float(scores[rank - 1])
    # Of a small probability of the right class three digits are kept: with 0 all classes would be in the set.
    digits = max(DIGITS, 2 - math.floor(math.log10(max(1 - score, LEAST))))
    # `round` first: a score of 0.18 may be 0.18 + 1e-17.
    return float(min(1.0, math.ceil(round(score * 10**digits, 3)) / 10**digits))
