"""Two models' answers to the same images: how different they are, and how sure that is.

`lost` images only the old model had right, `gained` only the new one; `images` both were asked about.
"""

from pipeline.evaluation.metrics import paired_difference_interval

# Two-sided, as the intervals are of 95 %.
SIGNIFICANCE = 0.05


def difference(lost: int, gained: int, images: int) -> float:
    """The new model's share of right answers less the old one's, -1 to 1."""
    return (gained - lost) / images


def interval(lost: int, gained: int, images: int) -> tuple[float, float]:
    """The 95 % interval of that difference; without any image it is everything."""
    low, high = paired_difference_interval(lost, gained, images)
    return -high, -low


def probability(lost: int, gained: int) -> float:
    """How probable counts so unequal or more are if neither is better: McNemar's exact test, two-sided.

    Source: McNemar 1947; exact with the binomial distribution of `lost` among `lost + gained`.
    """
    total = lost + gained
    ways = tail = 1
    # From term to term, for each binomial coefficient alone would take seconds for thousands of images.
    for count in range(1, min(lost, gained) + 1):
        ways = ways * (total - count + 1) // count
        tail += ways
    return min(1.0, float(2 * tail / 2**total))
