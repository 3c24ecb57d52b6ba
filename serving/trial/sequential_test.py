"""An anytime-valid test of a share, such as the share of answers in which two models agree.

A test with a fixed number of answers rejects too often if it is repeated after every answer. This one may be
read at any time, and stopped at any time, at the same level. The likelihood ratio of `s` successes and `f`
failures under the share p1 against the floor p0,

    (p1 / p0)^s * ((1 - p1) / (1 - p0))^f,

starts at 1, and for p1 < p0 its expectation does not grow as long as every answer succeeds with a
probability of p0 or more, given those before it. So it is a nonnegative supermartingale, and so is the mean
of several of them. By Ville's inequality (1939) such a process ever reaches 1 / level with a probability of
at most `level`. The likelihood ratio of a single p1 is the statistic of Wald's sequential probability ratio
test (1945); mixing several, so that no p1 has to be known in advance, is the method of mixtures (Robbins
1970).

It depends on the two counts alone, so counts of several processes can be added up before it is computed.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache

# The alternatives of the mixture, as distances from the floor in log-odds, with equal weights. Doubling
# distances cover shares just beside the floor and shares of almost 0 or 1 with few terms. The mixture needs
# at most log(6) more evidence than the best of its six alternatives alone. docs/trials.md compares mixtures.
OFFSETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
# Closer to 0 or 1 a share cannot be told from it with any number of answers that a server counts.
SMALLEST_FLOOR = 1e-6


class Verdict(StrEnum):
    """What the counts say of a share and its floor."""

    UNDECIDED = "undecided"
    BELOW = "below"
    ABOVE = "above"


def evidence_below(successes: int, failures: int, floor: float, offsets: Sequence[float] = OFFSETS) -> float:
    """The natural logarithm of the evidence against "the share is at least `floor`".

    Reject at a level when it is at least -log(level). Raises `ValueError` for a negative count, or a floor
    that is not between 1e-6 and 1 - 1e-6.
    """
    if successes < 0 or failures < 0:
        raise ValueError(f"{successes} successes and {failures} failures: counts cannot be negative")
    ratios = _log_likelihood_ratios(floor, tuple(offsets))
    terms = [successes * success + failures * failure for success, failure in ratios]
    # The largest term is taken out of the sum, so that no exponential overflows.
    largest = max(terms)
    return largest + math.log(sum(math.exp(term - largest) for term in terms) / len(terms))


def evidence_above(successes: int, failures: int, floor: float, offsets: Sequence[float] = OFFSETS) -> float:
    """The same against "the share is at most `floor`": the share of failures is tested against its own."""
    return evidence_below(failures, successes, 1 - floor, offsets)


def decide(successes: int, failures: int, floor: float, level: float) -> Verdict:
    """Which side of the floor the share is on, if the evidence suffices.

    Each of the two answers is wrong with a probability of at most `level`, however often this is called while
    the counts grow. `level` is between 0 and 1, without these.
    """
    needed = -math.log(level)
    if evidence_below(successes, failures, floor) >= needed:
        return Verdict.BELOW
    if evidence_above(successes, failures, floor) >= needed:
        return Verdict.ABOVE
    return Verdict.UNDECIDED


@lru_cache(maxsize=64)
def _log_likelihood_ratios(floor: float, offsets: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    """log(p1 / p0) and log((1 - p1) / (1 - p0)) for each alternative p1 below the floor p0."""
    if not SMALLEST_FLOOR <= floor <= 1 - SMALLEST_FLOOR:
        raise ValueError(f"a floor of {floor} cannot be tested: it must be from 1e-6 to 1 - 1e-6")
    log_odds = math.log(floor) - math.log1p(-floor)
    return tuple(
        (
            _log_sigmoid(log_odds - offset) - math.log(floor),
            _log_sigmoid(offset - log_odds) - math.log1p(-floor),
        )
        for offset in offsets
    )


def _log_sigmoid(log_odds: float) -> float:
    """The logarithm of the share with these log-odds."""
    return -math.log1p(math.exp(-log_odds))
