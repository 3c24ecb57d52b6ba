"""The pictures of a report, as PNG, the same bytes from the same figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from pipeline.evaluation.plotting import png_figure, replace_missing_glyphs
from pipeline.markdown import plain_text
from serving.model.decoder import Pixels

COLUMNS = 8
# As GitHub colours what is removed and added; grey for one mistake in place of another.
LOST, GAINED, OTHER = "#cf222e", "#1a7f37", "#57606a"
# Characters of a name that fit above a picture, and beside a row of a matrix.
ABOVE, BESIDE = 12, 18


@dataclass(frozen=True)
class Tile:
    """An image as the model sees it, uint8 [S,S,3], with lines of text above it that fit."""

    pixels: Pixels
    lines: Sequence[str]
    colour: str


@dataclass(frozen=True)
class Matrix:
    """How often each class (row) was taken for each (column) [K,K]."""

    title: str
    names: Sequence[str]
    counts: npt.NDArray[np.int64]


def tiles(path: Path, shown: Sequence[Tile]) -> None:
    """Draws images in rows of at most eight."""
    rows = -(-len(shown) // COLUMNS)
    columns = -(-len(shown) // rows)
    with png_figure(path, (1.75 * columns, 2.4 * rows)) as figure:
        places = figure.subplots(rows, columns, squeeze=False)
        for place, axis in enumerate(places.flat):
            axis.set_axis_off()
            if place < len(shown):
                axis.imshow(shown[place].pixels)
                # A class may be called "$x$", which is no formula here.
                axis.set_title(
                    replace_missing_glyphs("\n".join(shown[place].lines)),
                    fontsize=9,
                    color=shown[place].colour,
                    parse_math=False,
                )


def matrices(path: Path, shown: Sequence[Matrix]) -> None:
    """Draws confusion matrices beside each other, right answers on the diagonal."""
    side = 2.2 + 0.32 * max(len(matrix.names) for matrix in shown)
    with png_figure(path, (side * len(shown) + 0.5, side)) as figure:
        for axis, matrix in zip(figure.subplots(1, len(shown), squeeze=False).flat, shown, strict=True):
            _matrix(axis, matrix)


def _matrix(axis: Axes, matrix: Matrix) -> None:
    shares = matrix.counts / np.maximum(matrix.counts.sum(axis=1, keepdims=True), 1)
    right = np.eye(len(matrix.names), dtype=bool)[:, :, None]
    # Mistakes are few: beside the right answers nobody would see their colour.
    axis.imshow(np.where(right, _tint(shares, GAINED), _tint(np.sqrt(shares), LOST)))
    for row, column in zip(*np.nonzero(matrix.counts), strict=True):
        axis.text(column, row, f"{matrix.counts[row, column]}", ha="center", va="center", fontsize=8)
    names = [replace_missing_glyphs(plain_text(name, BESIDE)) for name in matrix.names]
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8, parse_math=False)
    axis.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axis.set_xlabel("predicted")
    axis.set_ylabel("actual")
    axis.set_title(matrix.title, fontsize=11, parse_math=False)


def _tint(shares: npt.NDArray[np.float64], colour: str) -> npt.NDArray[np.float64]:
    """White for 0, more of a colour for more [K,K,3]; never so much that figures cannot be read on it."""
    white: npt.NDArray[np.float64] = 1 - 0.7 * shares[:, :, None] * (1 - np.array(to_rgb(colour)))
    return white
