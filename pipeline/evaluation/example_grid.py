"""The grid of images that people look at first: right answers, and the wrong ones that were surest."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from pipeline.evaluation.plotting import canvas, drawable
from pipeline.markdown import plain_text
from serving.model.decoder import Pixels

COLUMNS = 8
# Characters of a name that fit above a picture.
ABOVE = 15


@dataclass(frozen=True)
class Example:
    """An image as the model sees it, uint8 [S,S,3], and the winner of its answer."""

    pixels: Pixels
    actual: str
    predicted: str
    confidence: float


def grid(path: Path, title: str, right: list[Example], wrong: list[Example]) -> None:
    """Draws one row of right answers above one row of wrong ones as PNG."""
    with canvas(path, (1.75 * COLUMNS, 5.2)) as figure:
        figure.suptitle(title, fontsize=15)
        rows = figure.subplots(2, COLUMNS)
        for axes, examples, colour in ((rows[0], right, "#1a7f37"), (rows[1], wrong, "#cf222e")):
            for place, axis in enumerate(axes):
                axis.set_axis_off()
                if place < len(examples):
                    _draw(axis, examples[place], colour)


def _draw(axis: Axes, example: Example, colour: str) -> None:
    axis.imshow(example.pixels)
    # Two lines for a wrong answer: what it is, and what the model took it for.
    shown = _short(example.predicted)
    if example.actual != example.predicted:
        shown = f"{_short(example.actual)}\nnot {shown}"
    # A dollar in a class name is no formula.
    axis.set_title(f"{shown} {example.confidence:.0%}", fontsize=9, color=colour, parse_math=False)


def _short(name: str) -> str:
    return drawable(plain_text(name.replace("_", " "), ABOVE))
