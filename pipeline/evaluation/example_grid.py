"""examples.png: a grid of test images with correct predictions, and the wrong ones of highest confidence."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from pipeline.evaluation.plotting import png_figure, replace_missing_glyphs
from pipeline.markdown import plain_text
from serving.model.decoder import Pixels

COLUMNS = 8
# Characters of a class name that fit above an image.
NAME_LENGTH = 15
CORRECT_COLOUR, WRONG_COLOUR = "#1a7f37", "#cf222e"


@dataclass(frozen=True)
class Example:
    """An image as the model receives it, uint8 [S,S,3], and the prediction for it."""

    pixels: Pixels
    actual: str
    predicted: str
    confidence: float


def draw_grid(path: Path, title: str, correct: list[Example], wrong: list[Example]) -> None:
    """Draws one row of correct predictions above one row of wrong ones, as PNG."""
    with png_figure(path, (1.75 * COLUMNS, 5.2)) as figure:
        figure.suptitle(title, fontsize=15)
        rows = figure.subplots(2, COLUMNS)
        for row, examples, colour in ((rows[0], correct, CORRECT_COLOUR), (rows[1], wrong, WRONG_COLOUR)):
            for column, axes in enumerate(row):
                axes.set_axis_off()
                if column < len(examples):
                    _draw_example(axes, examples[column], colour)


def _draw_example(axes: Axes, example: Example, colour: str) -> None:
    axes.imshow(example.pixels)
    # The caption of a wrong prediction has two lines: the actual class, and the predicted one.
    caption = _caption_name(example.predicted)
    if example.actual != example.predicted:
        caption = f"{_caption_name(example.actual)}\nnot {caption}"
    # parse_math: a dollar sign in a class name must not start a formula.
    axes.set_title(f"{caption} {example.confidence:.0%}", fontsize=9, color=colour, parse_math=False)


def _caption_name(name: str) -> str:
    return replace_missing_glyphs(plain_text(name.replace("_", " "), NAME_LENGTH))
