"""Charts of two histograms as SVG attributes, with the same in words. The pages allow no inline styles."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from serving.drift.monitor import Distribution

# Units of the SVG's own coordinates: width of a bin, of a bar in it, and height of the highest bar.
BIN, BAR, HEIGHT = 10, 4, 60
# Width of the longest bar of a class.
LENGTH = 100
# With more classes than this, those are shown that changed most: half of them grew, half shrank.
CLASSES = 10


@dataclass(frozen=True)
class Rectangle:
    """One bar, in the coordinates of its chart."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class HistogramChart:
    """Bars of both histograms side by side; `text` says the same. `low` and `high` are the axis's ends."""

    width: int
    bars: tuple[Rectangle, ...]
    low: str
    high: str
    text: str


@dataclass(frozen=True)
class ClassRow:
    """Shares of a class among validation images and answers, and the lengths of their bars."""

    label: str
    reference: float
    answers: float
    reference_length: float
    answers_length: float


def histogram_chart(entry: Distribution, edges: Sequence[float], unit: str) -> HistogramChart:
    """The chart of a distribution with these edges [B+1]. Empty bins at both ends are left out."""
    used = np.flatnonzero(entry.reference + entry.answers)
    first, last = int(used[0]), int(used[-1]) + 1
    reference, answers = entry.reference[first:last], entry.answers[first:last]
    edges = edges[first : last + 1]
    shares = reference / entry.images, answers / max(1, entry.answered)
    highest = max(share.max() for share in shares)
    bars = tuple(
        _bar(kind, number * BIN + offset, share / highest)
        for kind, offset, heights in zip(("reference", "answers"), (1, 1 + BAR), shares, strict=True)
        for number, share in enumerate(heights)
        if share
    )
    texts = [f"{edge:.4g}{unit}" for edge in edges]
    text = f"The middle half of the validation images is {_middle_half(reference, texts)}"
    text += f", that of the answers {_middle_half(answers, texts)}." if entry.answered else "."
    return HistogramChart(BIN * (last - first), bars, texts[0], texts[-1], text)


def class_rows(entry: Distribution, labels: Sequence[str]) -> list[ClassRow]:
    """A row for each class; with more than `CLASSES` for those that changed most, largest growth first."""
    reference, answers = entry.reference / entry.images, entry.answers / max(1, entry.answered)
    shown = np.arange(len(labels))
    if len(labels) > CLASSES:
        order = np.argsort(reference - answers, kind="stable")
        shown = np.concatenate([order[: CLASSES // 2], order[-CLASSES // 2 :]])
        shown = shown[reference[shown] != answers[shown]]
    longest = max((float(max(reference[i], answers[i])) for i in shown), default=1.0)
    return [
        ClassRow(
            labels[i],
            float(reference[i]),
            float(answers[i]),
            round(LENGTH * float(reference[i]) / longest, 2),
            round(LENGTH * float(answers[i]) / longest, 2),
        )
        for i in map(int, shown)
    ]


def _bar(kind: str, x: int, share: float) -> Rectangle:
    height = round(HEIGHT * share, 2)
    return Rectangle(kind, x, round(HEIGHT - height, 2), BAR, height)


def _middle_half(counts: np.typing.NDArray[np.int64], edges: Sequence[str]) -> str:
    """The edges of the bins from the lower to the upper quartile."""
    total = int(counts.sum())
    sums = list(accumulate(int(count) for count in counts))
    lower = next(number for number, below in enumerate(sums) if 4 * below >= total and below)
    upper = next(number for number, below in enumerate(sums) if 4 * below >= 3 * total)
    return f"from {edges[lower]} to {edges[upper + 1]}"
