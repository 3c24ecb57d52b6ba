"""What of a model can be seen: images whose answer changed, and the confusion matrix before and after."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import FileDamaged
from pipeline.files import read_json
from pipeline.layout import Layout
from pipeline.markdown import code, plain_text
from pipeline.report import drawing
from pipeline.report.comparison import Answers, Change, same_classes
from pipeline.report.drawing import ABOVE, GAINED, LOST, OTHER, Matrix, Tile
from pipeline.report.evidence import Evidence
from pipeline.report.records import Prediction
from pipeline.report.subject import Subject
from pipeline.report.wording import count
from serving.errors import ServingError
from serving.model.decoder import Preprocessing, decode

# Beside report.md, which links to them.
FOLDER = Path("report")
# Two rows; the report lists more of them by name.
TILES = 2 * drawing.COLUMNS
# A matrix of more classes cannot be read.
CLASSES = 20


@dataclass(frozen=True)
class Illustrations:
    """The Markdown that shows each picture, or says why there is none; empty if there is nothing to see."""

    changed: str
    confusion: str


def illustrate(subject: Subject, folder: Path) -> Illustrations:
    """Draws into a folder that will be `report/`."""
    side = subject.other
    changed = _changed(subject, side.answers, folder) if side and side.answers.changes else ""
    few = 2 <= len(subject.now.classes) <= CLASSES
    return Illustrations(changed, _confusion(subject, folder) if few else "")


def _changed(subject: Subject, answers: Answers, folder: Path) -> str:
    preprocessing = _preprocessing(subject)
    if preprocessing is None:
        bundle = code(str(subject.layout.bundle))
        return f"They cannot be shown: {bundle}, which says how the model sees them, is not here."
    chosen = answers.changes[:TILES]
    tiles = [_tile(subject.layout.test, change, preprocessing) for change in chosen]
    shown = [tile for tile in tiles if tile is not None]
    if not shown:
        return f"They cannot be shown: {code(str(subject.layout.test))} has none of them here."
    name = f"{subject.layout.model}-changed.png"
    drawing.tiles(folder / name, shown)
    missing = len(chosen) - len(shown)
    said = f" {count(missing, 'image')} cannot be shown here." if missing else ""
    legend = f"Lost ones are red, gained ones green, other mistakes grey.{said}"
    return f"{legend}\n\n![Images whose answer changed]({FOLDER / name})"


def _tile(folder: Path, change: Change, preprocessing: Preprocessing) -> Tile | None:
    """The image with its class and both answers; `None` if it is not here, or is no image."""
    path = folder / change.now.image
    if not path.resolve().is_relative_to(folder.resolve()):
        return None
    lines = [
        plain_text(change.now.actual, ABOVE + 5),
        _answer("was", change.before),
        _answer("now", change.now),
    ]
    with suppress(ServingError, OSError):
        return Tile(decode(path.read_bytes(), preprocessing), lines, _colour(change))
    return None


def _answer(when: str, row: Prediction) -> str:
    return f"{when} {plain_text(row.predicted, ABOVE)} {row.confidence:.0%}"


def _colour(change: Change) -> str:
    if change.before.right:
        return LOST
    return GAINED if change.now.right else OTHER


def _preprocessing(subject: Subject) -> Preprocessing | None:
    """That of the bundle or, if only the build is here, the file that the bundle takes it from."""
    with suppress(ServingError, OSError):
        if subject.bundle is not None:
            return subject.bundle.preprocessing()
    return _of_the_build(subject.layout)


def _of_the_build(layout: Layout) -> Preprocessing | None:
    with suppress(OSError, FileDamaged, TypeError, ValueError):
        return Preprocessing(**read_json(layout.built / "preprocessing.json"))
    return None


def _confusion(subject: Subject, folder: Path) -> str:
    sides = []
    if subject.other and not same_classes(subject.other.evidence, subject.now):
        sides = [(subject.other.name, subject.other.evidence)]
    shown = [_matrix(name, evidence) for name, evidence in [*sides, ("now", subject.now)]]
    name = f"{subject.layout.model}-confusion.png"
    drawing.matrices(folder / name, [matrix for matrix in shown if len(matrix.names) <= CLASSES])
    return f"![How often each class was taken for each]({FOLDER / name})"


def _matrix(title: str, evidence: Evidence) -> Matrix:
    names = [row.name for row in evidence.classes]
    number = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for row in evidence.predictions:
        if row.actual in number and row.predicted in number:
            counts[number[row.actual], number[row.predicted]] += 1
    return Matrix(title, names, counts)
