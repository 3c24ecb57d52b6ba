"""How far apart two histograms are, and how far apart they would be by chance."""

from typing import Literal

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]

# Pairs of samples that are drawn, the quantile of their divergences that is called usual, and the seed: the
# same counts always give the same number.
DRAWS, QUANTILE, SEED = 200, 0.99, 1
# The same of shares, which cost less.
SHARE_DRAWS = 2000
# Above this number of bins NumPy draws faster from a list of all values than bin by bin.
MANY_BINS = 100
# A list of this many values takes 8 MB.
MAX_VALUES = 1_000_000


def shift(reference: Counts, answers: Counts) -> float:
    """The Jensen-Shannon divergence of two histograms [B], in bits.

    It is 0 if they are equal and 1 if they share no bin; empty bins do not make it infinite.
    Source: Lin, "Divergence Measures Based on the Shannon Entropy", 1991.
    """
    return float(_divergences(reference[np.newaxis], answers[np.newaxis])[0])


def usual_shift(reference: Counts, answers: Counts) -> float:
    """The shift that two samples of these sizes from one distribution exceed once in a hundred times.

    Few samples of many classes are far apart by chance alone: 188 and 1,000 images of 1,000 equally frequent
    classes by more than 0.7 bits. The distribution is that of both samples together, and the pairs are drawn
    from it without replacement (permutation test).
    """
    pool, drawn = _draw(reference, answers)
    found = pool > 0
    return float(np.quantile(_divergences((pool - drawn)[:, found], drawn[:, found]), QUANTILE))


def usual_share(counted: int, images: int, answers: int) -> float:
    """The share of `answers` that is exceeded once in a hundred times, if `counted` of `images` were.

    The true share is drawn from those that are likely after the images (Jeffreys prior), then the answers.
    """
    random = np.random.default_rng(SEED)
    shares = random.beta(counted + 0.5, images - counted + 0.5, SHARE_DRAWS)
    return float(np.quantile(random.binomial(answers, shares), QUANTILE)) / answers


def _draw(reference: Counts, answers: Counts) -> tuple[Counts, Counts]:
    """Both samples together [B], and `DRAWS` random samples of as many of them as there are answers [N,B]."""
    # Scaled down if they are very many; their share in the chance is next to nothing then.
    pool = reference // max(1, -(-int(reference.sum()) // MAX_VALUES)) + answers
    method: Literal["count", "marginals"] = "count" if len(pool) > MANY_BINS else "marginals"
    random = np.random.default_rng(SEED)
    return pool, random.multivariate_hypergeometric(pool, int(answers.sum()), DRAWS, method)


def _divergences(left: Counts, right: Counts) -> Floats:
    """The divergence of each row of two arrays [N,B] of counts, [N].

    float32 has six digits here, and takes half the time of float64.
    """
    one, other = _shares(left), _shares(right)
    separate = (_negative_entropies(one) + _negative_entropies(other)) / 2
    return np.asarray(np.clip(separate - _negative_entropies((one + other) / 2), 0, 1))


def _shares(counts: Counts) -> Floats:
    return np.asarray(counts / counts.sum(axis=1, keepdims=True), dtype=np.float32)


def _negative_entropies(shares: Floats) -> Floats:
    # The limit of x log(x) at 0 is 0.
    products: Floats = shares * np.log2(np.maximum(shares, np.finfo(np.float32).tiny))
    return np.asarray(products.sum(axis=1))
