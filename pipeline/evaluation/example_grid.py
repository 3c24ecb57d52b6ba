"""examples.png: a grid of test images with correct predictions, and the wrong ones of highest confidence."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from pipeline.evaluation.plotting import png_figure, replace_missing_glyphs, show_pixels
from pipeline.markdown import plain_text
from serving.model.decoder import Pixels

COLUMNS = 8
# Characters of a class name that fit above an image.
NAME_LENGTH = 15
CORRECT_COLOUR, WRONG_COLOUR, UNKNOWN_COLOUR = "#1a7f37", "#cf222e", "#57606a"


@dataclass(frozen=True)
class Example:
    """An image as the model receives it, uint8 [H,W,C], and the prediction for it.

    `actual` is None if the image has no label.
    """

    pixels: Pixels
    actual: str | None
    predicted: str
    confidence: float

    @property
    def colour(self) -> str:
        if self.actual is None:
            return UNKNOWN_COLOUR
        return CORRECT_COLOUR if self.actual == self.predicted else WRONG_COLOUR


def draw_grid(path: Path, title: str, correct: list[Example], wrong: list[Example]) -> None:
    """Draws one row of correct predictions above one row of wrong ones, as PNG."""
    with png_figure(path, (1.75 * COLUMNS, 5.2)) as figure:
        figure.suptitle(title, fontsize=15)
        rows = figure.subplots(2, COLUMNS)
        for row, examples in zip(rows, (correct, wrong), strict=True):
            for column, axes in enumerate(row):
                axes.set_axis_off()
                if column < len(examples):
                    _draw_example(axes, examples[column])


def _draw_example(axes: Axes, example: Example) -> None:
    show_pixels(axes, example.pixels)
    # The caption of a wrong prediction has two lines: the actual class, and the predicted one.
    caption = _caption_name(example.predicted)
    if example.actual not in (None, example.predicted):
        caption = f"{_caption_name(str(example.actual))}\nnot {caption}"
    # parse_math: a dollar sign in a class name must not start a formula.
    axes.set_title(f"{caption} {example.confidence:.0%}", fontsize=9, color=example.colour, parse_math=False)


def _caption_name(name: str) -> str:
    return replace_missing_glyphs(plain_text(name.replace("_", " "), NAME_LENGTH))
