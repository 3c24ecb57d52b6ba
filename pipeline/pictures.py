"""The grid of images that people look at first: right answers, and the wrong ones that were surest."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from serving.decoder import Pixels

COLUMNS = 8


@dataclass(frozen=True)
class Example:
    """An image as the model sees it, uint8 [S,S,3], and the winner of its answer."""

    pixels: Pixels
    actual: str
    predicted: str
    confidence: float


def grid(path: Path, title: str, right: list[Example], wrong: list[Example]) -> None:
    """Draws one row of right answers above one row of wrong ones as PNG."""
    matplotlib.use("Agg")
    figure = Figure(figsize=(1.75 * COLUMNS, 5.2), dpi=80, layout="constrained")
    figure.suptitle(title, fontsize=15)
    rows = figure.subplots(2, COLUMNS)
    for axes, examples, colour in ((rows[0], right, "#1a7f37"), (rows[1], wrong, "#cf222e")):
        for place, axis in enumerate(axes):
            axis.set_axis_off()
            if place < len(examples):
                _draw(axis, examples[place], colour)
    # The version of matplotlib would otherwise be written into the file.
    figure.savefig(path, format="png", metadata={"Software": None})


def _draw(axis: Axes, example: Example, colour: str) -> None:
    axis.imshow(example.pixels)
    # Two lines for a wrong answer: what it is, and what the model took it for.
    shown = _short(example.predicted)
    if example.actual != example.predicted:
        shown = f"{_short(example.actual)}\nnot {shown}"
    # A dollar in a class name is no formula.
    axis.set_title(f"{shown} {example.confidence:.0%}", fontsize=9, color=colour, parse_math=False)


def _short(name: str) -> str:
    plain = name.replace("_", " ")
    return plain if len(plain) <= 15 else plain[:14] + "…"
