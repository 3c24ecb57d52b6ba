"""Shares with their 95 % intervals, as text."""

import math

# 97.5 % quantile of the normal distribution.
Z_95 = 1.959964


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, 0 to 1; also valid for few answers and near 1. Source: Wilson 1927.

    It holds for a number of answers that was fixed beforehand: it describes the counts, and decides nothing.
    """
    if total == 0:
        return 0.0, 1.0
    share, spread = hits / total, Z_95**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def describe_share(hits: int, total: int) -> str:
    """Such as `79.2 % (95 % interval 75.5 to 82.5)`; `total` is at least 1."""
    low, high = wilson_interval(hits, total)
    return f"{100 * hits / total:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"
