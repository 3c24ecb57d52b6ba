"""The report's images, as PNG: changed predictions, confusion matrices and reliability diagrams.

The same results give the same bytes.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from pipeline.errors import FileDamaged
from pipeline.evaluation.metrics import CalibrationBin
from pipeline.evaluation.plotting import png_figure, replace_missing_glyphs, show_pixels
from pipeline.evaluation.reliability_diagram import SIDE, ReliabilityCurve, draw_curves
from pipeline.files import read_json
from pipeline.markdown import code, plain_text
from pipeline.report.differences import ChangedPrediction, same_classes
from pipeline.report.formatting import count
from pipeline.report.model_comparison import ModelComparison
from pipeline.report.results import ReliabilityBin, Results
from serving.artifact.manifest import FORMAT
from serving.errors import ServingError
from serving.model.decoder import Pixels, Preprocessing, decode

# Next to report.md, which links to the images by this relative path.
FOLDER = Path("report")
COLUMNS = 8
# Two rows of tiles; the report lists more images by name.
MAX_TILES = 2 * COLUMNS
# A larger matrix would be illegible.
MAX_CLASSES = 20
# GitHub's colours for removed and added lines; grey for an error that replaces another.
LOST, GAINED, OTHER_ERROR = "#cf222e", "#1a7f37", "#57606a"
# The characters of a class name that fit above a tile, and beside a row of a matrix.
TILE_CHARACTERS, MATRIX_CHARACTERS = 12, 18


@dataclass(frozen=True)
class ImageLinks:
    """Markdown that shows an image or states why it is missing; empty if there is nothing to show."""

    tiles: str = ""
    matrices: str = ""
    reliability: str = ""


@dataclass(frozen=True)
class Tile:
    """An image as the model sees it, uint8 [H,W,C], and the text above it."""

    pixels: Pixels
    text: str
    colour: str


def draw_images(comparison: ModelComparison, folder: Path) -> ImageLinks:
    """Draws into `folder`, which becomes `report/`."""
    return ImageLinks(
        _draw_tiles(comparison, folder),
        _draw_matrices(comparison, folder),
        _draw_reliability(comparison, folder),
    )


def _draw_tiles(comparison: ModelComparison, folder: Path) -> str:
    reference, layout = comparison.changed_reference, comparison.layout
    if reference is None or not reference.paired.changed:
        return ""
    preprocessing = _preprocessing(comparison)
    if preprocessing is None:
        bundle = code(str(layout.bundle))
        return f"They cannot be shown: {bundle}, which defines their preprocessing, is not here."
    chosen = reference.paired.changed[:MAX_TILES]
    tiles = [tile for change in chosen if (tile := _tile(layout.test, change, preprocessing))]
    if not tiles:
        return f"They cannot be shown: {code(str(layout.test))} has none of them here."
    name = f"{layout.model}-changed.png"
    _save_tiles(folder / name, tiles)
    missing = len(chosen) - len(tiles)
    note = f" {count(missing, 'image')} cannot be shown here." if missing else ""
    legend = f"Lost ones are red, gained ones green, other mistakes grey.{note}"
    return f"{legend}\n\n![Images whose prediction changed]({FOLDER / name})"


def _preprocessing(comparison: ModelComparison) -> Preprocessing | None:
    """The bundle's preprocessing; without a bundle, that of the build, from which `export` copies it."""
    with suppress(ServingError, OSError):
        if comparison.bundle is not None:
            return comparison.bundle.preprocessing()
    with suppress(OSError, FileDamaged, TypeError, ValueError):
        document = read_json(comparison.layout.built / "preprocessing.json")
        return Preprocessing.from_json(document, FORMAT)
    return None


def _tile(folder: Path, change: ChangedPrediction, preprocessing: Preprocessing) -> Tile | None:
    """`None` if the file is missing, is not an image or is outside `folder`."""
    path = folder / change.now.image
    if not path.resolve().is_relative_to(folder.resolve()):
        return None
    lines = [plain_text(change.now.actual, TILE_CHARACTERS + 5)]
    for when, row in (("was", change.before), ("now", change.now)):
        lines.append(f"{when} {plain_text(row.predicted, TILE_CHARACTERS)} {row.confidence:.0%}")
    colour = LOST if change.before.correct else GAINED if change.now.correct else OTHER_ERROR
    with suppress(ServingError, OSError):
        return Tile(decode(path.read_bytes(), preprocessing), "\n".join(lines), colour)
    return None


def _save_tiles(path: Path, tiles: Sequence[Tile]) -> None:
    rows = -(-len(tiles) // COLUMNS)
    columns = -(-len(tiles) // rows)
    with png_figure(path, (1.75 * columns, 2.4 * rows)) as figure:
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axis in axes:
            axis.set_axis_off()
        for axis, tile in zip(axes, tiles, strict=False):
            show_pixels(axis, tile.pixels)
            # `parse_math`: a class may be called "$x$".
            axis.set_title(replace_missing_glyphs(tile.text), fontsize=9, color=tile.colour, parse_math=False)


def _draw_matrices(comparison: ModelComparison, folder: Path) -> str:
    """The confusion matrices of the model and, if different, of its reference."""
    current, reference = comparison.current, comparison.changed_reference
    if not 2 <= len(current.classes) <= MAX_CLASSES:
        return ""
    shown = [("now", current)]
    if reference and not same_classes(reference.results, current):
        shown.insert(0, (reference.name, reference.results))
    shown = [(title, results) for title, results in shown if 0 < len(results.classes) <= MAX_CLASSES]
    name = f"{comparison.layout.model}-confusion.png"
    side = 2.2 + 0.32 * max(len(results.classes) for _, results in shown)
    with png_figure(folder / name, (side * len(shown) + 0.5, side)) as figure:
        axes = figure.subplots(1, len(shown), squeeze=False).flat
        for axis, (title, results) in zip(axes, shown, strict=True):
            _draw_matrix(axis, title, results)
    return f"![Confusion matrix]({FOLDER / name})"


def _draw_reliability(comparison: ModelComparison, folder: Path) -> str:
    """The reliability diagrams of the model and, if different, of its reference."""
    current, reference = comparison.current, comparison.changed_reference
    shown = [("now", current.reliability)]
    if reference and reference.results.reliability != current.reliability:
        shown.insert(0, (reference.name, reference.results.reliability))
    shown = [(title, bins) for title, bins in shown if bins]
    if not shown:
        return ""
    name = f"{comparison.layout.model}-reliability.png"
    with png_figure(folder / name, (SIDE * len(shown), SIDE)) as figure:
        axes = figure.subplots(1, len(shown), squeeze=False).flat
        for axis, (title, bins) in zip(axes, shown, strict=True):
            draw_curves(axis, title, _curves(bins))
    return f"![Reliability diagram]({FOLDER / name})"


def _curves(bins: Sequence[ReliabilityBin]) -> list[ReliabilityCurve]:
    """The curve of each temperature, in the order of the rows: the served one is the last."""
    temperatures = dict.fromkeys(entry.temperature for entry in bins)
    return [
        ReliabilityCurve(
            None if temperature == "" else temperature,
            [
                CalibrationBin(entry.images, entry.confidence, entry.accuracy)
                for entry in bins
                if entry.temperature == temperature
            ],
        )
        for temperature in temperatures
    ]


def _draw_matrix(axis: Axes, title: str, results: Results) -> None:
    counts = _confusion_matrix(results)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(counts), dtype=bool)[:, :, None]
    # The square root makes the few errors visible beside the correct predictions.
    axis.imshow(np.where(diagonal, _shade(shares, GAINED), _shade(np.sqrt(shares), LOST)))
    for row, column in zip(*np.nonzero(counts), strict=True):
        axis.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8)
    names = [replace_missing_glyphs(plain_text(row.name, MATRIX_CHARACTERS)) for row in results.classes]
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8, parse_math=False)
    axis.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axis.set_xlabel("predicted")
    axis.set_ylabel("actual")
    axis.set_title(title, fontsize=11, parse_math=False)


def _confusion_matrix(results: Results) -> npt.NDArray[np.int64]:
    """How often each class (row) was predicted as each class (column) [K,K]."""
    index = {row.name: number for number, row in enumerate(results.classes)}
    counts = np.zeros((len(results.classes), len(results.classes)), dtype=np.int64)
    for row in results.predictions:
        if row.actual in index and row.predicted in index:
            counts[index[row.actual], index[row.predicted]] += 1
    return counts


def _shade(shares: npt.NDArray[np.float64], colour: str) -> npt.NDArray[np.float64]:
    """From white for 0 to 70 % of `colour` for 1, on which black text is legible [K,K,3]."""
    shade: npt.NDArray[np.float64] = 1 - 0.7 * shares[:, :, None] * (1 - np.array(to_rgb(colour)))
    return shade
