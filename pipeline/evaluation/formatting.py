"""Shares and intervals as text, for the model card."""

from collections.abc import Sequence


def format_percent(share: float) -> str:
    """A share from 0 to 1, such as 97.2 %."""
    return f"{100 * share:.1f} %"


def format_interval(bounds: Sequence[float]) -> str:
    """Two shares, such as 95.1 to 98.4 %."""
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f} %"
